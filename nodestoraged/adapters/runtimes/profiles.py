"""The runtime table: what differs between runtimes is facts, and here they are.

Owns: the rows, and what the configuration's `[role.NAME.profile]` changes in one.  May not know:
which row a node needs, and where its configuration moved the paths: that is `discovery`'s affair.

Each row names its source.  A row's paths are the defaults of the packages; `experimental` rows were
made from sources and documents, and nobody has seen them on a real node.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nodestoraged.model.config import ProfileOverride, RoleConfig
from nodestoraged.model.errors import ConfigError
from nodestoraged.model.runtime import Dialect, RuntimeProfile

__all__ = ["CONTAINERD", "PROFILES", "ROWS", "overridden", "profile_of", "row_of"]

#: Debian's and containerd.io's units; defaults: `containerd config default`.
CONTAINERD = RuntimeProfile(
    name="containerd",
    runtime_units=("containerd.service",),
    kubelet_units=("kubelet.service",),
    root="/var/lib/containerd",
    state="/run/containerd",
    socket="/run/containerd/containerd.sock",
)

#: k3s-io/k3s: install.sh (units), pkg/agent/containerd (containerd's arguments).  The root is
#: agent/containerd; agent/etc/containerd holds its configuration.
K3S = RuntimeProfile(
    name="k3s",
    runtime_units=("k3s.service", "k3s-agent.service"),
    kubelet_units=(),
    root="/var/lib/rancher/k3s/agent/containerd",
    state="/run/k3s/containerd",
    socket="/run/k3s/containerd/containerd.sock",
    embedded=True,
    ctr=("k3s", "ctr"),
)

#: rancher/rke2: bundle/lib/systemd/system; state and socket are k3s's, so never both on one node.
RKE2 = RuntimeProfile(
    name="rke2",
    runtime_units=("rke2-server.service", "rke2-agent.service"),
    kubelet_units=(),
    root="/var/lib/rancher/rke2/agent/containerd",
    state="/run/k3s/containerd",
    socket="/run/k3s/containerd/containerd.sock",
    embedded=True,
    ctr=("/var/lib/rancher/rke2/bin/ctr",),
    experimental=True,
)

#: k0sproject/k0s: pkg/component/worker/containerd; units as `k0s install` writes them.
K0S = RuntimeProfile(
    name="k0s",
    runtime_units=("k0sworker.service", "k0scontroller.service"),
    kubelet_units=(),
    root="/var/lib/k0s/containerd",
    state="/run/k0s/containerd",
    socket="/run/k0s/containerd.sock",
    embedded=True,
    ctr=("k0s", "ctr"),
    experimental=True,
)

#: canonical/microk8s: microk8s-resources/default-args/containerd; kubelet runs inside kubelite.
MICROK8S = RuntimeProfile(
    name="microk8s",
    runtime_units=("snap.microk8s.daemon-containerd.service",),
    kubelet_units=("snap.microk8s.daemon-kubelite.service",),
    root="/var/snap/microk8s/common/var/lib/containerd",
    state="/var/snap/microk8s/common/run/containerd",
    socket="/var/snap/microk8s/common/run/containerd.sock",
    ctr=("/snap/bin/microk8s", "ctr"),
    experimental=True,
)

#: cri-o/cri-o: contrib/systemd/crio.service, docs/crio.conf.5.md; containers/storage's defaults.
CRIO = RuntimeProfile(
    name="crio",
    runtime_units=("crio.service",),
    kubelet_units=("kubelet.service",),
    root="/var/lib/containers/storage",
    state="/run/containers/storage",
    socket="/run/crio/crio.sock",
    dialect=Dialect.CRI,
    ctr=(),
    experimental=True,
)

#: containers/podman: contrib/systemd; nobody listens between two commands, and there is no kubelet.
PODMAN = RuntimeProfile(
    name="podman",
    runtime_units=("podman.socket", "podman.service"),
    kubelet_units=(),
    root="/var/lib/containers/storage",
    state="/run/containers/storage",
    socket="/run/podman/podman.sock",
    dialect=Dialect.PODMAN,
    ctr=(),
    healthz_port=0,
    stats_port=0,
)

#: docker's containerd comes with CRI off, and docker keeps most of its own beside it: a node that
#: has nothing else is refused by `elsewhere`, and says why.
DOCKER = RuntimeProfile(
    name="docker",
    runtime_units=("docker.service", "containerd.service"),
    kubelet_units=(),
    root="/var/lib/containerd",
    state="/run/containerd",
    socket="/run/containerd/containerd.sock",
    elsewhere=("/var/lib/docker",),
    experimental=True,
    healthz_port=0,
    stats_port=0,
)

#: In the order in which `auto` prefers them: what embeds a kubelet, then what a kubelet asks, then
#: what also stands on machines that are no nodes; podman is only ever named.
ROWS: tuple[RuntimeProfile, ...] = (K3S, RKE2, K0S, MICROK8S, CRIO, CONTAINERD, DOCKER, PODMAN)

PROFILES: dict[str, RuntimeProfile] = {row.name: row for row in ROWS}


def row_of(role: RoleConfig) -> RuntimeProfile | None:
    """The row that `role` names, None for `auto`; `ConfigError` for an unknown name."""
    if role.runtime == "auto":
        return None
    row = PROFILES.get(role.runtime)
    if row is None:
        raise ConfigError(
            f"runtime {role.runtime!r} is not known to this version",
            key=f"role.{role.name}.runtime",
            hint=f"one of: auto, {', '.join(sorted(PROFILES))}",
        )
    return row


def overridden(row: RuntimeProfile, over: ProfileOverride) -> RuntimeProfile:
    """The row with what a person said about this node; nothing (`()`, 0) is a value too."""
    return replace(
        row,
        root=over.root or row.root,
        state=over.state or row.state,
        socket=over.socket or row.socket,
        runtime_units=row.runtime_units if over.runtime_units is None else over.runtime_units,
        kubelet_units=row.kubelet_units if over.kubelet_units is None else over.kubelet_units,
        healthz_port=row.healthz_port if over.healthz_port is None else over.healthz_port,
        stats_port=row.stats_port if over.stats_port is None else over.stats_port,
    )


def profile_of(role: RoleConfig, *, root: Path = Path("/")) -> RuntimeProfile:
    """The profile in force for `role` on the machine below `root`.

    `ConfigError` for an unknown name.  See `discovery.discover`, which also says why.
    """
    from nodestoraged.adapters.runtimes.discovery import discover  # it needs the rows above

    return discover(role, root=root).profile
