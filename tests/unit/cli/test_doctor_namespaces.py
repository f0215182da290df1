"""`doctor` on mount namespaces: what the runtime's and kubelet's processes see of the root."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nodestoraged.cli.offline.doctor.gather import gather
from nodestoraged.cli.offline.doctor.sights import sights
from nodestoraged.cli.offline.doctor.verb import examine
from tests.fakes.machine_files import PLAIN, MachineFiles
from tests.unit.cli.test_doctor_machine import SOCKET

ROOT = "/var/lib/containerd"
ON_ROOT = f"90 25 8:17 / {ROOT} rw shared:7 - ext4 /dev/sdb1 rw\n"
#: As PrivateMounts= and its like leave a table: other mounts that follow the host's.
FOLLOWS = PLAIN.replace("25 1 ", "525 1 ").replace("26 25 ", "526 525 ").replace("shared", "master")
CUT_OFF = FOLLOWS.replace(" master:1", "").replace(" master:2", "")


@pytest.fixture
def node(tmp_path: Path) -> MachineFiles:
    made = MachineFiles(tmp_path)
    made.write("proc/1/mountinfo", PLAIN)
    process(made, 700, "containerd", PLAIN)
    process(made, 800, "kubelet", PLAIN)
    return made


def process(
    node: MachineFiles, pid: int, name: str, table: str, *, cgroup: str = "", nested: bool = False
) -> None:
    """A process of that name, in the service's cgroup if no other is said, sees this table."""
    node.write(f"proc/{pid}/comm", f"{name}\n")
    node.write(f"proc/{pid}/status", f"Name:\t{name}\nNSpid:\t{pid}{' 7' if nested else ''}\n")
    node.write(f"proc/{pid}/cgroup", f"0::{cgroup or f'/system.slice/{name}.service'}\n")
    node.write(f"proc/{pid}/mountinfo", table)


def said(node: MachineFiles) -> list[tuple[str, str, str]]:
    facts, missing = gather(node.root, SOCKET, None)
    assert (facts is not None, missing) == (True, "")
    return [
        (one.finding.level.value, one.finding.message, one.finding.remedy)
        for one in (examine(facts) if facts is not None else [])
        if one.check == "sight"
    ]


def test_services_that_share_the_namespace_of_process_1_pass(node: MachineFiles) -> None:
    assert said(node) == [("PASS", "containerd, kubelet: in PID 1's mount namespace", "")]


def test_a_system_at_rest_says_nothing(tmp_path: Path) -> None:
    assert said(MachineFiles(tmp_path)) == []


@pytest.mark.parametrize("missing", ["proc/1/mountinfo", "proc/800/mountinfo"])
def test_a_table_that_cannot_be_read_is_no_finding(node: MachineFiles, missing: str) -> None:
    process(node, 800, "kubelet", CUT_OFF)
    node.remove(missing)
    assert [one for one in said(node) if one[0] != "PASS"] == []


def test_a_kubelet_apart_that_receives_what_is_mounted_is_only_told(node: MachineFiles) -> None:
    process(node, 800, "kubelet", FOLLOWS)
    ((level, message, remedy),) = said(node)
    assert (level, remedy) == ("INFO", "")
    assert message.startswith("kubelet has a mount namespace of its own; what is mounted at")


@pytest.mark.parametrize(
    ("first", "theirs"),
    [
        (PLAIN, CUT_OFF),
        (CUT_OFF.replace("525 1", "25 1"), CUT_OFF),  # `/` is private, as after OpenRC's boot
        (PLAIN, FOLLOWS.replace("master:1", "master:31")),  # it follows others
        (PLAIN, PLAIN.replace("25 1 ", "525 1 ").replace("shared:1", "shared:31")),
    ],
)
def test_a_kubelet_apart_that_no_later_mount_reaches_is_warned_of(
    node: MachineFiles, first: str, theirs: str
) -> None:
    node.write("proc/1/mountinfo", first)
    process(node, 700, "containerd", first)
    process(node, 800, "kubelet", theirs)
    ((level, message, remedy),) = said(node)
    assert (level, remedy) == ("WARN", "systemctl cat kubelet")
    assert "no later mount reaches" in message
    assert ROOT in message


def test_a_kubelet_that_sees_another_disk_there_fails(node: MachineFiles) -> None:
    node.write("proc/1/mountinfo", PLAIN + ON_ROOT)
    process(node, 700, "containerd", PLAIN + ON_ROOT)
    process(node, 800, "kubelet", CUT_OFF)
    ((level, message, _),) = said(node)
    assert (level, "sees another disk" in message) == ("FAIL", True)


def test_what_is_mounted_there_already_does_not_hide_that_later_mounts_come_through(
    node: MachineFiles,
) -> None:
    # The mount on the root is private; the one below it decides where the next one goes.
    node.write("proc/1/mountinfo", PLAIN + ON_ROOT.replace(" shared:7", ""))
    process(node, 700, "containerd", PLAIN + ON_ROOT)
    process(node, 800, "kubelet", FOLLOWS + ON_ROOT.replace("90 25", "590 525"))
    assert [one[0] for one in said(node)] == ["INFO"]


def test_a_runtime_apart_fails_even_if_every_mount_reaches_it(node: MachineFiles) -> None:
    process(node, 700, "containerd", FOLLOWS)
    ((level, message, remedy),) = said(node)
    assert (level, remedy) == ("FAIL", "systemctl cat containerd")
    assert message.startswith("containerd has a mount namespace of its own: no move can be proven")


def test_the_settings_that_do_it_are_named(node: MachineFiles) -> None:
    node.write("usr/lib/systemd/system/kubelet.service", "[Service]\nProtectSystem=full\n")
    node.write("etc/systemd/system/kubelet.service.d/50-x.conf", "[Service]\nPrivateTmp=yes\n")
    process(node, 800, "kubelet", CUT_OFF)
    ((_, _, remedy),) = said(node)
    assert remedy == (
        "take PrivateTmp, ProtectSystem out of what `systemctl cat kubelet` shows, and restart it"
    )


UNIT = "usr/lib/systemd/system/containerd.service"
DROP_IN = "etc/systemd/system/containerd.service.d/50-x.conf"


@pytest.mark.parametrize(
    ("files", "levels"),
    [
        ({UNIT: "PrivateTmp=true"}, ["WARN"]),
        ({UNIT: "PrivateTmp=no\nMountFlags=shared"}, []),
        ({UNIT: "MountFlags=slave"}, ["WARN"]),
        ({UNIT: "#PrivateTmp=true"}, []),
        ({UNIT: "PrivateTmp=true", DROP_IN: "PrivateTmp=false"}, []),
        ({UNIT: "ReadOnlyPaths=/usr", DROP_IN: "ReadOnlyPaths="}, []),
        ({UNIT: "", DROP_IN: "ProtectHome = read-only"}, ["WARN"]),
        # A file in /etc takes the place of the package's.
        ({UNIT: "PrivateTmp=yes", "etc/systemd/system/containerd.service": "Type=notify"}, []),
        # Drop-ins count by their names, wherever they lie.
        (
            {DROP_IN: "PrivateTmp=no",
             "usr/lib/systemd/system/containerd.service.d/90-y.conf": "PrivateTmp=yes"}, ["WARN"],
        ),
    ],
)  # fmt: skip
def test_a_stopped_runtime_is_judged_by_its_unit(
    node: MachineFiles, files: dict[str, str], levels: list[str]
) -> None:
    for name in ("comm", "status", "cgroup", "mountinfo"):
        node.remove(f"proc/700/{name}")
    for path, text in files.items():
        node.write(path, f"[Service]\n{text}\n")
    assert [one[0] for one in said(node) if one[0] != "PASS"] == levels


def test_on_openrc_the_script_is_named(node: MachineFiles) -> None:
    node.openrc()
    process(node, 800, "kubelet", CUT_OFF, cgroup="/openrc.kubelet")
    ((_, _, remedy),) = said(node)
    assert remedy == ("see in /etc/init.d/kubelet what starts it so (unshare), and restart it")


@pytest.mark.parametrize(
    ("cgroup", "counts"),
    [
        ("/system.slice/kubelet.service", True),
        ("/openrc.kubelet", True),
        ("\n1:name=openrc:/kubelet", True),
        ("/system.slice/xkubelet.service", False),
        ("/system.slice/kubelet.service2", False),
        ("/user.slice/session-1.scope", False),
    ],
)
def test_a_process_counts_by_the_service_that_its_cgroup_names(
    node: MachineFiles, cgroup: str, counts: bool
) -> None:
    process(node, 800, "kubelet", CUT_OFF, cgroup=cgroup)
    seen = sights(node.root, ("kubelet.service",), ROOT)
    assert [one.unit for one in seen] == ["kubelet.service"] * counts


def test_a_kubelet_in_a_container_and_the_children_of_services_do_not_count(
    node: MachineFiles,
) -> None:
    process(node, 790, "kubelet", CUT_OFF, nested=True)
    service = "/system.slice/kubelet.service"
    process(node, 791, "mount", CUT_OFF, cgroup=service)
    (seen,) = sights(node.root, ("kubelet.service",), ROOT)
    assert seen.shared


def test_a_daemon_apart_from_process_1_has_its_own_finding(node: MachineFiles) -> None:
    process(node, 700, "containerd", FOLLOWS)
    facts, _ = gather(node.root, SOCKET, None)
    assert facts is not None
    apart = replace(facts, daemon=replace(facts.daemon, namespace_shared=False))
    assert [one for one in examine(apart) if one.check == "sight"] == []
