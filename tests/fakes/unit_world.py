"""A small world of units that behaves like systemd where the adapters can see it.

One behaviour, two faces: `fake_systemd1` shows it over D-Bus, `stub_systemctl` as a program.
Sentences and results are those of systemd 252.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

#: Above PID_MAX_LIMIT (2**22), so no process has it.
NO_SUCH_PID = 5_000_000


@dataclass(kw_only=True)
class WorldUnit:
    """A unit, as it is and as it will behave."""

    name: str
    load: str = "loaded"
    active: str = "inactive"
    sub: str = "dead"
    main_pid: int = 0
    result: str = "success"
    job_type: str = ""
    job_state: str = ""
    condition_result: bool = False
    condition_checked: bool = False
    required_by: list[str] = field(default_factory=list)
    bound_by: list[str] = field(default_factory=list)
    consists_of: list[str] = field(default_factory=list)
    # behaviour
    condition_holds: bool = True
    start_fails: bool = False
    start_limit_hit: bool = False
    crash_loops: bool = False
    ends_at_once: bool = False
    dependency_fails: bool = False
    start_never_ends: bool = False
    stop_never_ends: bool = False
    unloaded: bool = False  # nothing refers to it: once inactive, what was known is forgotten
    stop_lags: bool = False  # taken along, it is still stopping when the other's job has ended
    start_seconds: float = 0.0
    stop_seconds: float = 0.0

    def runs(self) -> bool:
        return self.active in {"active", "activating"}


def running(name: str, **more: object) -> WorldUnit:
    """A unit that runs."""
    facts: dict[str, object] = {
        "active": "active",
        "sub": "running",
        "main_pid": NO_SUCH_PID,
        "condition_result": True,
        "condition_checked": True,
    }
    return WorldUnit(name=name, **(facts | more))  # type: ignore[arg-type]


class UnitWorld:
    """All units, the state of the system, and what was asked, in order."""

    def __init__(self) -> None:
        self.units: dict[str, WorldUnit] = {}
        self.system_state = "running"
        self.calls: list[tuple[str, str]] = []

    def add(self, unit: WorldUnit) -> None:
        self.units[unit.name] = unit

    def unit(self, name: str) -> WorldUnit:
        """The unit, or what systemd shows for one that does not exist."""
        return self.units.get(name) or WorldUnit(name=name, load="not-found")

    def begin_shutdown(self) -> None:
        self.system_state = "stopping"
        target = WorldUnit(name="shutdown.target", job_type="start", job_state="waiting")
        self.add(target)

    def refusal(self, verb: str, name: str) -> tuple[str, str] | None:
        """The D-Bus error and the sentence with which a request is refused at once."""
        unit = self.unit(name)
        if unit.load == "not-found":
            if verb == "stop":
                return "NoSuchUnit", f"Unit {name} not loaded."
            return "NoSuchUnit", f"Unit {name} not found."
        if verb == "start" and unit.load == "masked":
            return "UnitMasked", f"Unit {name} is masked."
        if verb == "start" and "shutdown.target" in self.units:
            return (
                "TransactionIsDestructive",
                f"Transaction for {name}/start is destructive (shutdown.target has 'start' job"
                " queued, but 'stop' is included in transaction).",
            )
        return None

    def reset_failed(self, name: str) -> None:
        unit = self.unit(name)
        unit.start_limit_hit = False
        if unit.active == "failed":
            unit.active, unit.sub, unit.result = "inactive", "dead", "success"

    def begin(self, verb: str, name: str) -> None:
        unit = self.units[name]
        unit.job_type, unit.job_state = verb, "running"
        if verb == "stop" and unit.runs():
            unit.active, unit.sub = "deactivating", "stop-sigterm"
        elif verb == "start" and not unit.runs() and not unit.dependency_fails:
            unit.active, unit.sub = "activating", "start"

    def end(self, verb: str, name: str) -> str:
        """The job ends; its result."""
        unit = self.units[name]
        unit.job_type = unit.job_state = ""
        result = self._end_start(unit) if verb == "start" else self._end_stop(unit)
        if unit.unloaded and unit.active == "inactive":
            unit.condition_result = unit.condition_checked = False
        return result

    def _end_start(self, unit: WorldUnit) -> str:
        if unit.active == "active":
            return "done"
        unit.active, unit.sub, unit.main_pid = "inactive", "dead", 0
        if unit.dependency_fails:
            return "dependency"
        unit.condition_result, unit.condition_checked = unit.condition_holds, True
        if not unit.condition_holds:
            return "done"
        if unit.start_limit_hit:
            unit.active, unit.sub, unit.result = "failed", "failed", "start-limit-hit"
            return "failed"
        if unit.start_fails:
            unit.active, unit.sub, unit.result = "failed", "failed", "exit-code"
            return "failed"
        if unit.crash_loops:
            unit.active, unit.sub, unit.result = "activating", "auto-restart", "exit-code"
        elif not unit.ends_at_once:
            unit.active, unit.sub, unit.main_pid = "active", "running", NO_SUCH_PID
        return "done"

    def _end_stop(self, unit: WorldUnit) -> str:
        unit.active, unit.sub, unit.main_pid = "inactive", "dead", 0
        for name in [*unit.required_by, *unit.bound_by, *unit.consists_of]:
            dependent = self.units.get(name)
            if dependent is not None and dependent.runs():
                if dependent.stop_lags:
                    dependent.active, dependent.sub = "deactivating", "stop-sigterm"
                else:
                    self._end_stop(dependent)
        return "done"

    def save(self, path: Path) -> None:
        """For the stub, whose every call is a new process."""
        content = {
            "units": [asdict(unit) for unit in self.units.values()],
            "system_state": self.system_state,
            "calls": self.calls,
        }
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(content))
        new.replace(path)

    @classmethod
    def load(cls, path: Path) -> UnitWorld:
        content = json.loads(path.read_text())
        world = cls()
        for facts in content["units"]:
            world.add(WorldUnit(**facts))
        world.system_state = content["system_state"]
        world.calls = [(verb, name) for verb, name in content["calls"]]
        return world
