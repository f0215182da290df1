"""Durable files: what is on the disk, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodestoraged.adapters import durable


def test_the_content_is_on_the_disk_before_the_name_and_the_name_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial, final = tmp_path / "file.partial", tmp_path / "file"
    partial.write_text("new")
    final.write_text("old")
    seen: list[tuple[str, str]] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        seen.append((Path(f"/proc/self/fd/{fd}").readlink().name, final.read_text()))
        real(fd)

    monkeypatch.setattr(durable.os, "fsync", fsync)
    durable.put_in_place(partial, final)
    assert seen == [("file.partial", "old"), (tmp_path.name, "new")]
    assert not partial.exists()


def test_what_was_never_written_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(FileNotFoundError):
        durable.put_in_place(tmp_path / "file.partial", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old"


def test_no_descriptor_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "partial").touch()
    before = len(list(Path("/proc/self/fd").iterdir()))
    durable.put_in_place(tmp_path / "partial", tmp_path / "final")

    def fsync(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(durable.os, "fsync", fsync)
    for act in (durable.sync_directory, lambda path: durable.put_in_place(path / "final", path)):
        with pytest.raises(OSError, match="Input/output"):
            act(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
