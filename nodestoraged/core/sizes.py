"""Sizes in words."""

GIB = 1 << 30


def gibibytes(size_bytes: int) -> str:
    """`size_bytes` in GiB with one digit, as df -h would have it."""
    return f"{size_bytes / GIB:.1f} GiB"


def size(size_bytes: int) -> str:
    """`size_bytes` in the unit that leaves one to four digits before the point."""
    if size_bytes < 1 << 10:
        return f"{size_bytes} bytes"
    for unit, factor in (("KiB", 1 << 10), ("MiB", 1 << 20)):
        if size_bytes < factor << 10:
            return f"{size_bytes / factor:.1f} {unit}"
    return gibibytes(size_bytes)
