"""The k3s stand-in behaves towards its environment as k3s does: parent, child, shims, log."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nodestoraged.adapters.children import Children
from nodestoraged.adapters.clock import RealClock
from nodestoraged.adapters.runtimes.alone import AloneRuntime
from nodestoraged.adapters.runtimes.profiles import PROFILES
from nodestoraged.adapters.runtimes.runtime import ContainerdRuntime
from nodestoraged.linux.process import command_line, find, table
from nodestoraged.model.errors import StepError
from tests.fakes.oci_archive import APP_REFERENCE, PAUSE_REFERENCE, write_default_archives

pytestmark = pytest.mark.integration

_STANDIN = Path(__file__).parent.parent / "fakes" / "k3s_standin.py"
#: The generated configuration, but for what this machine cannot do.
_TEMPLATE = """\
version = 2
[plugins."io.containerd.internal.v1.opt"]
  path = "{base}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  stream_server_port = "0"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{base}/cni/bin"
    conf_dir = "{base}/cni/conf"
"""


class K3s:
    """One stand-in below `base`; everything it started is ended by `close`."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.data = base / "k3s"
        self.root = self.data / "agent/containerd"
        self.run = base / "run"
        self.address = self.run / "containerd/containerd.sock"
        self.log = base / "k3s.log"
        self.notify = base / "notify"
        self._process: subprocess.Popen[bytes] | None = None
        config = self.data / "agent/etc/containerd"
        config.mkdir(parents=True)
        text = _TEMPLATE.format(base=base, pause=PAUSE_REFERENCE)
        (config / "config.toml.tmpl").write_text(text)
        images = self.data / "agent/images"
        images.mkdir()
        write_default_archives(images)
        manifests = self.data / "agent/pod-manifests"
        manifests.mkdir()
        container = {"name": "app", "image": APP_REFERENCE}
        pod = {"name": "app", "namespace": "default", "uid": "uid-app", "containers": [container]}
        (manifests / "app.json").write_text(json.dumps(pod))

    def start(self, role: str = "server") -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "K3S_STANDIN_RUN": str(self.run),
            "K3S_STANDIN_READY_SECONDS": "0.5",
            "K3S_STANDIN_HEALTHZ_PORT": "-1",
            "K3S_STANDIN_STATS_PORT": "-1",
            "K3S_STANDIN_CGROUP_PARENT": "",
            "NOTIFY_SOCKET": str(self.notify),
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, _STANDIN, role, "--data-dir", str(self.data), "--token", "secret"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        return self._process

    def containerd(self) -> int:
        """The pid of k3s's child, 0 where there is none."""
        assert self._process is not None
        mine = (each for each in table() if each.ppid == self._process.pid)
        return next((each.pid for each in mine if each.comm == "containerd"), 0)

    def shims(self) -> tuple[int, ...]:
        return self._started("containerd-shim")

    def _started(self, program: str) -> tuple[int, ...]:
        """The pids of what was started to speak to this containerd."""
        lines = ((each.pid, command_line(each.pid)) for each in table())
        return tuple(
            pid
            for pid, line in lines
            if line and program in Path(line[0]).name and str(self.address) in line
        )

    def ctr(self, *words: str) -> str:
        environment = {**os.environ, "K3S_STANDIN_RUN": str(self.run)}
        command = [sys.executable, _STANDIN, "ctr", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=30, env=environment
        )
        return done.stdout

    def tasks(self) -> int:
        """How many running tasks containerd knows: the sandbox and its container are two."""
        return self.ctr("tasks", "ls").count("RUNNING")

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
        everything = table()
        # An import goes on asking for a containerd that is gone.
        for shim in (*self.shims(), *self._started("ctr")):
            below = [each.pid for each in everything if each.ppid == shim]
            for pid in (shim, *below):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        time.sleep(0.1)
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        points = [line.split(" ")[4] for line in lines if f" {self.base}/" in line]
        for point in sorted(points, reverse=True):
            subprocess.run(["umount", "-l", point], check=False, timeout=10)


@pytest.fixture
def k3s() -> Iterator[K3s]:
    base = Path(tempfile.mkdtemp(prefix="nsd-"))  # short: a socket's path ends at 107 bytes
    made = K3s(base)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(base)


def until(holds: Callable[[], object], k3s: K3s, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, k3s.log.read_text()
        time.sleep(0.1)


def test_a_pod_runs_from_the_airgap_images_and_ready_comes_last(k3s: K3s) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(k3s.notify))
        notify.settimeout(60)
        process = k3s.start()
        until(k3s.address.exists, k3s)
        answered = time.monotonic()
        assert notify.recv(64) == b"READY=1"
        assert time.monotonic() - answered > 0.5
    until(lambda: k3s.tasks() == 2, k3s)

    line = command_line(k3s.containerd())
    assert line[0] == "containerd"
    assert line[1:] == (
        *("-c", str(k3s.data / "agent/etc/containerd/config.toml")),
        *("-a", str(k3s.address), "--state", str(k3s.run / "containerd")),
        *("--root", str(k3s.root)),
    )
    assert (k3s.root / "containerd.log").stat().st_size > 0
    (shim,) = k3s.shims()
    assert command_line(shim)[0].startswith(f"{k3s.data}/data/")
    # k3s hides its arguments: whoever wants to know the data directory must look elsewhere.
    assert "secret" not in command_line(process.pid)
    assert str(k3s.data) not in " ".join(command_line(process.pid))
    assert command_line(process.pid)[-1] == "server"


def test_k3s_ends_with_1_when_its_containerd_dies_and_the_pod_survives(k3s: K3s) -> None:
    process = k3s.start("agent")
    until(lambda: k3s.tasks() == 2, k3s)
    shims = k3s.shims()

    os.kill(k3s.containerd(), signal.SIGKILL)

    assert process.wait(10) == 1
    assert k3s.shims() == shims
    k3s.start("agent")
    until(lambda: k3s.tasks() == 2, k3s)
    assert k3s.shims() == shims, "the next k3s takes the pod over"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whoever_ends_k3s_ends_containerd_but_no_pod(k3s: K3s, number: signal.Signals) -> None:
    process = k3s.start()
    until(lambda: k3s.tasks() == 2, k3s)
    containerd, shims = k3s.containerd(), k3s.shims()

    process.send_signal(number)
    process.wait(10)

    until(lambda: (found := find(containerd)) is None or found.ended, k3s, 5)
    assert k3s.address.exists(), "containerd was killed, and left its socket behind"
    assert k3s.shims() == shims


def test_it_does_not_start_on_a_root_that_takes_no_overlay(k3s: K3s) -> None:
    k3s.root.parent.mkdir(parents=True, exist_ok=True)
    k3s.root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(k3s.root)]
    subprocess.run(mount, check=True, timeout=10)

    process = k3s.start()

    assert process.wait(20) == 1
    assert "snapshotter cannot be enabled" in k3s.log.read_text()


def test_a_log_that_cannot_be_written_stops_nothing(k3s: K3s) -> None:
    """The log lies in the root: a dead stick ends the log, and neither k3s nor containerd."""
    k3s.root.mkdir(parents=True)
    (k3s.root / "containerd.log").symlink_to("/dev/full")

    process = k3s.start()

    until(lambda: k3s.tasks() == 2, k3s)
    assert process.poll() is None
    assert "No space left" in k3s.log.read_text()


def test_pods_that_a_stopped_k3s_left_are_emptied_by_its_containerd_alone(k3s: K3s) -> None:
    process = k3s.start()
    until(k3s.address.exists, k3s)
    until(lambda: k3s.tasks() == 2, k3s)
    process.kill()
    process.wait(10)
    assert k3s.shims()
    profile = replace(
        PROFILES["k3s"],
        root=str(k3s.root),
        state=str(k3s.run / "containerd"),
        socket=str(k3s.address),
    )

    async def scenario() -> int:
        children = Children()
        await children.start()
        try:
            runtime = ContainerdRuntime(children, RealClock(), k3s.base / "archive")
            return await runtime.empty_alone(profile, grace_seconds=1, deadline_seconds=60)
        finally:
            await children.close()

    assert asyncio.run(scenario()) == 1
    until(lambda: not k3s.shims(), k3s, 10)
    programs = [command_line(each.pid) for each in table()]
    assert not [line for line in programs if line and str(k3s.address) in line]


def test_a_k3s_that_no_service_knows_of_keeps_its_pods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers on the socket: another containerd would only be in its way."""
    data, address = tmp_path / "k3s", tmp_path / "sock"
    for path in (data / "agent/etc/containerd/config.toml", data / "data/current/bin/containerd"):
        path.parent.mkdir(parents=True)
        path.touch()
    root = str(data / "agent/containerd")
    profile = replace(PROFILES["k3s"], root=root, socket=str(address))
    monkeypatch.setattr("nodestoraged.adapters.runtimes.alone._END_SECONDS", 0.3)

    async def scenario() -> None:
        async with AloneRuntime(systemd=False).running(profile, deadline_seconds=5):
            raise AssertionError("it ran")

    with socket.socket(socket.AF_UNIX) as k3s:
        k3s.bind(str(address))
        k3s.listen(16)
        with pytest.raises(StepError) as refused:
            asyncio.run(scenario())
    assert refused.value.reason == "RuntimeStarted"


def test_what_is_no_k3s_is_not_run_alone(tmp_path: Path) -> None:
    profile = replace(PROFILES["k3s"], root=str(tmp_path / "agent/containerd"))

    async def scenario() -> None:
        async with AloneRuntime(systemd=False).running(profile, deadline_seconds=5):
            raise AssertionError("it ran")

    with pytest.raises(StepError) as refused:
        asyncio.run(scenario())
    assert refused.value.reason == "PodsWithoutRuntime"
