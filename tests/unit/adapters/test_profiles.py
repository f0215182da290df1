"""Rules for the runtime table."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodestoraged.adapters.runtimes.profiles import (
    CONTAINERD,
    CRIO,
    K3S,
    PODMAN,
    PROFILES,
    ROWS,
    profile_of,
)
from nodestoraged.adapters.runtimes.traces import TRACES
from nodestoraged.model.config import ProfileOverride, RoleConfig
from nodestoraged.model.errors import ConfigError
from nodestoraged.model.runtime import Dialect


def role(runtime: str = "auto", **over: object) -> RoleConfig:
    return RoleConfig(name="r", runtime=runtime, profile=ProfileOverride(**over))  # type: ignore[arg-type]


def test_auto_is_containerd_of_the_packages_where_nothing_is_installed(tmp_path: Path) -> None:
    assert profile_of(role(), root=tmp_path) == CONTAINERD
    assert CONTAINERD.root == "/var/lib/containerd"
    assert CONTAINERD.runtime_units == ("containerd.service",)


def test_what_the_configuration_says_wins_and_nothing_is_a_value_too(tmp_path: Path) -> None:
    over = {"root": "/srv/c", "kubelet_units": (), "healthz_port": 0}
    found = profile_of(role("containerd", **over), root=tmp_path)
    assert (found.root, found.kubelet_units, found.healthz_port) == ("/srv/c", (), 0)
    assert (found.state, found.socket) == (CONTAINERD.state, CONTAINERD.socket)


def test_an_unknown_runtime_is_named_with_its_key_and_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        profile_of(role("cri-dockerd"), root=tmp_path)
    assert caught.value.key == "role.r.runtime"
    assert "containerd, crio, docker, k0s, k3s, microk8s, podman, rke2" in caught.value.hint


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_row_can_be_asked_for_by_name_and_is_found_by_its_traces(
    name: str, tmp_path: Path
) -> None:
    assert profile_of(role(name), root=tmp_path) == PROFILES[name]
    assert TRACES[name].programs
    assert set(TRACES) == {row.name for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_units_and_paths_that_a_mount_table_can_name(row: object) -> None:
    assert row in ROWS
    profile = PROFILES[row.name]  # type: ignore[attr-defined]
    assert profile.runtime_units
    assert all(unit.endswith((".service", ".socket")) for unit in profile.runtime_units)
    for path in (profile.root, profile.state, profile.socket):
        assert path.startswith("/")
        assert not path.endswith("/")
        assert not path.startswith("/var/run/")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_only_what_speaks_containerd_has_its_client(row: object) -> None:
    profile = PROFILES[row.name]  # type: ignore[attr-defined]
    assert bool(profile.ctr) == (profile.dialect is Dialect.CONTAINERD)


def test_k3s_is_its_data_directory_and_never_its_configuration() -> None:
    assert K3S.root.endswith("/agent/containerd")
    assert K3S.embedded
    assert K3S.kubelet_units == ()


def test_crio_and_podman_share_a_root_and_speak_otherwise() -> None:
    assert CRIO.root == PODMAN.root
    assert (CRIO.dialect, PODMAN.dialect) == (Dialect.CRI, Dialect.PODMAN)
    assert PODMAN.daemonless
    assert PODMAN.healthz_port == 0


def test_rows_that_nobody_has_seen_on_a_node_say_so() -> None:
    assert {row.name for row in ROWS if row.experimental} == {
        "rke2", "k0s", "microk8s", "docker", "crio",
    }  # fmt: skip


def test_the_manual_s_table_is_this_table() -> None:
    text = (Path(__file__).parents[3] / "docs/runtimes.md").read_text()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    rows = {line[0].strip("`"): line for line in cells if len(line) == 6 and "`" in line[0]}
    rows.pop("runtime =")
    assert set(rows) == set(PROFILES)
    for name, profile in PROFILES.items():
        _, services, root, socket, _, note = rows[name]
        units = (*profile.runtime_units, *profile.kubelet_units)
        assert services == ", ".join(unit.removesuffix(".service") for unit in units)
        assert (root, socket) == (f"`{profile.root}`", f"`{profile.socket}`")
        assert note.startswith("experimental") == profile.experimental
