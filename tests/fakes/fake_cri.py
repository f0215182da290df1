"""A container runtime that answers over gRPC and runs nothing.

Owns the misbehaviours of real runtimes that cannot be had at will from a real one: each field of
`Behaviour` is one of them, named after what was seen. Speaks CRI and containerd's own services
with the messages of nodestoraged.worker.grpc, so it cannot find wrong field numbers; the contract
suite, which runs over a real containerd too, does that.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from nodestoraged.worker.grpc.descriptors import containerd, cri

NETWORK_NOT_READY = "Network plugin returns error: cni plugin not initialized"
_SNAPSHOTTER_DIRECTORY = "io.containerd.snapshotter.v1.overlayfs"


@dataclass
class FakeContainer:
    """A container; `stop_seconds` is how long it takes to end after SIGTERM."""

    name: str
    state: int = 1  # CONTAINER_RUNNING
    stop_seconds: float = 0.0


@dataclass
class FakePod:
    """A pod sandbox; a `stubborn` one refuses every RemovePodSandbox."""

    name: str
    namespace: str = "default"
    containers: dict[str, FakeContainer] = field(default_factory=dict)
    ready: bool = True
    stubborn: bool = False
    refusals: int = 0  # so many StopPodSandbox calls fail before one works


@dataclass
class Behaviour:
    """What the fake does; the default is containerd 1.6.20 on a fresh root."""

    version: str = "1.6.20"
    root: str = "/var/lib/containerd"
    image_fs: str = _SNAPSHOTTER_DIRECTORY  # below the root
    state: str = "/run/containerd"
    sandbox_image: str = "localhost/nodestorage/pause:1"
    packages: tuple[str, ...] = ("v1", "v1alpha2")  # () is CRI disabled: UNIMPLEMENTED
    native: bool = True  # False is cri-o
    not_initialized_calls: int = 0
    not_initialized_code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    without_image_fs_calls: int = 0  # so many ImageFsInfo answers are empty lists
    used_bytes: int = 0
    hanging: frozenset[str] = frozenset()  # method names that never answer
    deprecation_warnings: bool = False  # the third condition, false
    config_in_status: bool = True  # False: containerd 2.x's key layout
    disk_dead: bool = False  # EIO on writes; everything else answers on
    plugin_errors: dict[str, str] = field(default_factory=dict)  # plugin id -> init_err
    split_cri: bool = False  # containerd 2.x: CRI is three plugins
    namespaces: set[str] = field(default_factory=set)
    images: dict[str, str] = field(default_factory=dict)  # name -> digest
    pinned: frozenset[str] = frozenset()  # names of images that are pinned
    snapshots: int = 0
    pods: dict[str, FakePod] = field(default_factory=dict)
    tasks: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)  # ns -> id,pid,state


def crio(**more: Any) -> Behaviour:
    """cri-o 1.31 (server/runtime_status.go, server/image_fs_info.go): CRI v1 and nothing else."""
    return Behaviour(
        version="1.31.0",
        root="/var/lib/containers/storage",
        image_fs="overlay-images",
        packages=("v1",),
        native=False,
        sandbox_image="registry.k8s.io/pause:3.10",
        **more,
    )


def containerd_2(**more: Any) -> Behaviour:
    """containerd 2.x (internal/cri): UNAVAILABLE at first, v1 alone, a condition that is false."""
    return Behaviour(
        version="2.1.4",
        packages=("v1",),
        not_initialized_calls=3,
        not_initialized_code=grpc.StatusCode.UNAVAILABLE,
        deprecation_warnings=True,
        config_in_status=False,
        split_cri=True,
        **more,
    )


class FakeCri:
    """The fake behind one socket; `calls` records (method, containerd-namespace header)."""

    def __init__(self, socket_path: Path, behaviour: Behaviour | None = None) -> None:
        self.socket_path = socket_path
        self.behaviour = behaviour or Behaviour()
        self.calls: list[tuple[str, str | None]] = []
        self.released = threading.Event()  # ends everything that hangs
        self._lock = threading.Lock()
        self._server: grpc.Server | None = None

    def start(self) -> Self:
        """Listen; the socket file is there when this returns."""
        pool = futures.ThreadPoolExecutor(max_workers=16)
        self._server = grpc.server(pool, handlers=(_Handlers(self),))
        self._server.add_insecure_port(f"unix://{self.socket_path}")
        self._server.start()
        return self

    def stop(self) -> None:
        """Close the socket and remove its file, as SIGTERM does."""
        self.released.set()
        if self._server is not None:
            self._server.stop(grace=None).wait(5)
            self._server = None
        self.socket_path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def called(self, method: str) -> int:
        """How often a method was called."""
        return sum(1 for name, _ in self.calls if name == method)

    # --- CRI --------------------------------------------------------------------------------

    def _answer_cri(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        now = self.behaviour
        with self._lock:
            if now.not_initialized_calls > 0:
                now.not_initialized_calls -= 1
                context.abort(now.not_initialized_code, "server is not initialized yet")
        answers: dict[str, Callable[[Any, grpc.ServicerContext], Any]] = {
            "Version": self._version,
            "Status": self._status,
            "ImageFsInfo": self._image_fs_info,
            "ImageStatus": self._image_status,
            "ListImages": self._list_images,
            "ListPodSandbox": self._list_sandboxes,
            "ListContainers": self._list_containers,
            "StopContainer": self._stop_container,
            "StopPodSandbox": self._stop_sandbox,
            "RemovePodSandbox": self._remove_sandbox,
        }
        return answers[method](request, context)

    def _version(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        return cri("VersionResponse")(
            version="0.1.0",
            runtime_name="containerd" if self.behaviour.native else "cri-o",
            runtime_version=self.behaviour.version,
            runtime_api_version="v1",
        )

    def _status(self, request: Any, _context: grpc.ServicerContext) -> Any:
        now = self.behaviour
        condition = cri("RuntimeCondition")
        conditions = [
            condition(type="RuntimeReady", status=True),  # whatever the disk does
            condition(
                type="NetworkReady",
                status=False,
                reason="NetworkPluginNotReady",
                message=NETWORK_NOT_READY,
            ),
        ]
        if now.deprecation_warnings:
            kind = "ContainerdHasNoDeprecationWarnings"
            conditions.append(condition(type=kind, status=False, message="{}"))
        config: dict[str, object] = {}
        if now.native:
            config |= {
                "containerdRootDir": now.root,
                "rootDir": f"{now.root}/io.containerd.grpc.v1.cri",
                "stateDir": f"{now.state}/io.containerd.grpc.v1.cri",
            }
        if now.config_in_status:
            config["sandboxImage"] = now.sandbox_image
            if now.native:
                config["containerd"] = {"snapshotter": "overlayfs"}
        return cri("StatusResponse")(
            status=cri("RuntimeStatus")(conditions=conditions),
            info={"config": json.dumps(config), "golang": '"go1.19.8"'} if request.verbose else {},
        )

    def _image_fs_info(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        now = self.behaviour
        with self._lock:
            if now.without_image_fs_calls > 0:
                now.without_image_fs_calls -= 1
                return cri("ImageFsInfoResponse")()
        usage = cri("FilesystemUsage")(
            timestamp=time.time_ns(),
            fs_id=cri("FilesystemIdentifier")(mountpoint=f"{now.root}/{now.image_fs}"),
            used_bytes=cri("UInt64Value")(value=now.used_bytes),
            inodes_used=cri("UInt64Value")(),
        )
        return cri("ImageFsInfoResponse")(image_filesystems=[usage])

    def _image_status(self, request: Any, _context: grpc.ServicerContext) -> Any:
        asked = request.image.image
        # As containerd: a short name is one of docker.io's library.
        names = (asked, f"docker.io/library/{asked}", f"docker.io/library/{asked}:latest")
        found = next((name for name in names if name in self.behaviour.images), None)
        if found is None:
            return cri("ImageStatusResponse")()
        image = cri("Image")(id=self.behaviour.images[found], repo_tags=[found])
        return cri("ImageStatusResponse")(image=image)

    def _list_images(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        now = self.behaviour
        images = [
            cri("Image")(id=digest, repo_tags=[name], pinned=name in now.pinned)
            for name, digest in now.images.items()
        ]
        return cri("ListImagesResponse")(images=images)

    def _list_sandboxes(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        with self._lock:
            items = [
                cri("PodSandbox")(
                    id=pod_id,
                    metadata=cri("PodSandboxMetadata")(
                        name=pod.name, uid=f"uid-{pod_id}", namespace=pod.namespace
                    ),
                    state=0 if pod.ready else 1,
                )
                for pod_id, pod in self.behaviour.pods.items()
            ]
        return cri("ListPodSandboxResponse")(items=items)

    def _list_containers(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        with self._lock:
            containers = [
                cri("Container")(
                    id=container_id,
                    pod_sandbox_id=pod_id,
                    metadata=cri("ContainerMetadata")(name=container.name),
                    image=cri("ImageSpec")(image="sha256:0"),
                    state=container.state,
                )
                for pod_id, pod in self.behaviour.pods.items()
                for container_id, container in pod.containers.items()
            ]
        return cri("ListContainersResponse")(containers=containers)

    def _stop_container(self, request: Any, context: grpc.ServicerContext) -> Any:
        for pod in list(self.behaviour.pods.values()):
            container = pod.containers.get(request.container_id)
            if container is not None:
                self.released.wait(min(container.stop_seconds, request.timeout))
                container.state = 2
                return cri("StopContainerResponse")()
        context.abort(grpc.StatusCode.NOT_FOUND, "an error occurred when try to find container")
        raise AssertionError("abort raises")

    def _stop_sandbox(self, request: Any, context: grpc.ServicerContext) -> Any:
        pod = self.behaviour.pods.get(request.pod_sandbox_id)
        if pod is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "an error occurred when try to find sandbox")
            raise AssertionError("abort raises")
        with self._lock:
            if pod.refusals > 0:
                pod.refusals -= 1
                context.abort(grpc.StatusCode.UNKNOWN, "failed to destroy network for sandbox")
        pod.ready = False
        for container in pod.containers.values():
            container.state = 2
        return cri("StopPodSandboxResponse")()

    def _remove_sandbox(self, request: Any, context: grpc.ServicerContext) -> Any:
        pod = self.behaviour.pods.get(request.pod_sandbox_id)
        if pod is not None and pod.stubborn:
            context.abort(grpc.StatusCode.UNKNOWN, "failed to forcibly stop sandbox")
        with self._lock:
            self.behaviour.pods.pop(request.pod_sandbox_id, None)
        return cri("RemovePodSandboxResponse")()

    # --- containerd -------------------------------------------------------------------------

    def _native_version(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        version = f"{self.behaviour.version}~ds1"
        return containerd("VersionResponse")(version=version, revision=f"{version}-1")

    def _native_namespaces(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        entries = [containerd("Namespace")(name=name) for name in self.behaviour.namespaces]
        return containerd("ListNamespacesResponse")(namespaces=entries)

    def _native_create(self, request: Any, context: grpc.ServicerContext) -> Any:
        now = self.behaviour
        if now.disk_dead:
            text = f"write {now.root}/io.containerd.metadata.v1.bolt/meta.db: input/output error"
            context.abort(grpc.StatusCode.UNKNOWN, text)
        name = request.namespace.name
        if name in now.namespaces:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f'namespace "{name}": already exists')
        now.namespaces.add(name)
        if _namespace(context) is None:
            # It was created all the same: this is containerd's own behaviour.
            text = "failed publishing event: namespace is required: failed precondition"
            context.abort(grpc.StatusCode.UNKNOWN, text)
        return containerd("CreateNamespaceResponse")(namespace=request.namespace)

    def _native_images(self, _request: Any, context: grpc.ServicerContext) -> Any:
        namespace = self._required_namespace(context, grpc.StatusCode.FAILED_PRECONDITION)
        images = self.behaviour.images if namespace == "k8s.io" else {}
        image, target = containerd("Image"), containerd("Descriptor")
        return containerd("ListImagesResponse")(
            images=[image(name=n, target=target(digest=d, size=1)) for n, d in images.items()]
        )

    def _native_snapshots(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self._required_namespace(context, grpc.StatusCode.UNKNOWN)
        error = "overlayfs" in self.behaviour.plugin_errors
        if request.snapshotter != "overlayfs" or error:
            text = f"snapshotter not loaded: {request.snapshotter}: invalid argument"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        for number in range(self.behaviour.snapshots):
            info = containerd("SnapshotInfo")(name=f"sha256:{number}")
            yield containerd("ListSnapshotsResponse")(info=[info])

    def _native_plugins(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        root = self.behaviour.root
        table = {
            ("io.containerd.snapshotter.v1", "overlayfs"): {
                "root": f"{root}/{_SNAPSHOTTER_DIRECTORY}"
            },
            ("io.containerd.snapshotter.v1", "btrfs"): {},
            ("io.containerd.metadata.v1", "bolt"): {
                "path": f"{root}/io.containerd.metadata.v1.bolt/meta.db"
            },
            ("io.containerd.content.v1", "content"): {
                "root": f"{root}/io.containerd.content.v1.content"
            },
        }
        if self.behaviour.packages:
            table["io.containerd.grpc.v1", "cri"] = {"CRIVersion": "v1"}
        if self.behaviour.split_cri:
            table["io.containerd.cri.v1", "images"] = {}
            table["io.containerd.cri.v1", "runtime"] = {}
        errors = {"btrfs": "skip plugin", **self.behaviour.plugin_errors}
        plugins = []
        for (kind, identifier), exports in table.items():
            plugin = containerd("Plugin")(type=kind, id=identifier, exports=exports)
            if identifier in errors:
                plugin.init_err.code, plugin.init_err.message = 2, errors[identifier]
            plugins.append(plugin)
        return containerd("PluginsResponse")(plugins=plugins)

    def _native_tasks(self, _request: Any, context: grpc.ServicerContext) -> Any:
        namespace = self._required_namespace(context, grpc.StatusCode.FAILED_PRECONDITION)
        tasks = [
            containerd("Task")(id=task_id, pid=pid, status=state)
            for task_id, pid, state in self.behaviour.tasks.get(namespace, [])
        ]
        return containerd("ListTasksResponse")(tasks=tasks)

    def _required_namespace(self, context: grpc.ServicerContext, refusal: grpc.StatusCode) -> str:
        namespace = _namespace(context)
        if namespace is None:
            context.abort(refusal, "namespace is required: failed precondition")
            raise AssertionError("abort raises")
        return namespace


def _namespace(context: grpc.ServicerContext) -> str | None:
    metadata = dict(context.invocation_metadata())
    value = metadata.get("containerd-namespace")
    return None if value is None else str(value)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the answer by the method's path; None makes grpc say UNIMPLEMENTED."""

    def __init__(self, fake: FakeCri) -> None:
        self._fake = fake
        # /containerd.services.<service>.v1.<Service>/<Method>
        self._native = {
            "Version/Version": (fake._native_version, "Empty"),
            "Namespaces/List": (fake._native_namespaces, "ListNamespacesRequest"),
            "Namespaces/Create": (fake._native_create, "CreateNamespaceRequest"),
            "Images/List": (fake._native_images, "ListImagesRequest"),
            "Snapshots/List": (fake._native_snapshots, "ListSnapshotsRequest"),
            "Introspection/Plugins": (fake._native_plugins, "PluginsRequest"),
            "Tasks/List": (fake._native_tasks, "ListTasksRequest"),
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        fake, (_, service, method) = self._fake, details.method.split("/")
        name = service.rpartition(".")[2]
        if service.startswith("runtime."):
            if service.split(".")[1] not in fake.behaviour.packages:
                return None
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: self._recorded(
                    method, context, lambda: fake._answer_cri(method, request, context)
                ),
                request_deserializer=cri(f"{method}Request").FromString,
                response_serializer=_serialized,
            )
        entry = self._native.get(f"{name}/{method}") if fake.behaviour.native else None
        if entry is None:
            return None
        answer, request_name = entry
        make = (
            grpc.unary_stream_rpc_method_handler
            if (name, method) == ("Snapshots", "List")
            else grpc.unary_unary_rpc_method_handler
        )
        return make(
            lambda request, context: self._recorded(
                f"{name}/{method}", context, lambda: answer(request, context)
            ),
            request_deserializer=containerd(request_name).FromString,
            response_serializer=_serialized,
        )

    def _recorded(
        self, method: str, context: grpc.ServicerContext, answer: Callable[[], Any]
    ) -> Any:
        self._fake.calls.append((method, _namespace(context)))
        if method in self._fake.behaviour.hanging:
            self._fake.released.wait(60)
        return answer()


def _serialized(message: Any) -> bytes:
    return bytes(message.SerializeToString())
