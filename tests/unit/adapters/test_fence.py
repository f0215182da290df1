"""The fence: files that units' start conditions look at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodestoraged.adapters.fence import FileFence
from nodestoraged.model.errors import InternalError, ObservationError, StepError


def test_raised_it_is_a_file_named_after_the_role(tmp_path: Path) -> None:
    fence = FileFence(tmp_path / "fence")
    assert not fence.is_up("containerd")
    fence.raise_("containerd")
    assert fence.is_up("containerd")
    assert (tmp_path / "fence/containerd").read_bytes() == b""
    assert not fence.is_up("scratch")
    fence.lower("containerd")
    assert not fence.is_up("containerd")
    assert list((tmp_path / "fence").iterdir()) == []


def test_the_directory_is_open_to_look_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        FileFence(tmp_path / "fence").raise_("containerd")
    finally:
        os.umask(old)
    assert (tmp_path / "fence").stat().st_mode & 0o7777 == 0o755


def test_twice_is_as_good_as_once(tmp_path: Path) -> None:
    fence = FileFence(tmp_path / "fence")
    fence.lower("containerd")
    fence.raise_("containerd")
    fence.raise_("containerd")
    fence.lower("containerd")
    fence.lower("containerd")
    assert not fence.is_up("containerd")


@pytest.mark.parametrize("role", ["", "..", "a/b", "../x", "A", "ä", "a b"])
def test_only_role_names_become_paths(tmp_path: Path, role: str) -> None:
    fence = FileFence(tmp_path)
    for act in (fence.is_up, fence.raise_, fence.lower):
        with pytest.raises(InternalError):
            act(role)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / "fence").mkdir()
    (tmp_path / "fence/containerd").symlink_to(target)
    with pytest.raises(StepError):
        FileFence(tmp_path / "fence").raise_("containerd")
    assert not target.exists()


def test_what_the_kernel_refuses_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fence = FileFence(tmp_path / "file")
    with pytest.raises(StepError) as caught:
        fence.raise_("containerd")
    assert (caught.value.reason, caught.value.errno) == ("FenceFailed", 17)
    with pytest.raises(ObservationError):
        fence.is_up("containerd")
    with pytest.raises(StepError):
        fence.lower("containerd")
