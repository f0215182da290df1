"""Programs of the system: found wherever they lie, and missed in words that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodestoraged.worker import helper
from nodestoraged.worker.failure import OperationFailed


def program(directory: Path, name: str, text: str = "exit 0") -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", ["e2fsck", "mkfs.ext4", "mkfs.xfs"])
def test_a_helper_is_found_in_either_half_of_a_system_that_is_not_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    halves = [tmp_path / "usr-sbin", tmp_path / "sbin"]
    monkeypatch.setattr(helper, "PATH", tuple(map(str, halves)))
    for directory in halves:
        path = program(directory, name)
        assert helper.find(name) == str(path)
        path.unlink()


def test_programs_of_systems_with_a_read_only_usr_are_found() -> None:
    needed = {"/usr/local/bin", "/usr/sbin", "/sbin", "/opt/bin", "/run/current-system/sw/bin"}
    assert needed <= set(helper.PATH)
    assert helper.ENVIRONMENT["PATH"].split(":") == list(helper.PATH)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("e2fsck", "e2fsprogs"),
        ("mkfs.xfs", "xfsprogs"),
        ("tune2fs", "e2fsprogs-extra"),
        ("ctr", "containerd-ctr"),
    ],
)
def test_a_missing_helper_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setattr(helper, "PATH", (str(tmp_path),))
    (tmp_path / name).write_text("not executable")
    (tmp_path / name).chmod(0o644)
    with pytest.raises(OperationFailed) as caught:
        helper.run(name)
    assert caught.value.reason == "HelperMissing"
    assert name in caught.value.message
    assert package in caught.value.message


def test_a_helper_finds_the_programs_that_it_runs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "inner", "echo from-inner")
    program(tmp_path, "outer", "inner")
    monkeypatch.setattr(helper, "PATH", (str(tmp_path),))
    monkeypatch.setattr(helper, "ENVIRONMENT", {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    monkeypatch.setenv("PATH", "/nowhere")
    assert helper.run("outer").last_lines == ("from-inner",)
