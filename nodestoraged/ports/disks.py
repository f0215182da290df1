"""Everything that reads or writes a disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from nodestoraged.model.copy import CopyProgress, CopyRequest, CopyResult
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.disk import Disk, Formatted
from nodestoraged.model.hidden import HiddenRoot, Removed, Wash
from nodestoraged.model.manifest import Inspection, Manifest, Quality
from nodestoraged.model.runtime import RuntimeProfile


class Disks(Protocol):
    """Everything that touches a disk, done in a child with a deadline."""

    @property
    def stuck(self) -> int:
        """How many children hang now."""
        ...

    async def check(self, device: BlockDevice, *, deadline_seconds: float) -> str:
        """The file system is consistent (fsck, superblock agrees with udev); says what was done."""
        ...

    async def mount(self, device: BlockDevice, target: str, *, deadline_seconds: float) -> None:
        """The device's file system is the one mount on `target`, nosuid,nodev,noatime."""
        ...

    async def bind(
        self, directory: str, target: str, number: DeviceNumber, *, deadline_seconds: float
    ) -> None:
        """`directory`, which lies on device `number`, is the one mount on `target`."""
        ...

    async def unmount(self, target: str, *, dead: bool, deadline_seconds: float) -> None:
        """Nothing is mounted on `target`; lazily only if the device is `dead`."""
        ...

    async def release(self, device: BlockDevice, *, deadline_seconds: float) -> None:
        """No superblock of the device is alive any more."""
        ...

    async def clear_state(
        self, profile: RuntimeProfile, *, dead: bool, deadline_seconds: float
    ) -> None:
        """Nothing is mounted below the runtime's state directory or root, its bundles are gone.

        What a runtime without a daemon remembers of this boot is gone too.
        """
        ...

    async def probe_read(self, device: BlockDevice, *, deadline_seconds: float) -> float:
        """A timed direct read of the device succeeded; seconds."""
        ...

    async def probe_write(self, path: str, *, deadline_seconds: float) -> float:
        """create + write + fsync + unlink in `path` succeeded; seconds."""
        ...

    async def settle_writes(self, path: str, *, deadline_seconds: float) -> None:
        """The file system of `path` has written everything (syncfs)."""
        ...

    async def leftover_shims(self, profile: RuntimeProfile, *, deadline_seconds: float) -> int:
        """How many shims of the runtime's socket in k8s.io, or monitors of containers, run."""
        ...

    async def kill_shims(self, profile: RuntimeProfile, *, deadline_seconds: float) -> int:
        """No shim or monitor of the runtime, nor any process below one, is left; how many were."""
        ...

    async def capacity(self, path: str, *, deadline_seconds: float) -> tuple[int, int]:
        """Capacity and available bytes of the file system of `path`."""
        ...


class Sticks(Protocol):
    """What is written on sticks beside the runtime's data; done in children with a deadline.

    Nothing here is asked of a stick that is not authorised, or named by root for wiping.
    """

    @property
    def node(self) -> str:
        """This node's id as manifests bear it: derived from machine-id, which it does not tell."""
        ...

    def new_id(self) -> str:
        """A name for data that nothing else bears: a random UUID."""
        ...

    async def inspect(self, device: BlockDevice, *, deadline_seconds: float) -> Inspection:
        """What the stick says of itself, read through a detached read-only mount.

        The stick is not written and nobody sees the mount.  A failed reading is an
        `Inspection` with `failure`; StepTimeout when it hangs.
        """
        ...

    async def inspect_mounted(self, path: str, *, deadline_seconds: float) -> Inspection:
        """The same of a stick, or of a directory, that is mounted or lies at `path`."""
        ...

    async def stamp(
        self, path: str, number: DeviceNumber, manifest: Manifest, *, deadline_seconds: float
    ) -> None:
        """The manifest below `path`, which lies on device `number`, is this one; on the medium."""
        ...

    async def renew_uuid(self, device: BlockDevice, *, deadline_seconds: float) -> str:
        """The unmounted file system has a new random UUID, which is returned."""
        ...

    async def format(
        self,
        disk: Disk,
        *,
        label: str,
        fstype: str,
        whole_disk: bool,
        deadline_seconds: float,
    ) -> Formatted:
        """The disk carries one new file system of that label and nothing else.

        With a GPT and one partition of our type, named like the label, unless `whole_disk`.
        The label was read back and is whole.
        """
        ...

    async def measure(
        self, disk: Disk, *, report: Callable[[str], None], deadline_seconds: float
    ) -> Quality:
        """The disk's real capacity and speed; what is on it is overwritten in places.

        Raises `StepError("FakeCapacity")` if it does not hold what it promises.
        """
        ...


class Roots(Protocol):
    """Removals in and below a runtime root; done in children with a deadline.

    On one file system each, following no links.
    """

    async def hidden(self, root: str, *, deadline_seconds: float) -> HiddenRoot:
        """What lies under the mount on `root`, seen past the mount; empty if nothing is mounted."""
        ...

    async def used_bytes(self, path: str, *, deadline_seconds: float) -> int:
        """How much the tree at `path` takes up, on its own file system."""
        ...

    async def reclaim(self, root: str, *, deadline_seconds: float) -> Removed:
        """Nothing lies under the mount on `root` any more; the mount itself is not touched.

        Raises `StepError("NotHidden")` if nothing is mounted on `root`.
        """
        ...

    async def wash(self, root: str, tier: Wash, *, deadline_seconds: float) -> Removed:
        """The stopped runtime's root, which lies at `root`, holds no more than the tier leaves."""
        ...

    async def keep_images_only(self, root: str, *, deadline_seconds: float) -> Removed:
        """Only content blobs whose SHA-256 is their name are left in the root at `root`."""
        ...

    async def database_failure(self, root: str, *, deadline_seconds: float) -> str | None:
        """What is wrong with the metadata database of the root, in words; None if nothing is."""
        ...


class Copier(Protocol):
    """Carries a root over, in a process of its own that the daemon's sandbox does not bind."""

    async def copy(
        self,
        request: CopyRequest,
        *,
        report: Callable[[CopyProgress], None],
        cancelled: Callable[[], bool],
    ) -> CopyResult:
        """`target` is like `source`, as far as the pass goes, and on its medium.

        `report` hears of progress about once a second.  Once `cancelled()` is true the copy is
        stopped and raises `StepError("Aborted")`.  It has no deadline: without any progress for
        a minute it is `StepTimeout("Hung")`.  Whatever happens nothing of the source changes.
        NoSpace, IoError, Gone, DeviceChanged, CopyFailed.
        """
        ...

    async def stop_leftovers(self) -> None:
        """No copy that an earlier daemon began is running any more."""
        ...
