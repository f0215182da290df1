"""The sections of a plan: each leaves out what is already so.

preflight    refuse foreign containers, check the stick, keep images, warm copy, hooks
down         fence up, kubelet, pods with grace, runtime, leftover shims, state cleared
final_copy   what changed since the warm copy, the databases
swap         old root off, new root on, write probe
up           fence down, runtime, proof, images, mark, kubelet, its health
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodestoraged.model import datasteps, steps
from nodestoraged.model.config import DataPolicy, RoleConfig
from nodestoraged.model.copy import CopyPass
from nodestoraged.model.decision import Move
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.hidden import Wash
from nodestoraged.model.observation import RELEASE_SECONDS, Observation
from nodestoraged.model.operation import INTERNAL_ROOT, NO_ROOT, RootRef
from nodestoraged.model.plan import Step

#: On top of the pods' own grace: removing sandboxes, and CNI.
POD_REMOVAL_SECONDS = 30
#: containerd alone, on a root with live pods: measured 0.06 s with 12 of them, on a good disk.
ALONE_SECONDS = 30
#: k3s brings up its data store before its runtime, which takes a minute on a slow disk.
EMBEDDED_START_SECONDS = 180
#: What is still mounted and nowhere to be seen.
LOST_NAME = "the lost stick"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A root, and the units that shall run from it, in the order in which they are started.

    `device` None with an internal `root` is the node's own directory.  `data` is what shall
    be carried over to it, `bytes_per_second` how fast at most.
    """

    root: RootRef
    device: BlockDevice | None
    run: tuple[str, ...]
    data: DataPolicy = DataPolicy.KEEP
    bytes_per_second: int | None = None

    @property
    def copied(self) -> bool:
        """True if the root that serves is carried over."""
        return self.data is DataPolicy.COPY and self.device is not None


def units_to_restore(observation: Observation) -> tuple[str, ...]:
    """What has to run again after a move: the runtime, what needs it, kubelet, in start order.

    That is what runs or is about to, the units that a stop of these would take along (a
    kubelet with `Requires=` does not come back by itself), and those that are still owed.
    """
    run = [unit for unit in observation.units if unit.runs or unit.job_queued]
    along = [name for unit in run for name in unit.takes_along]
    return start_order(observation, (*(unit.name for unit in run), *along, *observation.owed))


def start_order(observation: Observation, names: Iterable[str]) -> tuple[str, ...]:
    """`names` once each: the runtime's units, stopped last, are started first."""
    runtime = observation.profile.runtime_units
    known = dict.fromkeys(names)
    first = [name for name in reversed(runtime) if name in known]
    return tuple(dict.fromkeys((*first, *known)))


def goal_of(observation: Observation, decision: Move) -> Goal:
    """Where a decision leads, and what shall run there."""
    return Goal(
        root=decision.target.ref() if decision.target else INTERNAL_ROOT,
        device=decision.target.device if decision.target else None,
        run=units_to_restore(observation),
        data=decision.data,
        bytes_per_second=decision.bytes_per_second,
    )


def source_of(observation: Observation) -> RootRef:
    """The root that serves now, by the mount table."""
    device = observation.serving().device
    if device is None and observation.intent.stopped:
        return NO_ROOT
    if device is None or device.uuid is None:
        return INTERNAL_ROOT
    return RootRef(
        identity=observation.registry.identity_of(device),
        name=observation.registry.name_of(device),
        incarnation=device.incarnation,
    )


def preflight(
    observation: Observation, role: RoleConfig, goal: Goal, source: RootRef
) -> tuple[Step, ...]:
    """Everything that is found out and made ready while pods still run."""
    before: list[Step] = []
    if observation.runtime_runs:
        before.append(steps.WarmRuntimeClient())
        if not role.stop_foreign:
            before.append(steps.RefuseForeign())
    elif not observation.profile.embedded:
        before.append(steps.RefuseShims())
    before += check(observation, goal)
    if observation.runtime_runs:
        before.append(steps.SaveImages())
        if goal.data is DataPolicy.PINNED:
            before.append(datasteps.KeepImages(every=False))
    # The hooks drain: what takes minutes comes before them.
    drain = hooks(role.hooks.before_switch, "before_switch", source, goal.root, fatal=True)
    return (*before, *_warm_copy(observation, goal, source), *drain)


def _warm_copy(observation: Observation, goal: Goal, source: RootRef) -> tuple[Step, ...]:
    """The first pass, while pods run; without them the final pass is the only one."""
    if not goal.copied or goal.device is None:
        return ()
    copying: list[Step] = []
    if goal.device.directory is None:
        copying.append(datasteps.MountAside(device=goal.device, name=goal.root.name))
    if observation.runtime_runs:
        copying.append(_copy(goal, source, CopyPass.WARM))
    return tuple(copying)


def final_copy(goal: Goal, source: RootRef) -> tuple[Step, ...]:
    """The pass that is made while everything is stopped."""
    if not goal.copied or goal.device is None:
        return ()
    final: list[Step] = [_copy(goal, source, CopyPass.FINAL)]
    if goal.device.directory is None:
        final.append(datasteps.UnmountAside(name=goal.root.name, fatal=True))
    return tuple(final)


def _copy(goal: Goal, source: RootRef, stage: CopyPass) -> datasteps.Copy:
    assert goal.device is not None
    # What is copied while everything is stopped is never slowed down.
    rate = goal.bytes_per_second if stage is CopyPass.WARM else None
    return datasteps.Copy(
        device=goal.device,
        name=goal.root.name,
        stage=stage,
        source=source.name,
        bytes_per_second=rate,
    )


def tidy(observation: Observation) -> tuple[Step, ...]:
    """What a copy that did not end left aside is taken away."""
    mount = observation.aside_mount
    if mount is None:
        return ()
    device = observation.device_of(mount)
    known = observation.registry.name_of(device) if device else None
    name = known or mount.source.removeprefix("/dev/")
    return (datasteps.UnmountAside(name=name, fatal=False),)


def stamp(goal: Goal) -> tuple[Step, ...]:
    """The goal's stick is marked as serving here."""
    if goal.device is None:
        return ()
    return (datasteps.Stamp(device=goal.device, name=goal.root.name),)


def down(
    observation: Observation, role: RoleConfig, *, pods: bool, always: bool = False
) -> tuple[Step, ...]:
    """Everything stopped, behind the fence.

    `pods`: they are asked to stop with grace.  `always` clears leftovers even if nothing runs.
    """
    profile = observation.profile
    kubelet = observation.running(profile.kubelet_units)
    runtime = observation.running(profile.runtime_units)
    down: list[Step] = [steps.RaiseFence()]
    if not kubelet and not observation.runtime_runs and not always:
        if profile.embedded and pods:
            # Its unit leaves pods running when it is stopped, and they hold the old root.
            down += [_empty(role), steps.KillShims(), steps.ClearState(dead=False)]
        return tuple(down)
    if kubelet:
        down.append(steps.StopUnits(units=kubelet, runtime=False))
    # An embedded kubelet makes anew what is stopped here, for as long as its unit runs: what
    # came in between has had its grace already and is killed with the leftover shims.
    stop = (steps.StopUnits(units=runtime, runtime=True),) if runtime else ()
    if profile.daemonless:
        down += stop  # what only listens: a client could start a container through it
    if observation.runtime_runs and pods:
        grace = role.pod_grace_seconds
        down.append(
            steps.StopPods(grace_seconds=grace, deadline_seconds=grace + POD_REMOVAL_SECONDS)
        )
    if not profile.daemonless:
        down += stop
    down += [steps.KillShims(), steps.ClearState(dead=observation.serving().dead)]
    return tuple(down)


def _empty(role: RoleConfig) -> steps.EmptyLeftPods:
    grace = role.pod_grace_seconds
    limit = grace + POD_REMOVAL_SECONDS + ALONE_SECONDS
    return steps.EmptyLeftPods(grace_seconds=grace, deadline_seconds=limit)


def check(observation: Observation, goal: Goal) -> tuple[Step, ...]:
    """The goal's stick is consistent, and mounted nowhere: neither by us nor by an old copy."""
    if goal.device is None:
        return ()
    aside = observation.aside_mount
    left = aside is not None and aside.number == goal.device.number
    name = goal.root.name
    first = (datasteps.UnmountAside(name=name, fatal=True),) if left else ()
    return (*first, steps.CheckFilesystem(device=goal.device, name=name))


def swap(observation: Observation, goal: Goal, *, ejected: bool = False) -> tuple[Step, ...]:
    """The old root is off and the goal's is on, and takes writes; empty if it is so already."""
    if in_place(observation, goal):
        return ()
    serving = observation.serving()
    swap: list[Step] = []
    if serving.mount is not None and not serving.foreign:
        name = source_of(observation).name if serving.device else LOST_NAME
        swap.append(steps.Unmount(name=name, dead=serving.dead, device=serving.device))
        if serving.device is not None and not serving.dead:
            # Failing to release is only fatal to somebody who wants to pull the stick out, and who
            # may say how long it takes.
            given = observation.release_seconds if ejected else RELEASE_SECONDS
            swap.append(
                steps.Release(
                    device=serving.device,
                    name=name,
                    fatal=ejected,
                    deadline_seconds=given,
                )
            )
    if goal.device is not None:
        swap.append(steps.Mount(device=goal.device, name=goal.root.name))
    swap.append(steps.ProbeWrite())
    return tuple(swap)


def bring_back(tier: Wash | None) -> tuple[Step, ...]:
    """The images that a wash of this tier leaves are known to the runtime again."""
    if tier in {None, Wash.ALL}:
        return ()
    return (datasteps.BringImages(every=tier is Wash.CONTAINERS),)


def up(
    observation: Observation, goal: Goal, *, fenced: bool, bring: tuple[Step, ...] = ()
) -> tuple[Step, ...]:
    """Fence down, then each unit of the goal; the proof stands between runtime and kubelet.

    `bring` are steps that bring images into the proven root.
    """
    profile = observation.profile
    starts: list[Step] = [steps.LowerFence()] if fenced or observation.fence_up else []
    runtime = [name for name in goal.run if name in profile.runtime_units]
    others = [name for name in goal.run if name not in profile.runtime_units]
    starts += [steps.StartUnit(unit=name, wait=not profile.embedded) for name in runtime]
    if runtime or (profile.daemonless and observation.runtime_installed):
        pinned = (datasteps.BringImages(every=False),) if goal.data is DataPolicy.PINNED else ()
        starts.append(prove(observation, goal))
        # Before any other import: the runtime's collector would take what nobody knows yet.
        starts += [*bring, steps.LoadImages(), *pinned]
    starts += stamp(goal)
    for name in others:
        starts.append(steps.StartUnit(unit=name, wait=False))
        if name in profile.kubelet_units:
            starts.append(steps.AwaitKubelet(unit=name))
    return tuple(starts)


def prove(observation: Observation, goal: Goal) -> steps.Prove:
    """The proof of the goal's root; a unit that embeds a runtime takes longer to start it."""
    if observation.profile.embedded:
        return steps.Prove(
            target=goal.root, device=goal.device, deadline_seconds=EMBEDDED_START_SECONDS
        )
    return steps.Prove(target=goal.root, device=goal.device)


def hooks(
    programs: Iterable[tuple[str, ...]], when: str, source: RootRef, target: RootRef, *, fatal: bool
) -> tuple[Step, ...]:
    """One step for each program of the operator."""
    return tuple(
        steps.RunHook(argv=argv, when=when, source=source.name, target=target.name, fatal=fatal)
        for argv in programs
    )


def in_place(observation: Observation, goal: Goal) -> bool:
    """True if the goal's root serves already."""
    serving = observation.serving()
    if serving.dead:
        return False
    if goal.device is None:
        return serving.mount is None or serving.foreign
    return serving.device == goal.device
