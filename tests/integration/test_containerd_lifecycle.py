"""A session that outlives its runtime: stopped, killed and started anew."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from nodestoraged.adapters.runtimes.replies import RuntimeCallError
from nodestoraged.adapters.runtimes.sandbox_images import SandboxImages
from nodestoraged.adapters.runtimes.session import RuntimeSession
from nodestoraged.worker.grpc.containerd import Containerd
from nodestoraged.worker.grpc.cri import Cri
from nodestoraged.worker.grpc.deadline import Deadline
from nodestoraged.worker.grpc.wire import Wire
from tests.fakes import kubelet_standin
from tests.fakes.oci_archive import APP_REFERENCE, PAUSE_REFERENCE, write_default_archives
from tests.fakes.private_containerd import PrivateContainerd

pytestmark = pytest.mark.integration

T = TypeVar("T")


@pytest.fixture
def base() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="nsd-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def containerd(base: Path) -> Iterator[PrivateContainerd]:
    private = PrivateContainerd(base)
    yield private
    private.close()


def ask(containerd: PrivateContainerd, question: Callable[[RuntimeSession], Awaitable[T]]) -> T:
    async def main() -> T:
        async with await RuntimeSession.open(str(containerd.socket_path)) as session:
            return await question(session)

    return asyncio.run(main())


def test_a_starting_containerd_is_seen_as_soon_as_it_answers(
    containerd: PrivateContainerd,
) -> None:
    async def start(session: RuntimeSession) -> tuple[str, float]:
        waiting = asyncio.create_task(session.await_image_fs(30))
        await asyncio.sleep(0.1)
        started = time.monotonic()
        containerd.launch()
        mountpoint = (await waiting).usage.mountpoint
        return mountpoint, time.monotonic() - started

    mountpoint, took = ask(containerd, start)

    assert mountpoint.startswith(str(containerd.root))
    # 0.05-0.3 s on an idle machine; grpc's default back-off alone would be a second per refusal.
    assert took < 5


def test_one_session_lives_through_stop_swap_and_start(
    containerd: PrivateContainerd, base: Path
) -> None:
    async def swap(session: RuntimeSession) -> tuple[list[str], tuple[str, ...], int]:
        reasons = []
        await session.ensure_namespace("before")
        first = await session.socket_owner()
        for end in (containerd.terminate, containerd.kill):
            await asyncio.to_thread(end)
            with pytest.raises(RuntimeCallError) as refusal:
                await session.version()
            reasons.append(refusal.value.reason)
            containerd.root.rename(base / f"root-{len(reasons)}")
            containerd.launch()
            await session.await_image_fs(30)
        second = await session.socket_owner()
        assert first.pid != second.pid
        return reasons, await session.namespaces(), second.pid

    containerd.start()
    reasons, namespaces, pid = ask(containerd, swap)

    # SIGTERM removes the socket file, SIGKILL leaves it.
    assert reasons == ["SocketMissing", "SocketStale"]
    assert "before" not in namespaces
    assert pid == containerd.pid


def test_a_disabled_cri_plugin_is_final(base: Path) -> None:
    with PrivateContainerd(base, cri=False) as containerd:

        async def look(session: RuntimeSession) -> tuple[RuntimeCallError, bool]:
            with pytest.raises(RuntimeCallError) as refusal:
                await session.await_image_fs(30)
            return refusal.value, (await session.plugins("overlayfs")).cri is None

        refusal, absent = ask(containerd, look)

    assert (refusal.code, refusal.retriable) == ("UNIMPLEMENTED", False)
    assert absent


def test_real_containerd_answers_v1alpha2_with_the_same_messages(
    containerd: PrivateContainerd,
) -> None:
    containerd.start()
    wire = Wire(str(containerd.socket_path))
    cri = Cri(wire)
    cri._package = "v1alpha2"

    version = cri.version(Deadline(10))
    usage = cri.image_fs(Deadline(10))
    wire.close_if_idle()

    assert version["cri_package"] == "v1alpha2"
    assert str(usage["mountpoint"]).startswith(str(containerd.root))


def test_creating_a_namespace_without_the_header_fails_though_it_was_created(
    containerd: PrivateContainerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The trap that the fake reproduces, and the reason for the header.
    containerd.start()
    wire = Wire(str(containerd.socket_path))
    native = Containerd(wire)
    monkeypatch.setattr("nodestoraged.worker.grpc.wire._metadata", lambda _namespace: ())

    with pytest.raises(Exception, match="namespace is required"):
        native.ensure_namespace("trap", Deadline(10))

    assert "trap" in native.namespaces(Deadline(10))
    wire.close_if_idle()


def test_a_container_that_ignores_sigterm_gets_its_whole_grace_and_no_more(
    containerd: PrivateContainerd, base: Path
) -> None:
    containerd.start()
    for archive in write_default_archives(base):
        containerd.import_image(archive)
    deaf = ("/bin/busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    container = kubelet_standin.Container("deaf", APP_REFERENCE, deaf)
    pod = kubelet_standin.Pod("deaf", "default", "uid-deaf", (container,))
    kubelet = kubelet_standin.Cri(f"unix://{containerd.socket_path}")
    kubelet_standin.PodWorker(kubelet, pod, "", 0).reconcile()
    until(lambda: any(ignores_sigterm(pid) for pid in tasks(containerd)))

    result = ask(
        containerd, lambda session: session.stop_pods(grace_seconds=2, deadline_seconds=20)
    )

    assert (result.containers_stopped, result.sandboxes_removed, result.left) == (1, 1, ())
    assert 1.9 < result.took_seconds < 10
    until(lambda: containerd.shims() == ())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def tasks(containerd: PrivateContainerd) -> list[int]:
    """The first process of each sandbox and container."""
    lines = containerd.ctr("-n", "k8s.io", "tasks", "ls").stdout.splitlines()[1:]
    return [int(line.split()[1]) for line in lines]


def ignores_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    ignored = next(line.split()[1] for line in lines if line.startswith("SigIgn:"))
    return bool(int(ignored, 16) >> signal.SIGTERM - 1 & 1)


def test_the_sandbox_image_comes_back_on_an_empty_root(
    containerd: PrivateContainerd, base: Path
) -> None:
    images = SandboxImages(str(containerd.socket_path), base / "images")

    async def save(session: RuntimeSession) -> str:
        found = await session.find_image(PAUSE_REFERENCE)
        assert found is not None
        await images.keep(found.name, found.digest, deadline_seconds=30)
        return found.digest

    async def load(session: RuntimeSession) -> tuple[bool, bool, str]:
        before = await session.has_image(PAUSE_REFERENCE)
        assert await images.restore(PAUSE_REFERENCE, deadline_seconds=30)
        until = time.monotonic() + 5
        while not (after := await session.has_image(PAUSE_REFERENCE)):
            assert time.monotonic() < until
            await asyncio.sleep(0.02)
        found = await session.find_image(PAUSE_REFERENCE)
        assert found is not None
        return before, after, found.digest

    containerd.start()
    containerd.import_image(write_default_archives(base)[0])
    digest = ask(containerd, save)
    containerd.terminate()
    containerd.root.rename(base / "old-root")
    containerd.start()
    before, after, restored = ask(containerd, load)

    assert (before, after) == (False, True)
    assert restored == digest
    assert sum(each.size_bytes for each in images.kept()) > 500_000


def test_an_image_that_is_not_there_cannot_be_kept(
    containerd: PrivateContainerd, base: Path
) -> None:
    containerd.start()
    images = SandboxImages(str(containerd.socket_path), base / "images")

    with pytest.raises(Exception, match="not found"):
        asyncio.run(images.keep("localhost/none:1", "sha256:0", deadline_seconds=30))

    assert images.kept() == ()
