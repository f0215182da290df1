#!/usr/bin/env python3
"""The demo's services with a trap: at one verb of one unit the daemon gets a signal.

`set_trap` writes the trap; whoever runs that verb next springs it, once.  So a test interrupts an
operation at an exact step instead of racing with it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from demo import services


def set_trap(
    base: Path, verb: str, unit: str, pid: int, number: signal.Signals, *, hold_seconds: float = 0
) -> None:
    """Before the next `verb` of `unit`, process `pid` gets `number`, and the verb that delay.

    `let_go` ends the delay before its time.
    """
    for mark in ("go", "ended"):
        (base / mark).unlink(missing_ok=True)
    trap = {"verb": verb, "unit": unit, "pid": pid, "number": number, "hold": hold_seconds}
    (base / "trap").write_text(json.dumps(trap))


def sprung(base: Path) -> bool:
    """True once the trap was sprung."""
    return not (base / "trap").exists()


def ended(base: Path) -> bool:
    """True once the verb that sprang the trap is over, which a killed daemon does not wait for."""
    return (base / "ended").exists()


def let_go(base: Path) -> None:
    """The verb that a trap holds goes on."""
    (base / "go").touch()


def _spring(base: Path, verb: str, unit: str) -> bool:
    try:
        trap = json.loads((base / "trap").read_text())
    except FileNotFoundError:
        return False
    if (trap["verb"], trap["unit"]) != (verb, unit):
        return False
    (base / "trap").unlink()
    if trap["pid"]:
        os.kill(trap["pid"], trap["number"])
    until = time.monotonic() + trap["hold"]
    while time.monotonic() < until and not (base / "go").exists():
        time.sleep(0.02)
    return True


def main() -> int:
    """The verb, with its trap if one is set."""
    base = Path(sys.argv[1])
    trapped = _spring(base, sys.argv[2], sys.argv[3])
    try:
        return services.main()
    finally:
        if trapped:
            (base / "ended").touch()


if __name__ == "__main__":
    sys.exit(main())
