"""From a decision to steps: the cases stand in cases/plans.toml, in a user's words."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from nodestoraged.core import planner
from nodestoraged.core.sections import Goal, source_of, units_to_restore
from nodestoraged.model import datasteps, steps
from nodestoraged.model.config import DataPolicy, Fallback, Hooks
from nodestoraged.model.copy import CopyPass
from nodestoraged.model.hidden import Wash
from nodestoraged.model.mount import MountTable
from nodestoraged.model.observation import Observation, Setback
from nodestoraged.model.operation import INTERNAL_ROOT, NO_ROOT, OperationKind, RootRef
from nodestoraged.model.plan import HARMLESS, Plan
from nodestoraged.model.reason import Reason
from nodestoraged.model.registry import Intent, Registry
from nodestoraged.model.runtime import RuntimeProfile, Unit, UnitState
from tests.unit.core.worlds import (
    BOOT,
    KUBELET,
    PROFILE,
    ROLE,
    ROOT,
    RUNTIME,
    STOPPED,
    device,
    entry,
    mounted,
    root_of,
    units,
    world,
)

BLUE, GREEN = device(), device("green", 2)
#: A directory on a mounted disk that is no stick.
STORE = device("store", 3, directory="/mnt/storage/containerd", label=None)
STICKS = {"blue": BLUE, "green": GREEN, "store": STORE}
ASIDE = "/run/nodestoraged/aside-containerd"
K3S = RuntimeProfile(
    name="k3s",
    runtime_units=("k3s.service",),
    kubelet_units=(),
    root=PROFILE.root,
    state="/run/k3s/containerd",
    socket="/run/k3s/containerd/containerd.sock",
    embedded=True,
)
CASES = tomllib.loads((Path(__file__).parent / "cases/plans.toml").read_text())["case"]


def situation(case: dict[str, object]) -> Observation:
    runs = case["runs"]
    profile = K3S if case.get("embedded") else PROFILE
    names = dict.fromkeys((*profile.runtime_units, *profile.kubelet_units))
    states = {True: UnitState.ACTIVE, False: UnitState.INACTIVE}
    serving = STICKS.get(case["serving"])
    facts: dict[str, object] = {"fence_up": case.get("fence", False)}
    sticks = [BLUE, GREEN]
    if case.get("dead"):
        sticks.remove(serving)
        facts["gone"] = frozenset({serving.number})
        facts["mounts"] = MountTable(mounts=(ROOT, mounted(serving)))
        serving = None
    if case.get("aside"):
        mounts = (*world(active=serving).mounts.mounts, mounted(STICKS[case["aside"]], ASIDE))
        facts |= {"aside": ASIDE, "mounts": MountTable(mounts=mounts)}
        if case.get("gone"):
            sticks.remove(STICKS[case["aside"]])
    return world(
        *sticks,
        active=serving,
        profile=profile,
        units=tuple(Unit(name=name, state=states[name in runs]) for name in names),
        **facts,
    )


def goal_of(case: dict[str, object], observation: Observation) -> Goal:
    target = STICKS.get(case.get("to", ""))
    run = tuple(case.get("run", units_to_restore(observation)))
    return Goal(
        root=root_of(target) if target else INTERNAL_ROOT,
        device=target,
        run=run,
        data=DataPolicy(case.get("data", "keep")),
        bytes_per_second=case.get("rate"),
    )


def plan_of(case: dict[str, object]) -> Plan:
    observation = situation(case)
    goal = goal_of(case, observation)
    hooks = Hooks(before_switch=(("drain",),), after_switch=(("notify",),))
    role = replace(
        ROLE,
        hooks=hooks if case.get("hooks") else Hooks(),
        stop_foreign=case.get("stop_foreign", False),
    )
    lost = RootRef(identity=None, name="the stick")
    match case["plan"]:
        case "move":
            source = source_of(observation)
            return planner.plan_move(observation, role, goal, source)
        case "contain":
            return planner.plan_contain(observation, lost)
        case "settle":
            return planner.plan_settle(observation, goal)
        case "boot":
            return planner.plan_boot(observation, goal)
        case "after boot":
            return planner.plan_after_boot(observation, goal)
        case "restore":
            return planner.plan_restore(observation, role, goal)
        case "leave":
            return planner.plan_leave(observation, goal)
        case "tidy":
            return planner.plan_tidy(observation)
        case "wash":
            answering = case.get("answering", True)
            tier = Wash(case["tier"])
            return planner.plan_wash(observation, role, goal, tier, answering=answering)
    raise AssertionError(case["plan"])


@pytest.mark.parametrize("case", CASES, ids=[case["rule"] for case in CASES])
def test_the_plan_is(case):
    assert list(plan_of(case).describe()) == case["steps"]


@pytest.mark.parametrize("case", CASES, ids=[case["rule"] for case in CASES])
def test_equal_worlds_get_equal_plans(case):
    assert plan_of(case) == plan_of(case)


@pytest.mark.parametrize("case", CASES, ids=[case["rule"] for case in CASES])
def test_a_root_is_never_swapped_under_a_live_runtime(case):
    """Whatever moves the root comes after the fence and the stop, and before any start."""
    plan = plan_of(case).steps
    kinds = [type(step) for step in plan]
    swaps = [i for i, kind in enumerate(kinds) if kind in {steps.Mount, steps.Unmount}]
    if not swaps:
        return
    starts = [i for i, kind in enumerate(kinds) if kind is steps.StartUnit]
    stops = [i for i, kind in enumerate(kinds) if kind is steps.StopUnits]
    copies = [i for i, step in enumerate(plan) if is_final(step)]
    assert all(min(stops, default=-1) < copy < min(swaps) for copy in copies)
    assert all(start > max(swaps) for start in starts)
    assert all(stop < min(swaps) for stop in stops)
    if stops:
        assert kinds.index(steps.RaiseFence) < min(stops)
    if starts:
        assert max(swaps) < kinds.index(steps.LowerFence) < min(starts)


def is_final(step):
    return isinstance(step, datasteps.Copy) and step.stage is CopyPass.FINAL


def test_only_what_is_copied_while_pods_run_is_slowed_down():
    case = next(c for c in CASES if c.get("rate"))
    copies = [step for step in plan_of(case).steps if isinstance(step, datasteps.Copy)]
    assert [(c.stage, c.bytes_per_second) for c in copies] == [
        (CopyPass.WARM, case["rate"]),
        (CopyPass.FINAL, None),
    ]


def test_a_copy_says_where_it_came_from():
    case = next(c for c in CASES if c.get("rate"))
    copies = [step for step in plan_of(case).steps if isinstance(step, datasteps.Copy)]
    assert {copy.source for copy in copies} == {"internal"}


def test_preflight_is_harmless_and_comes_before_anything_else():
    plan = plan_of(CASES[0]).steps
    fence = next(i for i, step in enumerate(plan) if isinstance(step, steps.RaiseFence))
    assert all(isinstance(step, HARMLESS) for step in plan[:fence])
    assert not any(isinstance(step, HARMLESS) for step in plan[fence:])


def test_only_an_ejection_fails_when_its_stick_cannot_be_released():
    observation = world(BLUE, GREEN, active=BLUE)
    goal = Goal(root=root_of(GREEN), device=GREEN, run=())
    for ejecting in (False, True):
        plan = planner.plan_move(observation, ROLE, goal, root_of(BLUE), ejecting=ejecting)
        (release,) = (step for step in plan.steps if isinstance(step, steps.Release))
        assert release.fatal is ejecting


def test_the_runtime_is_started_first_and_what_a_stop_takes_along_is_started_too():
    along = replace(units()[0], takes_along=(KUBELET, "monitor.service"))
    assert units_to_restore(world(units=(along, units()[1]))) == (
        RUNTIME,
        KUBELET,
        "monitor.service",
    )
    assert units_to_restore(world(units=STOPPED)) == ()
    queued = units(UnitState.INACTIVE, UnitState.INACTIVE, queued=True)
    assert units_to_restore(world(units=queued)) == (RUNTIME, KUBELET)
    owed = Intent(owed_units=(KUBELET, RUNTIME), owed_boot_id=BOOT)
    assert units_to_restore(world(units=STOPPED, intent=owed)) == (RUNTIME, KUBELET)


def test_several_runtime_units_are_started_in_the_reverse_of_their_stop():
    profile = replace(PROFILE, runtime_units=("docker.service", RUNTIME))
    both = (Unit(name="docker.service", state=UnitState.ACTIVE), *units())
    observation = world(profile=profile, units=both)
    assert units_to_restore(observation) == (RUNTIME, "docker.service", KUBELET)


def test_where_the_root_is_now():
    assert source_of(world()) == INTERNAL_ROOT
    assert source_of(world(intent=Intent(stopped=True))) == NO_ROOT
    assert source_of(world(BLUE, active=BLUE)) == root_of(BLUE)
    stranger = source_of(world(BLUE, active=BLUE, registry=Registry()))
    assert (stranger.name, stranger.identity) == ("sd11", BLUE.identity())
    nameless = device(uuid=None)
    assert source_of(world(nameless, active=nameless)) == INTERNAL_ROOT


def test_back_is_the_recorded_world_with_what_was_started_since():
    switch = entry(OperationKind.SWITCHOVER, source=root_of(BLUE), ran_before=(RUNTIME,))
    back = planner.goal_back(world(BLUE, GREEN), switch)
    assert back == Goal(root=root_of(BLUE), device=BLUE, run=(RUNTIME, KUBELET))
    bind = entry(OperationKind.BIND, ran_before=(RUNTIME,))
    inside = Goal(root=INTERNAL_ROOT, device=None, run=(RUNTIME,))
    assert planner.goal_back(world(units=STOPPED), bind) == inside


def test_there_is_no_way_back_to_what_is_gone_dead_or_never_was():
    switch = entry(OperationKind.SWITCHOVER, source=root_of(BLUE))
    assert planner.goal_back(world(GREEN), switch) is None
    dead = Setback(incarnation=BLUE.incarnation, reason=Reason.HUNG)
    assert planner.goal_back(world(BLUE, setbacks=(dead,)), switch) is None
    assert planner.goal_back(world(BLUE), entry(source=root_of(BLUE))) is None
    stopped = entry(OperationKind.BIND, source=NO_ROOT)
    assert planner.goal_back(world(BLUE), stopped) is None


DEAD = (Setback(incarnation=BLUE.incarnation, reason=Reason.HUNG),)
UP = {"units": STOPPED, "fence_up": True}
TO_GREEN = entry(OperationKind.SWITCHOVER, source=root_of(BLUE), target=root_of(GREEN))
INSIDE = Goal(root=INTERNAL_ROOT, device=None, run=TO_GREEN.ran_before)


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        # Nothing was stopped yet, or all runs again: what serves goes on serving.
        (world(BLUE, GREEN, active=BLUE, fence_up=True), BLUE),
        (world(BLUE, GREEN, active=GREEN, units=STOPPED), GREEN),
        (world(BLUE, active=BLUE, fence_up=True, setbacks=DEAD), None),
        # Between the stop and the start: what is in place, or what was.
        (world(BLUE, GREEN, active=GREEN, **UP), GREEN),
        (world(BLUE, GREEN, **UP), BLUE),
        # What was is gone, or dies in its place.
        (world(GREEN, **UP), INSIDE),
        (world(BLUE, active=BLUE, setbacks=DEAD, **UP), INSIDE),
    ],
)
def test_a_daemon_that_goes_leaves_a_root_in_place(left, expected):
    goal = planner.goal_left(left, ROLE, TO_GREEN)
    if expected in (BLUE, GREEN):
        expected = Goal(root=root_of(expected), device=expected, run=TO_GREEN.ran_before)
    assert goal == expected


def test_a_daemon_that_goes_leaves_nothing_to_the_internal_root_where_that_is_forbidden():
    strict = replace(ROLE, fallback=(Fallback.STANDBY,))
    assert planner.goal_left(world(GREEN, **UP), strict, TO_GREEN) is None
    assert planner.goal_left(world(BLUE, GREEN, **UP), strict, TO_GREEN).device == BLUE


def test_somebody_elses_mount_on_the_root_is_never_taken_off():
    stranger = world(mounts=MountTable(mounts=(ROOT, mounted(BLUE))), units=STOPPED)
    plan = planner.plan_contain(stranger, INTERNAL_ROOT)
    assert not any(isinstance(step, steps.Unmount) for step in plan.steps)
    goal = Goal(root=INTERNAL_ROOT, device=None, run=())
    assert planner.plan_restore(stranger, ROLE, goal) == Plan()
    onto = planner.plan_settle(stranger, Goal(root=root_of(GREEN), device=GREEN, run=()))
    assert not any(isinstance(step, steps.Unmount | steps.Release) for step in onto.steps)


def test_a_node_without_kubelet_awaits_none():
    alone = (units()[0], Unit(name=KUBELET, state=UnitState.MISSING))
    goal = Goal(root=root_of(BLUE), device=BLUE, run=())
    plan = planner.plan_after_boot(world(BLUE, active=BLUE, units=alone), goal)
    assert not any(isinstance(step, steps.AwaitKubelet) for step in plan.steps)
