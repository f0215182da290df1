"""The same promises on every kind of node: three inits, containerd with a kubelet, and k3s.

One scenario per node, on one machine: what is promised once is looked at once.
"""

from __future__ import annotations

import json
import re
from datetime import datetime

from nodestoraged.assembly import RIGHTS
from nodestoraged.linux.privileges import CAPABILITIES, Rights
from tests.vm.broken import a_broken_daemon_holds_no_boot_up
from tests.vm.harness.stick import Stick
from tests.vm.harness.stickbox import StickBox
from tests.vm.k3s import pods_of_a_stopped_k3s_are_ended_before_a_switch
from tests.vm.nodes import FLOOR, Node
from tests.vm.openrc import (
    a_service_that_needs_the_runtime,
    somebody_shares_the_root,
    somebody_starts_the_runtime,
)

SUITES = ("trixie", "bookworm", "openrc")
FLAVOURS = ("containerd", "k3s")

#: Long enough to look at the fence.
_GRACE_SECONDS = 15
#: The runtime is found, not told. k3s imports its images at each start by itself.
_CONFIG = {"containerd": FLOOR, "k3s": "[role.containerd]\n"}
#: recipes/become-k3s.sh
_K3S_READY_SECONDS = 90
#: Notes the shims that live in the moment in which the root gets its mount.
_WATCH_SHIMS = """until grep -q ' {root} ' /proc/1/mountinfo; do sleep 0.3; done
pgrep -f '[c]ontainerd-shim' >/run/found
mv /run/found /run/shims
"""

#: What kubeadm's package makes of kubelet before `kubeadm join`.
_UNJOINED = """[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=
ExecStart=/bin/false
Restart=always
RestartSec=10
"""


def _the_runtime_is_found(node: Node) -> None:
    node.configure(_CONFIG[node.flavour.name] + f"swap_grace_seconds = {_GRACE_SECONDS}\n")
    role = node.until("role['runtime']['answering']", 30)
    assert role["root"] == node.flavour.root
    assert role["runtime"]["profile"] == node.flavour.name


def _the_daemon_has_no_rights_but_the_floor(node: Node) -> None:
    """Given by the unit where systemd starts it, and by itself under OpenRC."""
    found = Rights(node.machine.ssh(f"cat /proc/{node.pid('nodestoraged')}/status").stdout)
    floor = sum(1 << CAPABILITIES[name] for name in RIGHTS)
    assert found.no_new_privs
    assert (found.permitted, found.bounding) == (floor, floor)


def _an_enrolment_binds_with_proof(node: Node, blue: Stick) -> None:
    starts = node.runtime_starts()
    old_shims = node.shims()
    node.machine.put_text(_WATCH_SHIMS.format(root=node.flavour.root), "/root/watch.sh")
    node.machine.ssh("nohup sh /root/watch.sh >/dev/null 2>&1 &")
    node.bind(blue, "blue")
    assert len(node.mounted()) == 1
    # No container of the old root is left when the new one comes: they would keep it busy.
    assert node.machine.ssh("cat /run/shims").stdout == ""
    assert not set(old_shims) & set(node.shims())
    role = node.until("role['imagefs']['kubeletProof'] == 'capacity'", 60)
    imagefs = role["imagefs"]
    assert [link["holds"] for link in imagefs["proof"]] == [True] * 9
    assert node.kubelet_capacity() == imagefs["capacityBytes"] == imagefs["kubeletCapacityBytes"]
    operation = node.operations()[0]
    assert (operation["kind"], operation["result"]) == ("bind", "done")
    # k3s says READY a minute and a half after its containerd: nobody waited for that.
    assert 0 < operation["downtimeSeconds"] < _K3S_READY_SECONDS
    assert node.runtime_starts() == starts + 1
    assert node.active(node.flavour.kubelet) in {"active", "activating"}


def _switches_go_there_and_back(node: Node, _blue: Stick) -> None:
    node.ctl("switch internal")
    assert node.wait_phase("INTERNAL")["serving"]["source"] == "internal"
    assert node.mounted() == []
    node.wait_pods()
    node.ctl("switch blue")
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    node.wait_pods()


def _switches_take_along_what_needs_the_runtime(node: Node, blue: Stick) -> None:
    with a_service_that_needs_the_runtime(node), somebody_shares_the_root(node):
        _switches_go_there_and_back(node, blue)


def _a_yank_fails_over_and_the_fence_holds(node: Node, blue: Stick) -> None:
    node.machine.yank(blue)
    node.wait_phase("LOST", 30)
    node.wait_stopped(node.flavour.runtime)
    runtime, kubelet = node.flavour.runtime, node.flavour.kubelet
    for verb, unit in dict.fromkeys([("start", runtime), ("restart", runtime), ("start", kubelet)]):
        node.init.control(verb, unit)
    pids, phase = (node.pid(runtime), node.pid(kubelet)), node.role()["phase"]
    assert (pids, phase) == ((0, 0), "LOST")
    role = node.wait_phase("INTERNAL")
    assert role["reason"] == "StickLost"
    assert node.mounted() == []
    failover = node.operations()[0]
    assert (failover["kind"], failover["result"]) == ("failover", "done")
    assert failover["downtimeSeconds"] > _GRACE_SECONDS - 5  # it begins when all is stopped
    node.wait_pods()


def _the_stick_serves_again(node: Node, blue: Stick) -> None:
    node.plug(blue)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    node.wait_pods()


def _nobody_starts_the_runtime_between_two_roots(node: Node, blue: Stick) -> None:
    with somebody_starts_the_runtime(node):
        _the_stick_serves_again(node, blue)


def _a_shutdown_in_the_grace_starts_nothing(node: Node, blue: Stick) -> None:
    node.configure(FLOOR + "swap_grace_seconds = 120\nboot_wait_seconds = 15\n")
    node.machine.yank(blue)
    node.wait_phase("LOST", 30)
    node.wait_stopped(node.flavour.runtime)
    _a_boot_without_the_stick_goes_on(node)
    (interrupted,) = [one for one in node.operations() if one["result"] == "interrupted"]
    # A daemon that has to go otherwise would start the runtime: this one knew of the shutdown.
    done = {step["step"] for step in interrupted["steps"]}
    assert "the fence is up" in done
    assert not done & {"the fence is down", "containerd.service started"}


def _a_boot_without_the_stick_goes_on(node: Node) -> None:
    node.init.forget_logs()
    node.machine.shutdown()
    node.machine.boot(sticks=[])
    # `before` alone does not wait under supervise-daemon: the start script of the daemon does.
    node.wait_phase("SWITCHING", 60)
    assert node.runtime_starts() == 0
    role = node.wait_phase("INTERNAL", 120)
    assert role["lastActive"]["name"] == "blue"
    node.wait_pods()
    assert node.runtime_starts() == 1
    first = re.search(r'time="(.*?)" .*msg="starting containerd"', node.init.log("containerd"))
    decided = float(node.machine.ssh("stat -c %.6Y /run/nodestoraged/decided").stdout)
    assert first is not None
    assert datetime.fromisoformat(first[1]).timestamp() > decided


def _a_boot_binds_before_the_runtime_starts(node: Node, blue: Stick) -> None:
    node.init.forget_logs()
    node.machine.shutdown()
    node.machine.boot(sticks=[blue])
    role = node.wait_phase("BOUND", 150)
    assert role["active"]["name"] == "blue"
    node.wait_pods()
    # One start is enough only if the stick was there before it; kubelet is younger as well.
    assert node.runtime_starts() == 1
    node.until("role['imagefs']['verified'] and role['imagefs']['kubeletProof'] == 'capacity'")
    assert len(node.mounted()) == 1


def _a_killed_daemon_comes_back(node: Node, _blue: Stick) -> None:
    before, daemon = node.life(), node.pid("nodestoraged")
    node.machine.ssh(f"kill -KILL {daemon}")
    node.machine.wait_until(
        f"p=$(cat /run/openrc/options/nodestoraged/child_pid) && test $p != {daemon}"
    )
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    node.until("role['imagefs']['verified']")
    assert node.active("nodestoraged") == "active"
    assert node.life() == before


def _the_log_is_lines_of_json(node: Node, _blue: Stick) -> None:
    lines = [json.loads(line) for line in node.init.log("nodestoraged").splitlines()]
    assert lines
    assert all({"time", "level", "kind", "message"} <= line.keys() for line in lines)


def _a_kubelet_that_has_not_joined_holds_nothing_up(node: Node, _blue: Stick) -> None:
    """kubeadm's kubelet ends, and is started again, until somebody joins the node."""
    unjoined = "/etc/systemd/system/kubelet.service.d/20-unjoined.conf"
    node.machine.put_text(_UNJOINED, unjoined)
    node.machine.ssh("systemctl daemon-reload && { systemctl restart kubelet || true; }")
    node.ctl("switch internal")
    node.machine.ssh(
        "nodestoragectl switch blue --no-wait && nodestoragectl wait --for BOUND && touch joined"
    )
    assert node.machine.ssh("ls joined").stdout.strip() == "joined"
    role = node.role()
    assert (role["phase"], role["reason"]) == ("BOUND", "SlotProven")
    assert node.operations()[0]["result"] == "done"
    assert node.active("kubelet") == "activating"
    node.machine.ssh(f"rm {unjoined} && systemctl daemon-reload && systemctl restart kubelet")
    node.wait_pods()


def _a_restart_stops_nothing(node: Node, _blue: Stick) -> None:
    _is_replaced(node, "systemctl restart nodestoraged")


def _an_upgrade_stops_nothing(node: Node, _blue: Stick) -> None:
    _is_replaced(node, "dpkg -i /root/nodestoraged_*.deb")


def _an_upgrade_of_the_bundle_stops_nothing(node: Node, _blue: Stick) -> None:
    _is_replaced(node, "/root/nodestoraged-*-bundle-*/install.sh")


def _a_stopped_k3s_is_moved_without_its_pods(node: Node, _blue: Stick) -> None:
    pods_of_a_stopped_k3s_are_ended_before_a_switch(node)
    units = node.machine.ssh("systemctl list-units --all --plain --no-legend 'nodestoraged-c*'")
    assert units.stdout == ""


def _is_replaced(node: Node, command: str) -> None:
    """`command` puts another daemon in this one's place, and nobody else notices."""
    before, daemon = node.life(), node.pid("nodestoraged")
    node.machine.ssh(command, timeout=300)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    assert node.pid("nodestoraged") not in {0, daemon}
    assert node.life() == before


#: What is looked at on each kind of node after the first bind. Every kind loses its stick and
#: boots from it. Planned moves and a stick that comes back are looked at in each flavour and on
#: each init, not once more on the older release; those of containerd have tests of their own on
#: trixie and OpenRC (test_main_job, test_loss, test_package_life).
_PARTS = {
    ("trixie", "containerd"): (
        _a_yank_fails_over_and_the_fence_holds,
        a_broken_daemon_holds_no_boot_up,
        _a_boot_binds_before_the_runtime_starts,
        _a_restart_stops_nothing,
        _a_kubelet_that_has_not_joined_holds_nothing_up,
    ),
    ("trixie", "k3s"): (
        _switches_go_there_and_back,
        _a_yank_fails_over_and_the_fence_holds,
        _the_stick_serves_again,
        _a_boot_binds_before_the_runtime_starts,
        _an_upgrade_of_the_bundle_stops_nothing,
        _a_stopped_k3s_is_moved_without_its_pods,
    ),
    ("bookworm", "containerd"): (
        _a_yank_fails_over_and_the_fence_holds,
        _a_boot_binds_before_the_runtime_starts,
        _an_upgrade_stops_nothing,
    ),
    ("bookworm", "k3s"): (
        _a_yank_fails_over_and_the_fence_holds,
        _a_boot_binds_before_the_runtime_starts,
        _an_upgrade_stops_nothing,
    ),
    ("openrc", "containerd"): (
        _a_yank_fails_over_and_the_fence_holds,
        _nobody_starts_the_runtime_between_two_roots,
        _a_shutdown_in_the_grace_starts_nothing,
        _the_stick_serves_again,
        a_broken_daemon_holds_no_boot_up,
        _a_boot_binds_before_the_runtime_starts,
        _a_killed_daemon_comes_back,
        _the_log_is_lines_of_json,
    ),
    ("openrc", "k3s"): (
        _switches_take_along_what_needs_the_runtime,
        _a_yank_fails_over_and_the_fence_holds,
        _the_stick_serves_again,
        _a_boot_binds_before_the_runtime_starts,
        _a_killed_daemon_comes_back,
        _the_log_is_lines_of_json,
    ),
}


def test_a_stick_serves_is_switched_lost_found_and_booted_from(
    node: Node, new_stick: StickBox
) -> None:
    blue = new_stick("BLUE01")
    _the_runtime_is_found(node)
    _the_daemon_has_no_rights_but_the_floor(node)
    _an_enrolment_binds_with_proof(node, blue)
    for part in _PARTS[node.machine.image.recipe, node.flavour.name]:
        part(node, blue)
    assert node.init.failed() == ""
