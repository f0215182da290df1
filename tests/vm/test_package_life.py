"""The package's life on both init systems, from the first installation to the boot without it.

Each part begins with the node that the one before it left: a machine that is bound is dear.
"""

from __future__ import annotations

from pathlib import Path

from nodestoraged import __version__
from tests.fakes.packages import NEWER_VERSION
from tests.vm.harness.guest import Result
from tests.vm.harness.stickbox import StickBox
from tests.vm.inits import Systemd
from tests.vm.nodes import FLOOR, ROOT, Node

SUITES = ("trixie", "openrc")

#: Prints something while the node's boot knows us, or runtime and kubelet are held by our fence.
_HOOKED = {
    "systemd": "systemctl is-enabled nodestoraged | grep -x enabled; "
    "systemctl cat nodestoraged | grep ExecStart; systemctl cat containerd kubelet | grep fence/",
    "openrc": "ls /etc/runlevels/default/nodestoraged /etc/rc.conf.d/nodestoraged.conf",
}


def test_installation_upgrade_removal_and_purge_while_bound(
    node: Node, newer_deb: Path, new_stick: StickBox
) -> None:
    a_first_installation_is_in_the_boot(node)
    daemon = an_upgrade_that_has_begun_leaves_the_old_daemon_alone(node, newer_deb)
    node.bind(new_stick("BLUE01"), "blue")
    node.machine.put_text("mine", f"{ROOT}/keepsake")
    before = node.life()
    its_end_restarts_the_daemon_only(node, daemon, before)
    an_upgrade_leaves_a_daemon_alone_that_was_taken_out(node, newer_deb, before)
    a_removal_that_cannot_go_back_is_refused(node, before)
    a_removal_goes_back_to_internal_first(node)
    a_purge_takes_nothing_of_the_users(node)
    node.reboot()
    node.wait_pods()
    assert node.mounted() == []
    assert node.init.failed() == ""


def a_first_installation_is_in_the_boot(node: Node) -> None:
    """That it disturbs nothing is looked at by every `Node.install`."""
    assert len(hooked(node)) >= 2
    assert node.machine.ssh("getent group nodestorage").stdout.startswith("nodestorage:")


def an_upgrade_that_has_begun_leaves_the_old_daemon_alone(node: Node, newer: Path) -> int:
    """Its files are the new version's, and it has a stick to bind before its end; its pid."""
    before, daemon = node.life(), node.pid("nodestoraged")
    node.machine.put(newer, f"/root/{newer.name}")
    packages(node, f"dpkg --unpack /root/{newer.name}")
    assert versions(node) == (NEWER_VERSION, __version__)
    assert (node.life(), node.pid("nodestoraged")) == (before, daemon)
    return daemon


def its_end_restarts_the_daemon_only(node: Node, old: int, before: object) -> None:
    assert (versions(node)[1], node.pid("nodestoraged")) == (__version__, old)
    packages(node, "dpkg --configure nodestoraged")
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    assert versions(node) == (NEWER_VERSION, NEWER_VERSION)
    assert old != node.pid("nodestoraged") != 0
    assert node.life() == before


def an_upgrade_leaves_a_daemon_alone_that_was_taken_out(
    node: Node, newer: Path, before: object
) -> None:
    node.machine.ssh(node.init.disable)
    packages(node, f"dpkg -i /root/{newer.name}")
    assert node.active("nodestoraged") != "active"
    node.machine.ssh(node.init.enable)
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    assert node.life() == before


def a_removal_that_cannot_go_back_is_refused(node: Node, before: object) -> None:
    node.configure(f'{FLOOR}[role.containerd.hooks]\nbefore_switch = [["/bin/false"]]\n')
    refused = packages(node, "apt remove -y nodestoraged", check=False)
    assert refused.code != 0
    assert "containerd is BOUND to blue and could not go back to internal" in refused.stdout
    assert "set NODESTORAGED_REMOVE=leave" in refused.stdout
    status = node.machine.ssh("dpkg-query -W -f '${db:Status-Status}' nodestoraged").stdout
    assert status == "installed"
    assert node.wait_phase("BOUND")["active"]["name"] == "blue"
    assert node.life() == before


def a_removal_goes_back_to_internal_first(node: Node) -> None:
    node.configure(FLOOR)
    said = packages(node, "apt remove -y nodestoraged").stdout
    assert "containerd is BOUND to blue: going back to internal first" in said
    assert node.mounted() == []
    node.wait_pods()
    for unit in ("containerd", "kubelet"):
        assert node.active(unit) == "active"
    assert node.active("nodestoraged") != "active"
    assert hooked(node) == []
    # What was remembered of the stick stays until a purge.
    assert "blue" in node.machine.ssh("cat /var/lib/nodestoraged/sticks.toml").stdout


def a_purge_takes_nothing_of_the_users(node: Node) -> None:
    """Not what lies on the stick, wherever it is mounted, and not what they wrote to /etc."""
    node.machine.ssh("mkdir -p /run/nodestoraged/hand && mount /dev/sda1 /run/nodestoraged/hand")
    packages(node, "apt purge -y nodestoraged")
    gone = "/var/lib/nodestoraged /run/nodestorage-fence /etc/nodestoraged/config.toml"
    scripts = "/etc/init.d/nodestoraged /etc/conf.d/nodestoraged /var/log/nodestoraged"
    assert node.machine.ssh(f"ls -d {gone} {scripts}", check=False).stdout == ""
    assert node.machine.ssh("cat /run/nodestoraged/hand/keepsake").stdout == "mine"
    node.machine.ssh("test -e /etc/nodestoraged/conf.d/10-test.toml")
    node.machine.ssh("umount /run/nodestoraged/hand")


def hooked(node: Node) -> list[str]:
    """Lines that say that the node's boot knows us."""
    name = "systemd" if isinstance(node.init, Systemd) else "openrc"
    return node.machine.ssh(_HOOKED[name], check=False).stdout.splitlines()


def versions(node: Node) -> tuple[str, str]:
    """Those of the program and of the daemon that runs."""
    return node.ctl("--version").stdout.split()[-1], node.status()["daemon"]["version"]


def packages(node: Node, words: str, *, check: bool = True) -> Result:
    """A command of apt or dpkg, its complaints in stdout."""
    return node.machine.ssh(f"exec 2>&1; {words}", check=check, timeout=400)
