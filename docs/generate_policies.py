"""Write docs/policies.md: for each situation, who serves under each collision policy.

    python -m docs.generate_policies > docs/policies.md

The page is compared with the code by tests/unit/core/test_policy.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nodestoraged.core.decide import decide
from nodestoraged.core.select import select
from nodestoraged.model.config import Collision, RoleConfig
from nodestoraged.model.decision import Attention, Move
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.mount import Mount, MountTable
from nodestoraged.model.observation import Observation
from nodestoraged.model.registry import Intent, Registry, Stick
from nodestoraged.model.runtime import RuntimeProfile, Unit, UnitState

GIB = 1 << 30
SIZES = {"blue": 16, "green": 32, "red": 64}
#: Enrolled in this order.
NAMES = tuple(SIZES)
PRIORITY = ("green", "blue")
PROFILE = RuntimeProfile(
    name="containerd",
    runtime_units=("containerd.service",),
    kubelet_units=("kubelet.service",),
    root="/var/lib/containerd",
    state="/run/containerd",
    socket="/run/containerd/containerd.sock",
)
ROLE = RoleConfig(name="containerd", priority=PRIORITY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """`sticks` map to the number of their insertion, 0 if they were present at the start."""

    words: str
    sticks: dict[str, int]
    active: str | None = None
    last_active: str | None = None
    booting: bool = False


SITUATIONS = (
    Situation(words="boot, two sticks", sticks={"blue": 0, "green": 0}, booting=True),
    Situation(
        words="boot, two sticks, green was active last",
        sticks={"blue": 0, "green": 0},
        last_active="green",
        booting=True,
    ),
    Situation(words="boot, three sticks", sticks=dict.fromkeys(NAMES, 0), booting=True),
    Situation(
        words="boot, three sticks, red was active last",
        sticks=dict.fromkeys(NAMES, 0),
        last_active="red",
        booting=True,
    ),
    Situation(words="internal serves, blue comes in", sticks={"blue": 1}),
    Situation(words="internal serves, red comes in", sticks={"red": 1}),
    Situation(
        words="internal serves, blue, then green within a second",
        sticks={"blue": 1, "green": 2},
    ),
    Situation(
        words="internal serves, green, then blue within a second",
        sticks={"blue": 2, "green": 1},
    ),
    Situation(words="blue serves, green comes in", sticks={"blue": 0, "green": 1}, active="blue"),
    Situation(words="green serves, blue comes in", sticks={"blue": 1, "green": 0}, active="green"),
    Situation(words="red serves, green comes in", sticks={"green": 1, "red": 0}, active="red"),
    Situation(
        words="blue serves, green, then red come in",
        sticks={"blue": 0, "green": 1, "red": 2},
        active="blue",
    ),
    Situation(
        words="blue serves, red, then green come in",
        sticks={"blue": 0, "green": 2, "red": 1},
        active="blue",
    ),
    Situation(
        words="blue serves, the daemon is restarted, green and red are there",
        sticks=dict.fromkeys(NAMES, 0),
        active="blue",
    ),
)

_HEAD = """\
<!-- Written by docs/generate_policies.py; a test compares it with the code. -->
# Who serves: the collision policies

Three trusted sticks: `blue` (16 GiB, enrolled first), `green` (32 GiB), `red` (64 GiB), and
`priority = ["green", "blue"]`.  Each cell names what serves once the node has settled; *asks*
means that the internal directory serves until somebody says `nodestoragectl switch`.  The order
in which the kernel or udev tells of the sticks never matters; the order of their insertion
matters under `newest` only.

"""
_TAIL = """
Ties are decided by what was active last, then by what was enrolled first, then by the lowest
UUID.  A stick that an operator named with `nodestoragectl switch` outranks every policy.  What
was present when the daemon started never interrupts a running runtime by itself; at a boot
nothing runs yet, so the policy decides freely.
"""


def sticks_of(situation: Situation) -> tuple[BlockDevice, ...]:
    """The devices of a situation, in the order of enrolment."""
    return tuple(_device(name, inserted) for name, inserted in situation.sticks.items())


def serves(
    situation: Situation, collision: Collision, *, order: Sequence[BlockDevice] | None = None
) -> str:
    """Who serves in the end, with the devices listed in `order`."""
    role = replace(ROLE, collision=collision)
    devices = sticks_of(situation) if order is None else order
    observation = _observation(situation, tuple(devices))
    decision = decide(observation, select(observation, role), role)
    match decision:
        case Attention():
            return "*asks*"
        case Move(target=target) if target is not None:
            return target.name
        case _:
            return situation.active or "internal"


def present(situation: Situation) -> str:
    """The first cell of a row."""
    return situation.words


def page() -> str:
    """The whole of docs/policies.md."""
    columns = list(Collision)
    head = " | ".join(["", *(f"`{collision}`" for collision in columns)])
    rows = [
        " | ".join([present(each), *(serves(each, collision) for collision in columns)])
        for each in SITUATIONS
    ]
    ruler = "|".join(["---"] * (len(columns) + 1))
    table = "\n".join([f"|{head} |", f"|{ruler}|", *(f"| {row} |" for row in rows)])
    return f"{_HEAD}{table}\n{_TAIL}"


def _device(name: str, inserted: int) -> BlockDevice:
    place = NAMES.index(name) + 1
    return BlockDevice(
        devnode=f"/dev/sd{'xyz'[place - 1]}1",
        number=DeviceNumber(8, place),
        diskseq=place,
        disk=f"/dev/sd{'xyz'[place - 1]}",
        size_bytes=SIZES[name] * GIB,
        fstype="ext4",
        uuid=f"{name}-uuid",
        label="containerd-opt",
        inserted=inserted,
    )


def _observation(situation: Situation, devices: tuple[BlockDevice, ...]) -> Observation:
    sticks = tuple(
        Stick(
            name=name,
            identity=_device(name, 0).identity(),
            role=ROLE.name,
            order=order,
            enrolled_at="",
        )
        for order, name in enumerate(NAMES)
    )
    last = situation.active or situation.last_active
    state = UnitState.INACTIVE if situation.booting else UnitState.ACTIVE
    return Observation(
        now=100.0,
        time="",
        boot_id="",
        profile=PROFILE,
        devices=devices,
        mounts=MountTable(mounts=_mounts(situation)),
        units=(Unit(name="containerd.service", state=state),),
        registry=Registry(sticks=sticks),
        intent=Intent(last_active=_device(last, 0).identity() if last else None),
    )


def _mounts(situation: Situation) -> tuple[Mount, ...]:
    if situation.active is None:
        return ()
    device = _device(situation.active, 0)
    return (
        Mount(
            id=1,
            number=device.number,
            root="/",
            target=PROFILE.root,
            fstype="ext4",
            source=device.devnode,
        ),
    )


if __name__ == "__main__":
    sys.stdout.write(page())
