"""containerd's own services, as far as we ask them.

Owns their method paths and the turning of their messages into JSON values.  cri-o has none of
these: every call then fails with NotSupported.
"""

from __future__ import annotations

from typing import TypedDict

from nodestoraged.worker.grpc import descriptors
from nodestoraged.worker.grpc.deadline import Deadline
from nodestoraged.worker.grpc.descriptors import Message
from nodestoraged.worker.grpc.failure import CallFailure
from nodestoraged.worker.grpc.wire import CALL_SECONDS, Wire

Json = dict[str, object]


class Image(TypedDict):
    """One name in the image store."""

    name: str
    digest: str
    size_bytes: int


class Plugin(TypedDict):
    """One plugin; `exports` are pairs, `init_error` is null when it loaded."""

    type: str
    id: str
    exports: list[list[str]]
    init_error: str | None


_SERVICES = "/containerd.services"
_KUBERNETES_NAMESPACE = "k8s.io"
_TASK_STATES = ("unknown", "created", "running", "stopped", "paused", "pausing")

#: What the proof reads; CRI is one plugin up to 1.7 and several from 2.0.
_METADATA = ("io.containerd.metadata.v1", "bolt")
_CONTENT = ("io.containerd.content.v1", "content")
_SNAPSHOTTER_TYPE = "io.containerd.snapshotter.v1"
_CRI_PLUGINS = (
    ("io.containerd.grpc.v1", "cri"),
    ("io.containerd.cri.v1", "images"),
    ("io.containerd.cri.v1", "runtime"),
)


class Containerd:
    """containerd's native services on one wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def version(self, deadline: Deadline, at_most_seconds: float = CALL_SECONDS) -> str:
        """Version/Version: containerd's release."""
        answer = self._wire.call(
            f"{_SERVICES}.version.v1.Version/Version",
            descriptors.containerd("Empty")(),
            descriptors.containerd("VersionResponse"),
            deadline,
            at_most_seconds=at_most_seconds,
        )
        return str(answer.version)

    def namespaces(self, deadline: Deadline) -> list[str]:
        """Namespaces/List; Get would say OK for a namespace that does not exist."""
        answer = self._wire.call(
            f"{_SERVICES}.namespaces.v1.Namespaces/List",
            descriptors.containerd("ListNamespacesRequest")(),
            descriptors.containerd("ListNamespacesResponse"),
            deadline,
        )
        return sorted(each.name for each in answer.namespaces)

    def ensure_namespace(self, name: str, deadline: Deadline) -> bool:
        """Namespaces/Create; True when it was created, False when it was there already.

        Without the namespace header containerd creates it and reports an error all the same
        ("failed publishing event: namespace is required").  Creating writes to meta.db, hence
        an error here can be the disk's (RuntimeIoError).
        """
        namespace = descriptors.containerd("Namespace")(name=name)
        try:
            self._wire.call(
                f"{_SERVICES}.namespaces.v1.Namespaces/Create",
                descriptors.containerd("CreateNamespaceRequest")(namespace=namespace),
                descriptors.containerd("CreateNamespaceResponse"),
                deadline,
                namespace=name,
            )
        except CallFailure as failure:
            if failure.code != "ALREADY_EXISTS":
                raise
            return False
        return True

    def images(self, namespace: str, deadline: Deadline) -> list[Image]:
        """Images/List; an unknown namespace has no images and is not created."""
        answer = self._wire.call(
            f"{_SERVICES}.images.v1.Images/List",
            descriptors.containerd("ListImagesRequest")(),
            descriptors.containerd("ListImagesResponse"),
            deadline,
            namespace=namespace,
        )
        return [
            {"name": each.name, "digest": each.target.digest, "size_bytes": each.target.size}
            for each in answer.images
        ]

    def snapshots(self, snapshotter: str, namespace: str, deadline: Deadline) -> int:
        """Snapshots/List, counted.  INVALID_ARGUMENT "snapshotter not loaded" if it is not."""
        answers = self._wire.stream(
            f"{_SERVICES}.snapshots.v1.Snapshots/List",
            descriptors.containerd("ListSnapshotsRequest")(snapshotter=snapshotter),
            descriptors.containerd("ListSnapshotsResponse"),
            deadline,
            namespace=namespace,
        )
        return sum(len(each.info) for each in answers)

    def plugins(self, snapshotter: str, deadline: Deadline) -> Json:
        """Introspection/Plugins, cut down to those the proof reads; absent ones are null."""
        answer = self._wire.call(
            f"{_SERVICES}.introspection.v1.Introspection/Plugins",
            descriptors.containerd("PluginsRequest")(),
            descriptors.containerd("PluginsResponse"),
            deadline,
        )
        listed = {(each.type, each.id): _plugin(each) for each in answer.plugins}
        cri = [listed[key] for key in _CRI_PLUGINS if key in listed]
        # Of CRI's plugins the one that failed speaks for all of them.
        cri.sort(key=lambda plugin: plugin["init_error"] is None)
        return {
            "snapshotter": listed.get((_SNAPSHOTTER_TYPE, snapshotter)),
            "metadata": listed.get(_METADATA),
            "content": listed.get(_CONTENT),
            "cri": cri[0] if cri else None,
        }

    def foreign_tasks(self, deadline: Deadline) -> list[Json]:
        """Tasks/List in every namespace but k8s.io: docker's (moby), nerdctl's (default).

        All that are not stopped, so also those that containerd cannot reach ("unknown").
        """
        found: list[Json] = []
        for namespace in self.namespaces(deadline):
            if namespace == _KUBERNETES_NAMESPACE:
                continue
            answer = self._wire.call(
                f"{_SERVICES}.tasks.v1.Tasks/List",
                descriptors.containerd("ListTasksRequest")(),
                descriptors.containerd("ListTasksResponse"),
                deadline,
                namespace=namespace,
            )
            for task in answer.tasks:
                status = task_status(task.status)
                if status == "stopped":
                    continue
                # containerd fills `id` on every release and `container_id` on some only.
                container = task.container_id or task.id
                found.append(
                    {
                        "namespace": namespace,
                        "container_id": container,
                        "pid": task.pid,
                        "status": status,
                    }
                )
        return found


def task_status(number: int) -> str:
    """Containerd's enum as a word; numbers of a later API are "unknown"."""
    return _TASK_STATES[number] if 0 <= number < len(_TASK_STATES) else "unknown"


def _plugin(plugin: Message) -> Plugin:
    failed = plugin.HasField("init_err") and (plugin.init_err.code or plugin.init_err.message)
    return {
        "type": plugin.type,
        "id": plugin.id,
        "exports": sorted([key, value] for key, value in plugin.exports.items()),
        "init_error": (plugin.init_err.message or "failed to load") if failed else None,
    }
