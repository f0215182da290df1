"""What can go wrong at one effect on a simulated node, and how it does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.sim import invariants

if TYPE_CHECKING:
    from nodestoraged.sim.world import World

EFFECT_SECONDS = 0.05
#: What a hanging effect takes until its deadline.
HANG_SECONDS = 30.0
#: Effects of children that touch a disk.
ON_DISK = frozenset(
    {
        "check",
        "mount",
        "unmount",
        "release",
        "clear-state",
        "probe-read",
        "probe-write",
        "stamp",
        "copy-warm",
        "copy-final",
        "wash",
        "bind",
        "format",
        "measure",
        "sift",
    }
)


class PowerCut(BaseException):
    """The machine is gone in the middle of an effect."""


class DaemonCrash(BaseException):
    """The daemon alone is gone in the middle of an effect."""


@dataclass(slots=True, kw_only=True)
class Faults:
    """What goes wrong, by the number of the effect; each fires once and says so in `fired`.

    `fail` and `hang`: the effect does not happen; `late`: it happens and is not known to.
    `cut-`, `crash-` and `down-` (before, after): the power, the daemon, or the system going
    down.  `term`: SIGTERM.  `yank NAME`, `die NAME`, `start UNIT`, `stop UNIT`: somebody.
    """

    plan: dict[int, str] = field(default_factory=dict)
    count: int = 0
    fired: list[tuple[int, str]] = field(default_factory=list)


class Effect:
    """One effect on the world as a context: faults fire at its edges, invariants hold after."""

    def __init__(self, world: World, what: str) -> None:
        self._world = world
        self._what = what
        self._fault = ""

    def __enter__(self) -> None:
        world = self._world
        world.go_on()
        world.faults.count += 1
        world.now += EFFECT_SECONDS
        world.trace.append(self._what)
        self._fault = world.faults.plan.pop(world.faults.count, "")
        if self._fault:
            world.faults.fired.append((world.faults.count, self._fault))
        self._somebody()
        self._edge("before")
        if self._fault == "fail":
            raise StepError("Injected", f"{self._what} failed")
        if self._fault == "hang":
            world.now += HANG_SECONDS
            raise self._timeout()
        if world.on_effect is not None:
            world.on_effect(self._what)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            invariants.check(self._world)
            self._edge("after")
            if self._fault == "late":
                self._world.now += HANG_SECONDS
                raise self._timeout()

    def _timeout(self) -> StepTimeout:
        """A child that touches a disk hangs with it; a service or a runtime is only late."""
        if self._what not in ON_DISK:
            return StepTimeout("Timeout", f"{self._what} takes too long")
        self._world.condemned |= {d.number for d in self._world.plugged.values()}
        return StepTimeout("Hung", f"{self._what} hangs")

    def _edge(self, edge: str) -> None:
        if self._fault == f"cut-{edge}":
            self._world.halted = PowerCut
        if self._fault == f"crash-{edge}":
            self._world.halted = DaemonCrash
        self._world.go_on()
        if self._fault == f"down-{edge}":
            self._world.stopping = True

    def _somebody(self) -> None:
        """A person or a program does something just now."""
        world = self._world
        verb, _, name = self._fault.partition(" ")
        match verb:
            case "yank" if name in world.plugged:
                world.pull(name)
            case "die" if name in world.media:
                world.media[name].dead = True
            case "start" if not world.ready:
                world.units[name].job_queued = True  # ordered after us: it waits for READY
            case "start":
                world.start_unit(name)
                invariants.check(world)
            case "stop":
                world.stop_unit(name)
            case "term":
                world.on_term()
            case _:
                return
