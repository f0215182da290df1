"""What runs the pods of a node: containerd beside a kubelet, or k3s, and how one becomes the other.

Owns the names and paths of each, and the change of a booted machine. Knows nothing of the daemon
under test.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.vm.harness.errors import HarnessError
from tests.vm.harness.machine import Machine
from tests.vm.harness.recipe import FAKES, RECIPES

_SCRIPT: Final = RECIPES / "become-k3s.sh"
_CHANGE_SECONDS: Final = 120.0
_TWO_RUN: Final = "cat $(sed 's,.*,/proc/&/comm,' */init.pid) | grep -cv '^runc' | grep -qx 2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """One way to run pods. `runtime` and `kubelet` are units, one and the same where embedded.

    `start_line` is what the runtime's log says once per start.
    """

    name: str
    runtime: str
    kubelet: str
    root: str
    address: str
    start_line: str

    @property
    def embedded(self) -> bool:
        """Whether one unit holds runtime and kubelet."""
        return self.runtime == self.kubelet

    @property
    def ctr(self) -> str:
        """containerd's client for the pods' namespace, as a shell word list."""
        return f"ctr -a {self.address} -n k8s.io"

    @property
    def pod_runs(self) -> str:
        """A shell command that ends with 0 when the static pod's sandbox and container run.

        It looks where containerd's shims note the first process of each task: asked again and
        again, ctr would cost an emulated processor more than the pod's start. A task that is
        created and not started has runc there.
        """
        return f"cd {self._state}/io.containerd.runtime.v2.task/k8s.io && {_TWO_RUN}"

    @property
    def _state(self) -> str:
        return self.address.rpartition("/")[0]


CONTAINERD: Final = Flavour(
    name="containerd",
    runtime="containerd",
    kubelet="kubelet",
    root="/var/lib/containerd",
    address="/run/containerd/containerd.sock",
    start_line="containerd successfully booted",
)


def _k3s(unit: str) -> Flavour:
    return Flavour(
        name="k3s",
        runtime=unit,
        kubelet=unit,
        root="/var/lib/rancher/k3s/agent/containerd",
        address="/run/k3s/containerd/containerd.sock",
        start_line="Running containerd ",
    )


K3S: Final = _k3s("k3s")
K3S_AGENT: Final = _k3s("k3s-agent")
#: Where "k3s" is an agent; elsewhere it is a server, which says READY long after its containerd.
_AGENTS: Final = frozenset({"bookworm"})


def flavour_of(name: str, suite: str) -> Flavour:
    """The flavour `name` on a node of that recipe. Raises HarnessError for an unknown name."""
    if name == "containerd":
        return CONTAINERD
    if name == "k3s":
        return K3S_AGENT if suite in _AGENTS else K3S
    if name == "k3s-agent":
        return K3S_AGENT
    raise HarnessError(f"no flavour {name!r}")


def _files(unit: str) -> tuple[tuple[Path, str], ...]:
    k3s = FAKES / "k3s"
    return (
        (FAKES / "k3s_standin.py", "/usr/local/bin/k3s"),
        (k3s / "k3s-killall.sh", "/usr/local/bin/k3s-killall.sh"),
        (k3s / f"{unit}.service", f"/root/{unit}.service"),
        (k3s / f"{unit}.initd", f"/root/{unit}.initd"),
    )


def flavour_key(flavour: Flavour) -> str:
    """A short hash of what the change to `flavour` is made of."""
    content = [_SCRIPT.read_bytes(), *(local.read_bytes() for local, _ in _files(flavour.runtime))]
    return hashlib.sha256(b"\0".join(content)).hexdigest()[:8]


def become(machine: Machine, flavour: Flavour) -> None:
    """Make of a node with containerd and kubelet one of this flavour; its static pod runs again.

    The other units are gone afterwards, their root with them. Raises HarnessError.
    """
    if not flavour.embedded:
        return
    for local, remote in _files(flavour.runtime):
        machine.put(local, remote)
    machine.put(_SCRIPT, "/root/become-k3s.sh")
    machine.ssh(f"sh /root/become-k3s.sh {flavour.runtime}", timeout=_CHANGE_SECONDS)
    machine.wait_until(flavour.pod_runs, timeout=_CHANGE_SECONDS)
