"""Boots and power cuts: the root is decided before the runtime starts, whatever happened.

Each part begins with the node that the one before it left: a boot is dear.
"""

from __future__ import annotations

from tests.vm.harness.stick import Stick
from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import FLOOR, Node

SUITES = ("trixie",)

_BY_LABEL = FLOOR + 'trust = "label"\n'
_PATIENT = FLOOR + "boot_wait_seconds = 120\n"
_QUICK_WAIT = FLOOR + "boot_wait_seconds = 8\n"
#: Each makes one step of a switchover last, so that the power is cut inside it and nowhere else.
_SLOW = {"stopped": "ExecStop=/bin/sleep 15", "started": "ExecStartPre=/bin/sleep 15"}
_NAMES = {"BLUE01": "blue", "GREEN1": "green"}


def test_after_every_power_cut_the_root_that_was_wished_is_there_before_the_runtime(
    durable_node: Node, new_stick: StickBox
) -> None:
    """An orderly boot with the stick in its place is in test_everywhere."""
    node, blue, green = durable_node, new_stick("BLUE01"), new_stick("GREEN1")
    a_trusted_label_stops_no_pod_and_serves_from_the_next_boot(node, blue)
    node.ctl("enroll BLUE01 --name blue")
    node.configure(_PATIENT)
    node.plug(green, "waiting")
    node.ctl("enroll GREEN1 --name green")
    node.wait_verdict(green, "standby")
    a_cut_in_a_switchover_ends_on_the_root_that_was_wished(node, "stopped", green, late=True)
    node.plug(blue)
    node.wait_verdict(blue, "standby")
    a_cut_in_a_switchover_ends_on_the_root_that_was_wished(node, "started", blue, late=False)
    a_boot_without_the_stick_goes_on_after_a_while(node, blue)


def a_trusted_label_stops_no_pod_and_serves_from_the_next_boot(node: Node, blue: Stick) -> None:
    tasks, containerd = node.pod_tasks(), node.pid("containerd")
    node.configure(_BY_LABEL)
    # What is there before the daemon has not just been put in by somebody.
    assert node.init.control("stop", "nodestoraged") == 0
    node.machine.plug(blue)
    node.machine.wait_until("test -e /dev/disk/by-label/containerd-opt")
    assert node.init.control("start", "nodestoraged") == 0
    assert node.wait_verdict(blue, "waiting")["reasons"] == ["RuntimeRunning"]
    node.machine.ssh("sleep 8")  # longer than the settle time
    assert (node.pod_tasks(), node.pid("containerd")) == (tasks, containerd)
    assert node.mounted() == []
    _power_cut(node)
    node.machine.boot()
    assert node.wait_phase("BOUND", 120)["active"]["serial"] == "BLUE01"
    node.wait_pods()
    assert _containerd_starts(node) == 1


def a_cut_in_a_switchover_ends_on_the_root_that_was_wished(
    node: Node, done: str, wished: Stick, *, late: bool
) -> None:
    """With `late` the sticks are out at the boot, and the wished one comes into it."""
    name, step = _NAMES[wished.serial], f"containerd.service {done}"
    drop_in = node.slow("containerd", _SLOW[done])
    node.machine.ssh("sync --file-system /etc")
    node.ctl(f"switch {name} --no-wait")
    node.wait_step(step)
    node.machine.power_cut()
    node.machine.boot(sticks=[] if late else None)
    node.machine.ssh(f"rm {drop_in} && systemctl daemon-reload")
    if late:
        # The stick is waited for, and the runtime has not been started yet.
        node.wait_phase("SWITCHING")
        assert _containerd_starts(node) == 0
        node.machine.plug(wished)
    role = node.wait_phase("BOUND", 150)
    # The wish of the operator outlives the cut.
    assert role["active"]["name"] == name
    assert _containerd_starts(node) == 1
    assert role["imagefs"]["verified"] is True
    node.wait_pods()
    assert len(node.mounted()) == 1
    interrupted = next(o for o in node.operations() if o["result"] == "interrupted")
    assert (interrupted["kind"], interrupted["target"]) == ("switchover", name)
    assert interrupted["steps"][-1]["step"] == step


def a_boot_without_the_stick_goes_on_after_a_while(node: Node, blue: Stick) -> None:
    node.ctl("switch auto")
    node.configure(_QUICK_WAIT)
    _power_cut(node)
    node.machine.boot(sticks=[])
    role = node.wait_phase("INTERNAL", 120)
    assert role["lastActive"]["name"] == "blue"
    node.wait_pods()
    assert _containerd_starts(node) == 1
    node.plug(blue)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"


def _power_cut(node: Node) -> None:
    """The power goes once what was configured is on the disk."""
    node.machine.ssh("sync --file-system /etc/nodestoraged")
    node.machine.power_cut()


def _containerd_starts(node: Node) -> int:
    """How often containerd was started in this boot."""
    found = node.machine.ssh(
        "journalctl -b -u containerd -o cat | grep -c 'successfully booted' || true"
    )
    return int(found.stdout)
