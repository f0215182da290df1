"""A directory that looks like a machine with OpenRC: its states, processes and dependencies."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["STATES", "SUPERVISOR_PID", "OpenRcTree"]

#: Above PID_MAX_LIMIT, so no process has it.
SUPERVISOR_PID = 5_000_001

STATES = ("started", "starting", "stopping", "inactive", "failed")


class OpenRcTree:
    """`root` with /run/openrc, /etc/init.d, /etc/runlevels and /proc as far as they are read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "run/openrc"

    def make(self) -> OpenRcTree:
        for each in (*STATES, "options", "daemons"):
            (self.state / each).mkdir(parents=True)
        for each in ("etc/init.d", "etc/runlevels/default", "etc/runlevels/boot", "proc"):
            (self.root / each).mkdir(parents=True)
        (self.root / "var").mkdir()
        (self.root / "var/run").symlink_to("../run")
        (self.state / "softlevel").write_text("default")
        return self

    def script(self, name: str) -> None:
        (self.root / "etc/init.d" / name).write_text("#!/sbin/openrc-run\n")

    def marked(self, name: str, state: str) -> bool:
        return (self.state / state / name).is_symlink()

    def mark(self, name: str, state: str, *, age_seconds: float = 60) -> None:
        """OpenRC's own word for it is `state`, for so long; empty is stopped."""
        for each in STATES:
            (self.state / each / name).unlink(missing_ok=True)
        if state:
            link = self.state / state / name
            link.symlink_to(f"/etc/init.d/{name}")
            since = time.time() - age_seconds
            os.utime(link, (since, since), follow_symlinks=False)
        if state in {"", "failed"}:
            shutil.rmtree(self.state / "options" / name, ignore_errors=True)
            shutil.rmtree(self.state / "daemons" / name, ignore_errors=True)

    def process(self, name: str, *, child: int, supervisor: int, pidfile: str = "") -> None:
        """supervise-daemon `supervisor` started `child`; both live.

        The script named a `pidfile` below /run, or supervise-daemon chose its own.
        """
        pidfile = pidfile or f"supervise-{name}.pid"
        options = self.state / "options" / name
        options.mkdir(exist_ok=True)
        (options / "child_pid").write_text(str(child))
        (options / "pidfile").write_text(f"/var/run/{pidfile}")
        (self.root / "run" / pidfile).write_text(f"{supervisor}\n")
        self.live(child)
        self.live(supervisor)

    def pidfile(self, name: str, pid: int) -> None:
        """The service named a pidfile, and `pid` is in it and lives."""
        options = self.state / "options" / name
        options.mkdir(exist_ok=True)
        (options / "pidfile").write_text(f"/run/{name}.pid\n")
        (self.root / f"run/{name}.pid").write_text(f"{pid}\n")
        self.live(pid)

    def live(self, pid: int, letter: str = "S") -> None:
        directory = self.root / "proc" / str(pid)
        directory.mkdir(exist_ok=True)
        (directory / "stat").write_text(f"{pid} (a (strange) name) {letter} 1 {pid} {pid} 0\n")

    def die(self, pid: int) -> None:
        shutil.rmtree(self.root / "proc" / str(pid), ignore_errors=True)

    def dead(self, name: str) -> bool:
        """True if OpenRC would not find anything to stop."""
        pidfile = self.root / f"run/{name}.pid"
        if (self.state / "options" / name / "child_pid").exists() or not pidfile.exists():
            return False
        return not (self.root / "proc" / pidfile.read_text().strip()).exists()

    def deptree(self, services: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        """The dependencies as librc writes them."""
        lines = []
        for number, (name, kinds) in enumerate(services.items()):
            lines.append(f"depinfo_{number}_service='{name}'")
            for kind, names in kinds.items():
                lines += [f"depinfo_{number}_{kind}_{n}='{each}'" for n, each in enumerate(names)]
        (self.state / "deptree").write_text("".join(f"{line}\n" for line in lines))
