"""`doctor` on a node's files: on a well node all passes, and each single fault is named."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nodestoraged.cli.offline.doctor import gather as gathering
from nodestoraged.cli.offline.doctor.facts import (
    CheckResult,
    DaemonFacts,
    Facts,
    Library,
    Machine,
)
from nodestoraged.cli.offline.doctor.gather import HELPERS, gather
from nodestoraged.cli.offline.doctor.verb import examine
from nodestoraged.worker import helper
from tests.fakes.machine_files import PROGRAMS, MachineFiles

SOCKET = gathering.SOCKET_PATH


@pytest.fixture
def node(tmp_path: Path) -> MachineFiles:
    return MachineFiles(tmp_path)


def found(node: MachineFiles) -> list[CheckResult]:
    facts, missing = gather(node.root, SOCKET, None)
    assert missing == ""
    assert facts is not None
    return examine(facts)


def said(node: MachineFiles, check: str) -> list[tuple[str, str, str]]:
    return [
        (one.finding.level.value, one.finding.message, one.finding.remedy)
        for one in found(node)
        if one.check == check
    ]


def test_on_a_well_node_every_check_passes(node: MachineFiles) -> None:
    # How full the disk of this machine is, is not ours to say.
    wrong = [one for one in found(node) if one.finding.level != "PASS" and one.check != "space"]
    assert wrong == []


def test_every_fault_but_no_pass_comes_with_a_remedy_or_needs_none(node: MachineFiles) -> None:
    assert [one for one in found(node) if one.finding.level == "PASS" and one.finding.remedy] == []


def _config(text: str) -> Callable[[MachineFiles], None]:
    return lambda node: node.write("etc/nodestoraged/config.toml", f"schema = 1\n{text}\n")


FENCE = "usr/lib/systemd/system/kubelet.service.d/10-nodestoraged.conf"
FAULTS: dict[str, tuple[Callable[[MachineFiles], None], str, str, str, str]] = {
    "an old kernel": (
        lambda node: node.write("proc/sys/kernel/osrelease", "4.19.0-26-amd64\n"),
        "kernel", "FAIL", "5.12", "newer kernel",
    ),
    "a kernel that says nothing": (
        lambda node: node.write("proc/sys/kernel/osrelease", "?\n"), "kernel", "SKIP", "", "",
    ),
    "udev that does not run": (
        lambda node: node.remove("run/udev/control"), "udev", "FAIL", "no stick is ever seen",
        "systemctl start systemd-udevd",
    ),
    "no udev rule": (
        lambda node: node.remove("usr/lib/udev/rules.d/61-nodestoraged.rules"),
        "udev", "WARN", "rule is missing", "udevadm control --reload",
    ),
    "cgroup v1": (
        lambda node: (
            node.remove("sys/fs/cgroup/cgroup.controllers"),
            node.write("sys/fs/cgroup/memory/tasks", ""),
        ),
        "cgroup", "WARN", "v1", "unified",
    ),
    "no cgroups": (
        lambda node: node.remove("sys/fs/cgroup/cgroup.controllers"),
        "cgroup", "FAIL", "no container can start", "mount -t cgroup2",
    ),
    "no e2fsck": (
        lambda node: node.remove("usr/sbin/e2fsck"), "tools", "FAIL", "e2fsck", "e2fsprogs",
    ),
    "e2fsck where nobody looks": (
        lambda node: (node.remove("usr/sbin/e2fsck"), node.program("opt/tools/e2fsck")),
        "tools", "FAIL", "e2fsck", "e2fsprogs",
    ),
    "no XFS tools": (
        lambda node: node.remove("usr/sbin/mkfs.xfs"), "tools", "WARN", "mkfs.xfs", "xfsprogs",
    ),
    "no ctr": (
        lambda node: node.remove("usr/bin/ctr"), "ctr", "FAIL", "ctr", "/usr/local/bin/ctr",
    ),
    "no group": (
        lambda node: node.write("etc/group", "xnodestorage:x:1:\n"),
        "group", "WARN", "nodestorage", "nodestorage; } && systemctl restart nodestoraged",
    ),
    "a wrong key": (
        _config("[daemon]\nsetle_seconds = 1"), "config", "FAIL", "setle_seconds", "",
    ),
    "a configuration that others may write": (
        lambda node: (node.root / "etc/nodestoraged/config.toml").chmod(0o666),
        "config", "FAIL", "writable by others", "chmod go-w",
    ),
    "an unknown runtime": (
        _config('[role.containerd]\nruntime = "lxc"'), "runtime", "FAIL", "lxc", "one of",
    ),
    "a disabled daemon": (
        lambda node: node.remove("etc/systemd/system/multi-user.target.wants/nodestoraged.service"),
        "daemon", "WARN", "not enabled", "systemctl enable nodestoraged",
    ),
    "no daemon": (
        lambda node: node.remove("usr/lib/systemd/system/nodestoraged.service"),
        "daemon", "FAIL", "not installed", "install the package",
    ),
    "no runtime": (
        lambda node: node.remove("usr/lib/systemd/system/containerd.service"),
        "runtime", "WARN", "not installed", "runtime NAME",
    ),
    "no fence": (
        lambda node: node.remove(FENCE), "fence", "WARN", "kubelet",
        "/etc/systemd/system/kubelet.service.d",
    ),
    "a fence of another role": (
        lambda node: node.write(FENCE, "ConditionPathExists=!/run/nodestorage-fence/other\n"),
        "fence", "WARN", "kubelet", "nodestorage-fence/containerd",
    ),
    "a fence of a role with a longer name": (
        lambda node: node.write(FENCE, "ConditionPathExists=!/run/nodestorage-fence/containerd2\n"),
        "fence", "WARN", "kubelet", "nodestorage-fence/containerd",
    ),
    "a drop-in that hides the package's": (
        lambda node: node.write(
            "etc/systemd/system/kubelet.service.d/10-nodestoraged.conf", "[Unit]\n"
        ),
        "fence", "WARN", "kubelet", "20-nodestoraged-containerd.conf",
    ),
    "a unit of ours that forgot containerd": (
        lambda node: (
            node.write("usr/lib/systemd/system/nodestoraged.service", "[Unit]\nBefore=k3s.service"),
            node.remove("usr/lib/systemd/system/containerd.service.d/10-nodestoraged.conf"),
        ),
        "order", "WARN", "containerd may start", "After=nodestoraged.service",
    ),
    "trust by label": (
        _config('[role.containerd]\ntrust = "label"'), "trust", "WARN", "root on this node",
        "config set role.containerd.trust enrolled",
    ),
    "trust in nobody": (
        _config('[role.containerd]\ntrust = "none"'), "trust", "INFO", "no stick", "",
    ),
    "no sandbox image": (
        lambda node: node.archive(0),
        "sandbox", "WARN", "no sandbox image", "explain SandboxImageMissing",
    ),
    "a broken index": (
        lambda node: node.write("var/lib/nodestoraged/images/index.json", "{"),
        "sandbox", "WARN", "no sandbox image", "explain SandboxImageMissing",
    ),
    "kubelet that has not joined": (
        lambda node: node.remove("var/lib/kubelet/config.yaml"),
        "kubelet", "INFO", "has not joined",
        "nodestoragectl wait --for BOUND && kubeadm join",
    ),
    "kubelet with another runtime": (
        lambda node: node.write(
            "var/lib/kubelet/kubeadm-flags.env",
            "X=--container-runtime-endpoint=unix:///run/crio/crio.sock\n",
        ),
        "kubelet", "FAIL", "/run/crio/crio.sock", "role.containerd.runtime",
    ),
    "a read-only /etc": (
        lambda node: node.mounts("30 25 8:2 / /etc ro - squashfs /dev/sda2 ro"),
        "state", "INFO", "/var/lib/nodestoraged/conf.d", "",
    ),
    "a state that is forgotten": (
        lambda node: node.mounts("30 25 0:30 / /var/lib rw - tmpfs tmpfs rw"),
        "state", "WARN", "tmpfs", "allow",
    ),
    "a state that cannot be written": (
        lambda node: node.mounts("30 25 8:2 / /var ro - ext4 /dev/sda2 ro"),
        "state", "FAIL", "journal", "dmesg",
    ),
    "/ on overlayfs": (
        lambda node: node.mounts("30 25 0:30 / /var/lib rw - overlay overlay rw"),
        "filesystem", "FAIL", "overlayfs", "role.containerd.fallback",
    ),
    "/ on NFS, with a stick on the root": (
        lambda node: node.mounts(
            "30 25 0:30 / /var/lib rw - nfs4 10.0.0.1:/srv rw",
            "31 30 8:17 / /var/lib/containerd rw - ext4 /dev/sdb1 rw",
        ),
        "filesystem", "WARN", "nfs4", "role.containerd.fallback",
    ),
    "k3s's scripts": (
        lambda node: node.program("usr/local/bin/k3s-killall.sh"),
        "killall", "WARN", "/usr/local/bin/k3s-killall.sh", "",
    ),
    "usbmount": (
        lambda node: node.write("etc/usbmount/usbmount.conf", ""),
        "automount", "WARN", "usbmount", "usbmount",
    ),
    "an automounting rule": (
        lambda node: node.write(
            "etc/udev/rules.d/99-usb.rules",
            'ACTION=="add", RUN+="/usr/bin/systemd-mount --no-block $devnode"\n',
        ),
        "automount", "WARN", "/etc/udev/rules.d/99-usb.rules", "99-usb.rules",
    ),
    "autofs with disks": (
        lambda node: node.write("etc/auto.misc", "usb -fstype=ext4 :/dev/sdb1\n"),
        "automount", "WARN", "/etc/auto.misc", "/etc/auto.misc",
    ),
    "neither systemd nor OpenRC": (
        lambda node: (node.root / "run/systemd/system").rmdir(),
        "init", "WARN", "neither", 'services = "command"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_what_helps(node: MachineFiles, name: str) -> None:
    change, check, level, message, remedy = FAULTS[name]
    change(node)
    levels = [(one, text, help_) for one, text, help_ in said(node, check) if one != "PASS"]
    assert [one for one, _, _ in levels] == [level], levels
    assert message in levels[0][1]
    assert remedy in levels[0][2]
    assert bool(levels[0][2]) == bool(remedy) or check == "config"


def test_a_rule_of_an_installation_with_its_own_prefix_is_found(node: MachineFiles) -> None:
    rule = "lib/udev/rules.d/61-nodestoraged.rules"
    node.write(f"usr/local/{rule}", (node.root / "usr" / rule).read_text())
    node.remove(f"usr/{rule}")
    assert [level for level, _, _ in said(node, "udev")] == ["PASS"]


@pytest.mark.parametrize(
    ("release", "level"),
    [("5.11.22-x", "FAIL"), ("5.12.0", "PASS"), ("6.1.0-18-amd64", "PASS"), ("10.0", "PASS")],
)
def test_the_oldest_kernel_is_the_one_with_mount_setattr(
    node: MachineFiles, release: str, level: str
) -> None:
    node.write("proc/sys/kernel/osrelease", f"{release}\n")
    assert [one for one, _, _ in said(node, "kernel")] == [level]


def test_harmless_neighbours_are_not_blamed(node: MachineFiles) -> None:
    node.program("usr/bin/udiskie")  # kept off by our rule
    node.write("etc/auto.net", "* -fstype=nfs server:/srv/&\n")
    node.write("etc/udev/rules.d/70-net.rules", 'RUN+="/bin/ip link"\n')
    assert said(node, "automount") == []


def test_xfs_tools_are_not_missed_where_no_stick_is_xfs(node: MachineFiles) -> None:
    node.remove("usr/sbin/mkfs.xfs")
    _config('[role.containerd]\nfilesystems = ["ext4"]')(node)
    assert [level for level, _, _ in said(node, "tools")] == ["PASS"]


def test_commands_of_an_operator_are_a_service_manager(node: MachineFiles) -> None:
    (node.root / "run/systemd/system").rmdir()
    commands = "".join(
        f'{one} = ["/usr/bin/sv", "{one}", "{{unit}}"]\n' for one in ("start", "stop", "status")
    )
    _config(f'[daemon]\nservices = "command"\n[daemon.commands]\n{commands}')(node)
    assert [level for level, _, _ in said(node, "init")] == ["PASS"]


def test_an_embedded_runtime_has_no_kubelet_to_join(node: MachineFiles) -> None:
    facts, _ = gather(node.root, SOCKET, None)
    assert facts is not None
    (role,) = facts.roles
    assert role.profile is not None
    embedded = replace(role, profile=replace(role.profile, embedded=True), kubelet_units=())
    checks = {one.check for one in examine(replace(facts, roles=(embedded,)))}
    assert "kubelet" not in checks


def test_under_openrc_services_are_read_from_their_scripts(node: MachineFiles) -> None:
    node.openrc()
    assert [level for level, _, _ in said(node, "daemon")] == []
    assert [level for level, _, _ in said(node, "order")] == ["PASS"]
    assert [(level, text[:12]) for level, text, _ in said(node, "fence")] == [
        ("WARN", "no fence for")
    ]
    node.openrc_fence()
    assert [level for level, _, _ in said(node, "fence")] == ["PASS"]
    node.remove("etc/runlevels/default/nodestoraged")
    assert [remedy for _, _, remedy in said(node, "daemon")] == [
        "rc-update add nodestoraged default"
    ]


def pasted(node: MachineFiles, check: str) -> None:
    """The one remedy of the check has been carried out below the node's /etc."""
    ((_, _, remedy),) = said(node, check)
    command = remedy.replace("/etc/", f"{node.root}/etc/").replace("systemctl daemon-reload", ":")
    subprocess.run(["/bin/sh", "-euc", command], check=True)


def test_the_remedies_for_fence_and_order_mend_all_at_once(node: MachineFiles) -> None:
    for name in ("containerd", "kubelet"):
        node.remove(f"usr/lib/systemd/system/{name}.service.d/10-nodestoraged.conf")
    pasted(node, "fence")
    assert said(node, "fence") == [("PASS", "the fence keeps containerd, kubelet", "")]
    written = sorted(node.root.glob("etc/systemd/system/*.d/*"))
    assert {path.name for path in written} == {"20-nodestoraged-containerd.conf"}
    assert written[0].read_text() == (
        "[Unit]\nAfter=nodestoraged.service\n"
        "ConditionPathExists=!/run/nodestorage-fence/containerd\n"
    )
    for path in written:
        path.unlink()
    node.write("usr/lib/systemd/system/nodestoraged.service", "")
    pasted(node, "order")
    assert [level for level, _, _ in said(node, "order")] == ["PASS"]


def test_under_openrc_a_role_of_any_name_gets_its_fence(node: MachineFiles) -> None:
    node.openrc()
    _config('[role.images]\nlabels = ["images"]')(node)
    ((_, _, remedy),) = said(node, "fence")
    assert remedy == "rc-service nodestoraged restart"  # which installs the gate
    node.openrc_fence()
    node.write("etc/init.d/nodestoraged", "#!/sbin/openrc-run\n")
    node.write("etc/conf.d/kubelet", 'rc_after="net"\n')
    pasted(node, "fence")
    assert said(node, "fence") == [("PASS", "the fence keeps containerd, kubelet", "")]
    assert [level for level, _, _ in said(node, "order")] == ["PASS"]
    source = f"printf %s; . {node.root}/etc/conf.d/kubelet; echo $rc_after $nodestoraged_role"
    done = subprocess.run(["/bin/sh", "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == "net nodestoraged images\n"
    # What the script itself sets comes after the gate.
    node.write("etc/init.d/kubelet", "#!/sbin/openrc-run\nnodestoraged_role=images\n")
    node.write("etc/conf.d/kubelet", "nodestoraged_role=images2\n")
    assert "no fence for kubelet:" in said(node, "fence")[0][1]
    node.remove("etc/conf.d/kubelet")
    assert "no fence for kubelet:" in said(node, "fence")[0][1]


def test_podman_s_socket_is_fenced_too_and_never_ordered_after_us(node: MachineFiles) -> None:
    _config('[role.podman]\nruntime = "podman"\nlabels = ["podman-opt"]')(node)
    units = "usr/lib/systemd/system"
    for name in ("podman.socket", "podman.service"):
        node.write(f"{units}/{name}", "[Unit]\n")
    ((level, message, _),) = said(node, "fence")
    assert (level, "no fence for podman.socket, podman:" in message) == ("WARN", True)
    pasted(node, "fence")
    assert said(node, "fence") == [("PASS", "the fence keeps podman.socket, podman", "")]
    (socket,) = node.root.glob("etc/systemd/system/podman.socket.d/*")
    assert "After=" not in socket.read_text()
    assert [level for level, _, _ in said(node, "order")] == ["PASS"]


def test_a_prefix_s_drop_in_fences_what_has_a_name_of_its_own(node: MachineFiles) -> None:
    _config('[role.containerd]\nruntime = "k3s"\nprofile.runtime_units = ["k3s-one.service"]')(node)
    units = "usr/lib/systemd/system"
    node.write(f"{units}/k3s-one.service", "[Service]\nExecStart=/usr/local/bin/k3s server\n")
    assert [level for level, _, _ in said(node, "fence")] == ["WARN"]
    fence = (node.root / f"{units}/containerd.service.d/10-nodestoraged.conf").read_text()
    node.write(f"{units}/k3s-.service.d/10-nodestoraged.conf", fence)
    assert said(node, "fence") == [("PASS", "the fence keeps k3s-one", "")]


def test_a_system_at_rest_is_judged_by_its_files_alone(node: MachineFiles) -> None:
    """A disk in another machine: nothing runs on it, and nobody is to blame for that."""
    node.remove("proc/self/mountinfo")
    node.remove("run/udev/control")
    node.remove("sys/fs/cgroup/cgroup.controllers")
    (node.root / "run/systemd/system").rmdir()
    node.link("sbin/init", "../lib/systemd/systemd")
    for check in ("kernel", "udev", "cgroup"):
        assert [level for level, _, _ in said(node, check)] == ["SKIP"]
    assert [text for _, text, _ in said(node, "init")] == ["systemd runs this machine"]
    assert said(node, "daemon") == []
    node.remove("sbin/init")
    node.program("sbin/openrc-run")
    assert [text for _, text, _ in said(node, "init")] == ["OpenRC runs this machine"]


@pytest.mark.parametrize(
    ("path", "text", "level"),
    [
        ("etc/containerd/config.toml", '[plugins.x]\n  snapshotter = "native"\n', "INFO"),
        ("etc/containerd/config.toml", '  snapshotter = "overlayfs"\n', "FAIL"),
        ("etc/containerd/config.toml", '  # snapshotter = "native"\n', "FAIL"),
        ("etc/rancher/k3s/config.yaml", "snapshotter: fuse-overlayfs\n", "INFO"),
        ("etc/init.d/k3s", 'command_args="server --snapshotter=native"\n', "INFO"),
        ("etc/init.d/k3s", 'command_args="server --snapshotter native"\n', "INFO"),
    ],
)
def test_on_overlayfs_another_snapshotter_is_the_way_out(
    node: MachineFiles, path: str, text: str, level: str
) -> None:
    node.mounts("30 25 0:30 / /var/lib rw - overlay overlay rw")
    node.write(path, text)
    assert [found for found, _, _ in said(node, "filesystem")] == [level]


@pytest.mark.parametrize("init", ["systemd", "openrc"])
def test_k3s_is_recognised_with_its_one_unit_and_no_kubelet(node: MachineFiles, init: str) -> None:
    for name in ("config.yaml", "kubeadm-flags.env"):
        node.remove(f"var/lib/kubelet/{name}")
    units = "usr/lib/systemd/system"
    for name in ("containerd", "kubelet"):
        node.remove(f"{units}/{name}.service")
    node.remove("usr/bin/ctr")
    node.program("usr/local/bin/k3s")
    if init == "openrc":
        node.openrc()
        for name in ("containerd", "kubelet"):
            node.remove(f"etc/init.d/{name}")
        node.write("etc/init.d/k3s", 'command="/usr/local/bin/k3s"\ncommand_args="server"\n')
        node.link("etc/runlevels/default/k3s", "/etc/init.d/k3s")
        node.openrc_fence()
    else:
        node.write(
            "etc/systemd/system/k3s.service", "[Service]\nExecStart=/usr/local/bin/k3s server\n"
        )
        node.link(
            "etc/systemd/system/multi-user.target.wants/k3s.service",
            "/etc/systemd/system/k3s.service",
        )
        fence = (node.root / f"{units}/containerd.service.d/10-nodestoraged.conf").read_text()
        node.write(f"{units}/k3s.service.d/10-nodestoraged.conf", fence)
    ((level, text, _),) = said(node, "runtime")
    assert level == "PASS"
    assert text.startswith("k3s with its root /var/lib/rancher/k3s/agent/containerd (")
    assert said(node, "fence") == [("PASS", "the fence keeps k3s", "")]
    assert [level for level, _, _ in said(node, "order")] == ["PASS"]
    assert said(node, "ctr") == [("PASS", "images are kept at hand by /usr/local/bin/k3s ctr", "")]
    assert said(node, "kubelet") == []


def test_a_root_that_was_configured_to_lie_elsewhere_is_refused(node: MachineFiles) -> None:
    facts, _ = gather(node.root, SOCKET, None)
    assert facts is not None
    (role,) = facts.roles
    assert role.profile is not None
    split = replace(role, profile=replace(role.profile, elsewhere=("/mnt/snapshots",)))
    (finding,) = [
        one.finding for one in examine(replace(facts, roles=(split,))) if one.check == "elsewhere"
    ]
    assert finding.level == "FAIL"
    assert "/mnt/snapshots" in finding.message


def _libraries(**broken: str) -> list[CheckResult]:
    names = ("pyudev", "grpcio", "dbus-next")
    machine = Machine(
        init="systemd",
        libraries=tuple(
            Library(name=one, version="1", problem=broken.get(one.replace("-", "_"), ""))
            for one in names
        ),
    )
    facts = Facts(machine=machine, daemon=DaemonFacts())
    return [one for one in examine(facts) if one.check == "libraries"]


def test_a_library_that_cannot_be_imported_fails_but_dbus_next_only_warns() -> None:
    assert [one.finding.level for one in _libraries()] == ["PASS"]
    assert [one.finding.level for one in _libraries(grpcio="ImportError: no")] == ["FAIL"]
    levels = [one.finding.level for one in _libraries(dbus_next="ImportError: no")]
    assert levels == ["WARN", "PASS"]


def test_the_python_of_another_system_is_not_judged(node: MachineFiles) -> None:
    """Neither are its libraries: both are those of whoever looks."""
    facts, _ = gather(node.root, SOCKET, None)
    assert facts is not None
    assert (facts.machine.python, facts.machine.libraries) == ("", ())
    assert said(node, "libraries") == []
    assert gathering.machine_facts(Path("/")).python == platform.python_version()


def test_the_helpers_are_those_that_the_worker_runs() -> None:
    assert HELPERS == PROGRAMS
    source = "".join(path.read_text() for path in Path(helper.__file__).parent.glob("*.py"))
    assert [name for name in HELPERS if f'"{name}"' not in source] == []


def test_a_daemon_outside_of_pid_1s_namespace_fails() -> None:
    facts = Facts(machine=Machine(), daemon=DaemonFacts(namespace_shared=False))
    (one,) = [each for each in examine(facts) if each.check == "namespace"]
    assert one.finding.level == "FAIL"
    assert "seen by nobody" in one.finding.message
