"""What was read to prove that the runtime works from one device, and the links of that proof.

The chain: CRI names the image file system's directory; that directory lies on our device;
the runtime's own database lock and its own mount table say the same; the capacity is more
than zero; a write reaches the medium; the snapshotter loaded; the namespace exists; images
and snapshots can be listed.  CRI's RuntimeReady is hard-coded true and proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nodestoraged.model.device import DeviceNumber


class Link(StrEnum):
    """The links in the order in which they are checked."""

    IMAGE_FS_PATH = "ImageFsPath"
    DATABASE_LOCK = "DatabaseLock"
    RUNTIME_MOUNT = "RuntimeMount"
    MOUNT_NAMESPACE = "MountNamespace"
    CAPACITY = "Capacity"
    WRITE_PROBE = "WriteProbe"
    SNAPSHOTTER = "Snapshotter"
    NAMESPACE = "Namespace"
    LISTING = "Listing"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkResult:
    """One link: holds or not, and in words what was seen."""

    link: Link
    holds: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofReading:
    """One reading of every fact that a link judges; None where it could not be read.

    Device numbers: `path_number` of the ImageFsInfo directory by stat, `lock_numbers` of the
    files that the runtime holds an exclusive flock on, `mount_number` of the mount that covers
    the root in the runtime's own mount table.  `root_mount_ids` are the mount ids of `/` seen
    by us, by PID 1 and by the runtime.  `errors` maps a link to why its reading failed.
    """

    at: float
    runtime_version: str | None = None
    runtime_pid: int | None = None
    mountpoint: str | None = None
    path_number: DeviceNumber | None = None
    lock_numbers: tuple[DeviceNumber, ...] = ()
    database_number: DeviceNumber | None = None
    mount_number: DeviceNumber | None = None
    mount_read_only: bool | None = None
    root_mount_ids: tuple[int | None, int | None, int | None] = (None, None, None)
    capacity_bytes: int | None = None
    available_bytes: int | None = None
    write_seconds: float | None = None
    snapshotter: str | None = None
    snapshotter_error: str | None = None
    namespace_exists: bool | None = None
    images: int | None = None
    snapshots: int | None = None
    pods: int | None = None
    sandbox_image: str | None = None
    sandbox_image_present: bool | None = None
    errors: tuple[tuple[Link, str], ...] = ()

    def error(self, link: Link) -> str | None:
        """Why this link could not be read, or None."""
        return next((text for name, text in self.errors if name is link), None)


class KubeletProof(StrEnum):
    """What could be shown of kubelet; never more is claimed."""

    CAPACITY = "capacity"
    NEWER_THAN_MOUNT = "process-newer-than-mount"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletReading:
    """kubelet as seen now; `started_at` in boot-time seconds."""

    installed: bool
    running: bool
    healthy: bool = False
    capacity_bytes: int | None = None
    started_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The judged chain at one moment; `holds` only if every link does."""

    at: float
    time: str
    links: tuple[LinkResult, ...]
    mountpoint: str | None
    number: DeviceNumber | None
    capacity_bytes: int | None
    available_bytes: int | None
    pods: int | None
    sandbox_image_present: bool | None = None
    runtime_version: str | None = None

    @property
    def holds(self) -> bool:
        """True if the whole chain stands."""
        return bool(self.links) and all(link.holds for link in self.links)

    @property
    def broken(self) -> LinkResult | None:
        """The first link that does not hold."""
        return next((link for link in self.links if not link.holds), None)
