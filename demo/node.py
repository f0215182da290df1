"""The demo's node: udev, loop sticks, a private containerd, a kubelet stand-in and the daemon.

Everything lives below one directory in a private mount namespace and is taken away again.
Used by `make demo` and by the host integration tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from demo.services import running
from tests.fakes.loopdev import LoopDevice
from tests.fakes.oci_archive import write_default_archives
from tests.fakes.private_containerd import PrivateContainerd

PROJECT = Path(__file__).resolve().parent.parent
UDEVD = Path("/lib/systemd/systemd-udevd")
HEALTHZ_PORT, STATS_PORT = 20248, 20255
STICK_BYTES = 5 << 30
#: An empty stick needs the images of the pods that run without a registry.
FLOOR = 'floor_images = ["localhost/nodestorage/app:1"]'

_CONFIG = """\
schema = 1
[role.containerd]
kind = "runtime-root"
pod_grace_seconds = 2
{extra}
[role.containerd.profile]
root = "{base}/root"
state = "{base}/state"
socket = "{base}/c.sock"
runtime_units = ["containerd"]
kubelet_units = ["kubelet"]
healthz_port = {healthz}
stats_port = {stats}
[daemon]
mount_namespace = "own"
services = "command"
[daemon.commands]
start = ["{python}", "{services}", "{base}", "start", "{{unit}}"]
stop = ["{python}", "{services}", "{base}", "stop", "{{unit}}"]
status = ["{python}", "{services}", "{base}", "status", "{{unit}}"]
"""


class DemoNode:
    """One node below `base` (a short path); `with` starts its services and ends them all."""

    def __init__(
        self,
        base: Path,
        *,
        extra: str = FLOOR,
        python: str = sys.executable,
        ports: tuple[int, int] = (HEALTHZ_PORT, STATS_PORT),
        services: Path = PROJECT / "demo/services.py",
    ) -> None:
        self.base = base
        self.extra = extra
        self.python = python
        self.ports = ports
        self.services = services
        self._daemon: subprocess.Popen[bytes] | None = None
        self._udevd: subprocess.Popen[bytes] | None = None
        self._loops: dict[str, LoopDevice] = {}
        self.containerd = PrivateContainerd(base)

    def __enter__(self) -> Self:
        self._start_udev()
        self._write()
        self.service("start", "containerd")
        self.until(lambda: self.containerd.ctr("version", check=False).returncode == 0)
        for archive in write_default_archives(self.base):
            self.containerd.import_image(archive)
        self.service("start", "kubelet")
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for end in (
            self.stop_daemon,
            lambda: self.service("stop", "kubelet"),
            lambda: self.service("stop", "containerd"),
            self.containerd.close,
            self._unmount,
            self._detach,
            self._stop_udev,
            lambda: remove_cgroups(self.base.name),
        ):
            try:
                end()
            except (OSError, subprocess.SubprocessError) as error:
                sys.stderr.write(f"while cleaning up: {error}\n")

    def start_daemon(self, *, ready_seconds: float = 30) -> None:
        """The daemon runs and its status can be read."""
        self._daemon = self.launch_daemon()
        self.until(lambda: self.ctl("status", check=False).returncode == 0, ready_seconds)

    def launch_daemon(self) -> subprocess.Popen[bytes]:
        """A daemon's process, of which nothing is known yet."""
        with (self.base / "daemon.log").open("ab") as log:
            return subprocess.Popen(
                [
                    self.python, "-m", "nodestoraged.daemon",
                    "--root", str(self.base / "etcroot"),
                    "--run", str(self.base / "run"),
                    "--state", str(self.base / "lib"),
                    "--fence", str(self.base / "fence"),
                ],
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )  # fmt: skip

    @property
    def daemon_pid(self) -> int:
        """The daemon's process; only while it runs."""
        assert self._daemon is not None
        return self._daemon.pid

    def stop_daemon(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """The daemon has ended; its exit code, None if there was none."""
        if self._daemon is None:
            return None
        self._daemon.send_signal(number)
        try:
            code = self._daemon.wait(20)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            code = self._daemon.wait(10)
        self._daemon = None
        return code

    def daemon_end(self, seconds: float = 30) -> int:
        """The daemon, already told to go, has ended; its exit code."""
        assert self._daemon is not None
        code = self._daemon.wait(seconds)
        self._daemon = None
        return code

    def ctl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One call of nodestoragectl."""
        return subprocess.run(
            [self.python, "-m", "nodestoraged.cli", *words],
            cwd=PROJECT,
            env={
                **os.environ,
                "NODESTORAGE_SOCKET": str(self.base / "run/io.nodestorage"),
                "COLUMNS": "80",
            },
            check=check,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def role(self) -> dict[str, object]:
        """The first role of the status JSON."""
        status = json.loads(self.ctl("status", "-o", "json").stdout)
        role: dict[str, object] = status["roles"][0]
        return role

    def plug(self, name: str, label: str = "containerd-opt", *mkfs: str) -> LoopDevice:
        """A stick of that name is there: a sparse image with an ext4, on a loop device."""
        return self.attach(name, self.make_stick(name, label, *mkfs))

    def make_stick(self, name: str, label: str = "containerd-opt", *mkfs: str) -> Path:
        """The image of a stick, not plugged in; `mkfs` are more words for mkfs.ext4."""
        image = self.base / f"{name}.img"
        if not image.exists():
            with image.open("wb") as stream:
                stream.truncate(STICK_BYTES)
            words = ["mkfs.ext4", "-q", "-F", "-L", label, *mkfs, str(image)]
            subprocess.run(words, check=True, timeout=60, stderr=subprocess.DEVNULL)
        return image

    def attach(self, name: str, backing: Path | str) -> LoopDevice:
        """A loop device over `backing`, which goes with the node."""
        self._loops[name] = LoopDevice(backing)
        return self._loops[name]

    def unplug(self, name: str) -> None:
        """The loop device lets go, at once or when it is unmounted."""
        self._loops.pop(name).close()

    def service(self, verb: str, unit: str) -> None:
        """Start or stop one of the services, as anybody could."""
        subprocess.run(
            [sys.executable, str(PROJECT / "demo/services.py"), str(self.base), verb, unit],
            check=False,
            timeout=30,
        )

    def service_pid(self, unit: str) -> int | None:
        """The pid of a service, None while it is stopped."""
        return running(self.base / f"{unit}.pid")

    def pod_runs(self) -> bool:
        """True if the pod's sandbox and its container run."""
        return self.pods() >= 2

    def pods(self) -> int:
        """How many containers run on the private containerd, sandboxes among them."""
        listed = self.containerd.ctr("-n", "k8s.io", "tasks", "ls", "-q", check=False)
        return len(listed.stdout.split())

    def until(self, true: Callable[[], bool], seconds: float = 30) -> None:
        """Returns when `true` is; TimeoutError if it does not become so."""
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                raise TimeoutError("the node did not come to what was awaited")
            time.sleep(0.1)

    def _write(self) -> None:
        for name in ("etcroot/etc/nodestoraged", "run", "lib", "fence", "root", "state"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        units = {
            "containerd": ["containerd", "--config", str(self.base / "config.toml")],
            "kubelet": [
                sys.executable, str(PROJECT / "tests/fakes/kubelet_standin.py"),
                "--endpoint", f"unix://{self.containerd.socket_path}",
                "--healthz-port", str(self.ports[0]), "--stats-port", str(self.ports[1]),
                "--pod-file", str(self.base / "pod.json"),
                "--cgroup-parent", f"/{self.base.name}",
            ],
        }  # fmt: skip
        (self.base / "units.json").write_text(json.dumps(units))
        (self.base / "pod.json").write_text((PROJECT / "demo/pod.json").read_text())
        self.configure()

    def configure(self) -> None:
        """config.toml holds what this node was made with."""
        config = self.base / "etcroot/etc/nodestoraged/config.toml"
        config.write_text(
            _CONFIG.format(
                base=self.base,
                extra=self.extra,
                python=sys.executable,
                services=self.services,
                healthz=self.ports[0],
                stats=self.ports[1],
            )
        )
        config.chmod(0o644)

    def _start_udev(self) -> None:
        if udev_answers():
            return
        with (self.base / "udevd.log").open("ab") as log:
            self._udevd = subprocess.Popen(
                [str(UDEVD)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.until(udev_answers, 10)

    def _stop_udev(self) -> None:
        if self._udevd is not None:
            end_udevd(self._udevd)
            self._udevd = None

    def _unmount(self) -> None:
        for _ in range(3):
            lines = Path("/proc/self/mountinfo").read_text().splitlines()
            below = [line.split(" ")[4] for line in lines if f" {self.base}/" in line]
            for point in sorted(below, reverse=True):
                subprocess.run(["umount", point], check=False, timeout=10, capture_output=True)

    def _detach(self) -> None:
        for loop in self._loops.values():
            loop.close()
        self._loops.clear()


def remove_cgroups(name: str) -> None:
    """The control groups of a node's pods, which runc's own end did not take away, are gone."""
    for top in Path("/sys/fs/cgroup").glob(f"*/{name}"):
        for path, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(path).rmdir()


def end_udevd(process: subprocess.Popen[bytes]) -> None:
    """It is gone, though one of its workers may hang on a disk that does not answer."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def udev_answers() -> bool:
    """True while a udevd runs here."""
    return (
        subprocess.run(
            ["udevadm", "control", "--ping"], check=False, timeout=10, capture_output=True
        ).returncode
        == 0
    )
