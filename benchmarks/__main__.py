"""`python -m benchmarks [--list] [--keep] [NAME…]`: measures, prints, writes RESULTS.md.

Exit codes: 0 every promise is kept or its miss is known; 1 one is not; 2 a topic broke.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tomllib
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from benchmarks import results
from benchmarks.report import Report
from benchmarks.rows import Target

HERE = Path(__file__).parent
KEPT, MISSED, BROKEN = 0, 1, 2


def topics() -> tuple[str, ...]:
    """The names of all topics, in the order in which they run."""
    return tuple(sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py")))


def topic(name: str) -> ModuleType:
    """The module of a topic."""
    return importlib.import_module(f"benchmarks.bench_{name}")


def targets() -> tuple[Target, ...]:
    """Every row that any topic promises."""
    return tuple(target for name in topics() for target in topic(name).TARGETS)


def known() -> dict[str, str]:
    """Rows that are known to miss, with the reason."""
    found: dict[str, str] = tomllib.loads((HERE / "known.toml").read_text())["rows"]
    return found


def title(module: ModuleType) -> str:
    """The first sentence of a topic's docstring."""
    return (module.__doc__ or "").splitlines()[0].rstrip(".")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is named, or everything."""
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help="topics; all if none is named")
    parser.add_argument("--list", action="store_true", help="list the topics and their rows")
    parser.add_argument("--keep", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args(argv)
    unknown = set(options.names) - set(topics())
    if unknown:
        parser.error(
            f"no such topic: {', '.join(sorted(unknown))}; there are {', '.join(topics())}"
        )
    if options.list:
        _list()
        return KEPT
    if os.geteuid() != 0:
        parser.error("root is needed: devices, mounts and containerd are real")
    return _measure(options.names or topics(), keep=options.keep)


def _list() -> None:
    for name in topics():
        module = topic(name)
        print(f"{name}: {title(module)}")
        for target in module.TARGETS:
            print(f"  {target.name}: {target.what}, against {target.anchor}")


def _measure(names: Sequence[str], *, keep: bool) -> int:
    excused, sections, code = known(), {}, KEPT
    for name in names:
        report, before = Report(), os.getloadavg()[0]
        try:
            module = topic(name)
            report.progress(f"{name}: {title(module)}")
            module.run(report)
            _require_every_row(module, report)
        except Exception:
            traceback.print_exc()
            code = BROKEN
            continue
        load = (before, os.getloadavg()[0])
        sections[name] = results.section(
            name, title(module), report.rows, report.notes, excused, load
        )
        print(f"\n{sections[name]}")
        missed = [r.target.name for r in report.rows if r.missed and r.target.name not in excused]
        if missed:
            print(f"missed: {', '.join(missed)}")
            code = max(code, MISSED)
    if not keep:
        results.write(sections, topics())
    return code


def _require_every_row(module: ModuleType, report: Report) -> None:
    silent = {each.name for each in module.TARGETS} - {row.target.name for row in report.rows}
    if silent:
        raise RuntimeError(f"rows without a measurement: {', '.join(sorted(silent))}")


if __name__ == "__main__":
    sys.exit(main())
