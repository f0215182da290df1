"""What OpenRC keeps in files: states, processes, runlevels, dependencies.

Owns: the layout of /run/openrc and /etc/runlevels, and what we conclude from it.  May not know:
how a service is started.  Sources: OpenRC 0.45 to 0.62, src/librc/librc.c (states, runlevels),
src/librc/librc-depend.c (deptree), src/supervise-daemon (pidfile, child_pid).

Reading files is quicker than asking `rc-service NAME status`, and tells more: Debian's
start-stop-daemon does not tell OpenRC what it started, so a service that died counts as started
there until somebody looks for its process.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nodestoraged.model.runtime import UnitState

__all__ = ["DOWN_LEVELS", "SETTLE_SECONDS", "OpenRcFiles", "Process"]

#: Runlevels of a system that goes down: OpenRC's own two, and Debian's `off`.
DOWN_LEVELS = frozenset({"shutdown", "single", "off"})

#: Runlevels before the one that services are added to.
_EARLY_LEVELS = frozenset({"sysinit", "boot"})
_DEFAULT_LEVEL = "default"
_DEPTREE_LINE = re.compile(r"depinfo_(\d+)_(\w+?)(?:_\d+)?='([^']*)'")
_WANTED = frozenset({"service", "needsme", "iprovide", "providedby", "ineed", "iwant"})
#: OpenRC calls a service started before supervise-daemon has written who its child is.
SETTLE_SECONDS = 2.0
_SCRIPT_DIRECTORIES = ("etc/init.d", "usr/local/etc/init.d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What is known of a started service's process; `pid` is 0 where none lives.

    `tracked`: OpenRC knows of a process at all (a service may be a function that ended).
    `written`: and which one it is.
    `supervised`: a supervise-daemon lives and will start it again.  `orphan`: it lives, and the
    supervisor that was to stop it does not.
    """

    tracked: bool
    pid: int
    written: bool = True
    supervised: bool = False
    orphan: bool = False


@dataclass(slots=True)
class _Deptree:
    """The cached dependencies, one mapping per service, and of which file they are."""

    stamp: tuple[int, int, int] = (0, 0, 0)
    services: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)


class OpenRcFiles:
    """A machine's OpenRC below `root`; names are OpenRC's, without a suffix.

    Every call may raise OSError for what is there and cannot be read.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._state = root / "run/openrc"
        self._deptree = _Deptree()

    def exists(self, name: str) -> bool:
        """True if there is an init script."""
        return any((self._root / each / name).is_file() for each in _SCRIPT_DIRECTORIES)

    def marked(self, name: str, state: str) -> bool:
        """True if OpenRC itself says so: started, starting, stopping, inactive, failed."""
        return (self._state / state / name).is_symlink()

    def state(self, name: str) -> UnitState:
        """The service as it is, judged by its process where OpenRC knows one."""
        if self.marked(name, "stopping"):
            return UnitState.STOPPING
        if self.marked(name, "starting") or self.marked(name, "inactive"):
            return UnitState.STARTING
        if self.marked(name, "started"):
            process = self.process(name)
            if process.pid or not process.tracked:
                return UnitState.ACTIVE
            comes = not process.written and self._just_started(name)
            return UnitState.STARTING if comes or process.supervised else UnitState.FAILED
        if not self.exists(name):
            return UnitState.MISSING
        return UnitState.FAILED if self.marked(name, "failed") else UnitState.INACTIVE

    def crashed(self, name: str) -> bool:
        """True if OpenRC says started, but its process is gone and nobody starts it again."""
        return self.marked(name, "started") and self.state(name) is UnitState.FAILED

    def process(self, name: str) -> Process:
        """The process of a service that is started."""
        # supervise-daemon's own choice where the script names no file; k3s's names one.
        named = self._pidfile(name)
        supervisor = self._pid(named) if named else None
        if supervisor is None:
            supervisor = self._pid(self._root / f"run/supervise-{name}.pid")
        child = self._pid(self._state / "options" / name / "child_pid")
        if child is not None:
            supervised = supervisor is not None and self._lives(supervisor)
            alive = self._lives(child)
            return Process(
                tracked=True,
                pid=child if alive else 0,
                supervised=supervised,
                orphan=alive and not supervised,
            )
        path = self._pidfile(name)
        if path is None:
            return Process(tracked=False, pid=0)
        pid = self._pid(path)
        living = pid if pid is not None and self._lives(pid) else 0
        return Process(tracked=True, pid=living, written=pid is not None)

    def dependents(self, name: str) -> tuple[str, ...]:
        """Services that a stop of `name` stops too, sorted: all that need it and run."""
        tree = self._dependencies()
        seen, level = {name}, [name]
        while level:
            needing: set[str] = set()
            for each in level:
                needing.update(tree.get(each, {}).get("needsme", ()))
                for virtual in tree.get(each, {}).get("iprovide", ()):
                    if not self._provided_by_another(tree, virtual, each):
                        needing.update(tree.get(virtual, {}).get("needsme", ()))
            level = sorted(needing - seen)
            seen.update(level)
        return tuple(sorted(one for one in seen - {name} if self._up(one)))

    def boot_will_start(self, name: str) -> bool:
        """True while the system comes up and is still to start `name` by itself."""
        if self.marked(name, "started") or self.marked(name, "failed"):
            return False
        level = self.runlevel()
        if not (level in _EARLY_LEVELS or (self._state / "rc.starting").is_dir()):
            return False
        levels = (level, _DEFAULT_LEVEL) if level in _EARLY_LEVELS else (level,)
        tree = self._dependencies()
        todo = [one for each in levels for one in self._members(each)]
        seen: set[str] = set()
        while todo:
            one = todo.pop()
            if one in seen:
                continue
            seen.add(one)
            needs = tree.get(one, {})
            todo.extend((*needs.get("ineed", ()), *needs.get("iwant", ())))
        return name in seen

    def shutting_down(self) -> bool:
        """True once a runlevel is being left for good, or services are stopped to change it."""
        if self.runlevel() in DOWN_LEVELS:
            return True
        # `openrc LEVEL` makes this directory even where there is nothing to stop.
        return (self._state / "rc.stopping").is_dir() and any((self._state / "stopping").iterdir())

    def runlevel(self) -> str:
        """The runlevel in force or being entered; empty where OpenRC did not boot."""
        with contextlib.suppress(FileNotFoundError):
            return (self._state / "softlevel").read_text().strip()
        return ""

    def _just_started(self, name: str) -> bool:
        """True for so short a time that the pid of its process may not be written yet."""
        with contextlib.suppress(FileNotFoundError):
            marked = (self._state / "started" / name).lstat().st_mtime
            return 0 <= time.time() - marked < SETTLE_SECONDS
        return False

    def _up(self, name: str) -> bool:
        return self.marked(name, "started") or self.marked(name, "inactive")

    def _provided_by_another(
        self, tree: Mapping[str, Mapping[str, tuple[str, ...]]], virtual: str, name: str
    ) -> bool:
        providers = tree.get(virtual, {}).get("providedby", ())
        return any(self._up(one) for one in providers if one != name)

    def _members(self, level: str) -> list[str]:
        """Services of a runlevel, with those of runlevels stacked into it."""
        levels = self._root / "etc/runlevels"
        found: list[str] = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for entry in (levels / level).iterdir():
                if entry.is_dir():
                    found.extend(each.name for each in (levels / entry.name).iterdir())
                else:
                    found.append(entry.name)
        return found

    def _dependencies(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """What OpenRC made of all `depend` functions; nothing before it has done so."""
        path = self._state / "deptree"
        try:
            found = path.stat()
        except FileNotFoundError:
            return {}
        stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        if stamp != self._deptree.stamp:
            self._deptree = _Deptree(stamp, _parse_deptree(path.read_text(errors="replace")))
        return self._deptree.services

    def _pidfile(self, name: str) -> Path | None:
        """The pidfile that the service's script named; None without one."""
        option = self._state / "options" / name / "pidfile"
        with contextlib.suppress(FileNotFoundError):
            if named := option.read_text().strip():
                return self._below_root(named)
        daemons = self._state / "daemons" / name
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for entry in sorted(daemons.iterdir()):
                for line in entry.read_text().splitlines():
                    if line.startswith("pidfile=") and line != "pidfile=":
                        return self._below_root(line.partition("=")[2])
        return None

    def _below_root(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def _pid(self, path: Path) -> int | None:
        """The number in a file; None if there is no such file, or no number in it."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
            return int(path.read_text().strip())
        return None

    def _lives(self, pid: int) -> bool:
        """True if there is such a process and it has not ended."""
        try:
            stat = (self._root / "proc" / str(pid) / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def _parse_deptree(text: str) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Per service and kind of dependency the names, from lines like depinfo_3_ineed_0='net'."""
    names: dict[str, str] = {}
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for number, kind, value in _DEPTREE_LINE.findall(text):
        if kind == "service":
            names[number] = value
            found[value] = {}
        elif kind in _WANTED and number in names:
            lists = found[names[number]]
            lists[kind] = (*lists.get(kind, ()), value)
    return found
