"""A systemd for a private node: systemd's D-Bus interface over processes with pid files.

    python -m benchmarks.units BASE        (until its stdin ends)

A benchmark of the daemon needs a service manager that costs about what systemd costs.  The demo's
commands start an interpreter for every question, which would be most of what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from demo import services
from demo.node import PROJECT, DemoNode
from tests.fakes.fake_systemd1 import CONFIG, FakeSystemd1
from tests.fakes.unit_world import UnitWorld, WorldUnit, running

#: The daemon looks for it here; the directory is the private node's own.
BUS = Path("/run/dbus/system_bus_socket")


class PidFileUnits(UnitWorld):
    """Units whose state is that of a process: the pid files are those of `demo.services`."""

    def __init__(self, base: Path) -> None:
        super().__init__()
        self._base = base
        self._words: dict[str, list[str]] = json.loads((base / "units.json").read_text())
        for name in self._words:
            self.add(WorldUnit(name=f"{name}.service"))

    def unit(self, name: str) -> WorldUnit:
        """The unit as its process is now."""
        found = super().unit(name)
        if found.load == "not-found" or found.active in {"activating", "deactivating"}:
            return found
        pid = services.running(self._pid_file(name))
        if (pid or 0) != found.main_pid:
            now = running(name, main_pid=pid) if pid else WorldUnit(name=name)
            self.units[name] = found = now
        return found

    def begin(self, verb: str, name: str) -> None:
        """The job's effect, at once: its process starts, or has ended."""
        super().begin(verb, name)
        if verb == "stop":
            services.stop(services.running(self._pid_file(name)))
        elif not (self._base / "fence/containerd").exists():
            self._start(name.removesuffix(".service"))

    def end(self, verb: str, name: str) -> str:
        """The job's result, by the process."""
        result = super().end(verb, name)
        self.units[name].main_pid = services.running(self._pid_file(name)) or 0
        return result

    def _start(self, name: str) -> None:
        with (self._base / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self._words[name],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        (self._base / f"{name}.pid").write_text(str(process.pid))

    def _pid_file(self, name: str) -> Path:
        return self._base / f"{name.removesuffix('.service')}.pid"


@contextlib.contextmanager
def system_bus(base: Path) -> Iterator[None]:
    """A message bus answers where the system's bus is looked for."""
    config = base / "bus.conf"
    config.write_text(CONFIG.format(socket=BUS))
    words = ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address=1"]
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as daemon:
        try:
            assert daemon.stdout is not None
            if not daemon.stdout.readline():
                raise RuntimeError("dbus-daemon did not start")
            yield
        finally:
            daemon.terminate()


@contextlib.contextmanager
def systemd(node: DemoNode, *, settle_seconds: float = 0) -> Iterator[None]:
    """The node's units are asked for over D-Bus, and its daemon is configured to do so."""
    config = node.base / "etcroot/etc/nodestoraged/config.toml"
    text = config.read_text().replace('services = "command"', 'services = "systemd"')
    text = text.replace("[daemon]\n", f"[daemon]\nsettle_seconds = {settle_seconds}\n")
    for name in ("containerd", "kubelet"):
        text = text.replace(f'_units = ["{name}"]', f'_units = ["{name}.service"]')
    config.write_text(text)
    words = [sys.executable, "-m", __name__, str(node.base)]
    with (
        system_bus(node.base),
        subprocess.Popen(
            words, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the stand-in for systemd did not start")
        try:
            yield
        finally:
            node.stop_daemon()  # it would miss its bus
            process.stdin.close()


async def _serve(base: Path) -> None:
    fake = FakeSystemd1(PidFileUnits(base))
    await fake.serve(BUS)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, lambda: None if os.read(0, 99) else ended.set())
    await ended.wait()
    await fake.close()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
