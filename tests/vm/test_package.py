"""The package on a node with systemd: order, fence, udev, sandbox, a removal that is forced.

And the tree without a package.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from nodestoraged import __version__
from tests.vm.harness.machine import Machine
from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import ROOT, Node

SUITES = ("trixie",)

_TOP = Path(__file__).parents[2]
_PROBE = Path(__file__).with_name("sandbox_probe.py")
_FENCE = "/run/nodestorage-fence/containerd"
#: Type=oneshot: the test waits for the probe's end as for a start.
_PROBE_DROP_IN = """
[Service]
Type=oneshot
Restart=no
TimeoutStartSec=300
Environment=PYTHONPATH=/usr/lib/nodestoraged/python
ExecStart=
ExecStart=/usr/bin/python3 /root/sandbox_probe.py /dev/sda1 {foreign} {runtime} /root/report
"""


def properties(machine: Machine, unit: str, *names: str) -> list[str]:
    options = " ".join(f"-p {name}" for name in names)
    lines = machine.ssh(f"systemctl show {options} {unit}").stdout.splitlines()
    found = dict(line.split("=", 1) for line in lines)
    return [found[name] for name in names]


def test_told_to_leave_the_mount_a_removal_and_a_purge_do(node: Node, new_stick: StickBox) -> None:
    node.bind(new_stick("BLUE01"), "blue")
    node.machine.put_text("mine", f"{ROOT}/keepsake")
    before = (node.pid("containerd"), node.pid("kubelet"), node.pod_tasks(), node.mounted())
    node.machine.ssh("NODESTORAGED_REMOVE=leave dpkg --purge nodestoraged", timeout=300)
    assert node.active("nodestoraged") == "inactive"
    after = (node.pid("containerd"), node.pid("kubelet"), node.pod_tasks(), node.mounted())
    assert after == before
    assert node.machine.ssh(f"cat {ROOT}/keepsake").stdout == "mine"
    assert node.machine.ssh("ls -d /var/lib/nodestoraged", check=False).stdout == ""


def test_the_tree_installs_itself_and_goes_without_a_trace(bare_node: Node, tmp_path: Path) -> None:
    """By the script that `make install` and `make uninstall` call; there is no make here."""
    node, machine, script = bare_node, bare_node.machine, "packaging/install"
    subprocess.run([_TOP / "packaging/sources", tmp_path], check=True, capture_output=True)
    (archive,) = tmp_path.iterdir()
    machine.put(archive, f"/root/{archive.name}")
    machine.ssh(f"tar -xzf /root/{archive.name}")
    before, files = node.life(), _files(machine)
    machine.ssh(f"cd nodestoraged-{__version__} && {script}", timeout=300)
    assert node.active("nodestoraged") == "inactive"
    machine.ssh(node.init.enable, timeout=120)
    node.wait_phase("INTERNAL")
    assert "INTERNAL" in node.ctl("status").stdout
    assert "/10-nodestoraged.conf" in properties(machine, "containerd", "DropInPaths")[0]
    machine.ssh("echo '# mine' >>/etc/nodestoraged/config.toml")
    machine.ssh(f"cd nodestoraged-{__version__} && {script} remove", timeout=300)
    assert _files(machine) - files == {"/etc/nodestoraged", "/etc/nodestoraged/config.toml"}
    assert properties(machine, "nodestoraged", "LoadState") == ["not-found"]
    assert "/10-nodestoraged.conf" not in properties(machine, "containerd", "DropInPaths")[0]
    assert node.life() == before


def _files(machine: Machine) -> set[str]:
    """What lies in /usr and /etc, of directories those that bear our name."""
    # shadow's copies of the files before
    ours = "-path '*nodestorage*' -o -not -type d -not -path '/etc/*-'"
    return set(machine.ssh(f"find /usr /etc -xdev {ours}", timeout=120).stdout.splitlines())


def test_a_raised_fence_keeps_the_runtime_stopped_until_the_package_goes(node: Node) -> None:
    installed = node.machine
    installed.ssh("systemctl stop kubelet containerd nodestoraged")
    installed.ssh(f"touch {_FENCE}")
    installed.ssh("systemctl start containerd kubelet", timeout=120)
    for unit in ("containerd", "kubelet"):
        assert properties(installed, unit, "ActiveState") == ["inactive"]
    installed.ssh("dpkg --purge nodestoraged", timeout=300)
    assert installed.ssh(f"ls -d {_FENCE} /var/lib/nodestoraged", check=False).stdout == ""
    installed.ssh("systemctl start containerd kubelet", timeout=120)
    for unit in ("containerd", "kubelet"):
        assert properties(installed, unit, "ActiveState") == ["active"]


def test_runtime_and_kubelet_are_ordered_after_the_decision(node: Node) -> None:
    installed = node.machine
    for unit in ("containerd", "kubelet"):
        (after, wants, requires) = properties(installed, unit, "After", "Wants", "Requires")
        assert "nodestoraged.service" in after.split()
        assert "nodestoraged.service" not in (wants + requires).split()


def test_a_stick_of_ours_is_tagged_and_left_alone_by_desktops(
    node: Node, new_stick: StickBox
) -> None:
    installed = node.machine
    installed.plug(new_stick("BLUE01"))
    installed.wait_until("test -e /dev/disk/by-label/containerd-opt", timeout=20)
    said = installed.ssh("udevadm info /dev/disk/by-label/containerd-opt").stdout
    assert "E: UDISKS_IGNORE=1" in said
    assert ":nodestoraged:" in said


def test_the_sandbox_lets_the_daemon_work_and_nothing_more(node: Node, new_stick: StickBox) -> None:
    installed = node.machine
    installed.ssh("systemctl stop nodestoraged")
    # No disk driver has a major number yet: the stick comes when the sandbox stands.
    assert installed.ssh("grep -w sd /proc/devices", check=False).stdout == ""
    foreign = installed.ssh(
        "setsid setpriv --reuid 1234 --clear-groups sleep 300 >/dev/null 2>&1 & echo $!"
    ).stdout.strip()
    (runtime,) = properties(installed, "containerd", "MainPID")
    installed.put(_PROBE, "/root/sandbox_probe.py")
    installed.put_text(
        _PROBE_DROP_IN.format(foreign=foreign, runtime=runtime),
        "/run/systemd/system/nodestoraged.service.d/probe.conf",
    )
    installed.ssh("systemctl daemon-reload && systemctl start --no-block nodestoraged")
    # The stick must not be in before the sandbox is made.
    installed.wait_until("pgrep -f sandbox_probe.py", timeout=60)
    installed.plug(new_stick("BLUE01"))
    installed.wait_until("test -s /root/report", timeout=240)
    report = json.loads(installed.ssh("cat /root/report").stdout)
    assert report["needed"] == dict.fromkeys(report["needed"], "ok")
    # systemd 252 refuses by seccomp, newer ones by PR_SET_MDWE.
    assert report["refused"].pop("write_and_execute") in {"EPERM", "EACCES"}
    assert report["refused"] == {
        "make_device_node": "EPERM",
        "leave_the_host": "EPERM",
        "speak_ipv6": "EAFNOSUPPORT",
        "force_uevent_buffer": "EPERM",
        "make_namespace": "CalledProcessError: Command '['unshare', '--uts', 'true']' returned "
        "non-zero exit status 1.",
    }
    # What was mounted inside is there for everybody.
    seen = installed.ssh("findmnt --noheadings --output OPTIONS,PROPAGATION /mnt/probe").stdout
    assert "nosuid,nodev,noatime" in seen
    assert "shared" in seen
