"""The main job on a real node: a stick comes, is trusted, serves, is switched and ejected.

Scenarios share nodes where one leaves the node as the next one needs it; each names its promise.
"""

from __future__ import annotations

import json
import time

from tests.vm.harness.stick import sha256
from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import FLOOR, ROOT, Node

SUITES = ("trixie",)


def test_an_unknown_stick_waits_and_keeps_every_byte(node: Node, new_stick: StickBox) -> None:
    role = node.wait_phase("INTERNAL")
    assert role["serving"]["source"] == "internal"
    assert role["runtime"]["answering"] is True
    assert node.ctl("is-bound", check=False).code == 3
    stick = new_stick("BLUE01")
    before, tasks = sha256(stick), node.pod_tasks()
    node.plug(stick, "waiting")
    candidate = node.candidate(stick)
    assert candidate is not None
    assert candidate["reasons"] == ["NotEnrolled"]
    node.machine.ssh("sleep 12")  # longer than settle time and probe period
    assert node.mounted() == []
    assert candidate["devnode"] not in node.machine.ssh("cat /proc/1/mountinfo").stdout
    assert node.machine.writes(stick) == 0
    assert node.pod_tasks() == tasks
    node.machine.yank(stick)
    assert sha256(stick) == before


def _check_mount(node: Node, internal: str) -> None:
    (line,) = node.mounted()
    assert "nosuid,nodev,noatime" in line
    assert " shared:" in line
    assert node.machine.ssh(f"stat -c '%a %u:%g' {ROOT}").stdout == internal
    own = node.machine.ssh("readlink /proc/$(systemctl show -P MainPID nodestoraged)/ns/mnt")
    assert own.stdout == node.machine.ssh("readlink /proc/1/ns/mnt").stdout


def _a_restart_of_the_runtime_stops_no_pod(node: Node) -> None:
    tasks, containerd = node.pod_tasks(), node.pid("containerd")
    node.machine.ssh("systemctl restart containerd")
    until = time.monotonic() + 30  # it loads its shims after it has said that it is there
    while (now := node.pod_tasks()) != tasks and time.monotonic() < until:
        time.sleep(1)
    assert now == tasks
    role = node.until("role['imagefs']['verified']", 40)
    assert role["phase"] == "BOUND"
    assert node.pid("containerd") != containerd


def _check_varlink(node: Node) -> None:
    """systemd's own client judges the socket (Debian 13 has it)."""
    if node.machine.ssh("command -v varlinkctl", check=False).code != 0:
        assert node.machine.ssh("grep -c bookworm /etc/os-release").stdout.strip() != "0"
        return
    socket = "/run/nodestoraged/io.nodestorage"
    assert "io.nodestorage" in node.machine.ssh(f"varlinkctl info {socket}").stdout
    told = node.machine.ssh(f"varlinkctl introspect {socket} io.nodestorage").stdout
    assert "method GetStatus" in told
    called = node.machine.ssh(f"varlinkctl call {socket} io.nodestorage.GetStatus '{{}}'")
    assert json.loads(called.stdout)["status"]["roles"][0]["phase"] == "BOUND"


def test_a_second_stick_stands_by_and_the_verbs_move_the_root(
    node: Node, new_stick: StickBox
) -> None:
    blue, green = new_stick("BLUE01"), new_stick("GREEN1")
    internal = node.machine.ssh(f"stat -c '%a %u:%g' {ROOT}").stdout
    node.bind(blue, "blue")
    _check_mount(node, internal)
    _check_varlink(node)
    _a_restart_of_the_runtime_stops_no_pod(node)
    node.plug(green, "waiting")
    node.ctl("enroll GREEN1 --name green")
    node.wait_verdict(green, "standby")
    switched = node.ctl("switch green")
    assert switched.stdout.strip() == node.operations()[0]["id"]
    assert node.wait_phase("BOUND")["active"]["name"] == "green"
    node.wait_pods()
    tasks = node.pod_tasks()
    node.machine.yank(blue)  # the inactive one: nothing happens
    node.until("[c['name'] for c in role['candidates']] == ['green']")
    assert (node.wait_phase("BOUND")["active"]["name"], node.pod_tasks()) == ("green", tasks)
    node.plug(blue)
    node.wait_verdict(blue, "standby")
    assert node.pod_tasks() == tasks
    node.ctl("rollback")
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    assert len(node.mounted()) == 1
    devnode = node.role()["active"]["devnode"]
    node.ctl("eject --to internal")
    node.wait_phase("INTERNAL")
    node.wait_pods()
    held = f"python3 -c \"import os; os.open('{devnode}', os.O_RDONLY | os.O_EXCL)\""
    assert node.machine.ssh(held, check=False).code == 0
    candidate = node.candidate(blue)
    assert candidate is not None
    assert candidate["reasons"] == ["Ejected"]


def test_newest_moves_to_the_stick_that_came_in_last(node: Node, new_stick: StickBox) -> None:
    node.bind(new_stick("BLUE01"), "blue")
    node.configure(FLOOR + 'collision = "newest"\ntrust = "label"\n')
    # Its file system label is another one: the GPT partition name makes it a candidate.
    xfs = new_stick("XFS002", fstype="xfs", label="images", partlabel="containerd-opt")
    node.plug(xfs)
    role = node.until("role['active'] and role['active']['fstype'] == 'xfs'", 120)
    role = node.wait_phase("BOUND")
    assert role["active"]["serial"] == "XFS002"
    assert role["imagefs"]["verified"] is True
    node.wait_pods()
    statuses = {c["type"]: c["status"] for c in role["conditions"]}
    assert statuses["Trusted"] == "False"


def test_nobody_starts_containerd_between_two_roots(node: Node, new_stick: StickBox) -> None:
    node.plug(new_stick("BLUE01"), "waiting")
    since = node.machine.ssh("date +%s").stdout.strip()
    node.machine.ssh(
        "nohup sh -c 'for i in $(seq 300); do systemctl start containerd; sleep 0.05; done'"
        " >/dev/null 2>&1 &"
    )
    node.ctl("switch BLUE01")
    role = node.wait_phase("BOUND")
    assert role["imagefs"]["verified"] is True
    starts = node.machine.ssh(
        f"journalctl -u containerd --since @{since} -o cat | grep -c 'successfully booted'"
    )
    assert starts.stdout.strip() == "1"
    skipped = node.machine.ssh(
        f"journalctl -u containerd --since @{since} -o cat | grep -ci 'condition' || true"
    )
    assert int(skipped.stdout) > 0, "the other program never hit the fence"
    node.wait_pods()
