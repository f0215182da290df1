"""The daemon's side of a conversation with the runtime: one typed method per question.

Owns the life of one gRPC child, from before the runtime is stopped until after it is proven.
May not import grpc or protobuf; the process itself is `child`'s affair.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

from nodestoraged.adapters.runtimes import replies
from nodestoraged.adapters.runtimes.child import START_SECONDS, Arguments, GrpcChild
from nodestoraged.adapters.runtimes.fields import texts
from nodestoraged.model.imagefs import (
    KUBERNETES_NAMESPACE,
    AwaitedImageFs,
    ForeignTask,
    ImageFsUsage,
    PodSandbox,
    RuntimePlugins,
    RuntimeStatus,
    RuntimeVersion,
    SocketOwner,
    StopPodsResult,
    StoredImage,
)

#: One quick question; whoever asks during a switch passes a deadline of his own.
CALL_SECONDS = 10.0


class RuntimeSession:
    """One gRPC child for one socket.

    Calls may run side by side.  Each raises RuntimeCallError with the runtime's refusal, and
    StepTimeout when the child itself hangs; the session is of no more use then.  Cancelling a
    call ends its polling in the child too.
    """

    def __init__(self, child: GrpcChild, socket_path: str) -> None:
        """Use `open`."""
        self.socket_path = socket_path
        self._child = child

    @classmethod
    async def open(cls, socket_path: str, *, start_seconds: float = START_SECONDS) -> Self:
        """The child runs and has grpc imported; the socket need not exist yet.

        StepTimeout or RuntimeCallError (CHILD_DIED) when the child does not come up.
        """
        return cls(await GrpcChild.start(socket_path, start_seconds=start_seconds), socket_path)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """True while the child can be asked."""
        return self._child.alive

    @property
    def libraries(self) -> tuple[str, str]:
        """The versions of grpc and protobuf that the child has imported."""
        return self._child.libraries

    async def close(self) -> bool:
        """End the child; True if it is gone, False if even SIGKILL did not end it (D state)."""
        return await self._child.close()

    async def call(
        self, method: str, args: Arguments, deadline_seconds: float = CALL_SECONDS
    ) -> object:
        """Ask anything that the child knows; the JSON value of its answer."""
        return await self._child.call(method, args, deadline_seconds)

    async def version(self, deadline_seconds: float = CALL_SECONDS) -> RuntimeVersion:
        """Who answers: CRI's Version and containerd's."""
        return replies.version(await self.call("version", {}, deadline_seconds))

    async def status(self, deadline_seconds: float = CALL_SECONDS) -> RuntimeStatus:
        """CRI Status with the effective configuration."""
        return replies.status(await self.call("status", {}, deadline_seconds))

    async def image_fs(self, deadline_seconds: float = CALL_SECONDS) -> ImageFsUsage:
        """One reading of ImageFsInfo; retriable NoImageFs when the list is empty."""
        return replies.image_fs(await self.call("image_fs", {}, deadline_seconds))

    async def await_image_fs(self, deadline_seconds: float) -> AwaitedImageFs:
        """Poll a starting runtime until ImageFsInfo answers.

        Polled in the child every 20-50 ms.  Fails at once on what waiting cannot mend, at the
        deadline with the last cause.  Cancel it when the service manager says that the
        runtime has exited.
        """
        return replies.awaited(await self.call("await_image_fs", {}, deadline_seconds))

    async def pods(self, deadline_seconds: float = CALL_SECONDS) -> tuple[PodSandbox, ...]:
        """All sandboxes with their containers."""
        return replies.pods(await self.call("pods", {}, deadline_seconds))

    async def stop_pods(self, *, grace_seconds: float, deadline_seconds: float) -> StopPodsResult:
        """Stop and remove every pod; the grace is cut where the deadline does not allow it.

        kubelet must be stopped before, or it creates them anew.
        """
        args: Arguments = {"grace_seconds": math.ceil(grace_seconds)}  # CRI knows whole seconds
        return replies.stopped(await self.call("stop_pods", args, deadline_seconds))

    async def namespaces(self, deadline_seconds: float = CALL_SECONDS) -> tuple[str, ...]:
        """Containerd's namespaces."""
        return texts(await self.call("namespaces", {}, deadline_seconds))

    async def ensure_namespace(
        self, name: str = KUBERNETES_NAMESPACE, deadline_seconds: float = CALL_SECONDS
    ) -> bool:
        """The namespace exists; True if this call made it.  A write into meta.db."""
        reply = await self.call("ensure_namespace", {"name": name}, deadline_seconds)
        return replies.flag(reply, "created")

    async def images(
        self, namespace: str = KUBERNETES_NAMESPACE, deadline_seconds: float = CALL_SECONDS
    ) -> tuple[StoredImage, ...]:
        """All names in the image store; one image may have several."""
        return replies.images(await self.call("images", {"namespace": namespace}, deadline_seconds))

    async def snapshots(
        self,
        snapshotter: str,
        namespace: str = KUBERNETES_NAMESPACE,
        deadline_seconds: float = CALL_SECONDS,
    ) -> int:
        """How many snapshots; INVALID_ARGUMENT when the snapshotter is not loaded."""
        args: Arguments = {"snapshotter": snapshotter, "namespace": namespace}
        return replies.count(await self.call("snapshots", args, deadline_seconds))

    async def plugins(
        self, snapshotter: str, deadline_seconds: float = CALL_SECONDS
    ) -> RuntimePlugins:
        """Paths and load errors of the plugins that the proof reads."""
        args: Arguments = {"snapshotter": snapshotter}
        return replies.plugins(await self.call("plugins", args, deadline_seconds))

    async def foreign(self, deadline_seconds: float = CALL_SECONDS) -> tuple[ForeignTask, ...]:
        """Tasks on this socket that do not belong to kubelet (docker, nerdctl)."""
        return replies.foreign(await self.call("foreign", {}, deadline_seconds))

    async def socket_owner(self, deadline_seconds: float = CALL_SECONDS) -> SocketOwner:
        """Who listens; reason SocketMissing or SocketStale when nobody does."""
        return replies.owner(await self.call("socket_pid", {}, deadline_seconds))

    async def has_image(self, name: str, deadline_seconds: float = CALL_SECONDS) -> bool:
        """True if CRI knows the image under this name."""
        reply = await self.call("has_image", {"name": name}, deadline_seconds)
        return replies.flag(reply, "present")

    async def listed(self, deadline_seconds: float = CALL_SECONDS) -> tuple[int, int]:
        """How many images and containers CRI lists; for a runtime that speaks CRI alone."""
        return replies.listed(await self.call("listed", {}, deadline_seconds))

    async def pinned_images(self, deadline_seconds: float = CALL_SECONDS) -> tuple[str, ...]:
        """Names that the runtime has pinned: on containerd 2.x, its sandbox image."""
        return texts(await self.call("pinned_images", {}, deadline_seconds))

    async def find_image(
        self, name: str, deadline_seconds: float = CALL_SECONDS
    ) -> StoredImage | None:
        """The image under the full name of containerd's store, which `ctr` wants; or None."""
        return replies.image(await self.call("find_image", {"name": name}, deadline_seconds))
