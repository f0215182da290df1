"""Words and numbers for a terminal: escaping, widths, sizes, short UUIDs.

Owns: that nothing from a stick reaches the terminal as anything but plain text.
May not know: what is shown.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "amount", "clip", "gib", "pad", "rate", "safe", "short_size", "short_uuids", "shortened",
    "width", "wrap",
]  # fmt: skip

#: Printable for Python, but blank on a screen: Hangul fillers and the empty Braille pattern.
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
UUID_SHORT = 4


def safe(value: object) -> str:
    r"""Text without control, format and bidi characters: each of their UTF-8 bytes becomes \xNN.

    The backslash is escaped too, so that what looks escaped is.
    """
    text = str(value)
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(
        one if one.isprintable() and one != "\\" and one not in _BLANKS else _escaped(one)
        for one in text
    )


def _escaped(one: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in one.encode("utf-8", "surrogatepass"))


def width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def pad(text: str, columns: int) -> str:
    """The text, filled with blanks to so many columns."""
    return text + " " * max(0, columns - width(text))


def clip(text: str, columns: int) -> str:
    """The text in at most so many columns; an ellipsis says that something was cut."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 3:
        text = text[:-1]
    return text.rstrip() + "..."


def wrap(text: str, columns: int, indent: str) -> list[str]:
    """The text in lines of at most so many columns, broken at blanks; later ones indented."""
    lines: list[str] = []
    line, *words = text.split(" ")
    for word in words:
        longer = f"{line} {word}"
        if line.strip() and width(longer) > columns:
            lines.append(line.rstrip())
            longer = indent + word
        line = longer
    lines.append(line.rstrip())
    return [clip(one, columns) for one in lines]


def gib(size_bytes: object) -> str:
    """Bytes as GiB, `14.8 GiB`; smaller things in MiB."""
    if not isinstance(size_bytes, (int, float)):
        return "?"
    if size_bytes < 1 << 30:
        return f"{size_bytes / (1 << 20):.0f} MiB"
    return f"{size_bytes / (1 << 30):.1f} GiB"


def short_size(size_bytes: object) -> str:
    """Bytes as lsblk writes them: `115G`, `1.8T`, `512M`."""
    if not isinstance(size_bytes, (int, float)):
        return "-"
    size = float(size_bytes)
    for unit in "BKM":
        if size < 1023.5:
            return f"{size:.0f}{unit}"
        size /= 1024
    return f"{size:.0f}G" if size < 1023.5 else f"{size / 1024:.1f}T"


def amount(size_bytes: object) -> str:
    """Bytes with one digit, for numbers that grow while one looks: `812.4 MiB`, `12 B`."""
    if not isinstance(size_bytes, (int, float)):
        return "?"
    if size_bytes < 1 << 10:
        return f"{size_bytes:.0f} B"
    size = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1023.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def rate(word: str) -> int:
    """Bytes per second of `20M`, `20MiB/s`, `20MB` (decimal) or `500000`; ValueError else."""
    factors = {"": 1, "b": 1}
    for power, letter in enumerate("kmgt", 1):
        factors |= {letter: 1024**power, f"{letter}ib": 1024**power, f"{letter}b": 1000**power}
    lower = word.lower().removesuffix("/s")
    digits = lower.rstrip("kmgtib")
    factor = factors.get(lower[len(digits) :])
    if factor is None or not digits.isascii() or not digits.replace(".", "", 1).isdigit():
        raise ValueError(word)
    bytes_per_second = int(float(digits) * factor)
    if not 0 < bytes_per_second < 1 << 53:  # a JSON number keeps no more exactly
        raise ValueError(word)
    return bytes_per_second


def short_uuids(uuids: Iterable[object]) -> dict[object, str]:
    """Each UUID's shortest prefix of at least four characters that no other one shares."""
    whole = sorted({str(one) for one in uuids if one})
    short: dict[object, str] = {}
    for number, uuid in enumerate(whole):
        length = UUID_SHORT
        for other in (*whole[max(0, number - 1) : number], *whole[number + 1 : number + 2]):
            length = max(length, _common(uuid, other) + 1)
        short[uuid] = safe(uuid[:length])
    return short


def _common(one: str, other: str) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def shortened(short: dict[object, str], uuid: object, default: str) -> str:
    """The short form of `uuid` that `short_uuids` found, or `default` if there is none."""
    return short.get(uuid, default) if isinstance(uuid, str) else default
