"""`doctor` on nodes that somebody set up by hand: what lies there is told, and what to change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodestoraged.adapters.runtimes.profiles import CONTAINERD
from nodestoraged.cli.fields import Json
from nodestoraged.cli.offline.doctor import files
from nodestoraged.cli.offline.doctor import gather as gathering
from nodestoraged.cli.offline.doctor.facts import DaemonFacts, Facts, Machine, RoleFacts
from nodestoraged.cli.offline.doctor.gather import gather
from nodestoraged.cli.offline.doctor.verb import examine, lines
from nodestoraged.model.config import RoleConfig
from tests.fakes.machine_files import MachineFiles

ROOT = "/var/lib/containerd"
STICK = f"40 25 8:17 / {ROOT} rw - ext4 /dev/sdb1 rw"
BIND = f"41 25 8:33 /containerd {ROOT} rw - ext4 /dev/sdc1 rw"
STORAGE = "42 25 8:33 / /mnt/storage rw - ext4 /dev/sdc1 rw"
K3S = "/var/lib/rancher/k3s"


@pytest.fixture
def node(tmp_path: Path) -> MachineFiles:
    return MachineFiles(tmp_path)


def facts_of(node: MachineFiles, status: Json | None = None) -> Facts:
    facts, missing = gather(node.root, gathering.SOCKET_PATH, None)
    assert missing == ""
    assert facts is not None
    (role,) = facts.roles
    return replace(facts, roles=(replace(role, status=status),))


def said(facts: Facts, check: str) -> list[tuple[str, str, str]]:
    return [
        (one.finding.level.value, one.finding.message, one.finding.remedy)
        for one in examine(facts)
        if one.check == check
    ]


def test_the_plain_hand_made_line_stops_the_boot_and_the_remedy_names_it(
    node: MachineFiles,
) -> None:
    node.fstab(
        "# comment",
        "UUID=aaaa / ext4 defaults 0 1",
        f"LABEL=containerd-opt {ROOT} ext4 defaults 0 2",
    )
    node.mounts(STICK)
    ((level, message, remedy),) = said(facts_of(node), "fstab")
    assert level == "FAIL"
    assert "line 3 " in message
    assert "without that stick stops there" in message
    assert "nofail,x-systemd.device-timeout=5s" in message
    assert remedy == (
        "nodestoragectl adopt /dev/sdb1 && sed -i '3s/^/#/' /etc/fstab && systemctl daemon-reload"
    )
    node.openrc()
    ((_, _, remedy),) = said(facts_of(node), "fstab")
    assert remedy.endswith("/etc/fstab")


@pytest.mark.parametrize(
    ("line", "level", "word"),
    [
        (f"LABEL=containerd-opt {ROOT} ext4 defaults,nofail 0 0", "WARN", "adopt STICK"),
        (f'UUID="3f2a-11" {ROOT}/ ext4 nofail 0 2', "WARN", "adopt 3f2a-11"),
        (f"/dev/sdb1 {ROOT} ext4", "FAIL", "adopt /dev/sdb1"),
        (f"/mnt/storage/containerd {ROOT} none bind 0 0", "WARN", "adopt /mnt/storage/containerd"),
        (f"/mnt/my\\040disk/c {ROOT} none rw,rbind 0 0", "WARN", "adopt '/mnt/my disk/c'"),
        (f"LABEL=x {ROOT}/io.containerd.content.v1.content ext4 nofail 0 0", "FAIL", "sed -i '1s"),
        ("LABEL=containerd-opt /mnt/stick ext4 nofail 0 0", "WARN", "sed -i '1s"),
        (f"LABEL=containerd-opt {K3S}/agent ext4 defaults 0 2", "FAIL", "sed -i '1s"),
        ("PARTLABEL=ctrd-opt /mnt/stick ext4 nofail 0 0", "WARN", "sed -i '1s"),
    ],
)
def test_a_line_of_fstab_is_judged_by_what_it_does(
    node: MachineFiles, line: str, level: str, word: str
) -> None:
    node.fstab(line)
    ((found, message, remedy),) = said(facts_of(node), "fstab")
    assert (found, word in remedy) == (level, True), remedy
    assert "line 1 " in message


@pytest.mark.parametrize(
    "line",
    [
        f"LABEL=containerd-opt {ROOT} ext4 noauto 0 0",
        f"#LABEL=containerd-opt {ROOT} ext4 defaults 0 2",
        "/dev/sdc1 /mnt/storage ext4 defaults 0 2",
        "LABEL=other /srv ext4 defaults 0 2",
        f"/dev/sdb1 {ROOT}-old ext4 nofail 0 0",
        "/dev/sda2 none swap sw 0 0",
        "garbage",
    ],
)
def test_lines_that_do_no_harm_are_not_named(node: MachineFiles, line: str) -> None:
    node.fstab(line)
    assert said(facts_of(node), "fstab") == []


def test_the_remedy_turns_just_that_line_into_a_comment(node: MachineFiles, tmp_path: Path) -> None:
    import subprocess

    node.fstab("UUID=aaaa / ext4 defaults 0 1", f"LABEL=containerd-opt {ROOT} ext4 defaults 0 2")
    ((_, _, remedy),) = said(facts_of(node), "fstab")
    sed = remedy.split(" && ")[1].replace("/etc/fstab", str(tmp_path / "etc/fstab"))
    subprocess.run(["/bin/sh", "-c", sed], check=True)
    assert said(facts_of(node), "fstab") == []
    lines = (tmp_path / "etc/fstab").read_text().splitlines()
    assert [line[:1] for line in lines] == ["U", "#"]


def _status(phase: str, reason: str, attention: Json | None = None) -> Json:
    return {
        "name": "containerd", "phase": phase, "reason": reason, "attention": attention,
        "availability": "FULL", "imagefs": {"verified": True}, "conditions": [],
    }  # fmt: skip


def test_a_live_bind_by_a_script_is_named_by_the_directory_that_was_bound(
    node: MachineFiles,
) -> None:
    node.mounts(STORAGE, BIND)
    others: Json = {"reason": "MountedByOthers", "message": "left alone", "hint": None}
    facts = facts_of(node, _status("INTERNAL", "NoStick", others))
    ((level, message, remedy),) = said(facts, "mount")
    assert level == "WARN"
    assert "a bind of /mnt/storage/containerd" in message
    assert remedy == "nodestoragectl adopt /mnt/storage/containerd"


def test_a_live_mount_by_fstab_is_named_by_its_device(node: MachineFiles) -> None:
    node.mounts(STICK)
    ((level, _, remedy),) = said(facts_of(node, _status("BOUND", "MountedByOthers")), "mount")
    assert (level, remedy) == ("WARN", "nodestoragectl adopt /dev/sdb1")


def test_what_has_no_label_is_not_told_to_be_adopted(node: MachineFiles) -> None:
    node.fstab(f"UUID=1234 {ROOT} ext4 defaults 0 2\n")
    node.mounts(STICK)
    way: Json = {"text": "Mend the cause", "command": "label that file system, or unmount it"}
    others: Json = {"reason": "MountedByOthers", "message": "left alone", "hint": way}
    facts = facts_of(node, _status("INTERNAL", "NoStick", others))
    for check in ("mount", "fstab"):
        ((_, message, remedy),) = said(facts, check)
        assert "label" in message
        assert remedy == "e2label /dev/sdb1 containerd-opt"
    node.mounts(STICK.replace("ext4", "xfs"))
    ((_, _, remedy),) = said(facts_of(node, _status("INTERNAL", "NoStick", others)), "mount")
    assert remedy.endswith("xfs_admin -L containerd-opt /dev/sdb1")


def test_a_line_by_a_link_of_udevs_is_adopted_by_the_name_of_the_kernel(
    node: MachineFiles,
) -> None:
    node.fstab(f"/dev/disk/by-uuid/1234 {ROOT} ext4 defaults 0 2\n")
    node.mounts(STICK)
    ((_, _, remedy),) = said(facts_of(node, _status("BOUND", "MountedByOthers")), "fstab")
    assert remedy.startswith("nodestoragectl adopt /dev/sdb1 && ")


def test_our_own_bind_and_our_own_mount_pass(node: MachineFiles) -> None:
    for mounted in ((STORAGE, BIND), (STICK,)):
        node.mounts(*mounted)
        ((level, _, _),) = said(facts_of(node, _status("BOUND", "SlotProven")), "mount")
        assert level == "PASS"


def test_while_the_daemon_is_silent_nobody_says_whose_mount_it_is(node: MachineFiles) -> None:
    node.mounts(STORAGE, BIND)
    ((level, message, _),) = said(facts_of(node), "mount")
    assert level == "SKIP"
    assert "cannot be told" in message


def test_stacked_mounts_and_automounts_fail(node: MachineFiles) -> None:
    node.mounts(f"39 25 0:50 / {ROOT} rw - autofs systemd-1 rw", STICK, BIND)
    found = said(facts_of(node, _status("BOUND", "SlotProven")), "mount")
    assert [level for level, _, _ in found[:2]] == ["FAIL", "FAIL"]
    assert "2 mounts are stacked" in found[1][1]


def test_an_automount_is_taken_out_where_it_was_said(node: MachineFiles) -> None:
    """systemctl disables no unit that it made of fstab."""

    def remedy() -> str:
        return said(facts_of(node, _status("BOUND", "SlotProven")), "mount")[0][2]

    node.mounts(f"39 25 0:50 / {ROOT} rw - autofs systemd-1 rw", STICK)
    assert "the maps of autofs" in remedy()
    unit = "etc/systemd/system/var-lib-containerd.automount"
    node.write(unit, f"[Automount]\nWhere={ROOT}\n")
    assert remedy() == "systemctl disable var-lib-containerd.automount"
    node.remove(unit)
    for options in ("nofail,x-systemd.automount", "noauto,x-systemd.automount"):
        node.fstab("UUID=aaaa / ext4 defaults 0 1", f"LABEL=x {ROOT} ext4 {options} 0 0")
        assert remedy() == "sed -i '2s/^/#/' /etc/fstab && systemctl daemon-reload"


@pytest.mark.parametrize(
    ("where", "who"), [("/media/usb", "somebody"), ("/var/lib/longhorn", "Longhorn")]
)
def test_a_stick_that_is_mounted_twice_is_named(node: MachineFiles, where: str, who: str) -> None:
    node.mounts(STICK, f"50 25 8:17 / {where} rw - ext4 /dev/sdb1 rw")
    found = said(facts_of(node, _status("BOUND", "SlotProven")), "mount")
    assert [level for level, _, _ in found] == ["PASS", "WARN"]
    assert found[1][1].startswith(who)
    assert found[1][2] == f"umount {where}"


def test_a_stick_on_k3s_s_configuration_directory_is_recognised(node: MachineFiles) -> None:
    wrong = f"{K3S}/agent/etc/containerd"
    node.fstab(f"LABEL=containerd-opt {wrong} ext4 defaults 0 2")
    node.mounts(f"51 25 8:17 / {wrong} rw - ext4 /dev/sdb1 rw")
    found = said(facts_of(node), "k3s-config")
    assert [level for level, _, _ in found] == ["FAIL", "FAIL"]
    assert f"{K3S}/agent/containerd" in found[0][1]
    sed = "sed -i '1s/^/#/' /etc/fstab && systemctl daemon-reload"
    assert [remedy for _, _, remedy in found] == [sed, f"umount {wrong}"]
    assert said(facts_of(node), "fstab") == []  # said once


@pytest.mark.parametrize(
    ("init", "restart"),
    [
        ("systemd", " && systemctl restart nodestoraged && "),
        ("openrc", " && rc-service nodestoraged restart && "),
        ("", ", then: restart nodestoraged by the means of this machine, then: "),
    ],
)
def test_a_linked_root_is_refused_with_the_way_out(
    node: MachineFiles, init: str, restart: str
) -> None:
    if init == "openrc":
        node.openrc()
    elif not init:
        (node.root / "run/systemd/system").rmdir()
    node.link(ROOT.strip("/"), "/mnt/storage/containerd")
    ((level, message, remedy),) = said(facts_of(node), "link")
    assert level == "FAIL"
    assert "link to /mnt/storage/containerd" in message
    assert remedy == (
        f"rm {ROOT} && mkdir -m 0711 {ROOT}{restart}nodestoragectl switch /mnt/storage/containerd"
    )


def test_a_link_above_the_root_is_followed_to_what_the_mount_table_knows(
    node: MachineFiles,
) -> None:
    (node.root / "data").mkdir()
    (node.root / "var/lib").rename(node.root / "data/lib")
    node.link("var/lib", "../data/lib")
    node.mounts("40 25 8:17 / /data/lib/containerd rw - ext4 /dev/sdb1 rw")
    facts = facts_of(node, _status("BOUND", "SlotProven"))
    node.fstab(f"LABEL=x {ROOT} ext4 nofail 0 0")
    assert [level for level, _, _ in said(facts_of(node), "fstab")] == ["WARN"]
    assert said(facts, "link") == [
        ("PASS", "/var/lib is a link to ../data/lib; it is followed, to /data/lib/containerd", "")
    ]
    assert said(facts, "mount") == [("PASS", "/dev/sdb1 lies on /data/lib/containerd", "")]


def test_what_is_mounted_is_not_touched_to_see_whether_it_is_a_link(node: MachineFiles) -> None:
    node.link(ROOT.strip("/"), "/mnt/x")
    node.mounts(STICK)  # a mount point cannot be a link: the kernel follows it before it mounts
    assert said(facts_of(node), "link") == []


def test_mount_units_of_somebody_else_are_named(node: MachineFiles) -> None:
    for kind in ("mount", "automount"):
        node.write(
            f"etc/systemd/system/var-lib-containerd.{kind}", f"[{kind.title()}]\nWhere={ROOT}\n"
        )
    node.write("etc/systemd/system/srv.mount", "[Mount]\nWhere=/srv\n")
    found = said(facts_of(node), "mount-unit")
    assert [level for level, _, _ in found] == ["FAIL", "WARN"]
    assert found[1][2] == "systemctl disable var-lib-containerd.mount"
    node.openrc()
    assert said(facts_of(node), "mount-unit") == []


@pytest.mark.parametrize(
    ("where", "text", "shared"),
    [
        ("lib/systemd/system/docker.service",
         "ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock", True),
        ("etc/docker/daemon.json", '{"containerd": "/run/docker/containerd.sock"}', False),
        ("etc/docker/daemon.json", "{}", True),
    ],
)  # fmt: skip
def test_docker_on_the_same_containerd_is_told(
    node: MachineFiles, where: str, text: str, shared: bool
) -> None:
    node.write(where, text)
    assert said(facts_of(node), "docker") == []  # no dockerd, no Docker
    node.program("usr/sbin/dockerd")
    found = said(facts_of(node), "docker")
    assert [level for level, _, _ in found] == (["WARN"] if shared else [])
    if shared:
        assert "ForeignContainers" in found[0][1]
        assert found[0][2] == "nodestoragectl config set role.containerd.stop_foreign true"


def test_docker_is_only_told_of_where_it_may_be_stopped(node: MachineFiles) -> None:
    node.program("usr/sbin/dockerd")
    config = "schema = 1\n[role.containerd]\nstop_foreign = true\n"
    node.write("etc/nodestoraged/config.toml", config)
    assert [level for level, _, _ in said(facts_of(node), "docker")] == ["INFO"]


def test_docker_alone_is_no_runtime_of_a_node(node: MachineFiles) -> None:
    node.write(
        "etc/nodestoraged/config.toml", 'schema = 1\n[role.containerd]\nruntime = "docker"\n'
    )
    node.program("usr/sbin/dockerd")
    facts = facts_of(node)
    ((level, message, remedy),) = said(facts, "elsewhere")
    assert (level, "/var/lib/docker" in message) == ("FAIL", True)
    assert "runtime NAME" in remedy
    assert said(facts, "docker") == []


def test_longhorn_is_told(node: MachineFiles) -> None:
    (node.root / "var/lib/longhorn").mkdir()
    assert [level for level, _, _ in said(facts_of(node), "longhorn")] == ["INFO"]


def test_what_stands_in_fstab_reaches_no_terminal_unescaped(node: MachineFiles) -> None:
    node.fstab(f"LABEL=\x1b[2J {ROOT} ext4 nofail 0 0")
    ((_, message, remedy),) = said(facts_of(node), "fstab")
    assert (message + remedy).isprintable()


@given(fstab=st.text(max_size=300), mounts=st.text(max_size=300))
@settings(deadline=None)
def test_no_text_in_fstab_and_mount_table_breaks_it_or_reaches_the_terminal(
    tmp_path_factory: pytest.TempPathFactory, fstab: str, mounts: str
) -> None:
    root = tmp_path_factory.getbasetemp() / "any-text"
    for path, text in (("etc/fstab", fstab), ("proc/self/mountinfo", mounts)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode("utf-8", "surrogatepass"))
    machine = Machine(fstab=files.fstab(root), mounts=gathering.mount_table(root, "self"))
    role = RoleFacts(config=RoleConfig(name="containerd"), profile=CONTAINERD)
    facts = Facts(machine=machine, daemon=DaemonFacts(), roles=(role,))
    assert all(line.isprintable() for line in lines(examine(facts)))


def test_a_name_on_a_stick_never_becomes_a_command(node: MachineFiles) -> None:
    node.mounts(STICK, "50 25 8:17 / /media/$(reboot)\\040;halt rw - ext4 /dev/sdb1 rw")
    (_, (level, _, remedy)) = said(facts_of(node, _status("BOUND", "SlotProven")), "mount")
    assert level == "WARN"
    assert remedy == "umount '/media/$(reboot) ;halt'"


def test_the_default_root_is_the_one_of_these_tests() -> None:
    assert CONTAINERD.root == ROOT
