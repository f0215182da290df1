"""From a decision to steps, in the one order that never swaps a root under a live runtime.

The steps come from `core.sections`, each of which leaves out what is already so: planning after
success gives the empty plan.  Failover has no pre-flight, asks nothing of CRI, gives no grace
and checks no dead disk.  The way back after a failure is the same builder with the recorded
world as its goal.
"""

from __future__ import annotations

from nodestoraged.core.sections import (
    Goal,
    bring_back,
    check,
    down,
    final_copy,
    hooks,
    in_place,
    preflight,
    prove,
    source_of,
    stamp,
    start_order,
    swap,
    tidy,
    units_to_restore,
    up,
)
from nodestoraged.model import datasteps, steps
from nodestoraged.model.config import Fallback, RoleConfig
from nodestoraged.model.hidden import Wash
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import FORCED, INTERNAL_ROOT, NO_ROOT, Operation, RootRef
from nodestoraged.model.plan import Plan, Step


def plan_move(
    observation: Observation,
    role: RoleConfig,
    goal: Goal,
    source: RootRef,
    *,
    ejecting: bool = False,
) -> Plan:
    """The planned way from `source`, which serves now, to `goal`.

    With `ejecting` the move succeeds only if `source` can be pulled out afterwards.  If the
    goal's root is in place already, only what does not run yet is left to do.
    """
    if in_place(observation, goal):
        return plan_restore(observation, role, goal)
    return Plan(
        steps=(
            *preflight(observation, role, goal, source),
            *down(observation, role, pods=True),
            *final_copy(goal, source),
            *swap(observation, goal, ejected=ejecting),
            *up(observation, goal, fenced=True),
            *hooks(role.hooks.after_switch, "after_switch", source, goal.root, fatal=False),
        )
    )


def plan_contain(observation: Observation, lost: RootRef) -> Plan:
    """Nothing runs and the root is bare, without asking or sparing anything; nothing starts.

    For a dead slot, and for a root that was tried in its place and failed too.
    """
    profile, serving = observation.profile, observation.serving()
    running = (
        *observation.running(profile.kubelet_units),
        *observation.running(profile.runtime_units),
    )
    stop: list[Step] = [steps.RaiseFence()]
    if running:
        stop.append(steps.StopUnits(units=tuple(dict.fromkeys(running)), runtime=True))
    dead = serving.dead
    stop += [steps.KillShims(), steps.ClearState(dead=dead)]
    if serving.mount is not None and not serving.foreign:
        name = lost.name if dead else source_of(observation).name
        stop.append(steps.Unmount(name=name, dead=dead, device=None if dead else serving.device))
    # What is aside stays there for now: unmounting a slow stick may take a minute.
    return Plan(steps=tuple(stop))


def plan_tidy(observation: Observation) -> Plan:
    """Nothing is left aside of a copy that did not come to its end."""
    return Plan(steps=tidy(observation))


def plan_wash(
    observation: Observation, role: RoleConfig, goal: Goal, tier: Wash, *, answering: bool
) -> Plan:
    """The goal's root holds no more than the tier leaves, and what ran runs from it again.

    A runtime that does not answer is asked for nothing, so that a broken database can be
    washed away.  A root that does not serve is washed aside, and nothing is stopped for it.
    """
    if not in_place(observation, goal):
        assert goal.device is not None
        if goal.device.directory is not None:
            place = goal.device.directory
            return Plan(
                steps=(*check(observation, goal), datasteps.WashRoot(tier=tier, place=place))
            )
        return Plan(
            steps=(
                *check(observation, goal),
                datasteps.MountAside(device=goal.device, name=goal.root.name),
                datasteps.WashRoot(tier=tier, place=observation.aside),
                datasteps.UnmountAside(name=goal.root.name, fatal=True),
            )
        )
    asked = observation.runtime_runs and answering
    names = tier is Wash.CONTAINERS
    before: list[Step] = []
    if asked:
        before.append(steps.WarmRuntimeClient())
        if not role.stop_foreign:
            before.append(steps.RefuseForeign())
        before.append(steps.SaveImages())
        if tier is not Wash.ALL:
            before.append(datasteps.KeepImages(every=names))
    bring = bring_back(tier) if asked else ()
    return Plan(
        steps=(
            *before,
            *hooks(role.hooks.before_switch, "before_switch", goal.root, goal.root, fatal=True),
            *down(observation, role, pods=asked, always=True),
            datasteps.WashRoot(tier=tier),
            steps.ProbeWrite(),
            *up(observation, goal, fenced=True, bring=bring),
            *hooks(role.hooks.after_switch, "after_switch", goal.root, goal.root, fatal=False),
        )
    )


def plan_settle(observation: Observation, goal: Goal) -> Plan:
    """After the grace: put `goal` in place and start what ran before the loss."""
    before: list[Step] = [] if observation.fence_up else [steps.RaiseFence()]
    before += check(observation, goal)
    # The containment goes on when it cannot clear, and a runtime must not start on what it left:
    # all of that belongs to the slot that is lost.
    before.append(steps.ClearState(dead=True))
    return Plan(steps=(*before, *swap(observation, goal), *up(observation, goal, fenced=True)))


def plan_boot(observation: Observation, goal: Goal) -> Plan:
    """Before READY: the root in place.  No unit is touched, the boot itself starts them."""
    # A command of somebody who came first has settled such a runtime on the bare root.
    forget = (steps.ClearState(dead=False),) if observation.profile.daemonless else ()
    return Plan(
        steps=(
            steps.RefuseShims(),
            *check(observation, goal),
            *forget,
            *swap(observation, goal),
        )
    )


def plan_after_boot(observation: Observation, goal: Goal, washing: Wash | None = None) -> Plan:
    """After READY: the proof follows the runtime's own start."""
    profile = observation.profile
    following: list[Step] = []
    if not profile.daemonless:
        following.append(steps.AwaitRuntime(units=profile.runtime_units))
    following.append(prove(observation, goal))
    following += [*bring_back(washing), steps.LoadImages()]
    following += stamp(goal)
    following += [
        steps.AwaitKubelet(unit=name) for name in observation.installed(profile.kubelet_units)
    ]
    return Plan(steps=tuple(following))


def plan_restore(
    observation: Observation, role: RoleConfig, goal: Goal, washing: Wash | None = None
) -> Plan:
    """The way back from wherever a failure or a crash left us, to the recorded world.

    What a powerwash took is not given back; the images that it was to leave are.
    """
    serving = observation.serving()
    there = in_place(observation, goal)
    if there and set(goal.run) <= set(observation.running(goal.run)):
        lower = (steps.LowerFence(),) if observation.fence_up else ()
        return Plan(steps=(*lower, *tidy(observation)))
    if there and observation.runtime_runs:
        return Plan(steps=(*plan_prove(observation, goal, washing).steps, *tidy(observation)))
    return Plan(
        steps=(
            *down(observation, role, pods=not serving.dead, always=True),
            *swap(observation, goal),
            *up(observation, goal, fenced=True, bring=bring_back(washing)),
            *tidy(observation),
        )
    )


def plan_prove(observation: Observation, goal: Goal, washing: Wash | None = None) -> Plan:
    """The goal's root is in place: what shall run runs from it, proven."""
    bring = bring_back(washing)
    return Plan(steps=up(observation, goal, fenced=observation.fence_up, bring=bring))


def plan_leave(observation: Observation, goal: Goal) -> Plan:
    """The daemon has to go: a root in place, the fence down, starts queued and not awaited."""
    starts = tuple(
        steps.StartUnit(unit=name, wait=False, deadline_seconds=10)
        for name in goal.run
        if name not in observation.running(goal.run)
    )
    return Plan(steps=(*swap(observation, goal), steps.LowerFence(), *starts, *tidy(observation)))


def goal_back(observation: Observation, entry: Operation) -> Goal | None:
    """The world that the journal recorded; None if no root served in it, or its stick is lost.

    What somebody started since the record runs on, too.
    """
    if entry.kind in FORCED or entry.source == NO_ROOT:
        return None
    run = start_order(observation, (*entry.ran_before, *units_to_restore(observation)))
    if entry.source.internal:
        return Goal(root=entry.source, device=None, run=run)
    for device in observation.devices:
        lost = observation.lost(device.incarnation)
        if device.incarnation == entry.source.incarnation and not lost:
            return Goal(root=entry.source, device=device, run=run)
    return None


def goal_left(observation: Observation, role: RoleConfig, entry: Operation) -> Goal | None:
    """The root to leave behind in the middle of `entry`; None if all stays as it is, fence up."""
    serving = observation.serving()
    # With the fence down a root is in place, or nothing was taken away yet.
    settled = observation.runtime_runs or not observation.fence_up
    if serving.dead and settled:
        return None
    if settled or (serving.device is not None and not serving.dead):
        root = source_of(observation)
        return Goal(root=root, device=serving.device, run=entry.ran_before)
    back = goal_back(observation, entry)
    if back is None and Fallback.INTERNAL in role.fallback:
        return Goal(root=INTERNAL_ROOT, device=None, run=entry.ran_before)
    return back
