"""One candidate, named by a word: found, shown with all that is known of it, explained.

Owns: the lines, and the words for how good a stick is.  The meanings of words are handed in:
they are not loaded for every verb.
"""

from __future__ import annotations

from nodestoraged.cli import exits
from nodestoraged.cli.fields import Json, number, obj, port, text, words
from nodestoraged.cli.render import COLUMNS
from nodestoraged.cli.sticks import fill, generation, name_of, origin, place
from nodestoraged.cli.text import amount, clip, gib, pad, short_size, wrap

__all__ = ["explained", "find", "of_candidate", "quality_facts", "quality_short"]

#: A shorter beginning of a UUID names nobody.
_PREFIX_MIN = 4
_LABEL_COLUMNS = 12


def find(candidates: list[Json], word: str) -> Json | None:
    """The candidate that the word names, in the daemon's own order of forms; None for nobody.

    Exit 4 when it names more than one.
    """
    devnode = word if word.startswith("/dev/") else f"/dev/{word}"
    long_enough = len(word) >= _PREFIX_MIN
    forms = (
        [one for one in candidates if one.get("name") == word],
        [one for one in candidates if one.get("path") == word],
        [one for one in candidates if one.get("devnode") == devnode],
        [one for one in candidates if one.get("serial") == word],
        [one for one in candidates if one.get("uuid") == word],
        [
            one for one in candidates
            if long_enough and str(one.get("uuid") or "").startswith(word.lower())
        ],
    )  # fmt: skip
    found = next((named for named in forms if named), [])
    if len(found) > 1:
        listed = ", ".join(sorted(place(one) for one in found))
        raise exits.StopError(
            exits.NOT_FOUND, f"{text({'w': word}, 'w')} names {listed}",
            "use a devnode, or name the role: --role",
        )  # fmt: skip
    return found[0] if found else None


def of_candidate(candidate: Json, meanings: dict[str, str]) -> list[str]:
    """Everything known of it, one fact per row; rows about which nothing is known are left out."""
    facts = {
        "Role": text(candidate, "role"),
        "Path": text(candidate, "path"),
        "Device": text(candidate, "devnode"),
        "UUID": text(candidate, "uuid"),
        "Filesystem": _filesystem(candidate),
        "Hardware": ", ".join(part for part in (text(candidate, "model"), port(candidate)) if part),
        "Serial": text(candidate, "serial"),
        "Fill": fill(candidate),
        "Generation": generation(candidate),
        "Origin": origin(candidate),
        "Quality": ", ".join(quality_facts(candidate)),
    }
    lines = explained(candidate, meanings)
    lines.append("")
    for label, fact in facts.items():
        if fact:
            lines += _row(label, fact)
    return lines


def explained(candidate: Json, meanings: dict[str, str]) -> list[str]:
    """Its verdict, and each reason with what it means."""
    verdict = text(candidate, "verdict", "?")
    where = "" if name_of(candidate) == place(candidate) else f" ({place(candidate)})"
    head = f"{clip(name_of(candidate), 32)}{where}: {verdict}"
    message, reasons = text(candidate, "message"), words(candidate, "reasons")
    lines = wrap(f"{head}, {message}" if message else head, COLUMNS, "  ")
    for reason in reasons:
        meaning = meanings.get(reason, "a word that this program does not know")
        lines += wrap(f"  {reason}: {meaning}", COLUMNS, "    ")
    if not reasons and not message:
        lines.append("  nothing speaks against it")
    return lines


def _filesystem(candidate: Json) -> str:
    size = candidate.get("sizeBytes")
    parts = [text(candidate, "fstype"), gib(size) if size else ""]
    for key, called in (("label", "label"), ("partlabel", "partition name")):
        if candidate.get(key):
            parts.append(f"{called} {text(candidate, key)}")
    return ", ".join(part for part in parts if part)


def _row(label: str, fact: str) -> list[str]:
    room = COLUMNS - _LABEL_COLUMNS - 2
    first, *more = wrap(fact, room, "")
    blank = " " * (_LABEL_COLUMNS + 2)
    return [f"  {pad(label, _LABEL_COLUMNS)}{first}", *(f"{blank}{line}" for line in more)]


def quality_short(stick: object) -> str:
    """What was measured, for a cell: `31M/s write, 120M/s read, slow`."""
    quality = obj(stick, "quality")
    parts = [
        f"{short_size(speed)}/s {words}"
        for key, words in (("writeRate", "write"), ("readRate", "read"))
        if (speed := number(quality, key)) is not None
    ]
    return ", ".join([*parts, *(["slow"] if quality.get("slow") is True else [])])


def quality_facts(stick: object) -> list[str]:
    """All that was measured, each fact in words."""
    quality = obj(stick, "quality")
    if not quality:
        return []
    checked = text(quality, "checkedAt")[:10]
    facts = [f"checked {checked}" if checked else "checked"]
    capacity, small, sync = (
        number(quality, key) for key in ("capacityBytes", "smallWritesPerSecond", "fsyncSeconds")
    )
    if capacity is not None:
        facts.append(f"true capacity {gib(capacity)}")
    facts += [
        f"{words} {amount(speed)}/s"
        for key, words in (("writeRate", "write"), ("readRate", "read"))
        if (speed := number(quality, key)) is not None
    ]
    if small is not None:
        facts.append(f"{small:.0f} small writes/s")
    if sync is not None:
        facts.append(f"fsync {1000 * sync:.1f} ms")
    return [*facts, *(["slow"] if quality.get("slow") is True else [])]
