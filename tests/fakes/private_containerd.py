"""A real containerd of the test's own: own root, state, socket and configuration.

Owns one containerd process and everything below one directory, and takes all of it away again:
pods, shims, mounts, the process. Needs root, containerd, ctr and runc of the host.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes.oci_archive import PAUSE_REFERENCE

_CONFIG = """\
version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{base}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  stream_server_port = "0"
  # Without CAP_SYS_RESOURCE the pause container cannot lower its oom_score_adj, and dies.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{base}/cni/bin"
    conf_dir = "{base}/cni/conf"
"""


class PrivateContainerd:
    """containerd below `base`, which must be a short path (a socket's path ends at 107 bytes)."""

    def __init__(self, base: Path, *, cri: bool = True) -> None:
        self.base = base
        self.root = base / "root"
        self.state = base / "state"
        self.socket_path = base / "c.sock"
        self.log_path = base / "containerd.log"
        self._config = base / "config.toml"
        self._process: subprocess.Popen[bytes] | None = None
        text = _CONFIG.format(
            root=self.root,
            state=self.state,
            socket=self.socket_path,
            base=base,
            pause=PAUSE_REFERENCE,
        )
        if not cri:
            text = text.replace(
                "version = 2", 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]'
            )
            text = text[: text.index('[plugins."io.containerd.grpc.v1.cri"]')]
        self._config.write_text(text)

    @property
    def pid(self) -> int:
        """The pid of containerd; only while it runs."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Start containerd and do not wait for anything."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                ["containerd", "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start(self) -> Self:
        """Start containerd; it answers when this returns."""
        self.launch()
        until = time.monotonic() + 30
        while self.ctr("version", check=False).returncode != 0:
            assert self._process is not None
            assert self._process.poll() is None, self.log_path.read_text()
            assert time.monotonic() < until, self.log_path.read_text()
            time.sleep(0.05)
        return self

    def ctr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ctr on this containerd."""
        return subprocess.run(
            ["ctr", "-a", str(self.socket_path), *arguments],
            check=check,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def import_image(self, archive: Path) -> None:
        """The images of the archive are in k8s.io."""
        self.ctr("-n", "k8s.io", "images", "import", str(archive))

    def terminate(self) -> None:
        """SIGTERM, as a service manager stops it: shims and containers stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: the socket file stays as well."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None

    def shims(self) -> tuple[int, ...]:
        """The pids of the shims that belong to this socket."""
        return tuple(pid for pid, words in _processes() if self._is_shim(words))

    def _is_shim(self, words: list[str]) -> bool:
        # Run with a verb it is a short-lived helper, for each container that joins a pod too.
        return (
            "containerd-shim" in words[0]
            and str(self.socket_path) in words
            and words[-1] not in {"start", "delete"}
        )

    def close(self) -> None:
        """Nothing of it is left: neither process nor mount."""
        self.terminate()
        for shim in self.shims():
            for pid in (*_descendants(shim), shim):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        time.sleep(0.05)
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        below = [line.split(" ")[4] for line in lines if f" {self.base}/" in line]
        for point in sorted(below, reverse=True):
            subprocess.run(["umount", "-l", point], check=False, timeout=10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()


def _processes() -> list[tuple[int, list[str]]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            found.append((int(entry.name), line.rstrip("\0").split("\0")))
    return found


def _descendants(pid: int) -> list[int]:
    # `children` is kept per thread, and a shim has many.
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        listed = [word for thread in threads for word in (thread / "children").read_text().split()]
    except OSError:
        return []
    return [each for child in map(int, listed) for each in (*_descendants(child), child)]
