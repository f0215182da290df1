"""The steps that move the root: each a wished fact with a deadline, that can say itself in words.

Running a step twice is the same as running it once.  Those that move data stand in
`model.datasteps`; `model.plan` has the union of both.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodestoraged.model.device import BlockDevice
from nodestoraged.model.operation import RootRef


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseForeign:
    """No container outside k8s.io runs on the runtime's socket."""

    deadline_seconds: float = 15

    def describe(self) -> str:
        """The step in words."""
        return "no foreign containers run"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseShims:
    """No shim is left of a runtime that does not run."""

    deadline_seconds: float = 15

    def describe(self) -> str:
        """The step in words."""
        return "no pods are left without their runtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFilesystem:
    """The stick's file system is consistent and still the one that was chosen."""

    device: BlockDevice
    name: str
    deadline_seconds: float = 900

    def describe(self) -> str:
        """The step in words."""
        return f"{self.name} is checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmRuntimeClient:
    """The child that speaks gRPC has everything imported, and who answers works from our root."""

    deadline_seconds: float = 30

    def describe(self) -> str:
        """The step in words."""
        return "the runtime client is warm"


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveImages:
    """The sandbox image and the floor images are in the archive."""

    deadline_seconds: float = 300

    def describe(self) -> str:
        """The step in words."""
        return "the sandbox image is kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHook:
    """One program of the operator ended well; one after the switch may fail with a warning."""

    argv: tuple[str, ...]
    when: str
    source: str
    target: str
    fatal: bool
    deadline_seconds: float = 60

    def describe(self) -> str:
        """The step in words."""
        return f"hook {self.when}: {self.argv[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseFence:
    """Nobody can start runtime or kubelet."""

    deadline_seconds: float = 5

    def describe(self) -> str:
        """The step in words."""
        return "the fence is up"


@dataclass(frozen=True, slots=True, kw_only=True)
class LowerFence:
    """Runtime and kubelet may start."""

    deadline_seconds: float = 5

    def describe(self) -> str:
        """The step in words."""
        return "the fence is down"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopUnits:
    """All of these units are stopped; they are asked at the same time."""

    units: tuple[str, ...]
    runtime: bool
    deadline_seconds: float = 60

    def describe(self) -> str:
        """The step in words."""
        return f"{', '.join(self.units)} stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPods:
    """Every pod was given its grace and is gone."""

    grace_seconds: float
    deadline_seconds: float = 60

    def describe(self) -> str:
        """The step in words."""
        return "pods stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyLeftPods:
    """Every pod that outlived its stopped runtime was given its grace and is gone."""

    grace_seconds: float
    deadline_seconds: float = 120

    def describe(self) -> str:
        """The step in words."""
        return "pods that were left are stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class KillShims:
    """No process tree of a pod is left."""

    deadline_seconds: float = 15

    def describe(self) -> str:
        """The step in words."""
        return "no shim is left"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearState:
    """Nothing is mounted below the runtime's state directory or root, and no bundle is left."""

    dead: bool
    deadline_seconds: float = 30

    def describe(self) -> str:
        """The step in words."""
        return "the runtime's state is clear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmount:
    """Nothing is mounted on the root; lazily only from a device that is gone or dead."""

    name: str
    dead: bool
    device: BlockDevice | None
    deadline_seconds: float = 60

    def describe(self) -> str:
        """The step in words."""
        return f"{self.name} is off the root"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """No superblock of the stick is alive any more: it may be pulled out."""

    device: BlockDevice
    name: str
    fatal: bool
    deadline_seconds: float = 20

    def describe(self) -> str:
        """The step in words."""
        return f"{self.name} is released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """The stick is the one mount on the root."""

    device: BlockDevice
    name: str
    deadline_seconds: float = 120

    def describe(self) -> str:
        """The step in words."""
        return f"{self.name} is on the root"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeWrite:
    """A small file reaches the medium below the root."""

    deadline_seconds: float = 20

    def describe(self) -> str:
        """The step in words."""
        return "the root takes writes"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUnit:
    """The unit was asked to start; whether it works is the next step's business."""

    unit: str
    wait: bool
    deadline_seconds: float = 120

    def describe(self) -> str:
        """The step in words."""
        return f"{self.unit} started"


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitRuntime:
    """The runtime unit, which somebody else starts, runs, or nobody is starting it."""

    units: tuple[str, ...]
    deadline_seconds: float = 120

    def describe(self) -> str:
        """The step in words."""
        return "the runtime's own start is awaited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prove:
    """Every link of the proof holds for the stick, or for the internal directory if None."""

    target: RootRef
    device: BlockDevice | None
    deadline_seconds: float = 60

    def describe(self) -> str:
        """The step in words."""
        return f"the image file system is proven on {self.target.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadImages:
    """The sandbox image is in the root in force."""

    deadline_seconds: float = 120

    def describe(self) -> str:
        """The step in words."""
        return "the sandbox image is present"


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitKubelet:
    """kubelet runs as a process younger than the mount, and says ok where it can be asked."""

    unit: str
    deadline_seconds: float = 60

    def describe(self) -> str:
        """The step in words."""
        return f"{self.unit} answers"
