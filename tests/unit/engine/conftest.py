"""A simulated node with two sticks at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from nodestoraged.model.config import RoleConfig
from nodestoraged.model.runtime import RuntimeProfile
from nodestoraged.sim.node import SimNode
from nodestoraged.sim.world import PROFILE, World

Make = Callable[..., SimNode]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes nodes; sticks named in `before` are in a port when the daemon starts."""
    made: list[SimNode] = []

    def build(
        *,
        before: tuple[str, ...] = (),
        running: bool = True,
        requires: bool = False,
        profile: RuntimeProfile = PROFILE,
        **role: object,
    ) -> SimNode:
        def prepare(world: World) -> None:
            for name in ("blue", "green", "red"):
                world.make(name)
            for name in before:
                world.insert_before_start(name)

        config = RoleConfig(name="containerd", **role)  # type: ignore[arg-type]
        node = SimNode(
            config,
            running=running,
            kubelet_requires_runtime=requires,
            profile=profile,
            prepare=prepare,
        )
        made.append(node)
        return node

    yield build
    for node in made:
        node.close()
