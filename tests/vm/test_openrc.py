"""What only OpenRC does its own way: the daemon is respawned, and a boot waits for its decision."""

from __future__ import annotations

from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import FLOOR, Node

SUITES = ("openrc",)


def test_a_killed_daemon_comes_back_and_a_boot_without_the_stick_goes_on(
    node: Node, new_stick: StickBox
) -> None:
    blue = new_stick("BLUE01")
    node.bind(blue, "blue")
    _a_killed_daemon_stops_nothing(node)
    node.configure(FLOOR + "boot_wait_seconds = 15\n")
    node.init.forget_logs()
    node.machine.shutdown()
    node.machine.boot(sticks=[])
    # `before` alone does not wait under supervise-daemon: the start script of the daemon does.
    node.machine.wait_until("nodestoragectl status >/dev/null 2>&1", timeout=60)
    assert node.role()["phase"] == "SWITCHING"
    assert node.runtime_starts() == 0
    role = node.wait_phase("INTERNAL", 120)
    assert role["lastActive"]["name"] == "blue"
    node.wait_pods()
    assert node.runtime_starts() == 1
    node.plug(blue)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    node.wait_pods()


def _a_killed_daemon_stops_nothing(node: Node) -> None:
    tasks, containerd, daemon = node.pod_tasks(), node.pid("containerd"), node.pid("nodestoraged")
    node.machine.ssh(f"kill -KILL {daemon}")
    node.machine.wait_until(
        f"p=$(cat /run/openrc/options/nodestoraged/child_pid) && test $p != {daemon}"
    )
    node.wait_phase("BOUND")
    node.until("role['imagefs']['verified']")
    assert node.active("nodestoraged") == "active"
    assert (node.pod_tasks(), node.pid("containerd")) == (tasks, containerd)
