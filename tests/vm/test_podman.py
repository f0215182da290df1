"""podman's root on a stick: containers before, on the stick, after a yank, and again.

The package is the RPM, installed and removed by dnf.

The node's own containerd and kubelet stand beside it and must not notice anything.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import Node

SUITES = ("podman",)

IMAGE = "localhost/nodestorage/app:1"
STORE = "/var/lib/containers/storage"
#: A node whose images are podman's: the role is named after the fence of podman's units.
CONFIG = f"""schema = 1
[role.podman]
kind = "runtime-root"
runtime = "podman"
labels = ["containerd-opt"]
floor_images = ["{IMAGE}"]
pod_grace_seconds = 5
swap_grace_seconds = 2
"""


@pytest.fixture
def podman_node(node: Node) -> Node:
    """The daemon keeps podman's root, and two containers run from the internal directory."""
    machine = node.machine
    machine.ssh("podman load -i /usr/share/nodestorage-test/app.tar", timeout=120)
    run(node, "inside")
    machine.ssh("systemctl start podman.socket web.service", timeout=120)
    machine.ssh("rm /etc/nodestoraged/conf.d/*")
    machine.put_text(CONFIG, "/etc/nodestoraged/config.toml")
    before = states(node)
    assert before == {"inside": "Up", "web": "Up"}
    machine.ssh("systemctl restart nodestoraged", timeout=120)
    node.wait_phase("INTERNAL")
    node.until("role['imagefs'] and role['imagefs']['verified']")
    assert states(node) == before
    return node


def run(node: Node, name: str) -> None:
    """`podman run`, as a person does it."""
    words = f"run --detach --network none --name {name} {IMAGE}"
    node.machine.ssh(f"podman {words}", timeout=120)


def states(node: Node) -> dict[str, str]:
    """The containers of the root in force: Up, Exited, Created."""
    words = "ps --all --format '{{.Names}} {{.Status}}'"
    rows = node.machine.ssh(f"podman {words}", timeout=120).stdout.splitlines()
    return {row.split()[0]: row.split()[1] for row in rows}


def store_mounts(node: Node) -> list[str]:
    """The devices mounted on the store."""
    rows = [line.split() for line in node.machine.ssh("cat /proc/1/mountinfo").stdout.splitlines()]
    return [row[2] for row in rows if row[4] == STORE]


def store_info(node: Node) -> dict[str, Any]:
    """What podman says of its store."""
    found: dict[str, Any] = json.loads(
        node.machine.ssh("podman info --format json", timeout=120).stdout
    )["store"]
    return found


def monitors(node: Node) -> int:
    """How many containers have a monitor."""
    return int(node.machine.ssh("pgrep -c -x conmon || true").stdout)


def test_containers_run_before_on_the_stick_after_a_yank_after_a_boot_and_again(
    podman_node: Node, new_stick: StickBox
) -> None:
    node, blue = podman_node, new_stick("BLUE01")
    pods = node.pod_tasks()
    role = node.role()
    assert (role["runtime"]["profile"], role["runtime"]["answering"]) == ("podman", True)
    assert all(link["holds"] for link in role["imagefs"]["proof"])

    role = enrolled(node, blue)
    assert role["imagefs"]["verified"] is True
    assert store_info(node)["graphRoot"] == STORE
    assert (states(node), monitors(node)) == ({}, 0)
    assert node.active("podman.socket") == "active"
    run(node, "outside")  # from the floor image: the stick was empty
    assert states(node) == {"outside": "Up"}
    node.machine.ssh(f"sync --file-system {STORE}")  # what was not flushed is lost with the stick

    node.machine.yank(blue)
    assert node.wait_phase("INTERNAL", 90)["reason"] == "StickLost"
    assert (store_mounts(node), monitors(node)) == ([], 0)
    after = states(node)
    assert (after["inside"], "Up" in after.values()) == ("Exited", False)
    node.machine.ssh("podman start inside", timeout=120)
    run(node, "lost")  # from the image that was loaded here
    assert {states(node)[name] for name in ("inside", "lost")} == {"Up"}

    node.plug(blue)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    assert states(node).keys() == {"outside"}
    assert states(node)["outside"] != "Up"
    node.machine.ssh("podman start outside", timeout=120)
    assert states(node) == {"outside": "Up"}
    assert len(store_mounts(node)) == 1
    assert node.pod_tasks() == pods

    _boot_binds_and_its_containers_can_be_started(node)

    node.ctl("eject blue")
    node.wait_phase("INTERNAL")
    assert (store_mounts(node), monitors(node)) == ([], 0)
    run(node, "after")
    assert states(node)["after"] == "Up"
    _a_raised_fence_keeps_podman_s_units_stopped(node)
    _dnf_removes_the_package(node)


def _boot_binds_and_its_containers_can_be_started(node: Node) -> None:
    node.machine.ssh("systemctl enable podman.socket")
    node.reboot()
    assert node.wait_phase("BOUND", 120)["active"]["name"] == "blue"
    assert len(store_mounts(node)) == 1
    assert node.active("podman.socket") == "active"
    assert states(node).keys() == {"outside"}
    node.machine.ssh("podman start outside", timeout=120)
    assert states(node) == {"outside": "Up"}


def _a_raised_fence_keeps_podman_s_units_stopped(node: Node) -> None:
    units = ("podman.socket", "podman.service", "podman-restart.service", "web.service")
    # A fence that nobody needs is lowered by the daemon.
    node.machine.ssh("systemctl stop nodestoraged " + " ".join(units), timeout=120)
    node.machine.ssh("touch /run/nodestorage-fence/podman")
    for unit in units:
        node.machine.ssh(f"systemctl start {unit}", check=False)
        assert node.active(unit) != "active", unit
    node.machine.ssh("rm /run/nodestorage-fence/podman; systemctl start podman.socket")
    assert node.active("podman.socket") == "active"


def _dnf_removes_the_package(node: Node) -> None:
    before = node.life()
    assert node.init.control("start", "nodestoraged") == 0
    node.wait_phase("INTERNAL")
    node.machine.ssh("dnf remove -y nodestoraged", timeout=300)
    assert node.active("nodestoraged") == "inactive"
    assert node.life() == before
    left = "/usr/lib/nodestoraged /run/nodestorage-fence /usr/lib/systemd/system/*/*nodestoraged*"
    assert node.machine.ssh(f"ls -d {left}", check=False).stdout == ""
    node.machine.ssh("systemctl start podman.socket web.service", timeout=120)
    assert states(node)["web"] == "Up"


def enrolled(node: Node, blue: Any) -> dict[str, Any]:
    """The stick is in, enrolled, and serves."""
    node.plug(blue, "waiting")
    node.ctl("enroll BLUE01 --name blue")
    role = node.wait_phase("BOUND")
    assert role["active"]["name"] == "blue"
    assert len(store_mounts(node)) == 1
    return role
