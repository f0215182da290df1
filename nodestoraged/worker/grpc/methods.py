"""What the child can be asked: one table from method name to function.

Owns the arguments' names and types.  Knows nothing of the pipe the requests come through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nodestoraged.worker.grpc.containerd import Containerd, Image
from nodestoraged.worker.grpc.cri import Cri
from nodestoraged.worker.grpc.deadline import Deadline
from nodestoraged.worker.grpc.failure import BAD_REQUEST, CallFailure
from nodestoraged.worker.grpc.stop_pods import stop_pods
from nodestoraged.worker.grpc.wire import CALL_SECONDS, Wire, listening_peer

Json = dict[str, object]
Arguments = Mapping[str, object]
Method = Callable[[Arguments, Deadline], object]

#: Polling a starting runtime: a warm containerd needs 40-60 ms from exec to ImageFsInfo.
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.05
#: A runtime that has not answered in this time is a slow one.
_FAIR_SECONDS = 1.0
#: One attempt; a runtime that swallows a call is asked anew.
_ATTEMPT_SECONDS = 2.0


class Methods:
    """All requests, bound to one socket."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._cri = Cri(wire)
        self._containerd = Containerd(wire)
        self._table: dict[str, Method] = {
            "version": self._version,
            "status": lambda _, deadline: self._cri.status(deadline),
            "image_fs": lambda _, deadline: self._cri.image_fs(deadline),
            "await_image_fs": self._await_image_fs,
            "pods": self._pods,
            "stop_pods": self._stop_pods,
            "namespaces": lambda _, deadline: self._containerd.namespaces(deadline),
            "ensure_namespace": self._ensure_namespace,
            "images": self._images,
            "snapshots": self._snapshots,
            "plugins": self._plugins,
            "foreign": lambda _, deadline: self._containerd.foreign_tasks(deadline),
            "socket_pid": self._socket_pid,
            "has_image": self._has_image,
            "pinned_images": lambda _, deadline: self._cri.pinned_images(deadline),
            "find_image": self._find_image,
            "listed": self._listed,
        }

    def answer(self, method: str, args: Arguments, deadline: Deadline) -> object:
        """The JSON value of the answer; CallFailure for everything that goes wrong."""
        handler = self._table.get(method)
        if handler is None:
            raise CallFailure("INVALID_ARGUMENT", BAD_REQUEST, f"no method {method!r}", False)
        return handler(args, deadline)

    def _version(self, _args: Arguments, deadline: Deadline) -> Json:
        answer = self._cri.version(deadline)
        try:
            native: str | None = self._containerd.version(deadline)
        except CallFailure as failure:
            if failure.code != "UNIMPLEMENTED":
                raise
            native = None
        return {**answer, "containerd_version": native}

    def _await_image_fs(self, _args: Arguments, deadline: Deadline) -> Json:
        """Poll socket, Version, Status and ImageFsInfo until the first reading.

        Ends at once on what waiting cannot mend (UNIMPLEMENTED); at the deadline it fails
        with the last cause, not with the mere fact that time is up.
        """
        attempts = 0
        pause = _FIRST_PAUSE_SECONDS
        cause: CallFailure | None = None
        while True:
            attempts += 1
            left = deadline.remaining_seconds
            try:
                usage = self._one_reading(deadline)
            except CallFailure as failure:
                if not failure.retriable:
                    raise
                # What our own deadline cut off after a moment says nothing about the runtime.
                cut_off = failure.code == "DEADLINE_EXCEEDED" and left < _FAIR_SECONDS
                cause = cause if cause is not None and cut_off else failure
                deadline.sleep(pause)
                if deadline.expired:
                    text = f"{cause.message} (after {deadline.elapsed_seconds:.1f} s)"
                    raise CallFailure(cause.code, cause.reason, text, True) from None
                pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
                continue
            return {"usage": usage, "attempts": attempts}

    def _one_reading(self, deadline: Deadline) -> Json:
        # The plain connect keeps grpc out of it until somebody listens.
        within = min(_ATTEMPT_SECONDS, deadline.require())
        listening_peer(self._wire.socket_path, timeout_seconds=within)
        self._cri.version(deadline, _ATTEMPT_SECONDS)
        self._cri.status(deadline, _ATTEMPT_SECONDS)
        return self._cri.image_fs(deadline, _ATTEMPT_SECONDS)

    def _pods(self, _args: Arguments, deadline: Deadline) -> list[Json]:
        containers = self._cri.containers(deadline)
        return [
            {
                **sandbox,
                "containers": [each for each in containers if each["sandbox_id"] == sandbox["id"]],
            }
            for sandbox in self._cri.sandboxes(deadline)
        ]

    def _stop_pods(self, args: Arguments, deadline: Deadline) -> Json:
        return stop_pods(self._cri, _number(args, "grace_seconds"), deadline)

    def _ensure_namespace(self, args: Arguments, deadline: Deadline) -> Json:
        name = _text(args, "name")
        return {"created": self._containerd.ensure_namespace(name, deadline)}

    def _images(self, args: Arguments, deadline: Deadline) -> list[Image]:
        return self._containerd.images(_text(args, "namespace"), deadline)

    def _snapshots(self, args: Arguments, deadline: Deadline) -> Json:
        snapshotter, namespace = _text(args, "snapshotter"), _text(args, "namespace")
        return {"count": self._containerd.snapshots(snapshotter, namespace, deadline)}

    def _plugins(self, args: Arguments, deadline: Deadline) -> Json:
        return self._containerd.plugins(_text(args, "snapshotter"), deadline)

    def _socket_pid(self, _args: Arguments, deadline: Deadline) -> Json:
        within = min(CALL_SECONDS, deadline.require())
        pid, uid = listening_peer(self._wire.socket_path, timeout_seconds=within)
        return {"pid": pid, "uid": uid}

    def _has_image(self, args: Arguments, deadline: Deadline) -> Json:
        return {"present": self._cri.find_image(_text(args, "name"), deadline) is not None}

    def _listed(self, _args: Arguments, deadline: Deadline) -> Json:
        """How much CRI alone lists, for a runtime that has no store to be asked."""
        return {
            "images": self._cri.listed_images(deadline),
            "containers": len(self._cri.containers(deadline)),
        }

    def _find_image(self, args: Arguments, deadline: Deadline) -> Image | None:
        """The image under the name that containerd's store (and so `ctr`) knows it by."""
        found = self._cri.find_image(_text(args, "name"), deadline)
        if found is None:
            return None
        stored = {each["name"]: each for each in self._containerd.images("k8s.io", deadline)}
        # CRI also takes short names and ids; ctr only takes the full name of the store.
        names = [_text(args, "name"), *found["names"]]
        return next((stored[name] for name in names if name in stored), None)


def _text(args: Arguments, key: str) -> str:
    value = args.get(key)
    if isinstance(value, str) and value:
        return value
    raise CallFailure("INVALID_ARGUMENT", BAD_REQUEST, f"{key} must be a text", False)


def _number(args: Arguments, key: str) -> int:
    value = args.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise CallFailure("INVALID_ARGUMENT", BAD_REQUEST, f"{key} must be whole seconds", False)
