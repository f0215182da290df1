"""What the session makes of runtimes that start, hang, lie or lack a service (the fake only)."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

from nodestoraged.adapters.runtimes.replies import RuntimeCallError
from nodestoraged.adapters.runtimes.session import RuntimeSession
from tests.fakes.fake_cri import Behaviour, FakeContainer, FakeCri, FakePod

T = TypeVar("T")


@pytest.fixture
def socket_path() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="nsd-"))
    yield base / "fake.sock"
    shutil.rmtree(base)


def ask(path: Path, question: Callable[[RuntimeSession], Awaitable[T]]) -> T:
    async def main() -> T:
        async with await RuntimeSession.open(str(path)) as session:
            return await question(session)

    return asyncio.run(main())


@pytest.mark.parametrize("code", [grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE])
def test_not_initialized_is_retriable_and_waited_out(
    socket_path: Path, code: grpc.StatusCode
) -> None:
    behaviour = Behaviour(not_initialized_calls=4, not_initialized_code=code)
    with FakeCri(socket_path, behaviour):
        with pytest.raises(RuntimeCallError) as refusal:
            ask(socket_path, lambda session: session.image_fs())
        awaited = ask(socket_path, lambda session: session.await_image_fs(10))

    assert (refusal.value.reason, refusal.value.retriable) == ("RuntimeNotReady", True)
    assert awaited.attempts == 4


def test_a_disabled_cri_ends_the_wait_at_once(socket_path: Path) -> None:
    started = time.monotonic()
    with (
        FakeCri(socket_path, Behaviour(packages=())),
        pytest.raises(RuntimeCallError) as refusal,
    ):
        ask(socket_path, lambda session: session.await_image_fs(30))

    assert (refusal.value.code, refusal.value.reason) == ("UNIMPLEMENTED", "NotSupported")
    assert not refusal.value.retriable
    assert time.monotonic() - started < 10


def test_an_old_cri_is_spoken_to_as_v1alpha2(socket_path: Path) -> None:
    async def both(session: RuntimeSession) -> tuple[str, str]:
        mountpoint = (await session.image_fs()).mountpoint
        return (await session.version()).cri_package, mountpoint

    with FakeCri(socket_path, Behaviour(packages=("v1alpha2",))):
        package, mountpoint = ask(socket_path, both)

    assert package == "v1alpha2"
    assert mountpoint.startswith("/var/lib/containerd/")


def test_crio_has_no_containerd_services_and_still_a_version(socket_path: Path) -> None:
    with FakeCri(socket_path, Behaviour(native=False)):
        version = ask(socket_path, lambda session: session.version())
        with pytest.raises(RuntimeCallError) as refusal:
            ask(socket_path, lambda session: session.foreign())

    assert (version.runtime_name, version.containerd_version) == ("cri-o", None)
    assert (refusal.value.reason, refusal.value.retriable) == ("NotSupported", False)


def test_an_empty_image_fs_list_is_waited_out_and_named(socket_path: Path) -> None:
    with FakeCri(socket_path, Behaviour(without_image_fs_calls=3)) as fake:
        awaited = ask(socket_path, lambda session: session.await_image_fs(10))
        fake.behaviour.without_image_fs_calls = 10**6
        with pytest.raises(RuntimeCallError) as refusal:
            ask(socket_path, lambda session: session.await_image_fs(2))

    assert awaited.attempts == 4
    assert refusal.value.reason == "NoImageFs"


def test_an_attempt_that_the_deadline_cut_off_is_not_the_cause(socket_path: Path) -> None:
    async def hang_later(session: RuntimeSession) -> None:
        waiting = asyncio.create_task(session.await_image_fs(3))
        await asyncio.sleep(2.5)
        fake.behaviour.hanging = frozenset({"ImageFsInfo"})
        await waiting

    with FakeCri(socket_path, Behaviour(without_image_fs_calls=10**6)) as fake:
        with pytest.raises(RuntimeCallError) as refusal:
            ask(socket_path, hang_later)
        fake.released.set()

    assert refusal.value.reason == "NoImageFs"


async def asked(fake: FakeCri) -> None:
    """The image file system was asked for, and answered, once at least."""
    for _ in range(400):
        if fake.called("ImageFsInfo") > 1:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


def test_a_wrong_root_is_reported_as_it_is(socket_path: Path) -> None:
    with FakeCri(socket_path, Behaviour(root="/elsewhere")):
        usage = ask(socket_path, lambda session: session.image_fs())
        status = ask(socket_path, lambda session: session.status())

    assert usage.mountpoint == "/elsewhere/io.containerd.snapshotter.v1.overlayfs"
    assert status.root == "/elsewhere"


def test_a_third_condition_changes_nothing(socket_path: Path) -> None:
    with FakeCri(socket_path, Behaviour(deprecation_warnings=True)):
        status = ask(socket_path, lambda session: session.status())

    runtime = status.condition("RuntimeReady")
    assert runtime is not None
    assert runtime.holds
    assert len(status.conditions) == 3


def test_what_containerd_2_does_not_report_is_none(socket_path: Path) -> None:
    with FakeCri(socket_path, Behaviour(config_in_status=False)):
        status = ask(socket_path, lambda session: session.status())

    assert (status.sandbox_image, status.snapshotter) == (None, None)
    assert status.root == "/var/lib/containerd"


def test_a_dead_disk_answers_everything_and_fails_the_write(socket_path: Path) -> None:
    with FakeCri(socket_path, Behaviour(disk_dead=True)):
        status = ask(socket_path, lambda session: session.status())
        usage = ask(socket_path, lambda session: session.image_fs())
        with pytest.raises(RuntimeCallError) as refusal:
            ask(socket_path, lambda session: session.ensure_namespace())

    ready = status.condition("RuntimeReady")
    assert ready is not None
    assert ready.holds
    assert usage.mountpoint
    assert (refusal.value.reason, refusal.value.retriable) == ("RuntimeIoError", False)


def test_the_namespace_header_goes_with_the_creation(socket_path: Path) -> None:
    with FakeCri(socket_path) as fake:
        assert ask(socket_path, lambda session: session.ensure_namespace("k8s.io"))

    assert ("Namespaces/Create", "k8s.io") in fake.calls


def test_a_hanging_call_ends_at_its_deadline_and_may_be_tried_again(socket_path: Path) -> None:
    with FakeCri(socket_path, Behaviour(hanging=frozenset({"ImageFsInfo"}))) as fake:
        with pytest.raises(RuntimeCallError) as refusal:
            ask(socket_path, lambda session: session.image_fs(1))
        fake.released.set()

    assert (refusal.value.code, refusal.value.retriable) == ("DEADLINE_EXCEEDED", True)


def test_a_hanging_call_does_not_hold_up_another(socket_path: Path) -> None:
    with FakeCri(socket_path, Behaviour(hanging=frozenset({"Status"}))) as fake:

        async def side_by_side(session: RuntimeSession) -> bool:
            hanging = asyncio.create_task(session.status(60))
            async with asyncio.timeout(20):
                while not fake.called("Status"):  # noqa: ASYNC110 - it is in another thread
                    await asyncio.sleep(0.01)
                await session.version()
            hangs = not hanging.done()
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)
            return hangs

        assert ask(socket_path, side_by_side)
        fake.released.set()


def test_a_missing_and_a_stale_socket_are_told_apart(socket_path: Path) -> None:
    with pytest.raises(RuntimeCallError) as missing:
        ask(socket_path, lambda session: session.version())
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
    with pytest.raises(RuntimeCallError) as stale:
        ask(socket_path, lambda session: session.socket_owner())

    assert (missing.value.reason, missing.value.retriable) == ("SocketMissing", True)
    assert (stale.value.reason, stale.value.retriable) == ("SocketStale", True)


def test_the_wait_ends_with_the_last_cause(socket_path: Path) -> None:
    with pytest.raises(RuntimeCallError) as refusal:
        ask(socket_path, lambda session: session.await_image_fs(0.3))

    assert refusal.value.reason == "SocketMissing"
    assert "(after " in refusal.value.message


def test_a_runtime_that_appears_is_polled_for_many_times_a_second(socket_path: Path) -> None:
    async def appear(session: RuntimeSession) -> int:
        waiting = asyncio.create_task(session.await_image_fs(20))
        await asyncio.sleep(1.0)
        await asyncio.to_thread(fake.start)
        return (await waiting).attempts

    fake = FakeCri(socket_path)
    try:
        attempts = ask(socket_path, appear)
    finally:
        fake.stop()

    # About 20; with grpc's own reconnect back-off it would be two.
    assert attempts >= 5


def test_a_cancelled_wait_stops_polling_in_the_child(socket_path: Path) -> None:
    async def cancel(session: RuntimeSession) -> int:
        waiting = asyncio.create_task(session.await_image_fs(60))
        await asked(fake)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(20):
            return await at_rest(fake)

    with FakeCri(socket_path, Behaviour(without_image_fs_calls=10**6)) as fake:
        assert ask(socket_path, cancel) > 0


async def at_rest(fake: FakeCri) -> int:
    """How often the image file system was asked for, once that has not changed for 0.5 s."""
    before = -1
    while before != (now := fake.called("ImageFsInfo")):
        before = now
        await asyncio.sleep(0.5)
    return now


def test_a_runtime_that_came_back_is_answered_by_the_same_session(socket_path: Path) -> None:
    async def through_a_restart(session: RuntimeSession) -> str:
        await session.version()
        await asyncio.to_thread(first.stop)
        with pytest.raises(RuntimeCallError):
            await session.version()
        await asyncio.to_thread(second.start)
        return (await session.await_image_fs(10)).usage.mountpoint

    first = FakeCri(socket_path, Behaviour(root="/one")).start()
    second = FakeCri(socket_path, Behaviour(root="/two"))
    try:
        mountpoint = ask(socket_path, through_a_restart)
    finally:
        second.stop()

    assert mountpoint.startswith("/two/")


def pods(count: int, **container: float) -> dict[str, FakePod]:
    return {
        f"s{number}": FakePod(
            name=f"pod{number}",
            containers={f"c{number}": FakeContainer(name="main", **container)},  # type: ignore[arg-type]
        )
        for number in range(count)
    }


def test_containers_get_their_grace_side_by_side(socket_path: Path) -> None:
    with FakeCri(socket_path, Behaviour(pods=pods(8, stop_seconds=1.0))) as fake:
        result = ask(
            socket_path, lambda session: session.stop_pods(grace_seconds=5, deadline_seconds=20)
        )

    assert result.containers_stopped == 8
    assert result.took_seconds < 6  # one after the other it would be 8 s
    methods = [name for name, _ in fake.calls]
    last_stop = max(i for i, name in enumerate(methods) if name == "StopContainer")
    assert last_stop < methods.index("StopPodSandbox")


def test_the_grace_is_cut_to_leave_time_for_the_teardown(socket_path: Path) -> None:
    with FakeCri(socket_path, Behaviour(pods=pods(2, stop_seconds=60))):
        result = ask(
            socket_path, lambda session: session.stop_pods(grace_seconds=60, deadline_seconds=6)
        )

    assert result.left == ()
    assert 2.5 < result.took_seconds < 6


def test_a_sandbox_that_fails_once_is_tried_again(socket_path: Path) -> None:
    now = pods(2)
    now["s0"].refusals = 1
    with FakeCri(socket_path, Behaviour(pods=now)):
        result = ask(
            socket_path, lambda session: session.stop_pods(grace_seconds=1, deadline_seconds=10)
        )

    assert (result.sandboxes_removed, result.left) == (2, ())


def test_a_stubborn_sandbox_is_named_with_its_cause_at_the_deadline(socket_path: Path) -> None:
    now = pods(2)
    now["s1"].stubborn = True
    with FakeCri(socket_path, Behaviour(pods=now)):
        result = ask(
            socket_path, lambda session: session.stop_pods(grace_seconds=0, deadline_seconds=3)
        )

    assert result.sandboxes_removed == 1
    assert [(pod.id, pod.name) for pod in result.left] == [("s1", "pod1")]
    assert "failed to forcibly stop sandbox" in result.left[0].cause
    assert result.took_seconds < 6  # it gave up at its deadline, and not much later


def test_a_runtime_that_hangs_leaves_its_pods_named(socket_path: Path) -> None:
    behaviour = Behaviour(pods=pods(2), hanging=frozenset({"StopPodSandbox"}))
    with FakeCri(socket_path, behaviour) as fake:
        result = ask(
            socket_path, lambda session: session.stop_pods(grace_seconds=0, deadline_seconds=4)
        )
        fake.released.set()

    assert {pod.id for pod in result.left} == {"s0", "s1"}


def test_a_failed_plugin_of_cri_speaks_for_cri(socket_path: Path) -> None:
    with FakeCri(socket_path, Behaviour(plugin_errors={"cri": "load plugin: boom"})):
        plugins = ask(socket_path, lambda session: session.plugins("overlayfs"))

    assert plugins.cri is not None
    assert plugins.cri.init_error == "load plugin: boom"


def test_of_several_cri_plugins_the_failed_one_speaks(socket_path: Path) -> None:
    behaviour = Behaviour(split_cri=True, plugin_errors={"images": "no such snapshotter"})
    with FakeCri(socket_path, behaviour):
        plugins = ask(socket_path, lambda session: session.plugins("overlayfs"))

    assert plugins.cri is not None
    assert (plugins.cri.id, plugins.cri.init_error) == ("images", "no such snapshotter")


def test_a_pinned_image_is_named(socket_path: Path) -> None:
    behaviour = Behaviour(images={"pause:1": "sha256:a", "app:1": "sha256:b"})
    behaviour.pinned = frozenset({"pause:1"})
    with FakeCri(socket_path, behaviour):
        names = ask(socket_path, lambda session: session.pinned_images())

    assert names == ("pause:1",)


def test_a_short_image_name_is_found_as_the_store_names_it(socket_path: Path) -> None:
    full = "docker.io/library/pause:latest"
    with FakeCri(socket_path, Behaviour(images={full: "sha256:aa"})):
        found = ask(socket_path, lambda session: session.find_image("pause"))

    assert found is not None
    assert found.name == full
