"""Links above a runtime root are followed; a root that is a link is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nodestoraged.adapters.rootpath import followed, resolved
from nodestoraged.adapters.runtimes.profiles import CONTAINERD
from nodestoraged.model.errors import ObservationError


def test_a_path_without_links_stays_as_it_is(tmp_path: Path) -> None:
    assert resolved("/var/lib/nowhere/containerd") == "/var/lib/nowhere/containerd"
    (tmp_path / "root").mkdir()
    assert resolved(str(tmp_path / "root")) == str(tmp_path / "root")


@pytest.mark.parametrize("there", [True, False])
def test_links_above_the_root_are_followed_whether_it_exists_or_not(
    tmp_path: Path, there: bool
) -> None:
    real = tmp_path / "mnt/var/lib"
    real.mkdir(parents=True)
    (tmp_path / "var").symlink_to("mnt/var")
    if there:
        (real / "containerd").mkdir()
    assert resolved(str(tmp_path / "var/lib/containerd")) == str(real / "containerd")


@pytest.mark.parametrize("target", ["/data/containerd", "../data/containerd"])
def test_a_root_that_is_a_link_is_refused_with_what_it_leads_to(
    tmp_path: Path, target: str
) -> None:
    lib = tmp_path / "lib"
    lib.mkdir()
    (lib / "containerd").symlink_to(target)
    with pytest.raises(ObservationError) as caught:
        resolved(str(lib / "containerd"))
    assert caught.value.reason == "SymlinkedRoot"
    assert str(lib / "containerd") in caught.value.message
    leads_to = target if target.startswith("/") else str(tmp_path / "data/containerd")
    assert leads_to in caught.value.message
    assert leads_to in caught.value.hint


def test_what_is_mounted_on_the_root_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "var/containerd"
    root.mkdir(parents=True)
    (tmp_path / "link").symlink_to("var")

    def hangs(_path: Path) -> bool:
        raise AssertionError("a stick that hangs was looked at")

    monkeypatch.setattr(Path, "is_symlink", hangs)
    assert resolved(str(tmp_path / "link/containerd"), {str(root)}) == str(root)


def test_root_and_state_of_a_row_are_followed_and_nothing_else_changes(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("../run")
    profile = replace(
        CONTAINERD,
        root=str(tmp_path / "var/run/root"),
        state=str(tmp_path / "var/run/state"),
        socket=str(tmp_path / "var/run/c.sock"),
    )
    assert followed(profile) == replace(
        profile, root=str(tmp_path / "run/root"), state=str(tmp_path / "run/state")
    )
