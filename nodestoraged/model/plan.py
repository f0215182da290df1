"""A plan: frozen steps in their order.

The way back is not made of inverses of single steps: it is planned anew towards the world that
the journal recorded before the first effect (docs/decisions/0003).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from nodestoraged.model import datasteps, steps

Step: TypeAlias = (
    steps.RefuseForeign
    | steps.RefuseShims
    | steps.CheckFilesystem
    | steps.WarmRuntimeClient
    | steps.SaveImages
    | steps.RunHook
    | steps.RaiseFence
    | steps.LowerFence
    | steps.StopUnits
    | steps.StopPods
    | steps.EmptyLeftPods
    | steps.KillShims
    | steps.ClearState
    | steps.Unmount
    | steps.Release
    | steps.Mount
    | steps.ProbeWrite
    | datasteps.MountAside
    | datasteps.Copy
    | datasteps.UnmountAside
    | datasteps.Stamp
    | datasteps.KeepImages
    | datasteps.BringImages
    | datasteps.WashRoot
    | steps.StartUnit
    | steps.AwaitRuntime
    | steps.Prove
    | steps.LoadImages
    | steps.AwaitKubelet
)

#: The steps that change nothing that anybody else can see; a failure before any other step
#: ends with nothing stopped.
HARMLESS = (
    steps.RefuseForeign,
    steps.RefuseShims,
    steps.CheckFilesystem,
    steps.WarmRuntimeClient,
    steps.SaveImages,
    datasteps.KeepImages,
    steps.RunHook,
    datasteps.MountAside,
    datasteps.Copy,
    datasteps.UnmountAside,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in their order; empty when the world is already right."""

    steps: tuple[Step, ...] = ()

    def describe(self) -> tuple[str, ...]:
        """Every step in words."""
        return tuple(step.describe() for step in self.steps)
