"""A daemon that cannot start, on every init: the node does without it until it can."""

from __future__ import annotations

from typing import Final

from tests.vm.harness.stick import Stick
from tests.vm.inits import OpenRC
from tests.vm.nodes import Node

_BROKEN: Final = "/etc/nodestoraged/conf.d/20-broken.toml"
_CONF: Final = "/etc/conf.d/nodestoraged"


def a_broken_daemon_holds_no_boot_up(node: Node, blue: Stick) -> None:
    """The node serves itself; the daemon comes as soon as it is mended, and interrupts nobody."""
    node.machine.put_text("[role.containerd]\nno_such_key = 1\n", _BROKEN)
    patient = isinstance(node.init, OpenRC)
    if patient:
        # systemd knows that a start has failed. OpenRC does not: there the boot waits so long.
        node.machine.ssh(f"echo decision_timeout=10 >>{_CONF}")
    node.init.forget_logs()
    node.machine.shutdown()
    node.machine.boot(sticks=[blue])
    node.wait_pods()  # not so long as OpenRC would wait by default
    assert node.mounted() == []
    assert node.runtime_starts() == 1
    assert "no_such_key" in node.init.log("nodestoraged")
    assert node.ctl("status", check=False).code != 0
    before = node.life()
    node.machine.ssh(f"rm {_BROKEN}")
    # Nobody has to start it: that is tried without end.
    node.wait_phase("INTERNAL", 60)
    assert node.wait_verdict(blue, "waiting")["reasons"] == ["RuntimeRunning"]
    assert node.life() == before
    if patient:
        node.machine.ssh(f"sed -i /^decision_timeout/d {_CONF}")
