"""What is said of a stick: its name, where it is, how full, how old; its lines on the screen.

Owns: those words, and the columns of the status screen's sticks.  Whatever an older daemon leaves
out is "".  May not know: which of the lines fit.
"""

from __future__ import annotations

from nodestoraged.cli import times
from nodestoraged.cli.fields import Json, device, entries, number, obj, port, text, words
from nodestoraged.cli.text import clip, gib, pad, short_size, short_uuids, shortened, width

__all__ = [
    "fill", "generation", "lost", "name_of", "origin", "percent", "place", "pods", "sticks", "used",
]  # fmt: skip

_NAME_COLUMNS = 12
#: A directory's path is longer than any devnode.
_PATH_COLUMNS = 32


def place(stick: object) -> str:
    """Where it is: the path of a directory, else the devnode without /dev/."""
    return text(stick, "path") or device(stick)


def name_of(stick: object) -> str:
    """What a stick or root is called: its name, else where it is, else "?"."""
    if isinstance(stick, dict):
        name = text(stick, "name") or place(stick)
        return name if name != "-" else "?"
    return text({"name": stick}, "name", "?")


def used(stick: object) -> tuple[float, float] | None:
    """Bytes used and the capacity, None when it is not known."""
    capacity, available = number(stick, "capacityBytes"), number(stick, "availableBytes")
    if not capacity or capacity < 0 or available is None:
        return None
    return capacity - available, capacity


def percent(stick: object) -> str:
    """`38 %`."""
    known = used(stick)
    return f"{100 * known[0] / known[1]:.0f} %" if known else ""


def fill(stick: object) -> str:
    """`21.4 of 56.1 GiB used (38 %)`."""
    known = used(stick)
    if known is None:
        return ""
    return f"{known[0] / (1 << 30):.1f} of {gib(known[1])} used ({percent(stick)})"


def generation(stick: object) -> str:
    """`12`, or `12, incomplete` after a copy that did not end."""
    count = number(stick, "generation")
    complete = isinstance(stick, dict) and stick.get("complete") is not False
    parts = ["" if count is None else f"{count:.0f}", "" if complete else "incomplete"]
    return ", ".join(part for part in parts if part)


#: Origins that are no place to copy from.
_ORIGINS = {
    "": "", "empty": "begun empty", "by hand": "made by hand", "active": "copied from what served",
}  # fmt: skip


def origin(stick: object) -> str:
    """Where its data came from, in words: `copied from internal`."""
    word = text(stick, "origin")
    known = _ORIGINS.get(word)
    return known if known is not None else f"copied from {word}"


def pods(count: float) -> str:
    """`11 pods`."""
    return f"{count:.0f} pod" if count == 1 else f"{count:.0f} pods"


def lost(role: Json, now: float) -> list[str]:
    """The stick that was lost: what it was, and what its loss did; no lines for none."""
    stick = obj(role, "lost")
    if not stick:
        return []
    short = short_uuids([stick.get("uuid"), *(c.get("uuid") for c in entries(role, "candidates"))])
    hardware = f"{text(stick, 'model')} {text(stick, 'serial')}".strip()
    parts = [name_of(stick), shortened(short, stick.get("uuid"), ""), hardware, port(stick)]
    if stick.get("at"):
        parts.append(f"at {times.moment(stick.get('at'), now)}")
    lines = ["  ".join(part for part in parts if part)]
    facts = []
    noticed, stopped, waited = (
        number(stick, key) for key in ("noticedSeconds", "podsStopped", "waitedSeconds")
    )
    if noticed is not None:
        facts.append(f"noticed in {noticed:.1f} s")
    if stopped is not None:
        facts.append(f"{pods(stopped)} stopped")
    if waited is not None and role.get("phase") == "INTERNAL":
        facts.append(f"waited {waited:.0f} s for a stick: none")
    return lines + (["; ".join(facts)] if facts else [])


def sticks(role: Json) -> tuple[list[str], list[str]]:
    """Lines for the active stick (none or one) and for the other candidates, aligned."""
    active = obj(role, "active") if role.get("phase") != "LOST" else {}
    others = [one for one in entries(role, "candidates") if one.get("verdict") != "active"]
    shown = [active, *others] if active else others
    known = [*shown, obj(role, "lost"), obj(role, "lastActive")]
    short = short_uuids(one.get("uuid") for one in known)
    names = [clip(text(one, "name", "-"), _NAME_COLUMNS) for one in shown]
    called = max((width(name) for name in names), default=0)
    where = _where(shown, short)
    begins = [f"{pad(name, called)}  {one}" for name, one in zip(names, where, strict=True)]
    first = []
    if active:
        hardware = f"{text(active, 'model')} {text(active, 'serial')}".strip()
        first = ["  ".join(part for part in (begins.pop(0), hardware, port(active)) if part)]
    ends = [
        [short_size(one.get("sizeBytes")), text(one, "verdict", "?"), _why(one)] for one in others
    ]
    sizes = max((len(line[0]) for line in ends), default=0)
    verdicts = max((min(width(line[1]), _NAME_COLUMNS) for line in ends), default=0)
    rest = [
        f"{begin}  {size:>{sizes}}  {pad(clip(verdict, _NAME_COLUMNS), verdicts)}  {why}"
        for begin, (size, verdict, why) in zip(begins, ends, strict=True)
    ]
    return first, [line.rstrip() for line in rest]


def _where(shown: list[Json], short: dict[object, str]) -> list[str]:
    """Device, UUID and file system in columns; a directory's path stands across all of them."""
    cells = {
        number: (
            clip(place(one), _NAME_COLUMNS),
            shortened(short, one.get("uuid"), "-"),
            text(one, "fstype", "-"),
        )
        for number, one in enumerate(shown)
        if not one.get("path")
    }
    widths = [
        max((width(line[column]) for line in cells.values()), default=0) for column in range(3)
    ]
    whole = sum(widths) + 4 if cells else 0
    return [
        "  ".join(pad(*pair) for pair in zip(cells[number], widths, strict=True))
        if number in cells
        else pad(clip(place(one), _PATH_COLUMNS), whole)
        for number, one in enumerate(shown)
    ]


def _why(candidate: Json) -> str:
    return ", ".join(words(candidate, "reasons")) or text(candidate, "message")
