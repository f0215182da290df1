"""What systemd says of a unit, and what we conclude from it: shared by D-Bus and `systemctl`.

Owns: the translation of systemd's words, what a stop takes along, when a start came true.  May
not know: how the facts were read.  Words: org.freedesktop.systemd1(5); what propagates a stop:
systemd's src/core/unit-dependency-atom.c (UNIT_ATOM_PROPAGATE_STOP).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from nodestoraged.model.errors import StepError
from nodestoraged.model.runtime import RUNNING, Unit, UnitState

__all__ = [
    "DEPENDENT_PROPERTIES",
    "Facts",
    "facts_from_properties",
    "full_name",
    "refused_start",
    "require_started",
    "stopped_with",
    "wait_until_stopped",
]

#: Properties that name the units which an explicit stop of this unit stops too.
DEPENDENT_PROPERTIES = ("RequiredBy", "BoundBy", "ConsistsOf", "RequisiteOf", "PropagatesStopTo")

_UNIT_TYPES = (
    ".service", ".socket", ".target", ".mount", ".slice", ".scope",
    ".timer", ".path", ".device", ".swap", ".automount",
)  # fmt: skip

_START_JOBS = frozenset({"start", "restart", "reload-or-start", "reload-or-restart"})

_STATES = {
    "active": UnitState.ACTIVE,
    "reloading": UnitState.ACTIVE,
    "refreshing": UnitState.ACTIVE,
    "inactive": UnitState.INACTIVE,
    "maintenance": UnitState.INACTIVE,
    "failed": UnitState.FAILED,
    # "activating" includes the sub state auto-restart: a kubelet in kubeadm's crash loop.
    "activating": UnitState.STARTING,
    "deactivating": UnitState.STOPPING,
}

_STOPPED = frozenset({UnitState.INACTIVE, UnitState.FAILED, UnitState.MISSING})

#: Seconds between two readings of a unit that is still stopping after its job ended.
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One reading of a unit in systemd's own words; `result` is the service's last result.

    `condition_held` means nothing until `condition_checked`: systemd forgets an inactive unit
    that nothing refers to, and then says "no" of one that it has just loaded again.
    """

    name: str
    load_state: str
    active_state: str
    sub_state: str
    job_type: str = ""
    job_state: str = ""
    condition_held: bool = False
    condition_checked: bool = False
    main_pid: int = 0
    result: str = ""
    dependents: tuple[str, ...] = ()

    @property
    def state(self) -> UnitState:
        """Our word for it; a unit whose file was removed while it runs still runs."""
        state = _STATES.get(self.active_state, UnitState.INACTIVE)
        if self.load_state == "not-found" and state in _STOPPED:
            return UnitState.MISSING
        return state

    @property
    def start_pending(self) -> bool:
        """systemd has a start job for it, waiting or running."""
        return self.job_type in _START_JOBS

    def unit(self, takes_along: tuple[str, ...]) -> Unit:
        """The unit as the engine sees it."""
        return Unit(
            name=self.name,
            state=self.state,
            job_queued=self.start_pending and self.job_state == "waiting",
            main_pid=self.main_pid,
            takes_along=takes_along,
        )


def facts_from_properties(
    name: str,
    seen: Mapping[str, object],
    *,
    job: Mapping[str, object],
    main_pid: object,
    result: object,
) -> Facts:
    """The reading from D-Bus properties of the unit and of its job, if it has one.

    What is absent or of another type counts as not said: systemd's releases differ.
    """
    lists = [seen.get(key) for key in DEPENDENT_PROPERTIES]
    return Facts(
        name=name,
        load_state=str(seen.get("LoadState", "")),
        active_state=str(seen.get("ActiveState", "")),
        sub_state=str(seen.get("SubState", "")),
        job_type=str(job.get("JobType", "")),
        job_state=str(job.get("State", "")),
        condition_held=bool(seen.get("ConditionResult")),
        condition_checked=bool(seen.get("ConditionTimestampMonotonic")),
        main_pid=main_pid if isinstance(main_pid, int) else 0,
        result=result if isinstance(result, str) else "",
        dependents=tuple(str(each) for names in lists if isinstance(names, list) for each in names),
    )


def full_name(name: str) -> str:
    """`containerd` means `containerd.service`, as with systemctl; D-Bus wants it said."""
    return name if name.endswith(_UNIT_TYPES) else f"{name}.service"


async def stopped_with(
    facts: Facts, read: Callable[[Sequence[str]], Awaitable[Sequence[Facts]]]
) -> tuple[str, ...]:
    """Running services that an explicit stop of the unit stops too, sorted; transitively.

    Targets and the like are followed while active but not named: nobody has to start them again.
    A unit that does not run is not followed, because a stop that changes nothing passes nothing
    on to what runs.
    """
    seen = {facts.name}
    dragged: list[str] = []
    level = [facts]
    while level:
        names = sorted({name for unit in level for name in unit.dependents} - seen)
        seen.update(names)
        level = [unit for unit in await read(names) if unit.state in RUNNING] if names else []
        dragged.extend(unit.name for unit in level if unit.name.endswith(".service"))
    return tuple(sorted(dragged))


def refused_start(name: str, reason_text: str) -> StepError:
    """The error for a start that systemd did not accept or carry out, by its own sentence.

    The sentences are those of D-Bus errors and of systemctl, which prints them.
    """
    text = reason_text.lower()
    if "destructive" in text or "shutting down" in text or "shuttingdown" in text:
        return StepError("ShuttingDown", f"{name} cannot start: the system is shutting down")
    if "masked" in text:
        return StepError(
            "UnitMasked", f"{name} is masked, so it cannot start", f"systemctl unmask {name}"
        )
    if "not found" in text or "nosuchunit" in text:
        return StepError("UnitMissing", f"there is no unit {name} on this node")
    if "dependency" in text:
        return StepError(
            "DependencyFailed",
            f"{name} did not start because a unit that it requires failed",
            f"systemctl list-dependencies {name}",
        )
    if "canceled" in text:
        return StepError("JobCanceled", f"the start of {name} was cancelled by somebody else")
    return StepError(
        "StartFailed", f"{name} did not start: {reason_text}", f"journalctl -u {name} -n 20"
    )


def require_started(facts: Facts) -> None:
    """The unit is active after its start job; raises StepError with why it is not.

    A start that a condition prevented ends as a job that is done with the unit inactive:
    systemctl says 0 to it.
    """
    if facts.state is UnitState.ACTIVE:
        return
    why = "it ended at once"
    if facts.state is UnitState.INACTIVE and not facts.condition_checked:
        why = "it ended at once, or one of its start conditions does not hold"
    elif facts.state is UnitState.INACTIVE and not facts.condition_held:
        raise StepError(
            "ConditionFailed",
            f"{facts.name} was not started: one of its start conditions does not hold",
            f"systemctl status {facts.name}",
        )
    if facts.result not in {"", "success"}:
        why = facts.result
    raise refused_start(facts.name, f"{why} ({facts.active_state}/{facts.sub_state})")


async def wait_until_stopped(
    names: Sequence[str], read: Callable[[Sequence[str]], Awaitable[Sequence[Facts]]]
) -> None:
    """None of the units runs or is stopping, and none has a main process; bounded by the caller.

    The first is the one that was asked to stop: StepError("StopFailed") if it runs again.
    """
    pending = list(names)
    while True:
        readings = await read(pending)
        pending = [unit.name for unit in readings if unit.state not in _STOPPED or unit.main_pid]
        for unit in readings:
            if unit.name == names[0] and unit.state in RUNNING and not unit.job_type:
                raise StepError("StopFailed", f"{unit.name} was stopped and runs again")
        if not pending:
            return
        await asyncio.sleep(_POLL_SECONDS)
