"""The main job on a real node: a stick comes, is trusted, serves, is swapped and ejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.harness.machine import Machine
from tests.vm.harness.stick import sha256
from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import ROOT, Node


@pytest.fixture
def node(machine: Machine, deb: Path) -> Node:
    """A node with the package freshly installed."""
    made = Node(machine)
    made.install(deb)
    return made


def test_no_stick_serves_the_internal_directory(node: Node) -> None:
    role = node.wait_phase("INTERNAL")
    assert role["serving"]["source"] == "internal"
    assert role["runtime"]["answering"] is True
    assert node.mounted() == []
    assert node.ctl("is-bound", check=False).code == 3


def test_an_unknown_stick_waits_and_keeps_every_byte(node: Node, new_stick: StickBox) -> None:
    stick = new_stick("BLUE01")
    before = sha256(stick)
    tasks = node.pod_tasks()
    node.plug(stick, "waiting")
    candidate = node.candidate(stick)
    assert candidate is not None
    assert candidate["reasons"] == ["NotEnrolled"]
    node.machine.ssh("sleep 12")  # longer than settle time and probe period
    assert stick.serial not in node.machine.ssh("cat /proc/1/mountinfo").stdout
    assert node.mounted() == []
    assert node.machine.writes(stick) == 0
    assert node.pod_tasks() == tasks
    node.machine.yank(stick)
    assert sha256(stick) == before


def test_enroll_binds_with_proof_and_pods_come_back_without_a_network(
    node: Node, new_stick: StickBox
) -> None:
    stick = new_stick("BLUE01")
    node.wait_phase("INTERNAL")
    role = node.bind(stick, "blue")
    assert len(node.mounted()) == 1
    options = node.mounted()[0]
    assert "nosuid,nodev,noatime" in options
    assert " shared:" in options
    role = node.until("role['imagefs']['kubeletProof'] == 'capacity'", 60)
    assert role["imagefs"]["verified"] is True
    assert [link["holds"] for link in role["imagefs"]["proof"]] == [True] * 9
    assert role["imagefs"]["kubeletCapacityBytes"] == role["imagefs"]["capacityBytes"]
    assert node.kubelet_capacity() == role["imagefs"]["capacityBytes"]
    operation = node.operations()[0]
    assert (operation["kind"], operation["result"]) == ("bind", "done")
    assert operation["downtimeSeconds"] > 0


def test_a_second_stick_stands_by_and_switch_and_rollback_move(
    node: Node, new_stick: StickBox
) -> None:
    blue, green = new_stick("BLUE01"), new_stick("GREEN1")
    node.bind(blue, "blue")
    node.plug(green, "waiting")
    node.ctl("enroll GREEN1 --name green")
    node.wait_verdict(green, "standby")
    tasks = node.pod_tasks()
    switched = node.ctl("switch green")
    assert switched.stdout.strip() == node.operations()[0]["id"]
    assert node.wait_phase("BOUND")["active"]["name"] == "green"
    node.wait_pods()
    assert node.pod_tasks() != tasks
    assert node.ctl("switch green").code == 0
    node.ctl("rollback")
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    assert len(node.mounted()) == 1


def test_eject_makes_the_stick_removable(node: Node, new_stick: StickBox) -> None:
    blue = new_stick("BLUE01")
    role = node.bind(blue, "blue")
    devnode = role["active"]["devnode"]
    node.ctl("eject")
    role = node.wait_phase("INTERNAL")
    assert node.mounted() == []
    node.wait_pods()
    held = node.machine.ssh(
        f"python3 -c \"import os; os.open('{devnode}', os.O_RDONLY | os.O_EXCL)\"", check=False
    )
    assert held.code == 0, held.stderr
    candidate = node.candidate(blue)
    assert candidate is not None
    assert candidate["reasons"] == ["Ejected"]
    node.machine.yank(blue)
    node.until("role['candidates'] == []")
    node.plug(blue)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    node.wait_pods()


def test_the_mount_is_of_pid_1_and_the_root_is_like_the_internal_one(
    node: Node, new_stick: StickBox
) -> None:
    internal = node.machine.ssh(f"stat -c '%a %u:%g' {ROOT}").stdout
    node.bind(new_stick("BLUE01"), "blue")
    assert node.machine.ssh(f"stat -c '%a %u:%g' {ROOT}").stdout == internal
    own = node.machine.ssh("readlink /proc/$(systemctl show -P MainPID nodestoraged)/ns/mnt")
    assert own.stdout == node.machine.ssh("readlink /proc/1/ns/mnt").stdout
