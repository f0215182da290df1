"""Others have a say in what runs: what they do is respected, and the fence holds."""

from __future__ import annotations

import json
import os
import signal
import time

from demo.demo import active, candidate
from demo.node import DemoNode
from tests.fakes.node_bench import bind, enroll, mounts_at, on_a_node, processes
from tests.fakes.oci_archive import write_default_archives
from tests.fakes.trapped_services import let_go, set_trap, sprung


@on_a_node()
def test_a_foreign_container_refuses_the_switch_with_6_and_nothing_is_stopped(
    node: DemoNode,
) -> None:
    node.until(node.pod_runs)
    for archive in write_default_archives(node.base):
        node.containerd.ctr("-n", "default", "images", "import", str(archive))
    node.containerd.ctr(
        "-n", "default", "run", "--detach", "--cgroup", f"/{node.base.name}/foreign",
        "localhost/nodestorage/app:1", "foreign",
        "/bin/busybox", "sh", "-c", "while :; do sleep 1; done",
    )  # fmt: skip
    before = processes(node)
    node.start_daemon()
    enroll(node, "blue", "--no-switch")
    refused = node.ctl("switch", "blue", check=False)
    assert refused.returncode == 6, refused
    assert "ForeignContainers" in refused.stderr
    assert "default/foreign" in refused.stderr
    assert processes(node) == before
    assert mounts_at(node.base / "root") == []
    assert node.role()["phase"] == "INTERNAL"


@on_a_node()
def test_a_root_that_was_typed_wrongly_refuses_the_switch_with_6_and_nothing_is_stopped(
    node: DemoNode,
) -> None:
    config = node.base / "etcroot/etc/nodestoraged/config.toml"
    config.write_text(config.read_text().replace(f"{node.base}/root", f"{node.base}/roof"))
    (node.base / "roof").mkdir()
    node.until(node.pod_runs)
    before = processes(node)
    node.start_daemon()
    enroll(node, "blue", "--no-switch")
    refused = node.ctl("switch", "blue", check=False)
    assert refused.returncode == 6, refused
    assert "RootElsewhere" in refused.stderr
    assert f"{node.base}/root/io.containerd.snapshotter.v1.overlayfs" in refused.stderr
    assert f"{node.base}/roof" in refused.stderr
    assert processes(node) == before
    assert mounts_at(node.base / "roof") == []
    assert node.role()["phase"] == "INTERNAL"


@on_a_node()
def test_a_runtime_that_somebody_stopped_stays_stopped_and_a_stick_is_mounted_only(
    node: DemoNode,
) -> None:
    node.start_daemon()
    node.until(node.pod_runs)
    node.service("stop", "kubelet")
    for pid in node.containerd.shims():
        os.kill(pid, signal.SIGKILL)
    node.service("stop", "containerd")
    node.until(lambda: node.role()["runtime"]["answering"] is False)
    enroll(node, "blue")
    node.until(lambda: node.role()["phase"] == "BOUND")
    role = node.role()
    assert role["reason"] == "RuntimeStopped"
    assert role["imagefs"] is None or role["imagefs"]["verified"] is False
    time.sleep(1.5)
    assert (node.service_pid("containerd"), node.service_pid("kubelet")) == (None, None)
    node.service("start", "containerd")
    node.until(lambda: (node.role()["imagefs"] or {}).get("verified") is True)
    assert node.role()["reason"] == "SlotProven"


@on_a_node()
def test_pods_without_a_runtime_refuse_the_move(node: DemoNode) -> None:
    node.start_daemon()
    node.until(node.pod_runs)
    node.service("stop", "kubelet")
    node.service("stop", "containerd")
    before = node.containerd.shims()
    assert before
    enroll(node, "blue")
    node.until(lambda: node.ctl("operations", "-o", "name").stdout != "")
    node.until(lambda: node.role()["phase"] == "INTERNAL")
    refused = node.ctl("switch", "blue", check=False)
    assert refused.returncode == 6, refused
    assert "PodsWithoutRuntime" in refused.stderr
    assert node.containerd.shims() == before
    assert mounts_at(node.base / "root") == []


@on_a_node()
def test_the_fence_keeps_others_from_starting_the_runtime_while_a_switch_runs(
    node: DemoNode,
) -> None:
    bind(node)
    green = enroll(node, "green")
    node.until(lambda: "standby" in (candidate(node, green) or ""))
    # The stop of containerd is over when the next status is asked; here it waits to be let go.
    set_trap(node.base, "stop", "containerd", 0, signal.SIGTERM, hold_seconds=20)
    started = node.ctl("switch", "green", "--no-wait")
    node.until(lambda: sprung(node.base))
    assert (node.base / "fence/containerd").exists()
    old = node.service_pid("containerd")
    assert old is not None
    os.kill(old, signal.SIGTERM)  # somebody else was quicker, and starts it again
    node.until(lambda: node.service_pid("containerd") is None)
    node.service("start", "containerd")
    assert node.service_pid("containerd") is None, "the fence let a start through"
    let_go(node.base)
    node.until(lambda: active(node) == "green" and node.role()["phase"] == "BOUND")
    assert not (node.base / "fence/containerd").exists()
    assert node.service_pid("containerd") not in {None, old}
    assert started.stdout.strip().isdigit()
    last = json.loads(node.ctl("operations", "-o", "json").stdout)[0]
    assert (last["kind"], last["result"]) == ("switchover", "done")


@on_a_node()
def test_an_ejected_stick_is_let_go_to_the_last_holder(node: DemoNode) -> None:
    stick = bind(node)
    done = node.ctl("eject", "blue", check=False)
    assert done.returncode == 0, done.stderr
    assert node.role()["phase"] == "INTERNAL", "a verb that waits ends with the node at rest"
    os.close(os.open(stick.devnode, os.O_RDONLY | os.O_EXCL))
    assert mounts_at(node.base / "root") == []
    assert candidate(node, stick) == "waiting Ejected"
    node.until(node.pod_runs)
