"""Which row of the runtime table a node needs, where nobody said it.

Owns: the evidence for each row and its weight.  May not know: where the row's paths are.

The weights, from the heaviest: the configuration of an installed kubelet names its socket; its
unit is started at each boot; it runs now; the order of the table.  What says the same at a boot,
where nothing runs yet, as in the middle of a move, where one runtime is stopped, outweighs what
happens to run: an answer that changes with that would move the wrong root.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nodestoraged.adapters.runtimes import configdump, files
from nodestoraged.adapters.runtimes.launch import Launch, launch_of, option
from nodestoraged.adapters.runtimes.processes import Running, running
from nodestoraged.adapters.runtimes.profiles import CONTAINERD, DOCKER, PODMAN, ROWS
from nodestoraged.adapters.runtimes.traces import TRACES
from nodestoraged.model.runtime import RuntimeProfile

__all__ = ["Machine", "Presence", "choose", "look"]

#: kubeadm's files, the newer one first; then what a person tells crictl.
_ENDPOINT_FILES = (
    ("/var/lib/kubelet/instance-config.yaml", "containerRuntimeEndpoint:"),
    ("/var/lib/kubelet/kubeadm-flags.env", "--container-runtime-endpoint="),
    ("/var/lib/kubelet/config.yaml", "containerRuntimeEndpoint:"),
    ("/etc/crictl.yaml", "runtime-endpoint:"),
)
_ENDPOINT = re.compile(r"""["']?(?:unix://)?(/[^\s"',]+)""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What a node has of one row; `program` is a path, "" if none of the usual ones is there."""

    row: RuntimeProfile
    launches: tuple[Launch, ...]
    process: Running | None
    program: str

    @property
    def installed(self) -> bool:
        """True if a unit or a program of it is there."""
        return bool(self.launches or self.program or self.process)

    @property
    def enabled(self) -> Launch | None:
        """The unit that is started at each boot, if any."""
        return next((launch for launch in self.launches if launch.enabled), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Everything that was found; `endpoint` is kubelet's socket and the file that names it."""

    presences: tuple[Presence, ...]
    endpoint: tuple[str, str] | None

    def of(self, row: RuntimeProfile) -> Presence:
        """What there is of `row`."""
        return next(each for each in self.presences if each.row.name == row.name)


def look(root: Path, socket: str | None) -> Machine:
    """What the machine below `root` has; `socket` is one that a person named for the role."""
    processes = running(root)
    return Machine(
        presences=tuple(
            Presence(
                row=row,
                launches=tuple(_launches(root, row)),
                process=_process(root, row, processes, socket),
                program=_program(root, row),
            )
            for row in ROWS
        ),
        endpoint=_endpoint(root),
    )


def choose(machine: Machine, root: Path) -> tuple[RuntimeProfile, str]:
    """The row, and why; containerd's where nothing is installed.

    podman stands on many machines that are no nodes, and is a role of its own where it is meant:
    it is never chosen, only named.
    """
    installed = [each for each in machine.presences if each.installed and each.row is not PODMAN]
    if not installed:
        return CONTAINERD, "nothing is installed yet"
    asked, file = machine.endpoint or ("", "")
    # Equal ones stay in the table's order.
    best = max(
        installed,
        key=lambda each: (
            each.row.socket == asked and each.row is not DOCKER,
            each.enabled is not None,
            each.process is not None,
        ),
    )
    if best.row is CONTAINERD and machine.of(DOCKER).installed and _without_cri(root, best):
        return DOCKER, "dockerd is installed, and its containerd has CRI switched off"
    if best.row.socket == asked:
        return best.row, f"{file} names {asked}"
    if best.enabled is not None:
        return best.row, f"{best.enabled.unit} is enabled"
    if best.process is not None:
        return best.row, f"process {best.process.pid} runs"
    return best.row, f"{best.program or best.launches[0].source} is installed"


def _launches(root: Path, row: RuntimeProfile) -> Iterator[Launch]:
    # docker shares containerd's unit, which alone would not tell of docker.
    names = row.runtime_units[:1] if row is DOCKER else row.runtime_units
    found = [launch_of(root, name) for name in names]
    yield from sorted((each for each in found if each), key=lambda each: not each.enabled)


def _program(root: Path, row: RuntimeProfile) -> str:
    programs = TRACES[row.name].programs
    return next((each for each in programs if files.below(root, each).is_file()), "")


def _process(
    root: Path, row: RuntimeProfile, processes: tuple[Running, ...], socket: str | None
) -> Running | None:
    return next((each for each in processes if _belongs(root, row, each, socket)), None)


def _belongs(root: Path, row: RuntimeProfile, process: Running, socket: str | None) -> bool:
    if row is DOCKER:  # a containerd that dockerd started for itself; the other one is containerd's
        return process.parent == "dockerd"
    if (process.name == "crio") != (row.name == "crio"):
        return False
    if process.unit in row.runtime_units:
        return True
    parents = TRACES[row.name].parents
    if parents:
        return process.parent.startswith(parents)
    if row is not CONTAINERD or process.parent.startswith(("k3s", "rke2", "k0s", "dockerd")):
        return False
    # Started by hand or by OpenRC: it is the machine's if it listens where one expects it.
    return _address(root, process) in (row.socket, socket)


def _address(root: Path, process: Running) -> str:
    given = option(process.arguments, "-a", "--address")
    if given is not None:
        return given
    path = option(process.arguments, "-c", "--config") or TRACES[CONTAINERD.name].config
    config = configdump.read(path, root)
    return (config.address if config else None) or CONTAINERD.socket


def _without_cri(root: Path, presence: Presence) -> bool:
    arguments = presence.process.arguments if presence.process else ()
    path = option(arguments, "-c", "--config") or TRACES[CONTAINERD.name].config
    config = configdump.read(path, root)
    return config is not None and not config.cri


def _endpoint(root: Path) -> tuple[str, str] | None:
    if launch_of(root, "kubelet.service") is None:
        return None  # what is left of a kubelet that went says nothing
    for name, key in _ENDPOINT_FILES:
        text = files.read_text(files.below(root, name)) or ""
        found = _ENDPOINT.match(text.partition(key)[2].lstrip())
        if found is not None:
            # /var/run is /run on every system that has units for these.
            return re.sub(r"^/var/run/", "/run/", found[1]), name
    return None
