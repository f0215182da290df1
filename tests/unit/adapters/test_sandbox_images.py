"""Keeping image archives: what `ctr` is asked, and what survives a failure (a false `ctr`)."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from nodestoraged.adapters.runtimes.sandbox_images import SandboxImages, archive_name, full_name
from nodestoraged.model.errors import StepError, StepTimeout

NAME = "registry.k8s.io/pause:3.6"

# Says how it was called, and writes the file that it is asked to export.
_CTR = """#!/bin/sh
echo "$@" >>{log}
for last; do :; done
case "$*" in
  *" export "*) {export}
esac
"""
_WRITES = """shift 7; printf 'archive of %s' "$2" >"$1" ;;"""


class FalseCtr:
    def __init__(self, directory: Path, export: str = _WRITES) -> None:
        self.log = directory / "ctr.log"
        self.log.write_text("")
        self.path = directory / "ctr"
        self.path.write_text(_CTR.format(log=self.log, export=export))
        self.path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


def store(tmp_path: Path, ctr: FalseCtr) -> SandboxImages:
    return SandboxImages("/run/c.sock", tmp_path / "images", ctr=(str(ctr.path),))


def keep(images: SandboxImages, name: str = NAME, digest: str = "sha256:aa") -> None:
    asyncio.run(images.keep(name, digest, deadline_seconds=10))


def test_an_image_is_exported_once_and_listed(tmp_path: Path) -> None:
    ctr = FalseCtr(tmp_path)
    images = store(tmp_path, ctr)

    keep(images)
    keep(images)

    (kept,) = images.kept()
    assert (kept.name, kept.digest, kept.file) == (NAME, "sha256:aa", archive_name(NAME))
    path = tmp_path / "images" / kept.file
    assert path.read_text() == f"archive of {NAME}"
    assert ctr.calls == [
        f"-a /run/c.sock -n k8s.io images export -- {path.with_suffix('.partial')} {NAME}"
    ]
    assert {each.name for each in path.parent.iterdir()} == {kept.file, "index.json"}


def test_another_digest_replaces_the_archive(tmp_path: Path) -> None:
    ctr = FalseCtr(tmp_path)
    images = store(tmp_path, ctr)

    keep(images, digest="sha256:aa")
    keep(images, digest="sha256:bb")

    assert [each.digest for each in images.kept()] == ["sha256:bb"]
    assert len(ctr.calls) == 2


def test_a_failed_export_leaves_the_former_archive(tmp_path: Path) -> None:
    keep(store(tmp_path, FalseCtr(tmp_path)), digest="sha256:aa")
    broken = FalseCtr(
        tmp_path, 'shift 7; echo half >"$1"; echo "ctr: content not found" >&2; exit 1'
    )
    images = store(tmp_path, broken)

    with pytest.raises(StepError) as error:
        keep(images, digest="sha256:bb")

    assert error.value.reason == "SandboxImageNotSaved"
    assert "content not found" in error.value.message
    (kept,) = images.kept()
    assert kept.digest == "sha256:aa"
    assert (tmp_path / "images" / kept.file).read_text() == f"archive of {NAME}"
    assert not list((tmp_path / "images").glob("*.partial"))


def test_a_hanging_export_ends_at_its_deadline(tmp_path: Path) -> None:
    images = store(tmp_path, FalseCtr(tmp_path, "exec sleep 30 ;;"))
    started = time.monotonic()

    with pytest.raises(StepTimeout):
        asyncio.run(images.keep(NAME, "sha256:aa", deadline_seconds=0.3))

    assert time.monotonic() - started < 5
    assert images.kept() == ()


def test_without_ctr_the_step_fails_with_its_errno(tmp_path: Path) -> None:
    images = SandboxImages("/run/c.sock", tmp_path / "images", ctr=("/nonexistent/ctr",))

    with pytest.raises(StepError) as error:
        keep(images)

    assert error.value.errno == 2


def test_an_archive_is_restored_by_its_file(tmp_path: Path) -> None:
    ctr = FalseCtr(tmp_path)
    images = store(tmp_path, ctr)
    keep(images)

    assert asyncio.run(images.restore(NAME, snapshotter="native", deadline_seconds=10))

    path = tmp_path / "images" / archive_name(NAME)
    assert ctr.calls[-1] == (
        f"-a /run/c.sock -n k8s.io images import --snapshotter native -- {path}"
    )


def test_a_short_name_finds_the_archive_of_the_full_one(tmp_path: Path) -> None:
    images = store(tmp_path, FalseCtr(tmp_path))
    keep(images, name="docker.io/library/pause:3.9")

    assert asyncio.run(images.restore("pause:3.9", deadline_seconds=10))


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("pause", "docker.io/library/pause:latest"),
        ("pause:3.9", "docker.io/library/pause:3.9"),
        ("rancher/pause:3.6", "docker.io/rancher/pause:3.6"),
        ("localhost/pause:1", "localhost/pause:1"),
        ("registry:5000/pause", "registry:5000/pause:latest"),
        ("registry.k8s.io/pause:3.6", "registry.k8s.io/pause:3.6"),
        ("registry.k8s.io/pause@sha256:00", "registry.k8s.io/pause@sha256:00"),
    ],
)
def test_names_are_completed_as_the_runtime_does(name: str, full: str) -> None:
    assert full_name(name) == full


def test_what_is_not_kept_is_not_restored(tmp_path: Path) -> None:
    ctr = FalseCtr(tmp_path)

    assert not asyncio.run(store(tmp_path, ctr).restore(NAME, deadline_seconds=10))
    assert ctr.calls == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/../b:1", "-rf", "name with\nnewline"])
def test_no_part_of_a_name_reaches_a_path(tmp_path: Path, name: str) -> None:
    images = store(tmp_path, FalseCtr(tmp_path))

    keep(images, name=name)

    (kept,) = images.kept()
    assert kept.name == name
    assert set(kept.file) <= set("0123456789abcdef.tar")
    assert (tmp_path / "images" / kept.file).is_file()


@pytest.mark.parametrize("index", ["", "[]", '{"images": [{}]}', '{"images": 7}'])
def test_a_damaged_index_is_an_empty_one_and_mended_by_the_next_export(
    tmp_path: Path, index: str
) -> None:
    images = store(tmp_path, FalseCtr(tmp_path))
    keep(images)
    (tmp_path / "images" / "index.json").write_text(index)

    assert images.kept() == ()
    keep(images)
    assert len(images.kept()) == 1


def test_a_truncated_archive_does_not_count(tmp_path: Path) -> None:
    images = store(tmp_path, FalseCtr(tmp_path))
    keep(images)
    (tmp_path / "images" / archive_name(NAME)).write_text("")

    assert images.kept() == ()


def test_a_file_named_in_the_index_is_not_believed(tmp_path: Path) -> None:
    images = store(tmp_path, FalseCtr(tmp_path))
    keep(images)
    index = tmp_path / "images" / "index.json"
    entries = json.loads(index.read_text())
    entries["images"][0]["file"] = "/etc/passwd"
    index.write_text(json.dumps(entries))

    assert [each.file for each in images.kept()] == [archive_name(NAME)]


def test_only_the_named_images_stay(tmp_path: Path) -> None:
    images = store(tmp_path, FalseCtr(tmp_path))
    keep(images, name="one:1")
    keep(images, name="two:1")
    (tmp_path / "images" / "left.partial").write_text("x")

    asyncio.run(images.forget_others(["two:1"]))

    assert [each.name for each in images.kept()] == ["two:1"]
    assert {each.name for each in (tmp_path / "images").iterdir()} == {
        archive_name("two:1"),
        "index.json",
    }
