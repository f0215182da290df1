"""Gathers what the runtime's and kubelet's processes see mounted, compared with process 1.

Owns: which processes those are, and how two mount tables are compared.  May not know: whether a
namespace of its own is bad.  A process in a container, or one that no service of the role started,
is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nodestoraged.cli.offline.doctor import files
from nodestoraged.cli.offline.doctor.facts import Sight
from nodestoraged.linux import mountinfo
from nodestoraged.linux.mountinfo import MountRow

__all__ = ["sights"]

#: Names as the kernel has them; microk8s runs its kubelet in kubelite.
_NAMES = frozenset({"containerd", "crio", "kubelet", "kubelite"})

_Table = tuple[MountRow, ...]


def sights(root: Path, units: tuple[str, ...], at: str) -> tuple[Sight, ...]:
    """What the processes of these services see of the directory `at`; in the order of the services.

    Nothing is said of a process whose table, or process 1's, may not be read.
    """
    first = _table(root, 1)
    ours = mountinfo.covering(first, "/")
    if ours is None:
        return ()
    found: dict[str, Sight] = {}
    for pid, unit in _processes(root, units):
        table = _table(root, pid)
        theirs = mountinfo.covering(table, "/")
        if theirs is None or unit in found:
            continue
        found[unit] = Sight(
            unit=unit,
            # One mount has one id in one namespace only.
            shared=ours.mount_id == theirs.mount_id,
            alike=_device(first, at) == _device(table, at),
            receives=_receives(first, table, at),
        )
    return tuple(found[unit] for unit in units if unit in found)


def _processes(root: Path, units: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    try:
        names = [each.name for each in (root / "proc").iterdir()]
    except OSError:
        return
    for pid in sorted(int(name) for name in names if name.isdecimal()):
        if files.text(root, f"proc/{pid}/comm").strip() not in _NAMES:
            continue
        nested = re.search(r"(?m)^NSpid:\s*\d+\s+\d", files.text(root, f"proc/{pid}/status"))
        cgroup = files.text(root, f"proc/{pid}/cgroup")
        unit = next((one for one in units if _belongs(cgroup, one)), None)
        if unit is not None and not nested:
            yield pid, unit


def _belongs(cgroup: str, unit: str) -> bool:
    """systemd calls the cgroup NAME.service; OpenRC openrc.NAME, with cgroup v1 openrc:/NAME."""
    name = unit.removesuffix(".service")
    places = (
        rf"/{re.escape(name)}\.service",
        *(rf"openrc{one}{re.escape(name)}" for one in (r"\.", ":/")),
    )
    return any(re.search(rf"(?m){place}(/|$)", cgroup) for place in places)


def _table(root: Path, pid: int) -> _Table:
    try:
        return mountinfo.parse((root / "proc" / str(pid) / "mountinfo").read_bytes())
    except OSError:
        return ()


def _device(table: _Table, at: str) -> tuple[int, int] | None:
    row = mountinfo.covering(table, at)
    return None if row is None else (row.major, row.minor)


def _receives(first: _Table, table: _Table, at: str) -> bool:
    """True if a mount that process 1 sees made on `at` comes through (mount_namespaces(7)).

    A mount goes where the mount below it goes: to its peers (`shared:N` of the same number), and
    to those that follow them (`master:N`).
    """
    below = [
        mountinfo.covering((row for row in each if row.target != at), at) for each in (first, table)
    ]
    if below[0] is None or below[1] is None:
        return False
    groups = {one.removeprefix("shared:") for one in below[0].propagation if "shared:" in one}
    heard = {
        one.rpartition(":")[2]
        for one in below[1].propagation
        if one.startswith(("shared:", "master:"))
    }
    return bool(groups & heard)
