"""What outlives the process: the enrolled sticks, and what operators have asked for."""

from __future__ import annotations

from dataclasses import dataclass

from nodestoraged.model.config import DataPolicy
from nodestoraged.model.device import BlockDevice, Identity, Incarnation
from nodestoraged.model.hidden import Wash


@dataclass(frozen=True, slots=True, kw_only=True)
class Stick:
    """One enrolled stick.  `order` counts enrolments: lower was first.

    `data_id` and `generation` are those of its manifest when it served here last.
    """

    name: str
    identity: Identity
    role: str
    order: int
    enrolled_at: str
    delisted: bool = False
    data_id: str | None = None
    generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The enrolled sticks in the order of their enrolment (`sticks.toml`)."""

    sticks: tuple[Stick, ...] = ()

    def matching(self, device: BlockDevice) -> Stick | None:
        """The enrolled stick whose file system `device` carries, or None.

        Of several (a clone that was enrolled too) the one with the device's serial wins.
        """
        found = [stick for stick in self.sticks if stick.identity.matches(device)]
        exact = [stick for stick in found if stick.identity.serial == device.hardware]
        return next(iter(exact or found), None)

    def identity_of(self, device: BlockDevice) -> Identity:
        """What a device is known by: as it was enrolled, else its own; it carries a UUID."""
        stick = self.matching(device)
        return stick.identity if stick else device.identity()

    def name_of(self, device: BlockDevice) -> str:
        """What people call a device: its enrolled name, else the kernel's."""
        stick = self.matching(device)
        return stick.name if stick else device.name

    def named(self, name: str) -> Stick | None:
        """The stick of that name, or None."""
        return next((stick for stick in self.sticks if stick.name == name), None)

    def with_stick(self, stick: Stick) -> Registry:
        """The registry with `stick` added, or put in the place of the one of its identity."""
        if any(known.identity == stick.identity for known in self.sticks):
            return Registry(
                sticks=tuple(
                    stick if known.identity == stick.identity else known for known in self.sticks
                )
            )
        return Registry(sticks=(*self.sticks, stick))

    def without(self, identity: Identity) -> Registry:
        """The registry without the stick of that identity."""
        return Registry(sticks=tuple(s for s in self.sticks if s.identity != identity))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One automatic move towards a stick, for the switch budget; `at` in boot-time seconds."""

    uuid: str
    at: float
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """An insertion that something was said of; it is void in another boot."""

    incarnation: Incarnation
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What `switch` asked for: a stick, or the internal directory if `identity` is None.

    `boot_id` tells a wish of an earlier boot, whose stick may be absent for good.  `data` None
    leaves it to the role what becomes of the images.
    """

    identity: Identity | None
    since: str
    boot_id: str
    data: DataPolicy | None = None
    bytes_per_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WashWish:
    """What `powerwash` asked for: the root of a stick, or the internal one if `identity` is None.

    One with a `boot_id` is for that boot; None waits for the next boot.
    """

    tier: Wash
    identity: Identity | None
    boot_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What must be remembered of one role, beside the enrolments.

    `last_active`: the stick that served last; `previous`: what served before the last
    completed move (`previous_internal` when that was the internal directory), for
    `rollback` and for ties.  `failed`: going back failed, and nothing is changed until
    somebody clears it.  `stopped`: no root was permitted and the runtime is kept
    stopped.  `owed_units` ran before that, or before a rollback that failed, and are
    started with the next root; both are void outside `owed_boot_id`.  `bound_at` is when
    the active slot was mounted, in boot-time seconds of `bound_boot_id`.  `patient` are
    insertions enrolled with `--no-switch`: they stop no running runtime.
    """

    wish: Wish | None = None
    paused_since: str | None = None
    failed: bool = False
    failure: str = ""
    stopped: bool = False
    owed_units: tuple[str, ...] = ()
    owed_boot_id: str = ""
    last_active: Identity | None = None
    last_active_name: str | None = None
    previous: Identity | None = None
    previous_internal: bool = False
    attempts: tuple[Attempt, ...] = ()
    ejected: tuple[Marked, ...] = ()
    patient: tuple[Marked, ...] = ()
    wash: WashWish | None = None
    bound_at: float | None = None
    bound_boot_id: str = ""
