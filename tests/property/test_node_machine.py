"""Anything may happen to a node in any order; the invariants of the design hold whenever it rests.

`nodestoraged.sim.invariants` asserts at every effect what a kernel would let pass.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from nodestoraged.model.config import Allowed, Collision, DataPolicy, Fallback, RoleConfig, Trust
from nodestoraged.model.errors import RequestError
from nodestoraged.model.hidden import Wash
from nodestoraged.model.manifest import Manifest
from nodestoraged.sim.node import SimNode
from nodestoraged.sim.world import KUBELET, RUNTIME, World
from tests.property.laws import Wants, check_rest, everything_runs

#: Every kind of stick that somebody may own.
STICKS: dict[str, dict[str, object]] = {
    "blue": {"size_bytes": 32 << 30},
    "green": {"size_bytes": 64 << 30},
    "twin": {"uuid": "blue-uuid", "size_bytes": 32 << 30, "serial": "SER-twin"},
    "shade": {"uuid": "blue-uuid", "size_bytes": 32 << 30, "serial": "SER-blue"},
    "tiny": {"size_bytes": 1 << 30},
    "photos": {"fstype": "vfat"},
    "locked": {"read_only": True},
    "desert": {"fstype": "xfs", "label": None, "partlabel": "ctrd-opt", "partuuid": "p-1"},
    "rotten": {},
}
NAMES = st.sampled_from(sorted(STICKS))
GOOD = st.sampled_from(["blue", "green", "desert"])
EFFECT = st.integers(min_value=1, max_value=14)
FAULTS = st.sampled_from(
    ["fail", "hang", "late", "cut-before", "cut-after", "crash-before", "crash-after"]
    + ["down-before", "down-after", "term", "start " + RUNTIME, "start " + KUBELET]
    + [f"{what} {name}" for what in ("yank", "die") for name in ("blue", "green", "desert")]
)
ROLES = st.builds(
    RoleConfig,
    name=st.just("containerd"),
    trust=st.sampled_from([Trust.ENROLLED] * 4 + [Trust.LABEL, Trust.NONE]),
    collision=st.sampled_from(Collision),
    priority=st.sampled_from([(), ("green", "blue"), ("desert-uuid",), ("SER-blue",)]),
    fallback=st.sampled_from(
        [
            (Fallback.STANDBY, Fallback.INTERNAL),
            (Fallback.INTERNAL,),
            (Fallback.STANDBY,),
            (Fallback.INTERNAL, Fallback.STANDBY),
            (),
        ]
    ),
    data=st.sampled_from([DataPolicy.KEEP, DataPolicy.KEEP, *DataPolicy]),
    allow=st.sampled_from([(), (), (Allowed(uuid="green-uuid"),)]),
    swap_grace_seconds=st.sampled_from([10.0, 0.0, 60.0]),
    switch_limit=st.sampled_from([3, 1]),
)
WHICH = st.integers(min_value=0, max_value=3)
PORTS_MAX = 4
#: Retries of a refusal, and what a released quarantine brings, in half an hour, of each stick.
IDLE_OPERATIONS_MAX = 10
HALF_AN_HOUR = 1800.0


def _pull(machine: Node, name: str) -> None:
    machine.world.pull(machine.node.serving() if machine.bound else name)


def _plug(machine: Node, name: str) -> None:
    absent = [each for each in ("blue", "green", "desert") if each not in machine.world.plugged]
    if absent:
        machine.world.plug(absent[0])
        machine.say("enroll", stick=machine.devnode(absent[0]))


def _boot_of_a_washed_node(machine: Node, _name: str) -> None:
    machine.world.wash_marker = Wash.IMAGES
    machine.power_cycle()


MOVES: dict[str, Callable[[Node, str], None]] = {
    "switch": lambda machine, name: machine.say("switch", stick=machine.devnode(name)),
    "copy": lambda machine, name: machine.say(
        "switch", stick=machine.devnode(name), data=DataPolicy.COPY
    ),
    "wash": lambda machine, _: machine.say("powerwash", tier=Wash.IMAGES),
    "wash aside": lambda machine, name: machine.say(
        "powerwash", stick=machine.devnode(name), tier=Wash.ALL
    ),
    "wash at boot": _boot_of_a_washed_node,
    "adopt": lambda machine, name: machine.errand("adopt", stick=machine.devnode(name)),
    "return": lambda machine, _: machine.say("switch", stick="internal"),
    "eject": lambda machine, _: machine.say("eject"),
    "enroll": lambda machine, name: machine.say("enroll", stick=machine.devnode(name)),
    "pull": lambda machine, name: _pull(machine, name) if machine.world.plugged else None,
    "plug": _plug,
    "boot": lambda machine, _: machine.power_cycle(),
    "restart": lambda machine, _: machine.node.restart_daemon(),
}


class Node(RuleBasedStateMachine):
    """One node, its owner, and everything that may befall them."""

    node: SimNode

    @initialize(
        role=ROLES,
        running=st.sampled_from([True, True, True, False]),
        requires=st.booleans(),
        before=st.lists(GOOD, max_size=3, unique=True),
        enrolled=st.integers(min_value=0, max_value=3),
    )
    def begin(
        self, role: RoleConfig, running: bool, requires: bool, before: list[str], enrolled: int
    ) -> None:
        def prepare(world: World) -> None:
            for name, traits in STICKS.items():
                world.make(name, **traits).images = {"pause", name}
            world.media["rotten"].broken_filesystem = True
            for name in before:
                world.insert_before_start(name)

        self.node = SimNode(
            role, running=running, kubelet_requires_runtime=requires, prepare=prepare
        )
        self.world = self.node.world
        self.generations: dict[str, int] = {}
        self.wants: Wants = dict.fromkeys((RUNTIME, KUBELET), running)
        assert not self.stops(0), "I11: first contact stopped something"
        for name in before[:enrolled]:
            self.say("enroll", stick=self.devnode(name), name=name)

    def teardown(self) -> None:
        if hasattr(self, "node"):
            self.node.close()

    def stops(self, since: int) -> list[str]:
        return [what for what in self.world.trace[since:] if what.startswith("stop")]

    # -- sticks -----------------------------------------------------------------------

    @precondition(lambda self: len(self.world.plugged) < PORTS_MAX)
    @rule(name=NAMES, patience=st.sampled_from([None, 0.0, 0.5, 3.0]))
    def plug(self, name: str, patience: float | None) -> None:
        if name not in self.world.plugged:
            self.world.plug(name)
            self.pass_time(patience)

    @precondition(lambda self: self.world.plugged)
    @rule(data=st.data(), patience=st.sampled_from([None, None, 0.0, 2.0, 9.0]))
    def pull(self, data: st.DataObject, patience: float | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.plugged)))
        event("pulled the active stick" if name == self.node.serving() else "pulled a stick")
        self.world.pull(name)
        self.pass_time(patience)

    @precondition(lambda self: self.node.serving() in self.world.plugged)
    @rule(again=st.sampled_from([0.5, 5.0, 30.0]))
    def swap(self, again: float) -> None:
        name = self.node.serving()
        self.world.pull(name)
        self.node.run_for(again)
        if name not in self.world.plugged:
            self.world.plug(name)
        self.node.settle()

    @precondition(lambda self: self.world.plugged)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.plugged)))
        event("the active stick died" if name == self.node.serving() else "a stick died")
        self.world.media[name].dead = True
        self.node.run_for(15)
        self.node.settle()
        assert not self.world.root_mounts or self.node.serving() != name or self.failed

    @rule(name=NAMES)
    def mend(self, name: str) -> None:
        """Somebody repairs it, in another computer."""
        if name not in self.world.plugged:
            self.world.media[name].dead = False
            self.world.media[name].broken_filesystem = False

    @rule(name=GOOD, label=st.sampled_from(["containerd-opt", "ctrd-opt", "other", None]))
    def relabel(self, name: str, label: str) -> None:
        if label is None and name == self.node.serving():
            return  # a mount of an unlabelled device is nobody's; see decide's MountedByOthers
        self.world.relabel(name, label=label)
        self.node.settle()

    # -- verbs ------------------------------------------------------------------------

    def say(self, verb: str, **arguments: object) -> None:
        try:
            self.node.ask(verb, **arguments)
        except RequestError as error:
            event(f"{verb}: {error.reason}")
        else:
            event(f"{verb}: done")

    def errand(self, verb: str, **arguments: object) -> None:
        try:
            done = self.node.errand(verb, **arguments)
        except RequestError as error:
            event(f"{verb}: {error.reason}")
        else:
            event(f"{verb}: {done.result if done else 'cut'}")

    def someone(self, which: int) -> str:
        """One of those that are plugged in, else one that is not."""
        names = sorted(self.world.plugged) or sorted(STICKS)
        return names[which % len(names)]

    def devnode(self, name: str) -> str:
        return self.world.plugged[name].devnode if name in self.world.plugged else name

    @rule(which=WHICH, no_switch=st.sampled_from([False, False, True]))
    def enroll(self, which: int, no_switch: bool) -> None:
        name = self.someone(which)
        self.say("enroll", stick=self.devnode(name), name=name, no_switch=no_switch)

    @rule(which=WHICH)
    def switch(self, which: int) -> None:
        self.say("switch", stick=self.devnode(self.someone(which)))

    @rule(which=WHICH)
    def switch_with_copy(self, which: int) -> None:
        self.say("switch", stick=self.devnode(self.someone(which)), data=DataPolicy.COPY)

    @rule(tier=st.sampled_from(Wash), which=st.sampled_from([None, 0, 1]), later=st.booleans())
    def powerwash(self, tier: Wash, which: int | None, later: bool) -> None:
        stick = None if which is None else self.devnode(self.someone(which))
        self.say("powerwash", stick=stick, tier=tier, next_boot=later)

    @rule(which=WHICH, images_only=st.booleans())
    def adopt(self, which: int, images_only: bool) -> None:
        stick = self.devnode(self.someone(which))
        self.errand("adopt", stick=stick, imagesOnly=images_only)

    @rule(verb=st.sampled_from(["reclaim"]))
    def reclaim(self, verb: str) -> None:
        self.errand(verb)

    @rule(name=GOOD)
    def serve_elsewhere(self, name: str) -> None:
        """Another node takes the stick while it is away."""
        medium = self.world.media[name]
        if name in self.world.plugged or medium.torn or medium.dead:
            return
        known = medium.manifest
        medium.images = {"pause", "theirs"}
        medium.manifest = Manifest(
            id=known.id if known else f"data of {name}",
            generation=(known.generation if known else 0) + 1,
            complete=True,
            node="elsewhere",
            role="containerd",
            created="then",
        )

    @rule(which=WHICH, verb=st.sampled_from(["eject", "forget", "delist", "relist"]))
    def name_it(self, which: int, verb: str) -> None:
        self.say(verb, stick=self.devnode(self.someone(which)))

    @rule(stick=st.sampled_from(["internal", "auto"]))
    def switch_to_word(self, stick: str) -> None:
        self.say("switch", stick=stick)

    @precondition(lambda self: self.node.serving() != "internal")
    @rule(to=st.sampled_from([None, "internal", "green", "blue"]))
    def eject_the_active(self, to: str | None) -> None:
        self.say("eject", to=to)

    @rule(verb=st.sampled_from(["rollback", "pause", "resume"]))
    def speak(self, verb: str) -> None:
        self.say(verb)

    @precondition(lambda self: self.failed)
    @rule()
    def clear(self) -> None:
        self.say("resume", clear=True)

    @rule(which=WHICH, new=st.sampled_from(["red", "blue"]))
    def rename(self, which: int, new: str) -> None:
        self.say("rename", stick=self.devnode(self.someone(which)), name=new)

    # -- the machine ------------------------------------------------------------------

    def pass_time(self, patience: float | None) -> None:
        if patience is None:
            self.node.settle()
        else:
            self.node.run_for(patience)

    @rule(seconds=st.sampled_from([1.0, 11.0, 61.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.node.run_for(seconds)
        self.node.settle()

    @precondition(lambda self: self.node.resting)
    @rule()
    def nobody_comes_for_half_an_hour(self) -> None:
        before = len(self.world.closed)
        self.node.run_for(HALF_AN_HOUR)
        self.node.settle()
        assert len(self.world.closed) - before <= IDLE_OPERATIONS_MAX * len(self.world.plugged)
        pods = self.world.pods
        since = len(self.world.trace)
        self.node.run_for(60)
        if len(self.world.closed) == before:
            assert not self.stops(since)
            assert self.world.pods == pods

    @rule()
    def restart_the_daemon(self) -> None:
        gentle = self.node.resting and self.node.serving() != "gone" and not self.dying
        since = len(self.world.trace)
        self.node.restart_daemon()
        if gentle:
            assert not self.stops(since), "I11: a restart of the daemon stopped something"

    @rule()
    def power_cycle(self) -> None:
        self.node.power_cycle()
        self.wants = everything_runs()

    @rule()
    def shut_down_and_boot(self) -> None:
        self.node.shut_down_and_boot()
        self.wants = everything_runs()

    @rule(
        name=GOOD,
        after=st.sampled_from([1.0, 20.0, 40.0]),
    )
    def boot_with_a_late_stick(self, name: str, after: float) -> None:
        """The stick's hub needs its time."""
        if name in self.world.plugged:
            self.world.pull(name)
        due = self.world.now + 30 + after

        def late() -> None:
            if self.world.now >= due and name not in self.world.plugged:
                self.world.plug(name)

        self.world.on_sleep = late
        self.node.power_cycle()
        self.world.on_sleep = None
        self.wants = everything_runs()
        if name not in self.world.plugged:
            self.world.plug(name)
        self.node.settle()

    @rule(unit=st.sampled_from([RUNTIME, KUBELET]))
    def somebody_stops(self, unit: str) -> None:
        if self.world.units[unit].state.value != "active":
            return
        kubelet_ran = self.world.units[KUBELET].state.value == "active"
        self.world.stop_unit(unit)
        self.wants[unit] = False
        if self.world.kubelet_requires_runtime and unit == RUNTIME and kubelet_ran:
            self.wants[KUBELET] = False
        self.node.settle()

    @rule(unit=st.sampled_from([RUNTIME, KUBELET]))
    def somebody_starts(self, unit: str) -> None:
        if self.world.start_unit(unit):
            self.wants[unit] = True
            if self.world.kubelet_requires_runtime and unit == KUBELET:
                self.wants[RUNTIME] = True
        self.node.settle()

    @rule(foreign=st.sampled_from([(), (), ("moby/1",)]))
    def docker(self, foreign: tuple[str, ...]) -> None:
        self.world.foreign = foreign
        self.node.settle()

    # -- faults -----------------------------------------------------------------------

    @rule(
        which=WHICH,
        what=st.sampled_from(sorted(MOVES)),
        faults=st.lists(st.tuples(EFFECT, FAULTS), min_size=1, max_size=2),
    )
    def something_goes_wrong(self, which: int, what: str, faults: list[tuple[int, str]]) -> None:
        """One or two faults in the middle of whatever `what` brings about."""
        self.node.inject(dict(faults))
        MOVES[what](self, self.someone(which))
        self.node.settle()
        self.node.run_for(12)
        self.node.settle()
        for _, fault in self.world.faults.fired:
            event(f"fired: {fault.split()[0]}")
            if fault.startswith(("cut", "down")):
                self.wants = everything_runs()
            if fault.startswith("start"):
                self.wants = {k: None if v is False else v for k, v in self.wants.items()}
        self.node.inject({})

    # -- what always holds ------------------------------------------------------------

    @property
    def bound(self) -> bool:
        return self.node.serving() in self.world.plugged

    @property
    def failed(self) -> bool:
        return any(i.failed for i in self.world.intents.values())

    @property
    def dying(self) -> bool:
        name = self.node.serving()
        return name in self.world.media and self.world.media[name].dead

    @invariant()
    def the_laws_hold(self) -> None:
        if not hasattr(self, "node"):
            return
        self.generations_only_rise()
        if self.node.resting:
            event(f"rests: {self.node.phase}")
            check_rest(self.node, self.wants)

    def generations_only_rise(self) -> None:
        """Whatever happens, a medium never says that it served less often than before."""
        for medium in self.world.media.values():
            told = medium.manifest
            if told is not None:
                assert told.generation >= self.generations.get(told.id, 0)
                self.generations[told.id] = told.generation


# A run of forty steps is some hundred passes of the daemon's loop.
Node.TestCase.settings = settings(
    stateful_step_count=40,
    deadline=None,
    max_examples=250 if os.environ.get("HYPOTHESIS_PROFILE") == "ci" else 100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestNode = pytest.mark.timeout(300)(Node.TestCase)
