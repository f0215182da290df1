"""Tables: candidates, operations, one operation, events, a plan.

Owns: which columns.  May not know: the socket.
"""

from __future__ import annotations

from nodestoraged.cli import times
from nodestoraged.cli.candidate import quality_short
from nodestoraged.cli.fields import Json, entries, number, obj, port, text, words
from nodestoraged.cli.progress import copied, predicted_downtime, words_of
from nodestoraged.cli.render import COLUMNS, table
from nodestoraged.cli.rows import between
from nodestoraged.cli.sticks import generation, percent, place
from nodestoraged.cli.text import amount, clip, short_size, short_uuids, shortened, wrap

__all__ = [
    "event_line", "of_candidates", "of_operation", "of_operations", "of_plan", "operation_row",
    "stick_words",
]  # fmt: skip


#: A cell of `list`; `-o wide` cuts nothing.
_CELL_COLUMNS = 20
_PATH_COLUMNS = 32


def stick_words(candidates: list[Json]) -> list[str]:
    """For each stick a word for the command line: its name if unique here, else where it is."""
    names = [text(one, "name") for one in candidates]
    return [
        name if name and names.count(name) == 1 else place(one)
        for name, one in zip(names, candidates, strict=True)
    ]


def of_candidates(candidates: list[Json], *, several: bool, wide: bool) -> list[str]:
    """One line for each candidate; `several` roles get a column, `wide` adds what identifies."""
    if not candidates:
        return ["no stick with one of the labels"]
    short = short_uuids(one.get("uuid") for one in candidates)
    heads = ["ROLE"] if several else []
    heads += ["NAME", "DEVICE", "UUID", "FSTYPE", "SIZE", "PORT", "MODEL", "VERDICT", "WHY"]
    if wide:
        heads[-1:] = ["LABEL", "SERIAL", "FILL", "GEN", "ORIGIN", "QUALITY", "WHY"]
    rows = []
    for one in candidates:
        uuid = text(one, "uuid", "-") if wide else shortened(short, one.get("uuid"), "-")
        row = [text(one, "role")] if several else []
        row += [text(one, "name", "-"), place(one), uuid, text(one, "fstype", "-")]
        row += [short_size(one.get("sizeBytes")), port(one), text(one, "model")]
        row += [text(one, "verdict", "?")]
        if wide:
            row += [text(one, "label"), text(one, "serial"), percent(one), generation(one)]
            row += [text(one, "origin"), quality_short(one)]
        if not wide:
            room = _PATH_COLUMNS if one.get("path") else _CELL_COLUMNS
            row = [clip(cell, room if cell == place(one) else _CELL_COLUMNS) for cell in row]
        row += [", ".join(words(one, "reasons")) or text(one, "message")]
        rows.append(row)
    return table(heads, rows)


_OPERATION_HEADS = ("ID", "ROLE", "WHAT", "BEGUN", "RESULT", "DOWN", "PODS DOWN", "WHY")


def operation_row(one: Json, now: float) -> list[str]:
    """The cells of one operation."""
    return [
        text(one, "id", "?"),
        text(one, "role", "-"),
        between(one),
        times.moment(one.get("startedAt"), now),
        text(one, "result") or f"running: {text(one, 'step', '...')}",
        _seconds(one, "downtimeSeconds"),
        _seconds(one, "podsDownSeconds"),
        text(one, "reason"),
    ]


def of_operations(operations: list[Json], now: float) -> list[str]:
    """One line for each operation."""
    if not operations:
        return ["nothing was done yet"]
    return table(_OPERATION_HEADS, [operation_row(one, now) for one in operations])


def of_operation(operation: Json, now: float) -> list[str]:
    """One operation with its steps and their seconds."""
    begun = times.epoch(operation.get("startedAt"))
    when = f"  begun {times.clock(begun, now)} ({times.age(now - begun)} ago)" if begun else ""
    lines = [f"operation {text(operation, 'id', '?')}: {between(operation)}{when}"]
    result = text(operation, "result") or f"running: {text(operation, 'step', '...')}"
    facts = [result]
    if number(operation, "downtimeSeconds") is not None:
        down = _seconds(operation, "downtimeSeconds")
        facts.append(f"runtime down {down}{predicted_downtime(operation)}")
    if number(operation, "podsDownSeconds") is not None:
        facts.append(f"pods down {_seconds(operation, 'podsDownSeconds')}")
    lines.append("  " + ", ".join(facts))
    if copied(operation):
        lines += wrap(f"  {copied(operation, downtime=False)}", COLUMNS, "  ")
    said = [words_of(obj(operation, "progress"))]
    said += [text(operation, key) for key in ("reason", "message", "hint")]
    lines += [f"  {one}" for one in said if one]
    steps = entries(operation, "steps")
    if steps:
        lines.append("")
    for one in steps:
        took = number(one, "seconds")
        error = text(one, "error")
        line = f"  {took:7.2f} s  " if took is not None else "      ...    "
        lines.append(line + text(one, "step") + (f": {error}" if error else ""))
    return lines


def event_line(event: Json) -> str:
    """One event in one line, with its full UTC time: it may be put beside a log."""
    parts = [text(event, "time", "?"), text(event, "role"), text(event, "kind", "?")]
    return "  ".join(part for part in (*parts, text(event, "message")) if part)


def of_plan(plan: Json) -> list[str]:
    """The decision, why, its steps, and how long it would take."""
    reason = text(plan, "reason")
    lines = [text(plan, "decision", "?") + (f" ({reason})" if reason else "")]
    if text(plan, "message"):
        lines.append(f"  {text(plan, 'message')}")
    steps = entries(plan, "steps")
    for count, one in enumerate(steps, 1):
        deadline = number(one, "deadlineSeconds")
        limit = f"  (at most {deadline:g} s)" if deadline is not None else ""
        lines.append(f"  {count:2}. {text(one, 'step')}{limit}")
    if not steps:
        lines.append("  nothing to do")
    predicted = number(plan, "predictedDowntimeSeconds")
    if predicted is not None:
        lines.append(f"  the runtime would be down for about {predicted:.1f} s")
    size = number(plan, "predictedBytes")
    if size:
        only = ", pinned images only" if text(plan, "data") == "pinned" else ""
        lines.append(f"  about {amount(size)} would be copied{only}")
    for warning in words(plan, "warnings"):
        lines += wrap(f"  ! {warning}", COLUMNS, "    ")
    return lines


def _seconds(one: Json, key: str) -> str:
    seconds = number(one, key)
    return "-" if seconds is None else f"{seconds:.1f} s"
