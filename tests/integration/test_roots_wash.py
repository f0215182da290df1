"""The tiers of a wash on a real containerd's root, and on roots that somebody hostile made."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.model.errors import StepError
from nodestoraged.model.hidden import Wash
from tests.fakes.oci_archive import APP_REFERENCE, write_default_archives
from tests.fakes.wash_bench import BLOBS, WashBench

pytestmark = pytest.mark.integration

PLUGIN = "io.containerd."


@pytest.fixture
def node() -> Iterator[WashBench]:
    base = Path(tempfile.mkdtemp(prefix="nsd-"))
    try:
        with asyncio.Runner() as runner:
            made = WashBench(base, runner)
            try:
                yield made
            finally:
                made.close()
    finally:
        shutil.rmtree(base)


def filled(node: WashBench) -> Path:
    """A root with images, the traces of a pod, and what is not containerd's."""
    node.containerd.start()
    for archive in write_default_archives(node.base):
        node.containerd.import_image(archive)
    node.run_a_pod()
    node.ask(lambda session: session.stop_pods(grace_seconds=1, deadline_seconds=20))
    node.containerd.terminate()
    root = node.containerd.root
    for name in (".nodestoraged", "lost+found", "opt", "foreign"):
        (root / name).mkdir()
        (root / name / "file").write_text("x")
    return root


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


OTHERS = {".nodestoraged", "lost+found", "opt", "foreign"}


def test_after_the_containers_only_blobs_and_foreign_entries_are_left(node: WashBench) -> None:
    root = filled(node)
    blobs = node.blobs()

    first, second = node.wash(Wash.CONTAINERS), node.wash(Wash.CONTAINERS)

    content = "io.containerd.content.v1.content"
    assert names(root) == OTHERS | {content, "io.containerd.grpc.v1.introspection"}
    assert names(root / content) == {"blobs"}
    assert node.blobs() == blobs
    assert first.files > 0
    assert first.freed_bytes > 4_000_000  # the unpacked snapshots
    assert (second.files, second.freed_bytes) == (0, 0)


def test_after_the_images_nothing_of_containerd_is_left(node: WashBench) -> None:
    root = filled(node)
    node.wash(Wash.IMAGES)
    assert names(root) == OTHERS


def test_after_all_only_our_directory_and_the_file_systems_are_left(node: WashBench) -> None:
    root = filled(node)
    node.wash(Wash.ALL)
    assert names(root) == {".nodestoraged", "lost+found"}
    assert (root / ".nodestoraged" / "file").exists()


@pytest.mark.parametrize("tier", list(Wash))
def test_containerd_starts_and_works_on_what_each_tier_leaves(node: WashBench, tier: Wash) -> None:
    filled(node)
    node.wash(tier)

    node.containerd.start()
    for archive in ("pause.tar", "app.tar"):
        node.containerd.import_image(node.base / archive)

    assert APP_REFERENCE in node.containerd.ctr("-n", "k8s.io", "images", "ls", "-q").stdout
    node.run_a_pod()


def test_the_root_of_a_running_containerd_is_not_washed(node: WashBench) -> None:
    node.containerd.start()
    before = names(node.containerd.root)

    for tier in Wash:
        with pytest.raises(StepError) as caught:
            node.wash(tier)
        assert caught.value.reason == "StillHeld"
        assert f"({node.containerd.pid})" in caught.value.message

    assert names(node.containerd.root) == before


def test_a_mount_below_is_refused_before_anything_is_touched(node: WashBench) -> None:
    root = node.containerd.root
    (root / "io.containerd.x").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", root / "io.containerd.x"], check=True)
    try:
        with pytest.raises(StepError) as caught:
            node.wash(Wash.ALL)
    finally:
        subprocess.run(["umount", root / "io.containerd.x"], check=True)

    assert caught.value.reason == "Busy"
    assert names(root) == {"io.containerd.x"}


def test_a_wash_follows_no_link_at_any_level(node: WashBench) -> None:
    outside = node.base / "outside"
    (outside / "blobs" / "sha256").mkdir(parents=True)
    (outside / "ingest").mkdir()
    (outside / "precious").write_text("x")
    for place in ("", "io.containerd.content.v1.content", "io.containerd.metadata.v1.bolt"):
        for tier in (*Wash, None):
            root = node.containerd.root
            root.mkdir()
            if place:
                (root / place).symlink_to(outside)
            else:
                (root / "io.containerd.content.v1.content").mkdir()
                (root / "io.containerd.content.v1.content" / "blobs").symlink_to(outside / "blobs")
                (root / ".nodestoraged").symlink_to(outside)
            if tier is None:
                asked = node.roots.keep_images_only(str(root), deadline_seconds=30)
                node.runner.run(asked)
            else:
                node.wash(tier)
            assert names(outside) == {"blobs", "ingest", "precious"}
            shutil.rmtree(root)


def test_a_root_that_is_a_link_is_refused(node: WashBench) -> None:
    precious = node.base / "precious"
    (precious / "io.containerd.metadata.v1.bolt").mkdir(parents=True)
    node.containerd.root.symlink_to(precious)
    try:
        with pytest.raises(StepError) as caught:
            node.wash(Wash.ALL)
    finally:
        node.containerd.root.unlink()

    assert caught.value.reason == "TargetUnusable"
    assert names(precious) == {"io.containerd.metadata.v1.bolt"}


def blob(directory: Path, data: bytes, name: str | None = None) -> str:
    found = name or hashlib.sha256(data).hexdigest()
    (directory / found).write_bytes(data)
    return found


def test_of_a_foreign_root_only_blobs_that_are_what_they_are_called_stay(node: WashBench) -> None:
    root = filled(node)
    directory = root / BLOBS
    genuine = set(node.blobs())
    large = blob(directory, b"large" * 1_000_000)
    os.chown(directory / large, 1000, 1000)
    (directory / large).chmod(0o4777)
    blob(directory, b"planted", "b" * 64)
    blob(directory, b"", "not a digest")
    blob(directory, b"upper", hashlib.sha256(b"upper").hexdigest().upper())
    (directory / ("c" * 64)).symlink_to("/etc/passwd")
    (directory / ("d" * 64)).mkdir()
    os.mkfifo(directory / ("e" * 64))
    os.mknod(directory / ("f" * 64), 0o20666, os.makedev(1, 5))  # /dev/zero: endless
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(directory)  # a socket's path is short
        try:
            listening.bind("0" * 64)
        finally:
            os.chdir(here)
    (directory.parent / "sha512").mkdir()
    directory.chmod(0o777)

    removed = node.runner.run(node.roots.keep_images_only(str(root), deadline_seconds=60))

    assert names(root) == {"io.containerd.content.v1.content", ".nodestoraged", "lost+found"}
    assert names(root / "io.containerd.content.v1.content") == {"blobs"}
    assert names(directory.parent) == {"sha256"}
    assert set(node.blobs()) == genuine | {large}
    kept = (directory / large).stat()
    assert (kept.st_uid, kept.st_gid, kept.st_mode & 0o7777) == (0, 0, 0o444)
    assert directory.stat().st_mode & 0o7777 == 0o755
    assert removed.files > 9


def test_containerd_starts_on_an_adopted_root_and_knows_nothing(node: WashBench) -> None:
    root = filled(node)
    node.runner.run(node.roots.keep_images_only(str(root), deadline_seconds=60))

    node.containerd.start()

    assert node.containerd.ctr("-n", "k8s.io", "images", "ls", "-q").stdout == ""
    assert node.containerd.ctr("-n", "k8s.io", "snapshots", "ls").stdout.count("\n") == 1
    for archive in ("pause.tar", "app.tar"):
        node.containerd.import_image(node.base / archive)
    node.run_a_pod()


def test_a_root_without_content_is_washed_all_the_same(node: WashBench) -> None:
    root = node.containerd.root
    root.mkdir()
    for tier in Wash:
        assert node.wash(tier).files == 0
    asked = node.roots.keep_images_only(str(root), deadline_seconds=30)
    assert node.runner.run(asked).files == 0
