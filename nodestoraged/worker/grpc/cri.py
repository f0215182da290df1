"""The Container Runtime Interface, as far as we ask it.

Owns the CRI method paths, the fallback from v1 to v1alpha2, and the turning of CRI messages
into JSON values.  Decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypedDict

from nodestoraged.worker.grpc import descriptors
from nodestoraged.worker.grpc.deadline import Deadline
from nodestoraged.worker.grpc.descriptors import Message
from nodestoraged.worker.grpc.failure import NO_IMAGE_FS, CallFailure
from nodestoraged.worker.grpc.wire import CALL_SECONDS, Wire

Json = dict[str, object]


class Sandbox(TypedDict):
    """One pod sandbox."""

    id: str
    name: str
    namespace: str
    uid: str
    ready: bool


class Container(TypedDict):
    """One container; `state` is a word."""

    id: str
    sandbox_id: str
    name: str
    image: str
    state: str


class FoundImage(TypedDict):
    """An image as CRI knows it; `names` are its tags and digests in full."""

    id: str
    names: list[str]


#: Same messages, another service name.  containerd 1.x serves both, 2.x and newer cri-o only v1.
PACKAGES = ("v1", "v1alpha2")

_CONTAINER_STATES = ("created", "running", "exited", "unknown")
_SANDBOX_READY = 0


class Cri:
    """Both CRI services on one wire; remembers which CRI generation answered."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._package = PACKAGES[0]

    def _call(
        self,
        service: str,
        method: str,
        request: Message,
        deadline: Deadline,
        at_most_seconds: float = CALL_SECONDS,
    ) -> Message:
        refusal: CallFailure | None = None
        # The one that answered last goes first; the order of the other does not matter.
        for package in sorted(PACKAGES, key=lambda each: each != self._package):
            try:
                response = self._wire.call(
                    f"/runtime.{package}.{service}/{method}",
                    request,
                    descriptors.cri(f"{method}Response"),
                    deadline,
                    at_most_seconds=at_most_seconds,
                )
            except CallFailure as failure:
                if failure.code != "UNIMPLEMENTED":
                    raise
                refusal = refusal or failure
                continue
            self._package = package
            return response
        assert refusal is not None
        raise refusal

    def _runtime(self, method: str, request: Message, deadline: Deadline, **more: float) -> Message:
        return self._call("RuntimeService", method, request, deadline, **more)

    def version(self, deadline: Deadline, at_most_seconds: float = CALL_SECONDS) -> Json:
        """RuntimeService/Version, plus the CRI package that answered."""
        request = descriptors.cri("VersionRequest")()
        answer = self._runtime("Version", request, deadline, at_most_seconds=at_most_seconds)
        return {
            "runtime_name": answer.runtime_name,
            "runtime_version": answer.runtime_version,
            "cri_package": self._package,
        }

    def status(self, deadline: Deadline, at_most_seconds: float = CALL_SECONDS) -> Json:
        """RuntimeService/Status, verbose: conditions and the effective configuration."""
        request = descriptors.cri("StatusRequest")(verbose=True)
        answer = self._runtime("Status", request, deadline, at_most_seconds=at_most_seconds)
        conditions = [
            {
                "type": each.type,
                "holds": each.status,
                "reason": each.reason,
                "message": each.message,
            }
            for each in answer.status.conditions
        ]
        return {"conditions": conditions, **effective_configuration(answer.info)}

    def image_fs(self, deadline: Deadline, at_most_seconds: float = CALL_SECONDS) -> Json:
        """ImageService/ImageFsInfo: the first entry, as kubelet takes it.

        CallFailure NoImageFs, retriable, when the list is empty.
        """
        request = descriptors.cri("ImageFsInfoRequest")()
        answer = self._call(
            "ImageService", "ImageFsInfo", request, deadline, at_most_seconds=at_most_seconds
        )
        if not answer.image_filesystems:
            text = "the runtime names no image file system"
            raise CallFailure("NOT_FOUND", NO_IMAGE_FS, text, True)
        first = answer.image_filesystems[0]
        return {
            "mountpoint": first.fs_id.mountpoint,
            "used_bytes": first.used_bytes.value,
            "inodes_used": first.inodes_used.value,
            "taken_at_ns": first.timestamp,
        }

    def find_image(self, name: str, deadline: Deadline) -> FoundImage | None:
        """ImageService/ImageStatus: id and the runtime's own names of an image, or None."""
        spec = descriptors.cri("ImageSpec")(image=name)
        request = descriptors.cri("ImageStatusRequest")(image=spec)
        answer = self._call("ImageService", "ImageStatus", request, deadline)
        if not answer.HasField("image"):
            return None
        found = answer.image
        return {"id": found.id, "names": [*found.repo_tags, *found.repo_digests]}

    def pinned_images(self, deadline: Deadline) -> list[str]:
        """ImageService/ListImages: all names of the images that kubelet's GC must spare."""
        request = descriptors.cri("ListImagesRequest")()
        answer = self._call("ImageService", "ListImages", request, deadline)
        return sorted(name for each in answer.images if each.pinned for name in each.repo_tags)

    def listed_images(self, deadline: Deadline) -> int:
        """ImageService/ListImages, counted."""
        request = descriptors.cri("ListImagesRequest")()
        return len(self._call("ImageService", "ListImages", request, deadline).images)

    def sandboxes(self, deadline: Deadline) -> list[Sandbox]:
        """RuntimeService/ListPodSandbox."""
        request = descriptors.cri("ListPodSandboxRequest")()
        return [
            {
                "id": each.id,
                "name": each.metadata.name,
                "namespace": each.metadata.namespace,
                "uid": each.metadata.uid,
                "ready": each.state == _SANDBOX_READY,
            }
            for each in self._runtime("ListPodSandbox", request, deadline).items
        ]

    def containers(self, deadline: Deadline) -> list[Container]:
        """RuntimeService/ListContainers, in all states."""
        request = descriptors.cri("ListContainersRequest")()
        return [
            {
                "id": each.id,
                "sandbox_id": each.pod_sandbox_id,
                "name": each.metadata.name,
                "image": each.image.image,
                "state": container_state(each.state),
            }
            for each in self._runtime("ListContainers", request, deadline).containers
        ]

    def stop_container(self, container_id: str, grace_seconds: int, deadline: Deadline) -> None:
        """RuntimeService/StopContainer: SIGTERM, SIGKILL after the grace; idempotent."""
        request = descriptors.cri("StopContainerRequest")(
            container_id=container_id, timeout=grace_seconds
        )
        # The call itself lasts as long as the grace, and then as long as the kill.
        longest = grace_seconds + CALL_SECONDS
        self._runtime("StopContainer", request, deadline, at_most_seconds=longest)

    def stop_sandbox(self, sandbox_id: str, deadline: Deadline) -> None:
        """RuntimeService/StopPodSandbox: SIGKILL to what still runs, CNI DEL; idempotent."""
        request = descriptors.cri("StopPodSandboxRequest")(pod_sandbox_id=sandbox_id)
        self._runtime("StopPodSandbox", request, deadline, at_most_seconds=3 * CALL_SECONDS)

    def remove_sandbox(self, sandbox_id: str, deadline: Deadline) -> None:
        """RuntimeService/RemovePodSandbox: removes it with its containers; unknown id is OK."""
        request = descriptors.cri("RemovePodSandboxRequest")(pod_sandbox_id=sandbox_id)
        self._runtime("RemovePodSandbox", request, deadline, at_most_seconds=3 * CALL_SECONDS)


def container_state(number: int) -> str:
    """CRI's enum as a word; numbers of a later CRI are "unknown"."""
    return _CONTAINER_STATES[number] if 0 <= number < len(_CONTAINER_STATES) else "unknown"


def effective_configuration(info: Mapping[str, str]) -> Json:
    """Root, state, snapshotter and sandbox image out of Status's verbose `info["config"]`.

    The key layout is containerd 1.6's and 1.7's; containerd 2.x moved sandbox image and
    snapshotter to another plugin.  Whatever is missing or not understood is None.
    """
    try:
        config = json.loads(info.get("config", "{}"))
    except ValueError:
        config = {}
    if not isinstance(config, dict):
        config = {}
    nested = config.get("containerd")
    containerd = nested if isinstance(nested, dict) else {}
    return {
        "root": _text(config.get("containerdRootDir")),
        "state": _text(config.get("stateDir")),
        "snapshotter": _text(containerd.get("snapshotter")),
        "sandbox_image": _text(config.get("sandboxImage")),
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
