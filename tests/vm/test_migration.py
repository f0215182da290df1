"""A stick that fstab mounts comes into our care: told, adopted, and at no pod's cost.

The package is the bundle, removed at the end while the stick serves.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.vm.harness.stick import Stick
from tests.vm.harness.stickbox import StickBox
from tests.vm.k3s import pods_of_a_stopped_k3s_are_ended_before_a_switch
from tests.vm.nodes import Node

#: The node of the notes that this began with: k3s, OpenRC, and one line in fstab. An agent: the
#: servers and the agents on systemd are in test_everywhere.
SUITES = ("openrc",)
FLAVOURS = ("k3s-agent",)

#: What the removal of a bundle leaves: settings, state and the log.
_LEFT = {
    "/etc/conf.d/nodestoraged",
    "/etc/nodestoraged",
    "/var/lib/nodestoraged",
    "/var/log/nodestoraged",
    "/var/log/nodestoraged/nodestoraged.log",
}


def test_a_line_in_fstab_is_told_and_its_stick_adopted_without_stopping_a_pod(
    bare_node: Node, bundle: Path, deb: Path, new_stick: StickBox
) -> None:
    node, blue = bare_node, new_stick("BLUE01")
    devnode = _mount_by_hand(node, blue)
    before = (node.pod_tasks(), node.pid(node.flavour.runtime), node.mounted())
    node.install(bundle, "")  # k3s imports its images at each start, on whatever root
    role = node.wait_phase("BOUND")
    assert role["reason"] == "MountedByOthers"
    remedy = _remedy(node)
    assert remedy == f"nodestoragectl adopt {devnode} && sed -i '2s/^/#/' /etc/fstab"
    node.machine.ssh(remedy, timeout=120)
    role = node.until("role['reason'] != 'MountedByOthers'")
    assert (role["phase"], role["active"]["serial"]) == ("BOUND", blue.serial)
    assert (node.pod_tasks(), node.pid(node.flavour.runtime), node.mounted()) == before
    assert _remedy(node) is None
    pods_of_a_stopped_k3s_are_ended_before_a_switch(node)
    node.reboot()
    role = node.wait_phase("BOUND", 150)
    assert (role["reason"], role["active"]["serial"]) == ("SlotProven", blue.serial)
    assert len(node.mounted()) == 1
    node.wait_pods()
    _the_package_does_not_come_beside_the_bundle(node, deb)
    _the_bundle_goes_and_the_node_runs_on(node)


def _the_package_does_not_come_beside_the_bundle(node: Node, deb: Path) -> None:
    node.machine.put(deb, f"/root/{deb.name}")
    refused = node.machine.ssh(f"dpkg -i /root/{deb.name} 2>&1", check=False, timeout=120)
    assert refused.code != 0
    assert "first run /opt/nodestoraged/uninstall.sh" in refused.stdout
    assert node.machine.ssh("ls -d /usr/lib/nodestoraged", check=False).stdout == ""
    assert node.wait_phase("BOUND")["reason"] == "SlotProven"


def _the_bundle_goes_and_the_node_runs_on(node: Node) -> None:
    """From its own directory, with nothing of ours but settings and what was remembered."""
    node.machine.ssh("/opt/nodestoraged/uninstall.sh", timeout=300)
    assert node.mounted() == []
    node.wait_pods()
    assert node.active(node.flavour.runtime) == "active"
    found = node.machine.ssh("find / -xdev -name '*nodestoraged*' -not -path '/root/*'").stdout
    assert set(found.split()) == _LEFT
    assert node.init.failed() == ""


def _mount_by_hand(node: Node, blue: Stick) -> str:
    """The node runs from the stick by a line of fstab; the stick's devnode."""
    machine, root = node.machine, node.flavour.root
    machine.plug(blue)
    link = "/dev/disk/by-label/containerd-opt"
    machine.wait_until(f"test -e {link}", interval=0.3)
    machine.ssh("/usr/local/bin/k3s-killall.sh", timeout=120)
    line = f"LABEL=containerd-opt {root} ext4 defaults 0 2"
    devnode = machine.ssh(f"readlink -f {link}").stdout.strip()
    machine.ssh(f"sed -i '1a {line}' /etc/fstab && mkdir -p {root} && mount {devnode} {root}")
    assert node.init.control("start", node.flavour.runtime) == 0
    node.wait_pods(120)
    assert len(node.mounted()) == 1
    return devnode


def _remedy(node: Node) -> str | None:
    """What the doctor says against the line in fstab; None if it finds nothing wrong there."""
    told = json.loads(node.ctl("doctor -o json", check=False).stdout)
    findings = [one for one in told["checks"] if one["check"] == "fstab"]
    return next((one["remedy"] for one in findings if one["result"] == "FAIL"), None)
