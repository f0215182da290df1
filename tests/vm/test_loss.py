"""The stick is pulled out of a running node: noticed, contained, and put right again.

Each part begins with the node that the one before it left: a machine that is bound is dear. That
the node serves itself after the grace is in test_everywhere.
"""

from __future__ import annotations

from typing import Any

from tests.vm.harness.stick import Stick
from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import FLOOR, Node

SUITES = ("trixie",)

#: More moves that nobody asked for than a stick has in ten minutes.
_OFTEN = FLOOR + "switch_limit = 20\n"
#: A stick is back before it is over, however busy the machine is.
_GRACE = _OFTEN + "swap_grace_seconds = 120\n"
_STANDBY = _OFTEN + "swap_grace_seconds = 1\nfallback = ['standby']\n"
#: uevent to runtime stopped, on a processor that starts a bare Python in the second time.
STOPPED_SECONDS_MAX = 2.0
PYTHON_SECONDS = 0.6
_PYTHON = """python3 -I -c 'import subprocess, time
words, seconds = ["python3", "-I", "-c", "import asyncio, json"], []
for _ in range(3):
    begin = time.monotonic()
    subprocess.run(words, check=True)
    seconds.append(time.monotonic() - begin)
print(min(seconds))'"""


def _python_seconds(node: Node) -> float:
    """How long a bare Python takes to start: more where the processor is shared just now."""
    return float(node.machine.ssh(_PYTHON).stdout)


def _until_stopped(operation: dict[str, Any]) -> float:
    """Seconds from the removal's uevent until the runtime was stopped."""
    total: float = operation["noticedSeconds"]
    for step in operation["steps"]:
        total += step["seconds"]
        if "containerd.service" in step["step"]:
            return total
    raise AssertionError(operation)


def test_a_stick_that_goes_costs_the_node_nothing_but_the_time(
    node: Node, new_stick: StickBox
) -> None:
    blue, green = new_stick("BLUE01"), new_stick("GREEN1")
    node.configure(_GRACE)
    node.bind(blue, "blue")
    back_within_the_grace_is_one_operation(node, blue)
    node.plug(green, "waiting")
    node.ctl("enroll GREEN1 --name green")
    another_within_the_grace_is_one_operation(node, blue, green)
    node.configure(_STANDBY)
    node.plug(blue, "standby")
    a_standby_takes_over(node, green)
    no_fallback_keeps_the_runtime_stopped(node, blue)
    node.plug(green, "standby")
    a_target_that_vanishes_in_the_middle_of_a_switchover_is_rolled_back(node, green)


def back_within_the_grace_is_one_operation(node: Node, blue: Stick) -> None:
    before = _python_seconds(node)
    node.machine.yank(blue)
    node.wait_phase("LOST", 30)
    node.wait_stopped("containerd")
    slowest = max(before, _python_seconds(node))
    role = node.role()
    assert (role["phase"], role["active"], role["lastActive"]["name"]) == ("LOST", None, "blue")
    assert node.ctl("status --exit-code", check=False).code in {3, 8}
    node.plug(blue)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    swap = node.operations()[0]
    assert (swap["kind"], swap["result"]) == ("swap", "done")
    assert _until_stopped(swap) < STOPPED_SECONDS_MAX * max(1.0, slowest / PYTHON_SECONDS)
    node.wait_pods()


def another_within_the_grace_is_one_operation(node: Node, blue: Stick, green: Stick) -> None:
    node.machine.yank(green)
    node.until("len(role['candidates']) == 1")
    node.machine.yank(blue)
    node.wait_phase("LOST", 30)
    node.plug(green)
    assert node.wait_phase("BOUND")["active"]["name"] == "green"
    swap = node.operations()[0]
    assert (swap["kind"], swap["source"], swap["target"]) == ("swap", "blue", "green")
    node.wait_pods()
    assert len(node.mounted()) == 1


def a_standby_takes_over(node: Node, green: Stick) -> None:
    node.machine.yank(green)
    role = node.until("role['phase'] == 'BOUND' and role['active']['name'] == 'blue'", 90)
    assert role["imagefs"]["verified"] is True
    node.wait_pods()


def no_fallback_keeps_the_runtime_stopped(node: Node, blue: Stick) -> None:
    """Until a stick comes."""
    node.machine.yank(blue)
    node.wait_phase("STOPPED", 60)
    assert node.active("containerd") != "active"
    assert node.machine.ssh("test -e /run/nodestorage-fence/containerd", check=False).code == 0
    node.plug(blue)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    assert node.active("kubelet") == "active"
    node.wait_pods()


def a_target_that_vanishes_in_the_middle_of_a_switchover_is_rolled_back(
    node: Node, green: Stick
) -> None:
    node.slow("containerd", "ExecStartPre=/bin/sleep 8")
    node.ctl("switch green --no-wait")
    node.wait_step("containerd.service started")
    node.machine.yank(green)
    role = node.until("role['phase'] == 'BOUND' and role['active']['name'] == 'blue'", 120)
    assert role["imagefs"]["verified"] is True
    operation = node.operations()[0]
    assert (operation["kind"], operation["result"]) == ("switchover", "rolled-back")
    node.wait_pods()
    assert len(node.mounted()) == 1
