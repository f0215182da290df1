"""The `Kubelet` port: healthz and the read-only statistics on localhost, and the process's age."""

from __future__ import annotations

from nodestoraged.adapters import kubelet
from nodestoraged.linux import process
from nodestoraged.model.runtime import RuntimeProfile, Unit


class LocalKubelet:
    """kubelet as this node sees it; nothing here raises for what kubelet does or does not."""

    async def healthy(self, profile: RuntimeProfile, *, deadline_seconds: float) -> bool:
        """healthz said ok; with port 0 (off) a running process is all that can be known."""
        if profile.healthz_port == 0:
            return True
        found = await kubelet.healthz(port=profile.healthz_port, deadline_seconds=deadline_seconds)
        return found.healthy

    async def capacity_bytes(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> int | None:
        """imageFs.capacityBytes of /stats/summary; None where the port is off."""
        if profile.stats_port == 0:
            return None
        found = await kubelet.image_fs_capacity(
            port=profile.stats_port, deadline_seconds=deadline_seconds
        )
        return found.capacity_bytes

    async def started_at(self, unit: Unit) -> float | None:
        """Boot-time seconds of the start of the unit's main process."""
        return process.start_seconds(unit.main_pid) if unit.main_pid else None
