"""What holds for a k3s on every init."""

from __future__ import annotations

from tests.vm.nodes import Node


def pods_of_a_stopped_k3s_are_ended_before_a_switch(node: Node) -> None:
    """By its containerd, run for that alone; k3s stays stopped, as somebody wished."""
    node.init.control("stop", node.flavour.runtime)
    assert node.shims() != []
    node.ctl("switch internal")
    assert (node.shims(), node.mounted()) == ([], [])
    node.ctl("switch auto")
    assert len(node.mounted()) == 1
    assert node.pid(node.flavour.runtime) == 0
