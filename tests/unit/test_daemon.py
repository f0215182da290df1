"""The daemon's options: what others rely on without asking it."""

from __future__ import annotations

from pathlib import Path

from nodestoraged import daemon
from nodestoraged.api.interface import INTERFACE, SOCKET_PATH

DROP_IN = Path(__file__).parents[2] / "init" / "systemd" / "10-nodestoraged.conf"


def test_the_fence_is_where_the_packaged_drop_in_looks_for_it() -> None:
    fence = daemon._options([]).fence
    assert f"ConditionPathExists=!{fence}/containerd" in DROP_IN.read_text().splitlines()


def test_the_socket_is_where_the_command_line_looks_for_it() -> None:
    assert f"{daemon._options([]).run}/{INTERFACE}" == SOCKET_PATH
