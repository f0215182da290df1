"""Sizes in words."""

GIB = 1 << 30


def gibibytes(size_bytes: int) -> str:
    """`size_bytes` in GiB with one digit, as df -h would have it."""
    return f"{size_bytes / GIB:.1f} GiB"
