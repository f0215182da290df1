"""A stick that fstab mounts comes into our care: told, adopted, and at no pod's cost.

On OpenRC the package is the bundle, removed at the end while the stick serves; on systemd it is
Debian's, and a bind by a script is adopted after it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vm.harness.stick import Stick
from tests.vm.harness.stickbox import StickBox
from tests.vm.k3s import pods_of_a_stopped_k3s_are_ended_before_a_switch
from tests.vm.nodes import Node

#: What the removal of a bundle leaves: settings, state and the log.
_LEFT = {
    "/etc/conf.d/nodestoraged",
    "/etc/nodestoraged",
    "/var/lib/nodestoraged",
    "/var/log/nodestoraged",
    "/var/log/nodestoraged/nodestoraged.log",
}

#: Ends pods and runtime, as a person does before the root is moved by hand: by k3s's own script,
#: or one after the other, for containerd leaves its containers running.
_END = {
    "k3s": "/usr/local/bin/k3s-killall.sh",
    "containerd": """systemctl stop kubelet
for task in $(ctr -n k8s.io tasks ls -q); do ctr -n k8s.io tasks kill -s KILL $task || true; done
while pgrep -f '[c]ontainerd-shim'; do sleep 0.5; done
systemctl stop containerd
""",
}
_MOUNT_UNIT = "var-lib-containerd.mount"


# The node of the notes that this began with: k3s, OpenRC, and one line in fstab. An agent: the
# servers and the agents on systemd are in test_everywhere.
@pytest.mark.node_kind("openrc", "k3s-agent")
def test_a_line_in_fstab_is_told_and_its_stick_adopted_without_stopping_a_pod(
    bare_node: Node, bundle: Path, deb: Path, new_stick: StickBox
) -> None:
    node, blue = bare_node, new_stick("BLUE01")
    _the_stick_of_fstab_is_adopted(node, blue, bundle, "sed -i '2s/^/#/' /etc/fstab")
    pods_of_a_stopped_k3s_are_ended_before_a_switch(node)
    _the_next_boot_is_ours(node, blue)
    _the_package_does_not_come_beside_the_bundle(node, deb)
    _the_bundle_goes_and_the_node_runs_on(node)


@pytest.mark.node_kind("trixie", "containerd")
def test_the_unit_that_systemd_makes_of_the_line_goes_and_its_mount_stays(
    bare_node: Node, deb: Path, new_stick: StickBox
) -> None:
    node, blue = bare_node, new_stick("BLUE01")
    told = "sed -i '2s/^/#/' /etc/fstab && systemctl daemon-reload"
    _the_stick_of_fstab_is_adopted(node, blue, deb, told)
    _the_next_boot_is_ours(node, blue)
    _what_a_script_has_bound_is_adopted(node, blue, new_stick("STORE1", label="storage"))


def _the_stick_of_fstab_is_adopted(node: Node, blue: Stick, package: Path, taken_out: str) -> None:
    """By what the doctor says, word for word; `taken_out` is its part about the line."""
    devnode = _mount_by_fstab(node, blue)
    before = node.life()
    node.install(package, "")  # the images are on the stick
    role = node.wait_phase("BOUND")
    assert role["reason"] == "MountedByOthers"
    remedy = _remedy(node, "fstab")
    assert remedy == f"nodestoragectl adopt {devnode} && {taken_out}"
    node.machine.ssh(remedy, timeout=120)
    role = node.until("role['reason'] != 'MountedByOthers'")
    assert (role["phase"], role["active"]["serial"]) == ("BOUND", blue.serial)
    assert _made_of_fstab(node) == ""
    assert node.life() == before
    assert _remedy(node, "fstab") is None


def _the_next_boot_is_ours(node: Node, blue: Stick) -> None:
    node.reboot()
    role = node.wait_phase("BOUND", 150)
    assert (role["reason"], role["active"]["serial"]) == ("SlotProven", blue.serial)
    assert len(node.mounted()) == 1
    node.wait_pods()


def _what_a_script_has_bound_is_adopted(node: Node, blue: Stick, disk: Stick) -> None:
    """The repointing script's world, found by a daemon that comes later."""
    root, bound = node.flavour.root, "/mnt/storage/containerd"
    node.ctl("eject")
    node.wait_phase("INTERNAL")
    node.wait_pods()
    assert node.init.control("stop", "nodestoraged") == 0
    node.machine.yank(blue)
    device = _plug_for_a_hand(node, disk)
    node.machine.ssh(
        f"mkdir /mnt/storage && mount {device} /mnt/storage && cp -a {root} {bound}"
        f" && mount --bind {bound} {root}",
        timeout=120,
    )
    _start_by_hand(node)
    before = node.life()
    assert node.init.control("start", "nodestoraged") == 0
    node.wait_phase("INTERNAL")
    node.until("(role['attention'] or {}).get('reason') == 'MountedByOthers'")
    remedy = _remedy(node, "mount")
    assert remedy == f"nodestoragectl adopt {bound}"
    node.machine.ssh(remedy, timeout=120)
    role = node.wait_phase("BOUND")
    assert (role["reason"], role["active"]["path"]) == ("SlotProven", bound)
    assert node.life() == before
    assert _remedy(node, "mount") is None


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


def _mount_by_fstab(node: Node, blue: Stick) -> str:
    """The node runs from the stick by a line of fstab; the stick's devnode."""
    machine, root = node.machine, node.flavour.root
    devnode = _plug_for_a_hand(node, blue)
    if not node.flavour.embedded:  # k3s imports its images at each start, on whatever root
        machine.ssh(f"mount {devnode} /mnt && cp -a {root}/. /mnt && umount /mnt", timeout=120)
    line = f"LABEL={blue.label} {root} ext4 defaults 0 2"
    known = "if test -d /run/systemd/system; then systemctl daemon-reload; fi"
    machine.ssh(f"sed -i '1a {line}' /etc/fstab && {known} && mkdir -p {root} && mount {root}")
    assert _made_of_fstab(node) == ("" if node.flavour.embedded else f"generator/{_MOUNT_UNIT}")
    _start_by_hand(node)
    assert len(node.mounted()) == 1
    return devnode


def _plug_for_a_hand(node: Node, stick: Stick) -> str:
    """The stick is in, and nothing runs that uses the root; the stick's devnode."""
    link = f"/dev/disk/by-label/{stick.label}"
    node.machine.plug(stick)
    node.machine.wait_until(f"test -e {link}", interval=0.3)
    node.machine.ssh(_END[node.flavour.name], timeout=120)
    return node.machine.ssh(f"readlink -f {link}").stdout.strip()


def _start_by_hand(node: Node) -> None:
    for unit in dict.fromkeys((node.flavour.runtime, node.flavour.kubelet)):
        assert node.init.control("start", unit) == 0
    node.wait_pods(120)


def _made_of_fstab(node: Node) -> str:
    """The unit that systemd made of the line, below /run/systemd; empty if there is none."""
    asked = f"systemctl show -P FragmentPath {_MOUNT_UNIT} 2>/dev/null || true"
    return node.machine.ssh(asked).stdout.strip().removeprefix("/run/systemd/")


def _remedy(node: Node, check: str) -> str | None:
    """What the doctor says to do after this check; None if it finds nothing wrong there."""
    told = json.loads(node.ctl("doctor -o json", check=False).stdout)
    findings = [one for one in told["checks"] if one["check"] == check]
    return next((one["remedy"] for one in findings if one["result"] in {"FAIL", "WARN"}), None)
