"""The gRPC child's JSON answers, turned into values.

Owns the shapes of the answers and refuses those that do not fit: the child is our own, so a
misfit is a bug (InternalError).  Does no I/O.
"""

from __future__ import annotations

import json

from nodestoraged.adapters.runtimes.fields import Fields, items, objects, texts
from nodestoraged.model.errors import StepError
from nodestoraged.model.imagefs import (
    AwaitedImageFs,
    ContainerInfo,
    ContainerState,
    ForeignTask,
    ImageFsUsage,
    LeftPod,
    PluginInfo,
    PodSandbox,
    RuntimeCondition,
    RuntimePlugins,
    RuntimeStatus,
    RuntimeVersion,
    SocketOwner,
    StopPodsResult,
    StoredImage,
)


class RuntimeCallError(StepError):
    """The runtime, or the way to it, refused a call.

    `code` is gRPC's name of the status (or CHILD_DIED), `reason` ours; `retriable` says that a
    runtime which is still starting answers so.
    """

    def __init__(self, code: str, reason: str, message: str, retriable: bool) -> None:
        super().__init__(reason, message)
        self.code = code
        self.retriable = retriable


def libraries(line: bytes) -> tuple[str, str]:
    """The greeting: the versions of grpc and protobuf."""
    ready = Fields(Fields(json.loads(line)).value("ready"))
    return ready.text("grpc"), ready.text("protobuf")


def numbered(line: bytes) -> tuple[int, Fields]:
    """One answer and the number of its request."""
    reply = Fields(json.loads(line))
    return reply.number("id"), reply


def result(reply: Fields) -> object:
    """The value of the answer; RuntimeCallError when it is a refusal."""
    if not reply.has("error"):
        return reply.value("result")
    error = Fields(reply.value("error"))
    raise RuntimeCallError(
        error.text("code"), error.text("reason"), error.text("message"), error.flag("retriable")
    )


def version(value: object) -> RuntimeVersion:
    """The answer to `version`."""
    fields = Fields(value)
    return RuntimeVersion(
        runtime_name=fields.text("runtime_name"),
        runtime_version=fields.text("runtime_version"),
        cri_package=fields.text("cri_package"),
        containerd_version=fields.optional_text("containerd_version"),
    )


def status(value: object) -> RuntimeStatus:
    """The answer to `status`."""
    fields = Fields(value)
    return RuntimeStatus(
        conditions=tuple(
            RuntimeCondition(
                type=each.text("type"),
                holds=each.flag("holds"),
                reason=each.text("reason"),
                message=each.text("message"),
            )
            for each in fields.objects("conditions")
        ),
        root=fields.optional_text("root"),
        state=fields.optional_text("state"),
        snapshotter=fields.optional_text("snapshotter"),
        sandbox_image=fields.optional_text("sandbox_image"),
    )


def image_fs(value: object) -> ImageFsUsage:
    """The answer to `image_fs`."""
    fields = Fields(value)
    return ImageFsUsage(
        mountpoint=fields.text("mountpoint"),
        used_bytes=fields.number("used_bytes"),
        inodes_used=fields.number("inodes_used"),
        taken_at_ns=fields.number("taken_at_ns"),
    )


def awaited(value: object) -> AwaitedImageFs:
    """The answer to `await_image_fs`."""
    fields = Fields(value)
    return AwaitedImageFs(
        usage=image_fs(fields.value("usage")),
        attempts=fields.number("attempts"),
    )


def pods(value: object) -> tuple[PodSandbox, ...]:
    """The answer to `pods`."""
    return tuple(
        PodSandbox(
            id=each.text("id"),
            name=each.text("name"),
            namespace=each.text("namespace"),
            uid=each.text("uid"),
            ready=each.flag("ready"),
            containers=tuple(_container(one) for one in each.objects("containers")),
        )
        for each in objects(value)
    )


def _container(fields: Fields) -> ContainerInfo:
    return ContainerInfo(
        id=fields.text("id"),
        name=fields.text("name"),
        image=fields.text("image"),
        state=ContainerState(fields.text("state")),
    )


def stopped(value: object) -> StopPodsResult:
    """The answer to `stop_pods`."""
    fields = Fields(value)
    return StopPodsResult(
        containers_stopped=fields.number("containers_stopped"),
        sandboxes_removed=fields.number("sandboxes_removed"),
        left=tuple(
            LeftPod(
                id=each.text("id"),
                name=each.text("name"),
                namespace=each.text("namespace"),
                cause=each.text("cause"),
            )
            for each in fields.objects("left")
        ),
        took_seconds=fields.seconds("took_seconds"),
    )


def _image(fields: Fields) -> StoredImage:
    return StoredImage(
        name=fields.text("name"),
        digest=fields.text("digest"),
        size_bytes=fields.number("size_bytes"),
    )


def images(value: object) -> tuple[StoredImage, ...]:
    """The answer to `images`."""
    return tuple(_image(each) for each in objects(value))


def image(value: object) -> StoredImage | None:
    """The answer to `find_image`."""
    return None if value is None else _image(Fields(value))


def _plugin(value: object) -> PluginInfo | None:
    if value is None:
        return None
    fields = Fields(value)
    pairs = (texts(each) for each in items(fields.value("exports")))
    return PluginInfo(
        type=fields.text("type"),
        id=fields.text("id"),
        exports=tuple((key, exported) for key, exported in pairs),
        init_error=fields.optional_text("init_error"),
    )


def plugins(value: object) -> RuntimePlugins:
    """The answer to `plugins`."""
    fields = Fields(value)
    return RuntimePlugins(
        snapshotter=_plugin(fields.value("snapshotter")),
        metadata=_plugin(fields.value("metadata")),
        content=_plugin(fields.value("content")),
        cri=_plugin(fields.value("cri")),
    )


def foreign(value: object) -> tuple[ForeignTask, ...]:
    """The answer to `foreign`."""
    return tuple(
        ForeignTask(
            namespace=each.text("namespace"),
            container_id=each.text("container_id"),
            pid=each.number("pid"),
            status=each.text("status"),
        )
        for each in objects(value)
    )


def owner(value: object) -> SocketOwner:
    """The answer to `socket_pid`."""
    fields = Fields(value)
    return SocketOwner(pid=fields.number("pid"), uid=fields.number("uid"))


def count(value: object) -> int:
    """The answer to `snapshots`."""
    return Fields(value).number("count")


def listed(value: object) -> tuple[int, int]:
    """The answer to `listed`: images, containers."""
    fields = Fields(value)
    return fields.number("images"), fields.number("containers")


def flag(value: object, key: str) -> bool:
    """One yes or no out of an answer."""
    return Fields(value).flag(key)
