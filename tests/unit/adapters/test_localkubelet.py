"""Rules for kubelet as this node sees it: what is off or silent is no error."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace

from nodestoraged.adapters.localkubelet import LocalKubelet
from nodestoraged.adapters.runtimes.profiles import CONTAINERD
from nodestoraged.model.runtime import Unit, UnitState


def closed_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def test_port_zero_is_off_and_a_silent_one_is_not_healthy() -> None:
    off = replace(CONTAINERD, healthz_port=0, stats_port=0)
    silent = replace(CONTAINERD, healthz_port=closed_port(), stats_port=closed_port())
    kubelet = LocalKubelet()

    async def scenario() -> None:
        assert await kubelet.healthy(off, deadline_seconds=1)
        assert await kubelet.capacity_bytes(off, deadline_seconds=1) is None
        assert not await kubelet.healthy(silent, deadline_seconds=1)
        assert await kubelet.capacity_bytes(silent, deadline_seconds=1) is None

    asyncio.run(scenario())


def test_the_start_of_the_main_process_is_in_boot_time() -> None:
    async def scenario() -> None:
        ours = Unit(name="kubelet.service", state=UnitState.ACTIVE, main_pid=os.getpid())
        began = await LocalKubelet().started_at(ours)
        assert began is not None
        assert began > 0
        none = Unit(name="kubelet.service", state=UnitState.INACTIVE)
        assert await LocalKubelet().started_at(none) is None

    asyncio.run(scenario())
