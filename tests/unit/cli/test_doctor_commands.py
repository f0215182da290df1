"""What doctor tells a person to type: the names of this distribution and of this init system."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from nodestoraged.cli.offline.doctor import commands
from nodestoraged.cli.offline.doctor.facts import DaemonFacts, Facts, Library, Machine
from nodestoraged.cli.offline.doctor.gather import HELPERS, gather, machine_facts
from nodestoraged.cli.offline.doctor.verb import examine
from tests.fakes.machine_files import MachineFiles

TOP = Path(__file__).parents[3]
SOCKET = "/run/nodestoraged/io.nodestorage"
#: ID and ID_LIKE as the distributions have them.
RELEASES = {
    "debian": "ID=debian\n",
    "ubuntu": "ID=ubuntu\nID_LIKE=debian\n",
    "alpine": 'NAME="Alpine Linux"\nID=alpine\n',
    "fedora": "ID=fedora\n",
    "rocky": 'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
    "leap": 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n',
    "tumbleweed": 'ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n',
}
INSTALL = {
    "debian": "apt install", "ubuntu": "apt install", "alpine": "apk add", "fedora": "dnf install",
    "rocky": "dnf install", "leap": "zypper install", "tumbleweed": "zypper install",
}  # fmt: skip
LIBRARIES = ("pyudev", "grpcio", "protobuf", "structlog", "tomli-w", "dbus-next")


@pytest.fixture
def node(tmp_path: Path) -> MachineFiles:
    return MachineFiles(tmp_path)


def machine(node: MachineFiles, name: str) -> Machine:
    node.write("etc/os-release", RELEASES[name])
    return machine_facts(node.root)


def remedies(node: MachineFiles, check: str) -> list[str]:
    facts, _ = gather(node.root, SOCKET, None)
    assert facts is not None
    return [one.finding.remedy for one in examine(facts) if one.check == check]


@pytest.mark.parametrize("name", RELEASES)
def test_each_family_installs_with_its_own_command(node: MachineFiles, name: str) -> None:
    found = machine(node, name)
    for program in HELPERS:
        assert commands.programs(found, [program]).startswith(f"{INSTALL[name]} ")
    assert commands.programs(found, ["e2fsck", "mkfs.ext4"]) == f"{INSTALL[name]} e2fsprogs"
    assert commands.programs(found, ["k3s"]) == ""
    assert commands.libraries(found, ["grpcio"]).startswith(f"{INSTALL[name]} ")


def test_alpine_s_names_are_those_that_the_apk_asks_for(node: MachineFiles) -> None:
    script = ". ./APKBUILD; echo $depends"
    apk = TOP / "packaging/apk"
    done = subprocess.run(
        ["/bin/sh", "-c", script], cwd=apk, capture_output=True, text=True, check=True
    )
    ext4 = [name for name in HELPERS if "xfs" not in name]
    found = machine(node, "alpine")
    told = f"{commands.libraries(found, [*LIBRARIES])} {commands.programs(found, ext4)}"
    words = set(told.split()) - {"apk", "add"}
    assert words <= set(done.stdout.split())
    assert {"py3-udev", "e2fsprogs-extra"} <= words
    assert commands.programs(found, ["mkfs.xfs", "xfs_db"]) == "apk add xfsprogs xfsprogs-extra"


@pytest.mark.parametrize("name", ["fedora", "leap"])
def test_the_names_of_an_rpm_s_libraries_are_those_that_it_requires(
    node: MachineFiles, name: str
) -> None:
    spec = (TOP / "packaging/rpm/nodestoraged.spec").read_text()
    required = set(re.findall(r"(?m)^Requires: +(python3dist\(\S+\))", spec))
    told = commands.libraries(machine(node, name), [*LIBRARIES])
    assert set(re.findall(r"'(.*?)'", told)) == required
    (asked,) = re.findall(r"(?m)^Requires: +(e2fsprogs\b.*)$", spec)
    (advised,) = re.findall(r"(?m)^Recommends: +(.*)$", spec)
    for program in HELPERS:
        package = commands.programs(machine(node, name), [program]).split()[-1]
        assert package in (advised if "xfs" in program else asked).split(", ")


def test_debian_s_names_are_those_that_the_package_was_tested_with(node: MachineFiles) -> None:
    told = commands.libraries(machine(node, "debian"), [*LIBRARIES]).split()[2:]
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    declared = {line.split(">=")[0] for line in project["dependencies"]}
    assert set(told) == {f"python3-{name}" for name in declared}


@pytest.mark.parametrize("release", ["", "ID=nixos\n", "garbage", "ID=flatcar\nID_LIKE=coreos\n"])
def test_where_no_command_is_known_it_is_said_in_words(node: MachineFiles, release: str) -> None:
    node.write("etc/os-release", release)
    node.remove("usr/sbin/e2fsck")
    assert remedies(node, "tools") == ["install e2fsprogs by the means of this distribution"]


def test_what_is_said_in_usr_counts_where_etc_says_nothing(node: MachineFiles) -> None:
    node.write("usr/lib/os-release", RELEASES["alpine"])
    assert machine_facts(node.root).distribution == ("alpine",)
    assert machine(node, "ubuntu").distribution == ("ubuntu", "debian")


def test_on_an_image_whose_usr_is_read_only_no_package_manager_is_named(
    node: MachineFiles,
) -> None:
    node.mounts("30 25 8:2 / /usr ro - squashfs /dev/sda2 ro")
    assert "dnf" not in commands.programs(machine(node, "fedora"), ["e2fsck"])


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("alpine", "apk add containerd-ctr"),
        ("leap", "zypper install containerd-ctr"),
        # `apt install containerd` would replace Docker's containerd.io.
        ("debian", "ln -s WHERE-IT-IS /usr/local/bin/ctr"),
        ("fedora", "ln -s WHERE-IT-IS /usr/local/bin/ctr"),
    ],
)
def test_ctr_is_installed_where_it_is_a_package_of_its_own(
    node: MachineFiles, name: str, remedy: str
) -> None:
    node.write("etc/os-release", RELEASES[name])
    node.remove("usr/bin/ctr")
    assert remedies(node, "ctr") == [remedy]


def test_what_the_bundle_brings_comes_back_with_the_bundle(node: MachineFiles) -> None:
    rule = "usr/lib/udev/rules.d/61-nodestoraged.rules"
    node.remove(rule)
    again = "udevadm control --reload"
    assert remedies(node, "udev") == [f"reinstall the package nodestoraged, then: {again}"]
    node.write("opt/nodestoraged/uninstall.sh", "")
    unpack = "unpack the bundle again and run its install.sh"
    assert remedies(node, "udev") == [f"{unpack}, then: {again}"]
    found = machine(node, "debian")
    assert commands.libraries(found, ["grpcio"]) == unpack
    # Programs of the system are no part of it.
    assert commands.programs(found, ["e2fsck"]) == "apt install e2fsprogs"


@pytest.mark.parametrize(
    ("init", "enable", "start"),
    [
        ("systemd", "systemctl enable nodestoraged", "systemctl start nodestoraged"),
        ("openrc", "rc-update add nodestoraged default", "rc-service nodestoraged start"),
        (
            "",
            "enable nodestoraged by the means of this machine",
            "start nodestoraged by the means of this machine",
        ),
    ],
)
def test_our_service_is_told_by_the_init_system_that_is_there(
    init: str, enable: str, start: str
) -> None:
    found = Machine(init=init)
    assert (commands.service(found, "enable"), commands.service(found, "start")) == (enable, start)


@pytest.mark.parametrize(
    ("name", "openrc", "remedy"),
    [
        ("alpine", True, "setup-devd udev"),
        ("debian", True, "rc-update add udev sysinit && rc-service udev start"),
        ("debian", False, "systemctl start systemd-udevd"),
    ],
)
def test_udev_is_started_as_the_system_does(
    node: MachineFiles, name: str, openrc: bool, remedy: str
) -> None:
    node.write("etc/os-release", RELEASES[name])
    node.remove("run/udev/control")
    if openrc:
        node.openrc()
    assert remedies(node, "udev") == [remedy]


def test_a_library_that_fails_is_named_as_its_distribution_names_it() -> None:
    broken = Library(name="pyudev", problem="ImportError: no")
    found = Machine(distribution=("alpine",), libraries=(broken,))
    (said,) = [
        one.finding
        for one in examine(Facts(machine=found, daemon=DaemonFacts()))
        if one.check == "libraries"
    ]
    assert said.remedy == "apk add py3-udev"
