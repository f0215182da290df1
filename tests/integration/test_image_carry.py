"""Images that outlive a wash: nobody knows the blobs any more, and one import makes them known."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.adapters.runtimes.image_carry import ImageCarry
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.model.hidden import Wash
from tests.fakes.oci_archive import (
    APP_REFERENCE,
    PAUSE_REFERENCE,
    ImageSpec,
    write_archive,
    write_default_archives,
)
from tests.fakes.wash_bench import BLOBS, WashBench

pytestmark = pytest.mark.integration

#: A false ctr that lists nothing and does something else when it is to import.
_ONLY_IMPORT = '#!/bin/sh\ncase "$*" in *" import "*) ;; *) exit 0 ;; esac\n'
THIRD = "registry.example/third@sha256:" + "a" * 64


@pytest.fixture
def node() -> Iterator[WashBench]:
    base = Path(tempfile.mkdtemp(prefix="nsd-"))
    try:
        with asyncio.Runner() as runner:
            made = WashBench(base, runner)
            try:
                made.containerd.start()
                for archive in write_default_archives(base):
                    made.containerd.import_image(archive)
                write_archive(base / "third.tar", ImageSpec(reference=THIRD, padding_bytes=9))
                made.containerd.import_image(base / "third.tar")
                # Three of each image; the index of the last archive goes with the collector.
                until = time.monotonic() + 10
                while len(made.blobs()) != 9 and time.monotonic() < until:
                    time.sleep(0.05)
                yield made
            finally:
                made.close()
    finally:
        shutil.rmtree(base)


def test_all_images_are_there_after_a_wash_of_the_containers_and_a_pod_runs(
    node: WashBench,
) -> None:
    pin = ("images", "label", APP_REFERENCE, "io.cri-containerd.pinned=pinned")
    node.containerd.ctr("-n", "k8s.io", *pin)
    before, blobs = node.listing(), node.blobs()
    remembered = node.remember()
    node.containerd.terminate()

    removed = node.wash(Wash.CONTAINERS)
    washed = node.blobs()
    node.containerd.start()
    forgotten = node.containerd.ctr("-n", "k8s.io", "images", "ls", "-q").stdout
    root = str(node.containerd.root)
    recalled = node.runner.run(node.carry.recall(root, deadline_seconds=60))

    assert {each.name: (each.pinned, each.labelled) for each in remembered} == {
        APP_REFERENCE: (True, True),
        PAUSE_REFERENCE: (True, False),
        THIRD: (False, False),
    }
    assert removed.files > 0
    assert washed == blobs
    assert forgotten == ""
    assert recalled is not None
    assert (recalled.count, recalled.missing) == (3, ())
    assert [row[:2] for row in node.listing()] == [row[:2] for row in before]
    labels = {row[0]: set(row[2].split(",")) for row in node.listing()}
    assert "io.cri-containerd.pinned=pinned" in labels[APP_REFERENCE]
    assert "io.cri-containerd.pinned=pinned" not in labels[PAUSE_REFERENCE]
    # The very same files: the blobs were compared, not written anew.
    assert blobs.items() <= node.blobs().items()
    node.run_a_pod()


def test_a_list_is_recalled_once_and_moves_no_name_that_is_there(node: WashBench) -> None:
    node.remember()
    write_archive(node.base / "newer.tar", ImageSpec(reference=THIRD, padding_bytes=99))
    node.containerd.import_image(node.base / "newer.tar")
    before = node.listing()
    root = str(node.containerd.root)

    first = node.runner.run(node.carry.recall(root, deadline_seconds=60))
    second = node.runner.run(node.carry.recall(root, deadline_seconds=60))

    assert first is not None
    assert (first.count, second) == (0, None)
    assert node.listing() == before


def write_index_archive(target: Path, source: Path, name: str) -> None:
    """`source` once more, as an image for several machines of which only ours is there."""
    with tarfile.open(source) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        blobs = {name: file.read() for name, file in files.items() if file is not None}
    manifest = json.loads(blobs.pop("index.json"))["manifests"][0]
    del manifest["annotations"]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    ours = {**manifest, "platform": {"architecture": machine, "os": "linux"}}
    absent = {**manifest, "digest": "sha256:" + "0" * 64}
    theirs = {**absent, "platform": {"architecture": "s390x", "os": "linux"}}
    kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [theirs, ours]})
    digest = hashlib.sha256(index.encode()).hexdigest()
    top = {
        "mediaType": kind,
        "digest": f"sha256:{digest}",
        "size": len(index),
        "annotations": {"io.containerd.image.name": name},
    }
    blobs[f"blobs/sha256/{digest}"] = index.encode()
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()
    with tarfile.open(target, "w") as tar:
        for path, data in blobs.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def test_an_image_for_several_machines_comes_back_with_what_it_had(node: WashBench) -> None:
    write_archive(node.base / "plain.tar", ImageSpec(reference=APP_REFERENCE, padding_bytes=77))
    write_index_archive(node.base / "index.tar", node.base / "plain.tar", APP_REFERENCE)
    node.containerd.import_image(node.base / "index.tar")
    before = node.listing()
    node.remember()
    node.containerd.terminate()
    node.wash(Wash.CONTAINERS)

    node.containerd.start()
    root = str(node.containerd.root)
    recalled = node.runner.run(node.carry.recall(root, deadline_seconds=60))

    assert recalled is not None
    assert (recalled.count, recalled.missing) == (3, ())
    known = {row[:2] for row in node.listing()}
    assert known >= {row[:2] for row in before if not row[0].startswith("sha256:")}
    node.run_a_pod()


def test_an_image_without_all_its_blobs_is_named_and_the_others_come(node: WashBench) -> None:
    node.remember()
    node.containerd.terminate()
    node.wash(Wash.CONTAINERS)
    directory = node.containerd.root / BLOBS
    layers = sorted(directory.iterdir(), key=lambda path: path.stat().st_size)
    layers[-1].unlink()  # the layer of one of the three

    node.containerd.start()
    root = str(node.containerd.root)
    recalled = node.runner.run(node.carry.recall(root, deadline_seconds=60))

    assert recalled is not None
    assert (recalled.count, len(recalled.missing)) == (2, 1)
    names = {row[0] for row in node.listing() if not row[0].startswith("sha256:")}
    assert names == {APP_REFERENCE, PAUSE_REFERENCE, THIRD} - set(recalled.missing)


def test_a_damaged_blob_does_not_come_back_under_its_name(node: WashBench) -> None:
    node.remember()
    node.containerd.terminate()
    node.wash(Wash.CONTAINERS)
    layers = sorted((node.containerd.root / BLOBS).iterdir(), key=lambda path: path.stat().st_size)
    with layers[-1].open("r+b") as blob:
        blob.seek(4096)
        blob.write(b"rotten")

    node.containerd.start()
    root = str(node.containerd.root)
    node.runner.run(node.carry.recall(root, deadline_seconds=60))

    def there() -> bool:
        known = node.containerd.ctr("-n", "k8s.io", "content", "ls", "-q").stdout
        return layers[-1].name in known or layers[-1].name in node.blobs()

    until = time.monotonic() + 10  # for the collector
    while there():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_failed_import_is_told_in_its_own_words_and_the_list_stays(node: WashBench) -> None:
    node.remember()
    root = str(node.containerd.root)
    node.containerd.terminate()
    node.wash(Wash.CONTAINERS)
    broken = node.base / "broken"
    broken.write_text(_ONLY_IMPORT + "echo first >&2\necho 'no space left' >&2\nexit 1\n")
    broken.chmod(0o755)
    socket = str(node.containerd.socket_path)
    carry = ImageCarry(node.children, socket, node.base / "carry", ctr=(str(broken),))

    with pytest.raises(StepError) as caught:
        node.runner.run(carry.recall(root, deadline_seconds=60))
    node.containerd.start()
    recalled = node.runner.run(node.carry.recall(root, deadline_seconds=60))

    assert (caught.value.reason, caught.value.message) == ("ImagesNotRecalled", "no space left")
    assert recalled is not None
    assert recalled.count == 3


def test_an_import_that_hangs_is_ended_at_the_deadline(node: WashBench) -> None:
    node.remember()
    hanging = node.base / "hanging"
    hanging.write_text(_ONLY_IMPORT + "exec sleep 60\n")
    hanging.chmod(0o755)
    socket = str(node.containerd.socket_path)
    carry = ImageCarry(node.children, socket, node.base / "carry", ctr=(str(hanging),))

    with pytest.raises(StepTimeout):
        node.runner.run(carry.recall(str(node.containerd.root), deadline_seconds=1))

    assert node.children.stuck == 0


def test_containerd_drops_what_nobody_knows_at_its_first_import(node: WashBench) -> None:
    # The reason for one import for all, before any other.  At a start alone nothing is dropped.
    node.containerd.terminate()
    blobs = node.blobs()
    node.wash(Wash.CONTAINERS)
    node.containerd.start()
    time.sleep(1)  # the first collection comes 0.1 s after the start
    after_start = node.blobs()
    node.containerd.import_image(node.base / "pause.tar")
    until = time.monotonic() + 10
    while len(node.blobs()) > 3 and time.monotonic() < until:
        time.sleep(0.05)

    assert after_start == blobs
    assert len(blobs) == 9
    assert set(node.blobs()) < set(blobs)
    assert len(node.blobs()) == 3


def test_a_known_blob_needs_none_of_its_bytes_again(node: WashBench) -> None:
    # What a pull does: a writer for this digest.  It says "all there" before the first byte.
    node.containerd.terminate()
    node.wash(Wash.CONTAINERS)
    node.containerd.start()
    blob = max((node.containerd.root / BLOBS).iterdir(), key=lambda path: path.stat().st_size)
    size, inode = blob.stat().st_size, blob.stat().st_ino
    zeros = node.base / "zeros"
    zeros.touch()
    os.truncate(zeros, size)  # as long, and none of it right: a seek to its end is all it is for
    ctr = ("ctr", "-a", str(node.containerd.socket_path), "-n", "k8s.io", "content", "ingest")
    expected = (f"--expected-size={size}", f"--expected-digest=sha256:{blob.name}")
    with zeros.open("rb") as stdin:
        subprocess.run([*ctr, *expected, "ref"], stdin=stdin, check=True, timeout=20)

    assert blob.stat().st_ino == inode


def test_pinned_images_reach_an_empty_root_through_their_archives(node: WashBench) -> None:
    pin = ("images", "label", THIRD, "io.cri-containerd.pinned=pinned")
    node.containerd.ctr("-n", "k8s.io", *pin)
    kept = node.ask(lambda session: node.carry.keep_pinned(session, deadline_seconds=60))
    node.containerd.terminate()
    node.wash(Wash.IMAGES)
    assert node.blobs() == {}

    node.containerd.start()
    came = node.ask(lambda session: node.carry.restore_pinned(session, deadline_seconds=60))
    again = node.ask(lambda session: node.carry.restore_pinned(session, deadline_seconds=60))

    assert {each.name for each in kept} == {APP_REFERENCE, PAUSE_REFERENCE, THIRD}
    assert set(came) == {APP_REFERENCE, PAUSE_REFERENCE, THIRD}
    assert again == ()
    labels = {row[0]: row[2] for row in node.listing()}
    assert "io.cri-containerd.pinned=pinned" in labels[THIRD]
    node.run_a_pod()


def test_only_pinned_images_are_archived_and_what_is_pinned_no_more_goes(node: WashBench) -> None:
    pin = ("images", "label", THIRD)
    node.containerd.ctr("-n", "k8s.io", *pin, "io.cri-containerd.pinned=pinned")
    node.ask(lambda session: node.carry.keep_pinned(session, deadline_seconds=60))
    node.containerd.ctr("-n", "k8s.io", *pin, "io.cri-containerd.pinned=")
    kept = node.ask(lambda session: node.carry.keep_pinned(session, deadline_seconds=60))

    assert {each.name for each in kept} == {APP_REFERENCE, PAUSE_REFERENCE}
    assert len(list((node.base / "carry" / "pinned").glob("*.tar"))) == 2
