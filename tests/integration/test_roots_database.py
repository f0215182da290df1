"""A real containerd's databases: intact while it writes them, corrupt when it panics on them."""

from __future__ import annotations

import asyncio
import shutil
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodestoraged.model.hidden import Wash
from nodestoraged.worker.operations_database import check_database
from tests.fakes.oci_archive import write_default_archives
from tests.fakes.wash_bench import WashBench

pytestmark = pytest.mark.integration

PAGE = 4096
META_DATABASE = "io.containerd.metadata.v1.bolt/meta.db"
SNAPSHOTS_DATABASE = "io.containerd.snapshotter.v1.overlayfs/metadata.db"


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
                made.run_a_pod()
                yield made
            finally:
                made.close()
    finally:
        shutil.rmtree(base)


def verdict(node: WashBench) -> object:
    return check_database({"root": str(node.containerd.root)})["failure"]


def newest_meta(data: bytes | bytearray) -> tuple[int, int]:
    """Root page and freelist page by the newest meta page."""
    found = [struct.unpack_from("=QQQQQ", data, offset + 32) for offset in (0, PAGE)]
    root, _, freelist, _, _ = max(found, key=lambda each: each[4])
    return root, freelist


def with_meta_pages_gone(data: bytearray) -> None:
    data[: 2 * PAGE] = bytes(2 * PAGE)


def with_root_of_no_kind(data: bytearray) -> None:
    data[newest_meta(data)[0] * PAGE + 8] = 0


def with_freelist_of_another_kind(data: bytearray) -> None:
    data[newest_meta(data)[1] * PAGE + 8] = 2


def with_pages_zeroed(data: bytearray) -> None:
    data[2 * PAGE :] = bytes(len(data) - 2 * PAGE)


def cut_off(data: bytearray) -> None:
    del data[3 * PAGE :]


@pytest.mark.parametrize(
    "damage",
    [
        with_meta_pages_gone,
        with_root_of_no_kind,
        with_freelist_of_another_kind,
        with_pages_zeroed,
        cut_off,
    ],
)
def test_what_is_called_corrupt_is_of_no_use_to_containerd(
    node: WashBench, damage: Callable[[bytearray], None]
) -> None:
    node.containerd.close()
    database = node.containerd.root / META_DATABASE
    data = bytearray(database.read_bytes())
    intact = verdict(node)
    damage(data)
    database.write_bytes(data)

    found = verdict(node)
    works = starts_and_answers(node)

    assert intact is None
    assert str(found).startswith(META_DATABASE)
    assert not works
    # The remedy: one tier down.
    node.containerd.close()
    node.runner.run(
        node.roots.wash(str(node.containerd.root), Wash.CONTAINERS, deadline_seconds=30)
    )
    assert verdict(node) is None
    assert starts_and_answers(node)


def starts_and_answers(node: WashBench) -> bool:
    """containerd runs, and its metadata can be listed."""
    node.containerd.launch()
    until = time.monotonic() + 15
    process = node.containerd._process
    assert process is not None
    while time.monotonic() < until and process.poll() is None:
        # Without a socket ctr would wait for one for ten seconds.
        listens = node.containerd.socket_path.exists()
        if listens and node.containerd.ctr("version", check=False).returncode == 0:
            return node.containerd.ctr("namespaces", "ls", check=False).returncode == 0
        time.sleep(0.05)
    assert "panic" in node.containerd.log_path.read_text()
    return False


def test_a_corrupt_snapshot_database_is_named(node: WashBench) -> None:
    node.containerd.close()
    database = node.containerd.root / SNAPSHOTS_DATABASE
    data = bytearray(database.read_bytes())
    with_meta_pages_gone(data)
    database.write_bytes(data)

    assert verdict(node) == f"{SNAPSHOTS_DATABASE}: both meta pages are invalid"


def test_a_database_in_use_is_never_called_corrupt(node: WashBench) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            node.containerd.ctr("namespaces", "create", f"n{number}")
            node.containerd.ctr("namespaces", "label", f"n{number}", f"key={'x' * 200}")
            if number > 5:
                node.containerd.ctr("namespaces", "rm", f"n{number - 5}")

    writers = [threading.Thread(target=write)]
    for writer in writers:
        writer.start()
    try:
        begun, verdicts = time.monotonic(), set()
        rounds = 0
        while (spent := time.monotonic() - begun) < 4 or (rounds <= 50 and spent < 60):
            verdicts.add(verdict(node))
            rounds += 1
    finally:
        stop.set()
        for writer in writers:
            writer.join()

    assert verdicts == {None}
    assert rounds > 50


def test_a_database_after_sigkill_is_intact(node: WashBench) -> None:
    for _ in range(5):
        node.containerd.import_image(node.base / "app.tar")
        node.containerd.kill()
        assert verdict(node) is None
        node.containerd.start()
