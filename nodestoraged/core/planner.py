"""From a decision to steps, in the one order that never swaps a root under a live runtime.

    pre-flight    refuse foreign containers, check the stick, keep the sandbox image, hooks
    down          fence up, kubelet, pods with grace, runtime, leftover shims, state cleared
    swap          old root off, new root on, write probe
    up            fence down, runtime, proof, sandbox image, kubelet, its health, hooks

Each section leaves out what is already so, so planning after success gives the empty plan.
Failover has no pre-flight, asks nothing of CRI, gives no grace and checks no dead disk.
The way back after a failure is the same builder with the recorded world as its goal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodestoraged.model import plan as steps
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import FORCED, INTERNAL_ROOT, NO_ROOT, Operation, RootRef
from nodestoraged.model.plan import Plan, Step

#: On top of the pods' own grace: removing sandboxes, and CNI.
POD_REMOVAL_SECONDS = 30
#: What is still mounted and nowhere to be seen.
LOST_NAME = "the lost stick"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A root, and the units that shall run from it, in the order in which they are started.

    `device` None with an internal `root` is the node's own directory.
    """

    root: RootRef
    device: BlockDevice | None
    run: tuple[str, ...]


def units_to_restore(observation: Observation) -> tuple[str, ...]:
    """What has to run again after a move: the runtime, what needs it, kubelet, in start order.

    That is what runs or is about to, the units that a stop of these would take along (a
    kubelet with `Requires=` does not come back by itself), and those that are still owed.
    """
    run = [unit for unit in observation.units if unit.runs or unit.job_queued]
    along = [name for unit in run for name in unit.takes_along]
    return _start_order(observation, (*(unit.name for unit in run), *along, *observation.owed))


def _start_order(observation: Observation, names: Iterable[str]) -> tuple[str, ...]:
    """`names` once each: the runtime's units, stopped last, are started first."""
    runtime = observation.profile.runtime_units
    known = dict.fromkeys(names)
    first = [name for name in reversed(runtime) if name in known]
    return tuple(dict.fromkeys((*first, *known)))


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
    if _in_place(observation, goal):
        return plan_restore(observation, role, goal)
    down = _down(observation, role, graceful=True)
    return Plan(
        steps=(
            *_preflight(observation, role, goal, source),
            *down,
            *_swap(observation, goal, ejected=ejecting),
            *_up(observation, goal, fenced=True),
            *_hooks(role.hooks.after_switch, "after_switch", source, goal.root, fatal=False),
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
    return Plan(steps=tuple(stop))


def plan_settle(observation: Observation, goal: Goal) -> Plan:
    """After the grace: put `goal` in place and start what ran before the loss."""
    before: list[Step] = [] if observation.fence_up else [steps.RaiseFence()]
    if goal.device is not None:
        before.append(steps.CheckFilesystem(device=goal.device, name=goal.root.name))
    return Plan(steps=(*before, *_swap(observation, goal), *_up(observation, goal, fenced=True)))


def plan_boot(observation: Observation, goal: Goal) -> Plan:
    """Before READY: the root in place.  No unit is touched, the boot itself starts them."""
    assert goal.device is not None
    return Plan(
        steps=(
            steps.RefuseShims(),
            steps.CheckFilesystem(device=goal.device, name=goal.root.name),
            *_swap(observation, goal),
        )
    )


def plan_after_boot(observation: Observation, goal: Goal) -> Plan:
    """After READY: the proof follows the runtime's own start."""
    profile = observation.profile
    following: list[Step] = [steps.AwaitRuntime(units=profile.runtime_units)]
    following += [steps.Prove(target=goal.root, device=goal.device), steps.LoadImages()]
    following += [
        steps.AwaitKubelet(unit=name) for name in observation.installed(profile.kubelet_units)
    ]
    return Plan(steps=tuple(following))


def plan_restore(observation: Observation, role: RoleConfig, goal: Goal) -> Plan:
    """The way back from wherever a failure or a crash left us, to the recorded world."""
    serving = observation.serving()
    in_place = _in_place(observation, goal)
    if in_place and set(goal.run) <= set(observation.running(goal.run)):
        return Plan(steps=(steps.LowerFence(),) if observation.fence_up else ())
    if in_place and observation.runtime_runs:
        return plan_prove(observation, goal)
    return Plan(
        steps=(
            *_down(observation, role, graceful=not serving.dead, always=True),
            *_swap(observation, goal),
            *_up(observation, goal, fenced=True),
        )
    )


def plan_prove(observation: Observation, goal: Goal) -> Plan:
    """The goal's root is in place: what shall run runs from it, proven."""
    return Plan(steps=_up(observation, goal, fenced=observation.fence_up))


def plan_leave(observation: Observation, goal: Goal) -> Plan:
    """The daemon has to go: a root in place, the fence down, starts queued and not awaited."""
    starts = tuple(
        steps.StartUnit(unit=name, wait=False, deadline_seconds=10)
        for name in goal.run
        if name not in observation.running(goal.run)
    )
    return Plan(steps=(*_swap(observation, goal), steps.LowerFence(), *starts))


def source_of(observation: Observation) -> RootRef:
    """The root that serves now, by the mount table."""
    device = observation.serving().device
    if device is None and observation.intent.stopped:
        return NO_ROOT
    if device is None or device.uuid is None:
        return INTERNAL_ROOT
    stick = observation.registry.matching(device)
    return RootRef(
        identity=stick.identity if stick else device.identity(),
        name=stick.name if stick else device.devnode.removeprefix("/dev/"),
        incarnation=device.incarnation,
    )


def goal_back(observation: Observation, entry: Operation) -> Goal | None:
    """The world that the journal recorded; None if no root served in it, or its stick is lost.

    What somebody started since the record runs on, too.
    """
    if entry.kind in FORCED or entry.source == NO_ROOT:
        return None
    run = _start_order(observation, (*entry.ran_before, *units_to_restore(observation)))
    if entry.source.internal:
        return Goal(root=entry.source, device=None, run=run)
    for device in observation.devices:
        lost = observation.lost(device.incarnation)
        if device.incarnation == entry.source.incarnation and not lost:
            return Goal(root=entry.source, device=device, run=run)
    return None


def _preflight(
    observation: Observation, role: RoleConfig, goal: Goal, source: RootRef
) -> tuple[Step, ...]:
    before: list[Step] = []
    if observation.runtime_runs:
        before.append(steps.WarmRuntimeClient())
        if not role.stop_foreign:
            before.append(steps.RefuseForeign())
    else:
        before.append(steps.RefuseShims())
    if goal.device is not None:
        before.append(steps.CheckFilesystem(device=goal.device, name=goal.root.name))
    if observation.runtime_runs:
        before.append(steps.SaveImages())
    hooks = _hooks(role.hooks.before_switch, "before_switch", source, goal.root, fatal=True)
    return (*before, *hooks)


def _down(
    observation: Observation, role: RoleConfig, *, graceful: bool, always: bool = False
) -> tuple[Step, ...]:
    """Everything stopped, behind the fence; `always` clears leftovers even if nothing runs."""
    profile = observation.profile
    kubelet = observation.running(profile.kubelet_units)
    runtime = observation.running(profile.runtime_units)
    down: list[Step] = [steps.RaiseFence()]
    if not kubelet and not runtime and not always:
        return tuple(down)
    if kubelet and not profile.embedded:
        down.append(steps.StopUnits(units=kubelet, runtime=False))
    if runtime and graceful:
        grace = role.pod_grace_seconds
        down.append(
            steps.StopPods(grace_seconds=grace, deadline_seconds=grace + POD_REMOVAL_SECONDS)
        )
    if runtime:
        down.append(steps.StopUnits(units=runtime, runtime=True))
    down += [steps.KillShims(), steps.ClearState(dead=not graceful)]
    return tuple(down)


def _swap(observation: Observation, goal: Goal, *, ejected: bool = False) -> tuple[Step, ...]:
    if _in_place(observation, goal):
        return ()
    serving = observation.serving()
    swap: list[Step] = []
    if serving.mount is not None and not serving.foreign:
        name = source_of(observation).name if serving.device else LOST_NAME
        swap.append(steps.Unmount(name=name, dead=serving.dead, device=serving.device))
        if serving.device is not None and not serving.dead:
            # Failing to release is only fatal to somebody who wants to pull the stick out.
            swap.append(
                steps.Release(
                    device=serving.device,
                    name=name,
                    fatal=ejected,
                    deadline_seconds=observation.release_seconds,
                )
            )
    if goal.device is not None:
        swap.append(steps.Mount(device=goal.device, name=goal.root.name))
    swap.append(steps.ProbeWrite())
    return tuple(swap)


def _up(observation: Observation, goal: Goal, *, fenced: bool) -> tuple[Step, ...]:
    """Fence down, then each unit of the goal; the proof stands between runtime and kubelet."""
    profile = observation.profile
    up: list[Step] = [steps.LowerFence()] if fenced or observation.fence_up else []
    runtime = [name for name in goal.run if name in profile.runtime_units]
    others = [name for name in goal.run if name not in profile.runtime_units]
    up += [steps.StartUnit(unit=name, wait=not profile.embedded) for name in runtime]
    if runtime:
        up += [steps.Prove(target=goal.root, device=goal.device), steps.LoadImages()]
    for name in others:
        up.append(steps.StartUnit(unit=name, wait=False))
        if name in profile.kubelet_units:
            up.append(steps.AwaitKubelet(unit=name))
    return tuple(up)


def _hooks(
    programs: Iterable[tuple[str, ...]], when: str, source: RootRef, target: RootRef, *, fatal: bool
) -> tuple[Step, ...]:
    return tuple(
        steps.RunHook(argv=argv, when=when, source=source.name, target=target.name, fatal=fatal)
        for argv in programs
    )


def _in_place(observation: Observation, goal: Goal) -> bool:
    serving = observation.serving()
    if serving.dead:
        return False
    if goal.device is None:
        return serving.mount is None or serving.foreign
    return serving.device == goal.device
