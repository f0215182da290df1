"""What init, udev and sysusers read: valid, sandboxed as far as it can be, and no further."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
UNIT = TOP / "init" / "systemd" / "nodestoraged.service"
FENCE = TOP / "init" / "systemd" / "10-nodestoraged.conf"
RULES = TOP / "init" / "udev" / "61-nodestoraged.rules"


def setting(name: str, text: str) -> list[str]:
    """Every word of every line that sets `name`."""
    return " ".join(re.findall(rf"(?m)^{name}=(.*)$", text)).split()


def analyze(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SYSTEMD_COLORS": "0"} | environment,
    )
    if done.returncode != 0:
        pytest.fail(f"systemd-analyze {arguments}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout + done.stderr


def test_systemd_finds_no_fault_in_unit_and_fence(tmp_path):
    # The program and its manual are installed elsewhere: only their absence is forgiven.
    text = UNIT.read_text().replace("/usr/sbin/nodestoraged", "/bin/true")
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    (tmp_path / "kubelet.service").write_text("[Service]\nExecStart=/bin/true\n")
    drop_in = tmp_path / "kubelet.service.d" / FENCE.name
    drop_in.parent.mkdir()
    drop_in.write_text(FENCE.read_text())
    said = analyze(
        "verify",
        "--man=no",
        str(unit),
        str(tmp_path / "kubelet.service"),
        SYSTEMD_UNIT_PATH=f"{tmp_path}:/usr/lib/systemd/system:/lib/systemd/system",
    )
    assert str(tmp_path) not in said
    assert "nodestoraged" not in said


def test_the_units_exposure_is_at_most_4_4():
    said = analyze("security", "--offline=true", "--threshold=44", str(UNIT))
    assert re.search(r"Overall exposure level for nodestoraged\.service: [0-4]\.", said)


@pytest.mark.parametrize(
    "name",
    [
        "BindPaths", "BindReadOnlyPaths", "ExecPaths", "ExtensionImages", "InaccessiblePaths",
        "LogNamespace", "MountAPIVFS", "MountFlags", "MountImages", "NoExecPaths", "PrivateDevices",
        "PrivateIPC", "PrivateMounts", "PrivateNetwork", "PrivateTmp", "PrivateUsers", "ProcSubset",
        "ProtectControlGroups", "ProtectHome", "ProtectKernelLogs", "ProtectKernelModules",
        "ProtectKernelTunables", "ProtectProc", "ProtectSystem", "ReadOnlyPaths", "ReadWritePaths",
        "RootDirectory", "RootImage", "TemporaryFileSystem", "DynamicUser", "User",
    ],
)  # fmt: skip
def test_nothing_gives_the_daemon_a_mount_namespace_of_its_own(name):
    """Its mounts would not reach the runtime, nor uevents it (systemd.exec(5))."""
    assert setting(name, UNIT.read_text()) == []


def test_the_daemon_pulls_no_runtime_in():
    text = UNIT.read_text()
    for name in ("Wants", "Requires", "BindsTo", "PartOf", "Upholds", "PropagatesStopTo"):
        assert setting(name, text) == []


def test_what_is_fenced_waits_for_the_decision_too():
    script = (TOP / "packaging" / "install").read_text()
    (fenced,) = re.findall(r'(?m)^FENCED="([^"]*)"$', script)
    podman = {"podman.service", "podman-restart.service"}
    # What a prefix stands for cannot be named here: its drop-in orders it after us.
    named = {f"{name}.service" for name in fenced.split() if not name.endswith("-")}
    assert sorted(setting("Before", UNIT.read_text())) == sorted(named | podman)


def test_whatever_auto_may_choose_waits_for_the_decision():
    """And is fenced: by the test above what waits and what is fenced are one list."""
    from nodestoraged.adapters.runtimes.profiles import DOCKER, PODMAN, ROWS

    # Docker is refused, podman has a list of its own.
    rows = [row for row in ROWS if row not in (DOCKER, PODMAN)]
    units = {unit for row in rows for unit in (*row.runtime_units, *row.kubelet_units)}
    assert units <= set(setting("Before", UNIT.read_text()))


@pytest.mark.parametrize("name", ["podman.socket", "podman.service", "podman-restart.service"])
def test_what_podman_starts_waits_and_its_socket_makes_no_circle(tmp_path, name):
    """A socket that came after an ordinary service would come after itself."""
    kind = name.rpartition(".")[2]
    (tmp_path / UNIT.name).write_text(
        UNIT.read_text().replace("/usr/sbin/nodestoraged", "/bin/true")
    )
    (tmp_path / "podman.service").write_text("[Service]\nExecStart=/bin/true\n")
    (tmp_path / "podman-restart.service").write_text("[Service]\nExecStart=/bin/true\n")
    (tmp_path / "podman.socket").write_text(
        "[Socket]\nListenStream=/run/podman.sock\n[Install]\nWantedBy=sockets.target\n"
    )
    (tmp_path / "sockets.target.wants").mkdir()
    (tmp_path / "sockets.target.wants" / "podman.socket").symlink_to(tmp_path / "podman.socket")
    drop_in = tmp_path / f"{name}.d" / "10-nodestoraged.conf"
    drop_in.parent.mkdir()
    source = "10-nodestoraged-podman" + ("-socket" if kind == "socket" else "") + ".conf"
    text = (FENCE.parent / source).read_text()
    drop_in.write_text(text)
    assert "ConditionPathExists=!/run/nodestorage-fence/podman" in text
    # A boot in one transaction: circles are found within one only.
    boot = tmp_path / "boot.target"
    boot.write_text(f"[Unit]\nRequires=basic.target {UNIT.name} podman-restart.service\n")
    said = analyze(
        "verify",
        "--man=no",
        str(boot),
        SYSTEMD_UNIT_PATH=f"{tmp_path}:/usr/lib/systemd/system:/lib/systemd/system",
    )
    assert "ordering cycle" not in said
    assert "podman" not in said


def test_the_fence_orders_and_holds_and_asks_for_nothing():
    lines = [line for line in FENCE.read_text().splitlines() if line and line[0] != "#"]
    assert lines == [
        "[Unit]",
        "After=nodestoraged.service",
        "ConditionPathExists=!/run/nodestorage-fence/containerd",
    ]


def test_a_stop_waits_longer_than_the_pods_grace():
    (seconds,) = setting("TimeoutStopSec", UNIT.read_text())
    assert int(seconds) > 60


@pytest.mark.parametrize("key", ["ID_FS_LABEL", "ID_PART_ENTRY_NAME"])
def test_the_udev_rule_knows_the_default_labels(key):
    from nodestoraged.model.config import RoleConfig

    labels = "|".join(RoleConfig(name="containerd").labels)
    assert f'ENV{{{key}}}=="{labels}", TAG+="nodestoraged"' in RULES.read_text()


def test_the_udev_rule_comes_after_those_that_read_labels():
    assert RULES.name > "60-persistent-storage.rules"
