"""A real containerd whose disk dies under it: what answers on, and what tells the truth."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.adapters.runtimes.replies import RuntimeCallError
from nodestoraged.adapters.runtimes.session import RuntimeSession
from tests.fakes.loopdev import LoopDevice
from tests.fakes.private_containerd import PrivateContainerd

pytestmark = pytest.mark.integration

#: ext4's EXT4_IOC_SHUTDOWN; flag 2 is "at once, without flushing the log".
_FS_IOC_SHUTDOWN = 0x8004587D
_NOLOGFLUSH = 2


@pytest.fixture
def containerd() -> Iterator[PrivateContainerd]:
    base = Path(tempfile.mkdtemp(prefix="nsd-"))
    private = PrivateContainerd(base)
    image = base / "disk.img"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(image)], check=True, timeout=30)
    private.root.mkdir()
    # `mount -o loop` would look at every loop device of the machine, and one of them may hang.
    disk = LoopDevice(image)
    words = ["mount", "-o", "errors=remount-ro", disk.devnode, str(private.root)]
    subprocess.run(words, check=True, timeout=30)
    disk.close()  # its mount keeps it
    try:
        yield private.start()
    finally:
        private.close()  # unmounts everything below base; the loop device goes with its mount
        shutil.rmtree(base)


def shut_down(mountpoint: Path) -> None:
    descriptor = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, _FS_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
    finally:
        os.close(descriptor)


def test_a_dead_disk_is_seen_by_a_write_only_and_a_restart_ends_at_once(
    containerd: PrivateContainerd,
) -> None:
    async def main() -> None:
        async with await RuntimeSession.open(str(containerd.socket_path)) as session:
            assert await session.ensure_namespace()
            shut_down(containerd.root)

            status = await session.status()
            ready = status.condition("RuntimeReady")
            assert ready is not None
            assert ready.holds
            assert (await session.image_fs()).mountpoint.startswith(str(containerd.root))
            assert await session.images() == ()
            with pytest.raises(RuntimeCallError) as refusal:
                await session.ensure_namespace("another")
            assert refusal.value.reason == "RuntimeIoError"
            assert not refusal.value.retriable

            await asyncio.to_thread(containerd.terminate)
            containerd.launch()
            started = time.monotonic()
            with pytest.raises(RuntimeCallError) as silence:
                await session.await_image_fs(1)
            assert silence.value.reason == "SocketMissing"
            assert time.monotonic() - started < 3

    asyncio.run(main())
