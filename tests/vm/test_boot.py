"""Boots and power cuts: the root is decided before the runtime starts, whatever happened."""

from __future__ import annotations

from pathlib import Path

from tests.vm.harness.migration import Saved
from tests.vm.harness.pool import MachinePool
from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import FLOOR, Node

SUITES = ("trixie",)

_PATIENT = FLOOR + "boot_wait_seconds = 120\n"
_QUICK_WAIT = FLOOR + "boot_wait_seconds = 8\n"


def _containerd_starts(node: Node) -> int:
    """How often containerd was started in this boot."""
    found = node.machine.ssh(
        "journalctl -b -u containerd -o cat | grep -c 'successfully booted' || true"
    )
    return int(found.stdout)


def test_boots_with_the_stick_late_and_without_it(node: Node, new_stick: StickBox) -> None:
    """A boot with the stick in its place is in test_everywhere."""
    blue = new_stick("BLUE01")
    node.bind(blue, "blue")
    node.configure(_PATIENT)
    node.machine.shutdown()
    node.machine.boot(sticks=[])
    # The boot waits for the stick that was active; the runtime has not been started yet.
    node.wait_phase("SWITCHING")
    assert _containerd_starts(node) == 0
    node.machine.plug(blue)
    assert node.wait_phase("BOUND", 120)["active"]["name"] == "blue"
    assert _containerd_starts(node) == 1
    node.wait_pods()
    node.configure(_QUICK_WAIT)
    node.machine.shutdown()
    node.machine.boot(sticks=[])
    role = node.wait_phase("INTERNAL", 120)
    assert role["lastActive"]["name"] == "blue"
    node.wait_pods()
    assert _containerd_starts(node) == 1
    node.plug(blue)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"


#: Each makes one step of a switchover last, so that the power is cut inside it and nowhere else.
_SLOW = {
    "containerd.service stopped": ("containerd", "ExecStop=/bin/sleep 15"),
    "containerd.service started": ("containerd", "ExecStartPre=/bin/sleep 15"),
}


def test_power_cuts_while_bound_and_in_switchovers_end_on_the_root_that_was_wished(
    durable_node: Node, new_stick: StickBox
) -> None:
    node, blue, green = durable_node, new_stick("BLUE01"), new_stick("GREEN1")
    node.bind(blue, "blue")
    node.machine.power_cut()
    node.machine.boot()
    assert node.wait_phase("BOUND", 120)["active"]["name"] == "blue"
    node.wait_pods()
    assert _containerd_starts(node) == 1
    node.plug(green, "waiting")
    node.ctl("enroll GREEN1 --name green")
    node.wait_verdict(green, "standby")
    for step, wished in zip(_SLOW, ("green", "blue"), strict=True):
        _cut_in(node, step, wished)


def _cut_in(node: Node, step: str, wished: str) -> None:
    drop_in = node.slow(*_SLOW[step])
    node.ctl(f"switch {wished} --no-wait")
    node.wait_step(step)
    node.machine.power_cut()
    node.machine.boot()
    node.machine.ssh(f"rm {drop_in} && systemctl daemon-reload")
    role = node.wait_phase("BOUND", 150)
    # The wish of the operator outlives the cut.
    assert role["active"]["name"] == wished
    assert role["imagefs"]["verified"] is True
    node.wait_pods()
    assert len(node.mounted()) == 1
    interrupted = next(o for o in node.operations() if o["result"] == "interrupted")
    assert (interrupted["kind"], interrupted["target"]) == ("switchover", wished)
    assert interrupted["steps"][-1]["step"] == step


def test_a_label_that_is_trusted_before_the_first_start_stops_no_pod(
    new_machine: MachinePool, booted: Saved, new_stick: StickBox, deb: Path
) -> None:
    machine = new_machine(booted)
    machine.resume()
    blue = new_stick("BLUE01")
    machine.plug(blue)
    node = Node(machine)
    tasks, containerd = node.pod_tasks(), node.pid("containerd")
    node.install(deb, FLOOR + 'trust = "label"\n')
    found = node.wait_verdict(blue, "waiting")
    assert found["reasons"] == ["RuntimeRunning"]
    node.machine.ssh("sleep 8")
    assert (node.pod_tasks(), node.pid("containerd")) == (tasks, containerd)
    assert node.mounted() == []
    node.machine.reboot()
    assert node.wait_phase("BOUND", 120)["active"]["serial"] == "BLUE01"
    node.wait_pods()
