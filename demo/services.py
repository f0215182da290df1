#!/usr/bin/env python3
"""start, stop or tell the status of a demo service: `services.py VERB UNIT`, as in the LSB.

The daemon's `command` service manager calls this.  Facts of the services are in units.json of
the demo's directory, named by DEMO_DIRECTORY in the file beside this process's configuration.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

STOPPED, UNKNOWN = 3, 4
STOP_SECONDS = 10.0


def main() -> int:
    """Exit 0: done, or it runs; 3: stopped; 4: no such unit."""
    directory, verb, unit = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    units: dict[str, list[str]] = json.loads((directory / "units.json").read_text())
    if unit not in units:
        return UNKNOWN
    pid_file = directory / f"{unit}.pid"
    pid = running(pid_file)
    if verb == "status":
        return 0 if pid else STOPPED
    if verb == "stop":
        return stop(pid)
    if pid:
        return 0
    if (directory / "fence" / "containerd").exists():
        sys.stderr.write(f"{unit}: the fence is up\n")
        return 1
    with (directory / f"{unit}.log").open("ab") as log:
        process = subprocess.Popen(
            units[unit], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    pid_file.write_text(str(process.pid))
    return 0


def running(pid_file: Path) -> int | None:
    """The pid if its process lives and is not a zombie."""
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return None
    return pid if lives(pid) else None


def lives(pid: int) -> bool:
    """True while the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def stop(pid: int | None) -> int:
    """SIGTERM, and SIGKILL for one that would not go."""
    if pid is None:
        return 0
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while lives(pid):
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
    return 0


if __name__ == "__main__":
    sys.exit(main())
