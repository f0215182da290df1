"""A daemon that is told to go, or is killed, in the middle of an operation."""

from __future__ import annotations

import json
import signal

from demo.demo import candidate
from demo.node import DemoNode
from tests.fakes.node_bench import mounts_at, on_a_node
from tests.fakes.trapped_services import ended, set_trap, sprung

#: Early, with everything stopped, and with the target in place.
PLACES = (("stop", "kubelet"), ("stop", "containerd"), ("start", "containerd"))


def whole(node: DemoNode) -> None:
    """Runtime and kubelet run with a pod, from one root, without a fence."""
    node.until(lambda: node.service_pid("containerd") is not None)
    node.until(lambda: node.service_pid("kubelet") is not None)
    node.until(node.pod_runs)
    node.until(lambda: node.role()["phase"] in {"INTERNAL", "BOUND"})
    assert len(mounts_at(node.base / "root")) == (1 if node.role()["phase"] == "BOUND" else 0)
    assert not (node.base / "fence/containerd").exists()


def waiting_stick(node: DemoNode) -> None:
    node.until(node.pod_runs)
    node.start_daemon()
    stick = node.plug("blue")
    node.until(lambda: candidate(node, stick) is not None)
    node.ctl("enroll", stick.devnode, "--name", "blue", "--no-switch")


@on_a_node(seconds=110)
def test_a_daemon_killed_in_a_switch_goes_back_or_proves_at_its_next_start(node: DemoNode) -> None:
    waiting_stick(node)
    for verb, unit in PLACES:
        set_trap(node.base, verb, unit, node.daemon_pid, signal.SIGKILL, hold_seconds=0.3)
        node.ctl("switch", "blue", check=False)
        node.until(lambda: sprung(node.base))
        node.stop_daemon()
        # Else the next daemon meets a unit that is still being stopped by nobody's order.
        node.until(lambda: ended(node.base))
        node.start_daemon()
        whole(node)
        last = json.loads(node.ctl("operations", "-o", "json").stdout)[0]
        arrived = (verb, unit) == PLACES[-1]
        assert last["result"] in ({"done", "rolled-back"} if arrived else {"rolled-back"}), (
            verb, unit, last,
        )  # fmt: skip
        if node.role()["phase"] == "BOUND":
            node.ctl("switch", "internal")
            whole(node)
    assert node.ctl("switch", "blue", check=False).returncode == 0
    whole(node)
    assert node.role()["phase"] == "BOUND"


@on_a_node(seconds=90)
def test_a_daemon_told_to_go_in_a_switch_leaves_a_root_and_running_services(node: DemoNode) -> None:
    waiting_stick(node)
    set_trap(node.base, "stop", "containerd", node.daemon_pid, signal.SIGTERM, hold_seconds=0.5)
    node.ctl("switch", "blue", check=False)
    assert sprung(node.base)
    assert node.daemon_end() == 0
    node.until(lambda: node.service_pid("containerd") is not None)
    node.until(lambda: node.service_pid("kubelet") is not None)
    assert not (node.base / "fence/containerd").exists()
    node.until(node.pod_runs)
    before = node.service_pid("containerd")
    node.start_daemon()
    node.until(lambda: node.role()["phase"] in {"INTERNAL", "BOUND"})
    whole(node)
    assert node.service_pid("containerd") == before, "the next start proves and restarts nobody"
    assert json.loads(node.ctl("status", "-o", "json").stdout)["operation"] is None
