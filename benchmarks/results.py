"""RESULTS.md: one section per topic, replaced when that topic is measured again.

Owns the file's layout; reads nothing back but the sections of topics that did not run.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.rows import Row, figure, summary

PATH = Path(__file__).with_name("RESULTS.md")
_SECTION = re.compile(r"(?ms)^<!-- topic: (\w+) -->\n.*?^<!-- end -->\n")
_INTRODUCTION = """\
# Results

Written by `make bench`. Every number is a ratio to an anchor: something that people use or know,
measured in the same run on the same machine, in turns with ours. *Ours* and *anchor* are medians
of several runs with the least and the most in brackets; less is better everywhere. *Target* is
what is promised: `0.6x` is a ratio to the anchor, `15 ms` a limit of its own. *Holds* is `yes`,
`NO`, `known` (missed, for the reason in [known.toml](known.toml)), `?` (could not be judged) or
`-` (nothing is promised; the row is there to compare). Absolute values belong to the machine
class named here and to no other; ratios travel better.

Only a virtual machine can pull a disk out: that the runtime is stopped within 2 s of the removal's
uevent is asserted by `tests/vm/test_loss.py` and has no row here.
"""
_BUSY = (
    "The machine did other work meanwhile: times are too long here, and those with many waits, as"
    " ours have, more so than the others."
)
_HEAD = (
    "| row | what | ours | anchor | | ratio | target | holds |\n|---|---|---|---|---|---|---|---|"
)


def machine() -> str:
    """The machine class: what the absolute values belong to."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{os.cpu_count()} CPUs {_processor()}, {memory:.0f} GiB of memory, "
        f"Linux {platform.release()}, {_distribution()}, Python {platform.python_version()}"
    )


def verdict(row: Row, known: Mapping[str, str]) -> str:
    """The word of the last column."""
    if not row.target.promises():
        return "-"
    if row.holds:
        return "yes"
    if row.target.name in known:
        return "known"
    return "NO" if row.holds is False else "?"


def table(rows: Sequence[Row], known: Mapping[str, str]) -> str:
    """The rows as a table of RESULTS.md."""
    return "\n".join((_HEAD, *(_line(row, known) for row in rows)))


def section(
    topic: str,
    title: str,
    rows: Sequence[Row],
    notes: Sequence[str],
    known: Mapping[str, str],
    load: tuple[float, float],
) -> str:
    """One topic as it stands in the file; `load` is the load average before and after."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [
        f"<!-- topic: {topic} -->",
        f"## {title}",
        "",
        f"Measured {now}; load average {load[0]:.1f} before, {load[1]:.1f} after.",
        "",
        table(rows, known),
    ]
    reasons = [
        f"`{row.target.name}`: {known[row.target.name]}"
        for row in rows
        if row.missed and row.target.name in known
    ]
    missing = [f"`{row.target.name}`: {row.missing}." for row in rows if row.missing]
    busy = [_BUSY] if max(load) > (os.cpu_count() or 1) else []
    for text in (*busy, *notes, *missing, *reasons):
        parts += ["", text]
    return "\n".join((*parts, "<!-- end -->", ""))


def write(sections: Mapping[str, str], order: Sequence[str]) -> None:
    """The file holds these sections, and of the other topics what it held before."""
    before = PATH.read_text() if PATH.exists() else ""
    kept = {found[1]: found[0] for found in _SECTION.finditer(before)}
    kept.update(sections)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    head = f"{_INTRODUCTION}\nMachine class: {machine()}. Last run: {day}.\n"
    PATH.write_text("\n".join((head, *(kept[topic] for topic in order if topic in kept))))


def _line(row: Row, known: Mapping[str, str]) -> str:
    target = row.target
    promised = [f"{target.ratio:g}x"] if target.ratio is not None else []
    promised += [f"{target.limit:g} {target.unit}"] if target.limit is not None else []
    ratio = "-" if row.ratio is None else f"{figure(row.ratio)}x"
    cells = (
        f"`{target.name}`",
        target.what,
        f"{summary(row.ours)} {target.unit}",
        f"{summary(row.anchor)} {target.unit}" if row.anchor else "-",
        target.anchor,
        ratio,
        ", ".join(promised) or "-",
        verdict(row, known),
    )
    return f"| {' | '.join(cells)} |"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return f"({' '.join(value.split())})"
    return f"({platform.machine()})"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", sys.platform)
    except OSError:
        return sys.platform
