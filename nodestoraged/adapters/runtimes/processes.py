"""Runtimes that run now, by /proc alone.

Owns: which processes count as one of the machine's runtimes.  May not know: what follows from it.
A process in a container, or one that somebody started privately, is none of them: what counts is
the service that it belongs to, or a parent that embeds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Running", "running"]

#: Names as the kernel has them (15 characters).
_NAMES = frozenset({"containerd", "crio"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One process.  `unit` is the service that its cgroup names, "" where it names none."""

    pid: int
    name: str
    parent: str
    unit: str
    arguments: tuple[str, ...]


def running(root: Path) -> tuple[Running, ...]:
    """The containerds and crios of this machine, by pid; nothing that stands in a container.

    Reading the arguments of a process whose disk hangs can block: the caller bounds that.
    """
    found = []
    proc = root / "proc"
    try:
        pids = sorted(int(each.name) for each in proc.iterdir() if each.name.isdecimal())
    except OSError:
        return ()
    for pid in pids:
        name = _line(proc / str(pid) / "comm")
        if name in _NAMES:
            process = _look(proc, pid, name)
            if process is not None:
                found.append(process)
    return tuple(found)


def _look(proc: Path, pid: int, name: str) -> Running | None:
    status = _fields(proc / str(pid) / "status")
    nested = len(status.get("NSpid", "").split()) > 1
    # Reading the arguments waits for the memory map, which a process in D state may hold.
    if nested or status.get("State", "")[:1] in ("D", "Z", "X", ""):
        return None
    try:
        data = (proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    return Running(
        pid=pid,
        name=name,
        parent=_line(proc / status.get("PPid", "0") / "comm"),
        unit=_unit(proc / str(pid) / "cgroup"),
        arguments=tuple(data.decode(errors="replace").rstrip("\0").split("\0"))[1:],
    )


def _unit(path: Path) -> str:
    """The service in a cgroup's path: systemd's NAME.service, OpenRC's openrc.NAME."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        for part in reversed(line.rpartition(":")[2].split("/")):
            if part.endswith(".service"):
                return part
            if part.startswith("openrc."):
                return part.removeprefix("openrc.") + ".service"
    return ""


def _line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _fields(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
