"""A machine with the package installed, asked and judged through what its users have."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from nodestoraged.api.client import Client, Unreachable
from nodestoraged.api.interface import SOCKET_PATH
from tests.vm.harness.flavour import CONTAINERD, Flavour
from tests.vm.harness.guest import Result
from tests.vm.harness.machine import Machine
from tests.vm.harness.recipe import load_recipe
from tests.vm.harness.stick import Stick
from tests.vm.inits import init_of

#: The images of the static pod: an empty stick has none, and the node has no registry.
FLOOR = '[role.containerd]\nfloor_images = ["localhost/nodestorage/app:1"]\n'
ROOT = CONTAINERD.root
#: A question over the socket costs an emulated processor little; the command line costs a second.
POLL_SECONDS = 0.5
#: A busy daemon may be slow; one that hangs is a failure.
ANSWER_SECONDS = 30.0
#: The first of the two commands, by the package's suffix. -y: nobody is there to be asked.
INSTALL = {
    ".deb": "apt install -y ./nodestoraged_*_all.deb",
    ".rpm": "dnf install -y ./nodestoraged-*.noarch.rpm",
    ".gz": "tar -xzf nodestoraged-*-bundle-*.tar.gz && nodestoraged-*-bundle-*/install.sh",
}
_DROP_IN = "/etc/nodestoraged/conf.d/10-test.toml"


class Node:
    """One node.  Every method speaks of what an operator or kubelet would see."""

    def __init__(self, machine: Machine, flavour: Flavour = CONTAINERD) -> None:
        self.machine = machine
        self.flavour = flavour
        self.init = init_of(machine, load_recipe(machine.image.recipe).init)

    def install(self, package: Path, config: str = FLOOR) -> None:
        """The package is installed with the two commands of docs/install.md, `config` beside it.

        That starts the daemon, and neither stops nor restarts anything else.
        """
        before = self.life()
        self.machine.put_text(config, _DROP_IN)
        self.machine.put(package, f"/root/{package.name}")
        # Debian's enables and starts it.
        then = "nodestoragectl status" if package.suffix == ".deb" else self.init.enable
        self.machine.ssh(f"cd /root && {INSTALL[package.suffix]} && {then}", timeout=300)
        assert self.active("nodestoraged") == "active"
        assert self.life() == before

    def configure(self, config: str) -> None:
        """Another drop-in, reloaded."""
        self.machine.put_text(config, _DROP_IN)
        assert self.init.control("reload", "nodestoraged") == 0

    def ctl(self, words: str, *, check: bool = True, timeout: float = 180) -> Result:
        """nodestoragectl WORDS."""
        return self.machine.ssh(f"nodestoragectl {words}", check=check, timeout=timeout)

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """What the daemon answers on its socket; a test of the command line uses `ctl`.

        Raises Unreachable while no daemon answers.
        """
        with Client(str(self.machine.forward(SOCKET_PATH)), ANSWER_SECONDS) as client:
            return client.call(method, **parameters)

    def status(self) -> dict[str, Any]:
        """The status JSON."""
        found: dict[str, Any] = self.ask("GetStatus")["status"]
        return found

    def role(self) -> dict[str, Any]:
        """The one role of the status JSON."""
        found: dict[str, Any] = self.status()["roles"][0]
        return found

    def wait_phase(self, phase: str, seconds: float = 90) -> dict[str, Any]:
        """The node is in `phase`, the daemon may start meanwhile; returns the role."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(Unreachable):
                role = self.role()
                if role["phase"] == phase:
                    return role
            if time.monotonic() > end:
                shown = self.ctl("status -o wide", check=False)
                raise AssertionError(f"not {phase} in {seconds} s\n{shown.stdout}{shown.stderr}")
            time.sleep(POLL_SECONDS)

    def until(self, holds: str, seconds: float = 60) -> dict[str, Any]:
        """`holds` (an expression over `role`) becomes true; returns the role."""
        end = time.monotonic() + seconds
        while True:
            role = self.role()
            if eval(holds, {"role": role}):
                return role
            assert time.monotonic() < end, f"{holds}\n{json.dumps(role, indent=1)}"
            time.sleep(POLL_SECONDS)

    def candidate(self, stick: Stick) -> dict[str, Any] | None:
        """The candidate of this serial, or None."""
        found = [c for c in self.role()["candidates"] if c["serial"] == stick.serial]
        return found[0] if found else None

    def wait_step(self, step: str, seconds: float = 60) -> None:
        """The running operation is in this step."""
        end = time.monotonic() + seconds
        while (operation := self.status()["operation"]) is None or operation["step"] != step:
            assert time.monotonic() < end, operation
            time.sleep(0.1)

    def slow(self, unit: str, line: str) -> str:
        """The unit of systemd gets a line that makes its start or stop last; the drop-in's path."""
        path = f"/etc/systemd/system/{unit}.service.d/slow.conf"
        self.machine.put_text(f"[Service]\n{line}\n", path)
        self.machine.ssh("systemctl daemon-reload")
        return path

    def wait_verdict(self, stick: Stick, verdict: str, seconds: float = 40) -> dict[str, Any]:
        """`stick` is listed with this verdict; returns its candidate."""
        end = time.monotonic() + seconds
        while True:
            found = self.candidate(stick)
            if found is not None and found["verdict"] == verdict:
                return found
            assert time.monotonic() < end, f"{stick.serial} is {found}"
            time.sleep(POLL_SECONDS)

    def plug(self, stick: Stick, verdict: str | None = None, **options: Any) -> None:
        """The stick is in, and if `verdict` is given the daemon has judged it so."""
        self.machine.plug(stick, **options)
        if verdict is not None:
            self.wait_verdict(stick, verdict)

    def bind(self, stick: Stick, name: str) -> dict[str, Any]:
        """The stick is plugged in, enrolled as `name`, and serves."""
        self.plug(stick, "waiting")
        self.ctl(f"enroll {stick.serial} --name {name}")
        role = self.wait_phase("BOUND")
        assert role["active"]["name"] == name
        self.wait_pods()
        return role

    def wait_pods(self, seconds: float = 90) -> None:
        """The static pod's sandbox and container run."""
        self.machine.wait_until(self.flavour.pod_runs, timeout=seconds)

    def pod_tasks(self) -> str:
        """Ids and pids of the running containers: equal means that no pod was restarted."""
        return self.machine.ssh(f"{self.flavour.ctr} tasks ls | sort").stdout

    def life(self) -> tuple[int, int, str, list[str]]:
        """What no installation, upgrade or refused removal may change: equal means undisturbed."""
        runtime, kubelet = self.flavour.runtime, self.flavour.kubelet
        return self.pid(runtime), self.pid(kubelet), self.pod_tasks(), self.mounted()

    def shims(self) -> list[str]:
        """The pids of containers' shims, whoever started them."""
        # The brackets keep the pattern from matching the shell that bears it.
        return self.machine.ssh("pgrep -f '[c]ontainerd-shim' || true").stdout.split()

    def pid(self, unit: str) -> int:
        """The main process of a unit, 0 if it does not run."""
        return self.init.pid(unit)

    def active(self, unit: str) -> str:
        """`active`, or another word of the service manager."""
        return self.init.active(unit)

    def wait_stopped(self, unit: str, seconds: float = 20) -> None:
        """The unit's process has ended."""
        end = time.monotonic() + seconds
        while (pid := self.pid(unit)) != 0:
            assert time.monotonic() < end, f"{unit} still runs as {pid}"
            time.sleep(0.2)

    def wait_started(self, unit: str, seconds: float = 20) -> int:
        """The unit's process runs; returns its pid."""
        end = time.monotonic() + seconds
        while (pid := self.pid(unit)) == 0:
            assert time.monotonic() < end, f"{unit} does not run"
            time.sleep(0.2)
        return pid

    def runtime_starts(self) -> int:
        """How often the runtime was started in this boot."""
        return self.init.log(self.flavour.runtime).count(self.flavour.start_line)

    def reboot(self) -> None:
        """Reboot in an orderly way, sticks stay plugged; logs are then those of the new boot."""
        self.init.forget_logs()
        self.machine.reboot()

    def mounted(self) -> list[str]:
        """What is mounted on the root, as PID 1 sees it."""
        lines = self.machine.ssh("cat /proc/1/mountinfo").stdout.splitlines()
        return [line for line in lines if line.split()[4] == self.flavour.root]

    def kubelet_capacity(self) -> int | None:
        """The image file system's capacity in kubelet's eyes."""
        result = self.machine.ssh(
            "busybox wget -q -O - http://127.0.0.1:10255/stats/summary", check=False
        )
        if result.code != 0:
            return None
        summary = json.loads(result.stdout)
        found: int = summary["node"]["runtime"]["imageFs"]["capacityBytes"]
        return found

    def operations(self) -> list[dict[str, Any]]:
        """Operations, newest first."""
        rows: list[dict[str, Any]] = self.ask("ListOperations", limit=20)["operations"]
        return rows
