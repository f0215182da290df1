"""What a daemon is made of: the adapters behind the ports of each role, and the rights it keeps.

Owns: which adapter fits this machine.  May not know: the loop, signals, the order of a start.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from nodestoraged.adapters.children import Children
from nodestoraged.adapters.copier import TransientCopier
from nodestoraged.adapters.disks import WorkerDisks
from nodestoraged.adapters.fence import FileFence
from nodestoraged.adapters.hooks import ProgramHooks
from nodestoraged.adapters.launcher import Launcher
from nodestoraged.adapters.localkubelet import LocalKubelet
from nodestoraged.adapters.mounts import MountInfo
from nodestoraged.adapters.rootpath import followed
from nodestoraged.adapters.roots import WorkerRoots
from nodestoraged.adapters.runtimes.alone import AloneRuntime
from nodestoraged.adapters.runtimes.discovery import Discovery, discover
from nodestoraged.adapters.runtimes.dispatch import RuntimeByDialect
from nodestoraged.adapters.runtimes.podman import PodmanRuntime
from nodestoraged.adapters.runtimes.runtime import ContainerdRuntime
from nodestoraged.adapters.services.select import is_openrc
from nodestoraged.adapters.sticks import WorkerSticks, kept_node_id
from nodestoraged.linux import privileges
from nodestoraged.model.config import Config, DaemonConfig, MountNamespace, RoleConfig, Services
from nodestoraged.model.errors import StepError
from nodestoraged.ports import (
    Clock,
    DeviceSource,
    EventLog,
    Journal,
    Notifier,
    Ports,
    ServiceManager,
    Store,
)

#: What init/systemd/nodestoraged.service leaves us as well.
RIGHTS = (
    "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_LINUX_IMMUTABLE", "CAP_CHOWN",
    "CAP_FOWNER",
)  # fmt: skip
#: And its OOMScoreAdjust: a node out of memory must not lose the one that notices the lost stick.
OOM_SCORE = -900


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all roles of one daemon have in common; the directories are the daemon's own."""

    config: DaemonConfig
    state: Path
    fence: Path
    children: Children
    clock: Clock
    devices: DeviceSource
    services: ServiceManager
    launcher: Launcher | None
    store: Store
    notifier: Notifier
    log: EventLog

    @property
    def transient(self) -> bool:
        """True if a program can run in a unit of its own that sees the mounts that we see."""
        by_systemd = self.services.name in {"systemd", "systemctl"} and self.launcher is None
        return by_systemd and self.config.mount_namespace is not MountNamespace.OWN


def ports_of(role: RoleConfig, shared: Shared, journal: Journal) -> Ports:
    """The adapters that act for `role`."""
    return Ports(
        clock=shared.clock,
        devices=shared.devices,
        mounts=MountInfo(),
        disks=WorkerDisks(shared.children),
        sticks=WorkerSticks(shared.children, kept_node_id(shared.state)),
        roots=WorkerRoots(shared.children),
        copier=_copier(shared),
        services=shared.services,
        fence=FileFence(shared.fence),
        runtime=_runtime(shared),
        kubelet=LocalKubelet(),
        hooks=ProgramHooks(),
        journal=journal,
        store=shared.store,
        notifier=shared.notifier,
        log=shared.log,
    )


def discovered(role: RoleConfig, root: Path) -> Discovery:
    """The runtime in force on the machine below `root`, its paths as the mount table has them.

    Raises ConfigError for an unknown runtime, ObservationError `SymlinkedRoot`.
    """
    found = discover(role, root=root)
    return replace(found, profile=followed(found.profile))


def _copier(shared: Shared) -> TransientCopier:
    """A copy runs in a unit of its own where there is systemd, and we share its mounts.

    Where there is a launcher it is its child: a faithful copy needs rights that we gave up.
    """
    if shared.launcher is not None:
        return TransientCopier(systemd=False, python=shared.launcher.copier_python)
    return TransientCopier(systemd=shared.transient)


def _runtime(shared: Shared) -> RuntimeByDialect:
    """Who speaks to the runtime; a command of podman's needs rights that we gave up."""
    parts = (shared.children, shared.clock, shared.state / "images")
    launcher = shared.launcher
    alone = AloneRuntime(
        systemd=shared.transient, launcher=() if launcher is None else launcher.containerd
    )
    podman = ("podman",) if launcher is None else launcher.podman
    return RuntimeByDialect(
        ContainerdRuntime(*parts, alone),
        PodmanRuntime(*parts, podman=podman, transient=shared.transient),
    )


def narrow(config: Config, run: Path, stack: ExitStack) -> Launcher | None:
    """Our rights are the few that we need; the launcher, which has all of them, where we need it.

    With commands of the operator nothing is given up: what they start may be our descendant.
    """
    launcher = None
    if config.daemon.services is Services.COMMAND:
        return None
    try:
        if is_openrc(config.daemon):
            launcher = Launcher(run / "launcher")
            stack.callback(launcher.close)
        privileges.set_oom_score(OOM_SCORE)
        privileges.give_up(keep=RIGHTS)
    except OSError as error:
        raise StepError("NotNarrowed", f"rights could not be given up: {error}") from error
    return launcher
