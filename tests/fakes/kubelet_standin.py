#!/usr/bin/python3
"""A stand-in for kubelet with the real one's blind spots (one file; needs grpcio, nothing else).

What it has in common with a real kubelet, because a node daemon can go wrong there:

* it reads /proc/self/mountinfo once, when it starts. The capacity of the image file system is the
  statvfs of the mount that *this old table* names, so a kubelet that is older than a mount reports
  the parent's capacity, and one whose disk is gone goes on reporting it (cAdvisor: partitions map);
* /healthz says ok while the runtime is down;
* it adopts the static pod that CRI knows and re-creates it where CRI does not, image pull policy
  Never; a container that ended is started anew with the next attempt number;
* "invalid capacity 0 on image filesystem" is logged once per start, and means nothing.

It ends at once on SIGTERM and leaves its pod running. Protobuf messages are written by hand: only
service name, method name and field numbers are on the wire (CRI runtime.v1, api.proto).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import cast

import grpc

Fields = dict[int, list[bytes]]
DEFAULT_ENDPOINT = "unix:///run/containerd/containerd.sock"
_NODE_NAMESPACE = 2  # NamespaceMode.NODE
_READY = 0  # PodSandboxState.SANDBOX_READY
_CREATED, _RUNNING = 0, 1  # ContainerState
_POD_UID_LABEL = "io.kubernetes.pod.uid"
_OCTAL = re.compile(r"\\([0-7]{3})")


def log(message: str) -> None:
    """Print one line to stderr, with the time, as kubelet does."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {message}\n")
    sys.stderr.flush()


# --- protobuf wire format ---------------------------------------------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """Encode an integer field; zero is left out, as proto3 does."""
    return _varint(field << 3) + _varint(value) if value else b""


def chunk(field: int, value: bytes | str) -> bytes:
    """Encode a string, bytes or message field, the empty one too (presence counts for messages)."""
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def mapping(field: int, values: dict[str, str]) -> bytes:
    """Encode a map<string, string> field."""
    return b"".join(chunk(field, chunk(1, k) + chunk(2, v)) for k, v in sorted(values.items()))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    shift = value = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def decode(data: bytes) -> Fields:
    """Split one message into {field: [raw value, …]}; integers come as 8 little-endian bytes."""
    fields: Fields = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _read_varint(data, at)
            raw = value.to_bytes(8, "little")
        else:
            size, at = (8 if kind == 1 else 4, at) if kind in (1, 5) else _read_varint(data, at)
            raw, at = data[at : at + size], at + size
        fields.setdefault(tag >> 3, []).append(raw)
    return fields


def text(fields: Fields, field: int) -> str:
    """Return a string field, empty when absent."""
    return fields.get(field, [b""])[-1].decode()


def integer(fields: Fields, field: int) -> int:
    """Return an integer field, 0 when absent."""
    return int.from_bytes(fields.get(field, [b""])[-1], "little")


def message(fields: Fields, field: int) -> Fields:
    """Return a message field, empty when absent."""
    return decode(fields.get(field, [b""])[-1])


# --- the mount table as it was at the start ---------------------------------------------------


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo: where, which device number, from what source."""

    point: str
    device: str
    source: str


def _unescape(value: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), value)


def parse_mountinfo(content: str) -> tuple[Mount, ...]:
    """Parse /proc/PID/mountinfo (proc(5)); octal escapes in paths are undone."""
    mounts = []
    for line in content.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        mounts.append(Mount(_unescape(fields[4]), fields[2], _unescape(right.split(" ")[1])))
    return tuple(mounts)


def covering_mount(table: tuple[Mount, ...], path: str, device: str) -> Mount | None:
    """Find the mount whose statvfs kubelet would report for `path`, whose st_dev is `device`.

    As cAdvisor does: the first line with this device number; else the nearest ancestor in the
    table with a source in /dev. None when there is neither.
    """
    for mount in table:
        if mount.device == device and mount.source.startswith("/dev/"):
            return mount
    inside = [
        mount
        for mount in table
        if mount.source.startswith("/dev/")
        and (path + "/").startswith(mount.point.rstrip("/") + "/")
    ]
    return max(inside, key=lambda mount: len(mount.point), default=None)


# --- CRI --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Container:
    """A container of the static pod, as its pod file names it."""

    name: str
    image: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Pod:
    """The static pod of the pod file; always in the host's network namespace (needs no CNI)."""

    name: str
    namespace: str
    uid: str
    containers: tuple[Container, ...]


def load_pod(path: Path) -> Pod | None:
    """Read a pod file: one JSON object. None when there is no such file."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    containers = [
        Container(str(c["name"]), str(c["image"]), tuple(c.get("command", ())))
        for c in data["containers"]
    ]
    return Pod(str(data["name"]), str(data["namespace"]), str(data["uid"]), tuple(containers))


class Cri:
    """The few CRI calls that are needed. Each raises grpc.RpcError, like a missing runtime does."""

    def __init__(self, endpoint: str) -> None:
        # The default back-off doubles up to minutes; kubelet's own redials within seconds as well.
        backoff = [
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.max_receive_message_length", 16 << 20),
        ]
        self._channel = grpc.insecure_channel(endpoint, options=backoff)

    def call(self, service: str, method: str, request: bytes = b"", seconds: float = 60) -> Fields:
        """Call `runtime.v1.SERVICE/METHOD` and return the decoded answer."""
        path = f"/runtime.v1.{service}/{method}"
        unary = self._channel.unary_unary(path, None, None)
        return decode(cast("bytes", unary(request, timeout=seconds)))

    def image_fs_mountpoint(self) -> str:
        """Return the path that ImageFsInfo names first, empty when it names none."""
        answer = self.call("ImageService", "ImageFsInfo", seconds=5)
        return text(message(message(answer, 1), 2), 1)

    def has_image(self, reference: str) -> bool:
        """Say whether the runtime has this image (nothing is ever pulled)."""
        answer = self.call("ImageService", "ImageStatus", chunk(1, chunk(1, reference)))
        return bool(message(answer, 1))

    def sandboxes(self, uid: str) -> list[tuple[str, int, int]]:
        """Return (id, state, attempt) of the pod's sandboxes, the newest attempt first."""
        selector = chunk(1, mapping(3, {_POD_UID_LABEL: uid}))
        items = self.call("RuntimeService", "ListPodSandbox", selector).get(1, [])
        found = [decode(item) for item in items]
        rows = [(text(s, 1), integer(s, 3), integer(message(s, 2), 4)) for s in found]
        return sorted(rows, key=lambda row: -row[2])

    def containers(self, sandbox: str) -> list[tuple[str, str, int, int]]:
        """Return (id, name, state, attempt) of the sandbox's containers, newest attempt first."""
        answer = self.call("RuntimeService", "ListContainers", chunk(1, chunk(3, sandbox)))
        rows = []
        for item in answer.get(1, []):
            fields = decode(item)
            meta = message(fields, 3)
            rows.append((text(fields, 1), text(meta, 1), integer(fields, 6), integer(meta, 2)))
        return sorted(rows, key=lambda row: -row[3])


class PodWorker:
    """Keeps the static pod running: adopts what CRI has, creates what it lacks."""

    def __init__(self, cri: Cri, pod: Pod, cgroup_parent: str, oom_score_adj: int) -> None:
        self._cri = cri
        self._pod = pod
        self._cgroup_parent = cgroup_parent
        self._oom_score_adj = oom_score_adj
        self._adopted = ""

    def _labels(self, container: str = "") -> dict[str, str]:
        labels = {
            "io.kubernetes.pod.name": self._pod.name,
            "io.kubernetes.pod.namespace": self._pod.namespace,
            _POD_UID_LABEL: self._pod.uid,
        }
        return {**labels, "io.kubernetes.container.name": container} if container else labels

    def _sandbox_config(self, attempt: int) -> bytes:
        pod = self._pod
        meta = chunk(1, pod.name) + chunk(2, pod.uid) + chunk(3, pod.namespace) + number(4, attempt)
        options = number(1, _NODE_NAMESPACE)
        linux = chunk(1, self._cgroup_parent) + chunk(2, chunk(1, options))
        logs = f"/var/log/pods/{pod.namespace}_{pod.name}_{pod.uid}"
        return chunk(1, meta) + chunk(3, logs) + mapping(6, self._labels()) + chunk(8, linux)

    def _container_config(self, container: Container, attempt: int) -> bytes:
        command = b"".join(chunk(3, word) for word in container.command)
        resources = number(5, self._oom_score_adj)
        security = chunk(3, number(1, _NODE_NAMESPACE))
        linux = chunk(1, resources) + chunk(2, security)
        return (
            chunk(1, chunk(1, container.name) + number(2, attempt))
            + chunk(2, chunk(1, container.image))
            + command
            + mapping(9, self._labels(container.name))
            + chunk(11, f"{container.name}/{attempt}.log")
            + chunk(15, linux)
        )

    def reconcile(self) -> None:
        """Bring the pod one step closer to running. Raises grpc.RpcError when CRI refuses."""
        rows = self._cri.sandboxes(self._pod.uid)
        ready = [row for row in rows if row[1] == _READY]
        if ready:
            identifier, _, attempt = ready[0]
        else:
            for old, _, _ in rows:
                self._cri.call("RuntimeService", "RemovePodSandbox", chunk(1, old))
            attempt = rows[0][2] + 1 if rows else 0
            config = self._sandbox_config(attempt)
            answer = self._cri.call("RuntimeService", "RunPodSandbox", chunk(1, config))
            identifier = text(answer, 1)
            log(f"created sandbox {identifier[:12]} attempt {attempt} of pod {self._pod.name}")
        adopted = bool(ready) and self._adopted != identifier
        self._adopted = identifier
        for container in self._pod.containers:
            self._reconcile_container(identifier, attempt, container, adopted)

    def _reconcile_container(
        self, sandbox: str, sandbox_attempt: int, container: Container, adopted: bool
    ) -> None:
        rows = [row for row in self._cri.containers(sandbox) if row[1] == container.name]
        if rows and rows[0][2] == _RUNNING:
            if adopted:
                log(f"adopted container {container.name} {rows[0][0][:12]}, running")
            return
        if rows and rows[0][2] == _CREATED:
            identifier, attempt = rows[0][0], rows[0][3]
        else:
            if not self._cri.has_image(container.image):
                log(f"ErrImageNeverPull: {container.image} is not present")
                return
            attempt = rows[0][3] + 1 if rows else 0
            request = (
                chunk(1, sandbox)
                + chunk(2, self._container_config(container, attempt))
                + chunk(3, self._sandbox_config(sandbox_attempt))
            )
            identifier = text(self._cri.call("RuntimeService", "CreateContainer", request), 1)
        self._cri.call("RuntimeService", "StartContainer", chunk(1, identifier))
        log(f"started container {container.name} {identifier[:12]} attempt {attempt}")
        for old, _, _, _ in rows[1:]:
            self._cri.call("RuntimeService", "RemoveContainer", chunk(1, old))


# --- HTTP -------------------------------------------------------------------------------------


class Stats:
    """What /stats/summary says: computed at each request from the *old* mount table."""

    def __init__(self, cri: Cri, table: tuple[Mount, ...]) -> None:
        self._cri = cri
        self._table = table

    def summary(self) -> dict[str, object]:
        """Return kubelet's Summary (stats/v1alpha1), reduced to the image file system.

        Raises grpc.RpcError when the runtime does not answer, OSError when the path is gone.
        """
        path = self._cri.image_fs_mountpoint()
        number_ = Path(path).stat().st_dev
        mount = covering_mount(self._table, path, f"{os.major(number_)}:{os.minor(number_)}")
        if mount is None:
            raise OSError(f"no mount in the table covers {path}")
        space = os.statvfs(mount.point)
        image_fs = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "capacityBytes": space.f_blocks * space.f_frsize,
            "availableBytes": space.f_bavail * space.f_frsize,
            "usedBytes": (space.f_blocks - space.f_bfree) * space.f_frsize,
            "inodes": space.f_files,
            "inodesFree": space.f_ffree,
        }
        return {"node": {"nodeName": socket.gethostname(), "runtime": {"imageFs": image_fs}}}


def _serve(port: int, path: str, answer: type[BaseHTTPRequestHandler]) -> None:
    if port < 0:
        return
    # After a restart the old connections' TIME_WAIT must not keep the new process from its port:
    # HTTPServer sets SO_REUSEADDR already.
    server = ThreadingHTTPServer(("127.0.0.1", port), answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log(f"serving {path} on 127.0.0.1:{server.server_address[1]}")


def _handler(path: str, body: Body) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.split("?")[0] != path:
                self.send_error(404)
                return
            status, kind, data = body.get()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None:
            """Keep the journal to what matters."""

    return Handler


class Body:
    """Computes one page's (status, content type, body); without `stats` it is healthz's "ok"."""

    def __init__(self, stats: Stats | None = None) -> None:
        self._stats = stats

    def get(self) -> tuple[int, str, bytes]:
        """Return the page; 500 with the reason when it cannot be computed, as kubelet does."""
        if self._stats is None:
            return 200, "text/plain; charset=utf-8", b"ok"
        try:
            return 200, "application/json", json.dumps(self._stats.summary()).encode()
        except (grpc.RpcError, OSError) as error:
            reason = f"Internal Error: failed to get imageFs stats: {error}"
            return 500, "text/plain; charset=utf-8", reason.encode()


# --- the service ------------------------------------------------------------------------------


def notify_ready() -> None:
    """Tell the service manager READY=1, where it asked for it (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", target)


def _end(_signal: int, _frame: FrameType | None) -> None:
    # Not sys.exit: a call into a dead runtime would hold the interpreter's exit.
    os._exit(0)


def _reason(error: grpc.RpcError) -> str:
    return f"{error.code()}: {error.details()}" if isinstance(error, grpc.Call) else repr(error)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="A stand-in for kubelet.")
    parser.add_argument("--endpoint", default=DEFAULT_ENDPOINT)
    parser.add_argument("--healthz-port", type=int, default=10248, help="0: any, -1: none")
    parser.add_argument("--stats-port", type=int, default=10255, help="0: any, -1: none")
    parser.add_argument("--pod-file", type=Path, default=Path("/etc/kubernetes/manifests/app.json"))
    parser.add_argument("--cgroup-parent", default="")
    parser.add_argument("--oom-score-adj", type=int, default=0)
    parser.add_argument("--sync-seconds", type=float, default=1.0)
    return parser.parse_args()


def main() -> None:
    """Run until a signal comes."""
    arguments = parse_arguments()
    for number_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number_, _end)
    table = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    cri = Cri(arguments.endpoint)
    _serve(arguments.healthz_port, "/healthz", _handler("/healthz", Body()))
    stats = Body(Stats(cri, table))
    _serve(arguments.stats_port, "/stats/summary", _handler("/stats/summary", stats))
    notify_ready()
    log("image garbage collection failed once: invalid capacity 0 on image filesystem")
    pod = load_pod(arguments.pod_file)
    if pod is None:
        log(f"no static pod: {arguments.pod_file} does not exist")
        signal.pause()
        return
    worker = PodWorker(cri, pod, arguments.cgroup_parent, arguments.oom_score_adj)
    complaint = ""
    while True:
        try:
            worker.reconcile()
            complaint = ""
        except grpc.RpcError as error:
            found = f"runtime: {_reason(error)}"
            if found != complaint:
                log(found)
            complaint = found
        time.sleep(arguments.sync_seconds)


if __name__ == "__main__":
    main()
