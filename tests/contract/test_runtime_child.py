"""The daemon's end of the child: what a call becomes when the child dies, hangs or is mute."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.adapters.runtimes.child import child_environment
from nodestoraged.adapters.runtimes.replies import RuntimeCallError
from nodestoraged.adapters.runtimes.session import RuntimeSession
from nodestoraged.model.errors import StepTimeout
from nodestoraged.model.imagefs import ImageFsUsage
from tests.fakes.fake_cri import Behaviour, FakeCri


@pytest.fixture
def socket_path() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="nsd-"))
    yield base / "fake.sock"
    shutil.rmtree(base)


def test_a_call_fails_at_once_when_the_child_is_killed(socket_path: Path) -> None:
    async def main() -> float:
        async with await RuntimeSession.open(str(socket_path)) as session:
            waiting = asyncio.create_task(session.await_image_fs(30))
            await asyncio.sleep(0.2)
            started = time.monotonic()
            os.kill(session.pid, signal.SIGKILL)
            with pytest.raises(RuntimeCallError) as death:
                await waiting
            took = time.monotonic() - started
            assert death.value.code == "CHILD_DIED"
            with pytest.raises(RuntimeCallError) as after:
                await session.version()
            assert after.value.code == "CHILD_DIED"
            assert not session.alive
            return took

    assert asyncio.run(main()) < 5


def test_a_stopped_child_is_a_timeout_and_is_killed(socket_path: Path) -> None:
    async def main() -> int:
        session = await RuntimeSession.open(str(socket_path))
        os.kill(session.pid, signal.SIGSTOP)
        with pytest.raises(StepTimeout) as stuck:
            await session.version(0.1)
        assert stuck.value.reason == "ChildStuck"
        assert await session.close()
        return session.pid

    assert not Path(f"/proc/{asyncio.run(main())}").exists()


def test_a_closed_session_leaves_no_process(socket_path: Path) -> None:
    async def main() -> int:
        session = await RuntimeSession.open(str(socket_path))
        assert await session.close()
        assert await session.close()  # a second time does no harm
        return session.pid

    assert not Path(f"/proc/{asyncio.run(main())}").exists()


def test_a_child_that_cannot_start_says_why(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(socket_path.parent)])

    async def main() -> str:
        with pytest.raises(RuntimeCallError) as death:
            await RuntimeSession.open(str(socket_path))
        return death.value.message

    assert "nodestoraged" in asyncio.run(main())


def test_a_child_that_does_not_greet_is_given_up(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = socket_path.parent / "python"
    sleeper.write_text("#!/bin/sh\nexec sleep 30\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    started = time.monotonic()

    with pytest.raises(StepTimeout):
        asyncio.run(RuntimeSession.open(str(socket_path), start_seconds=0.2))

    assert time.monotonic() - started < 5


def test_a_child_that_talks_rubbish_is_ended(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    babbler = socket_path.parent / "python"
    babbler.write_text(
        "#!/bin/sh\n"
        """echo '{"ready": {"grpc": "1", "protobuf": "1"}}'\n"""
        "read line; echo no json; exec sleep 30\n"
    )
    babbler.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(babbler))

    async def main() -> None:
        async with await RuntimeSession.open(str(socket_path)) as session:
            assert session.libraries == ("1", "1")
            with pytest.raises(RuntimeCallError) as death:
                await session.version(20)
            assert death.value.code == "CHILD_DIED"

    started = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - started < 10


def test_answers_find_their_questions(socket_path: Path) -> None:
    async def main() -> None:
        async with await RuntimeSession.open(str(socket_path)) as session:
            answers = await asyncio.gather(
                *(session.snapshots("overlayfs") for _ in range(20)),
                *(session.namespaces() for _ in range(20)),
            )
            assert answers == [3] * 20 + [("k8s.io",)] * 20

    with FakeCri(socket_path, Behaviour(snapshots=3, namespaces={"k8s.io"})):
        asyncio.run(main())


def test_the_daemon_needs_neither_grpc_nor_protobuf() -> None:
    program = (
        "import sys, nodestoraged.adapters.runtimes.session, nodestoraged.adapters.kubelet,"
        " nodestoraged.adapters.runtimes.sandbox_images;"
        "print(sorted(name for name in sys.modules if name in ('grpc', 'google.protobuf')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("mountpoint", "snapshotter"),
    [
        ("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs", "overlayfs"),
        ("/r/io.containerd.snapshotter.v1.stargz/deeper", None),
        ("/r/io.containerd.snapshotter.v1.", None),
        ("/var/lib/containers/storage/overlay-images", None),
    ],
)
def test_the_snapshotter_is_read_out_of_the_mountpoint(
    mountpoint: str, snapshotter: str | None
) -> None:
    usage = ImageFsUsage(mountpoint=mountpoint, used_bytes=0, inodes_used=0, taken_at_ns=0)

    assert usage.snapshotter == snapshotter
