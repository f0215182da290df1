"""The runtime table: what differs between runtimes is facts, and here they are.

Sources: the packages' own units and defaults.  A row's paths are defaults; the configuration's
`[role.NAME.profile]` overrides them.  k3s and the other embedding distributions come with a
later version.
"""

from __future__ import annotations

from dataclasses import replace

from nodestoraged.model.config import RoleConfig
from nodestoraged.model.errors import ConfigError
from nodestoraged.model.runtime import RuntimeProfile

CONTAINERD = RuntimeProfile(
    name="containerd",
    runtime_units=("containerd.service",),
    kubelet_units=("kubelet.service",),
    root="/var/lib/containerd",
    state="/run/containerd",
    socket="/run/containerd/containerd.sock",
)

PROFILES: dict[str, RuntimeProfile] = {CONTAINERD.name: CONTAINERD}


def profile_of(role: RoleConfig) -> RuntimeProfile:
    """The row that `role` asks for, with its overrides; `ConfigError` for an unknown name."""
    name = CONTAINERD.name if role.runtime == "auto" else role.runtime
    row = PROFILES.get(name)
    if row is None:
        known = ", ".join(sorted(PROFILES))
        raise ConfigError(
            f"runtime {name!r} is not known to this version",
            key=f"role.{role.name}.runtime",
            hint=f"one of: auto, {known}",
        )
    over = role.profile
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
