"""Debian 12: kernel 6.1, systemd 252, containerd 1.6, Python 3.11.  What differs from Debian 13."""

from __future__ import annotations

from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import Node

SUITES = ("bookworm",)


def test_install_plug_enroll_boot_and_yank(node: Node, new_stick: StickBox) -> None:
    blue = new_stick("BLUE01")
    role = node.bind(blue, "blue")
    assert [link["holds"] for link in role["imagefs"]["proof"]] == [True] * 9
    tasks = node.pod_tasks()
    node.machine.ssh("dpkg -i /root/nodestoraged_*.deb", timeout=300)
    node.wait_phase("BOUND")
    assert node.pod_tasks() == tasks
    node.machine.reboot()
    assert node.wait_phase("BOUND", 150)["active"]["name"] == "blue"
    node.wait_pods()
    # This kernel tells the file system nothing of the removal: only the daemon notices.
    node.machine.yank(blue)
    role = node.wait_phase("INTERNAL", 90)
    assert role["reason"] == "StickLost"
    assert node.mounted() == []
    node.wait_pods()
    node.plug(blue)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    node.wait_pods()
