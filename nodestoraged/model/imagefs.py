"""What the runtime and kubelet say about themselves, as values.

Readings only: nothing here decides whether a reading is good.  Sizes are bytes, spans are
seconds, names are containerd's and Kubernetes' own.  Knows nothing of gRPC, JSON or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: The containerd namespace in which the CRI plugin keeps everything that belongs to kubelet.
KUBERNETES_NAMESPACE = "k8s.io"

#: containerd's snapshotters keep their files in `<root>/io.containerd.snapshotter.v1.<name>`.
_SNAPSHOTTER_MARK = "/io.containerd.snapshotter.v1."


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeVersion:
    """Who answers on the socket.

    `containerd_version` is None where containerd's own services are absent (cri-o);
    `cri_package` is the CRI generation that answered: "v1" or "v1alpha2".
    """

    runtime_name: str
    runtime_version: str
    cri_package: str
    containerd_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCondition:
    """One CRI condition; look it up by `type`, more of them appear with newer runtimes."""

    type: str
    holds: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeStatus:
    """CRI Status with its verbose part.

    RuntimeReady is hard-coded true in containerd and proves nothing.  The paths, the
    snapshotter and the sandbox image come from the effective configuration; they are None
    where the runtime does not report them there (containerd 2.x: sandbox image and
    snapshotter, see `pinned_images` and `ImageFsUsage.snapshotter`; cri-o: nearly all).
    """

    conditions: tuple[RuntimeCondition, ...]
    root: str | None
    state: str | None
    snapshotter: str | None
    sandbox_image: str | None

    def condition(self, condition_type: str) -> RuntimeCondition | None:
        """The condition of that type, or None when the runtime does not report it."""
        return next((each for each in self.conditions if each.type == condition_type), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFsUsage:
    """The first entry of CRI ImageFsInfo, the one kubelet uses.

    `mountpoint` is a directory, normally not a mount point; `used_bytes` is a cached sum and
    0 is right on a fresh root.  The runtime never reports a capacity.
    """

    mountpoint: str
    used_bytes: int
    inodes_used: int
    taken_at_ns: int

    @property
    def snapshotter(self) -> str | None:
        """The snapshotter, out of the directory's name; None where it is not containerd's."""
        _, mark, name = self.mountpoint.rpartition(_SNAPSHOTTER_MARK)
        return name if mark and name and "/" not in name else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedImageFs:
    """The first ImageFsInfo that a starting runtime gave, and what it took to get it."""

    usage: ImageFsUsage
    attempts: int


class ContainerState(StrEnum):
    """CRI's container states."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInfo:
    """One CRI container."""

    id: str
    name: str
    image: str
    state: ContainerState


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSandbox:
    """One pod sandbox with its containers; `ready` is false once it was stopped."""

    id: str
    name: str
    namespace: str
    uid: str
    ready: bool
    containers: tuple[ContainerInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftPod:
    """A sandbox that could not be stopped and removed in time, and the last word about it."""

    id: str
    name: str
    namespace: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPodsResult:
    """What stopping all pods achieved; `left` is empty when it succeeded."""

    containers_stopped: int
    sandboxes_removed: int
    left: tuple[LeftPod, ...]
    took_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """An image as containerd's image store names it; `digest` is that of its manifest."""

    name: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """One containerd plugin; `init_error` is None when it loaded, else its own words."""

    type: str
    id: str
    exports: tuple[tuple[str, str], ...]
    init_error: str | None

    def export(self, name: str) -> str | None:
        """The exported value of that name, or None."""
        return next((value for key, value in self.exports if key == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePlugins:
    """The plugins that the proof reads; None means containerd does not list it.

    `snapshotter.export("root")` is the snapshotter's directory, `metadata.export("path")`
    the path of meta.db.  `cri` is the part of CRI that failed, where one did.
    """

    snapshotter: PluginInfo | None
    metadata: PluginInfo | None
    content: PluginInfo | None
    cri: PluginInfo | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignTask:
    """A task that is not stopped, in a namespace that does not belong to kubelet."""

    namespace: str
    container_id: str
    pid: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketOwner:
    """The process that listens on the runtime's socket, from the socket's credentials."""

    pid: int
    uid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptImage:
    """An image that is kept as an archive on the root disk; `file` is a name, not a path."""

    name: str
    digest: str
    file: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletHealth:
    """kubelet's healthz: it proves the process, not that the node is ready."""

    healthy: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletImageFs:
    """kubelet's own capacity of the image file system.

    `capacity_bytes` is None when kubelet did not say (port closed, no sample yet), and
    `detail` then says why.
    """

    capacity_bytes: int | None
    detail: str
