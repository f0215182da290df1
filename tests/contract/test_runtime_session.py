"""What every runtime must answer: one suite over the fake and over a real containerd."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from nodestoraged.adapters.runtimes.replies import RuntimeCallError
from nodestoraged.adapters.runtimes.session import RuntimeSession
from nodestoraged.model.imagefs import ContainerState
from tests.fakes.fake_cri import Behaviour, FakeContainer, FakeCri, FakePod
from tests.fakes.kubelet_standin import Container, Cri, Pod, PodWorker
from tests.fakes.oci_archive import APP_REFERENCE, PAUSE_REFERENCE, write_default_archives
from tests.fakes.private_containerd import PrivateContainerd

T = TypeVar("T")


class World(Protocol):
    """A runtime, and what the tests may do to it behind the session's back."""

    socket_path: Path
    root: Path
    pid: int

    def run_pod(self, name: str) -> None:
        """A pod sandbox with one running container `main` exists."""

    def run_foreign(self, name: str) -> None:
        """A container runs in containerd's namespace `default`."""

    def end_foreign(self, name: str) -> None:
        """It does not run any more."""


class FakeWorld:
    def __init__(self, base: Path) -> None:
        self.socket_path = base / "fake.sock"
        self.root = base / "root"
        self.pid = os.getpid()
        self.fake = FakeCri(
            self.socket_path,
            Behaviour(
                root=str(self.root),
                images={PAUSE_REFERENCE: "sha256:aa", APP_REFERENCE: "sha256:bb"},
                namespaces={"k8s.io"},
                snapshots=3,
            ),
        ).start()

    def run_pod(self, name: str) -> None:
        container = FakeContainer(name="main")
        pod = FakePod(name=name, containers={f"c-{name}": container})
        self.fake.behaviour.pods[f"s-{name}"] = pod
        self.fake.behaviour.tasks["k8s.io"] = [(f"s-{name}", 1, 2), (f"c-{name}", 2, 2)]

    def run_foreign(self, name: str) -> None:
        self.fake.behaviour.namespaces.add("default")
        self.fake.behaviour.tasks["default"] = [(name, 4242, 2), ("ended", 0, 3)]

    def end_foreign(self, name: str) -> None:
        del self.fake.behaviour.tasks["default"]

    def close(self) -> None:
        self.fake.stop()


class RealWorld:
    def __init__(self, base: Path) -> None:
        self.containerd = PrivateContainerd(base).start()
        self.socket_path = self.containerd.socket_path
        self.root = self.containerd.root
        self.pid = self.containerd.pid
        self._app = write_default_archives(base)[1]
        for archive in sorted(base.glob("*.tar")):
            self.containerd.import_image(archive)

    def run_pod(self, name: str) -> None:
        container = Container("main", APP_REFERENCE, ())
        pod = Pod(name, "default", f"uid-{name}", (container,))
        PodWorker(Cri(f"unix://{self.socket_path}"), pod, "", 0).reconcile()

    def run_foreign(self, name: str) -> None:
        self.containerd.ctr("-n", "default", "images", "import", str(self._app))
        self.containerd.ctr("-n", "default", "run", "-d", APP_REFERENCE, name)

    def end_foreign(self, name: str) -> None:
        self.containerd.ctr("-n", "default", "task", "rm", "-f", name)
        self.containerd.ctr("-n", "default", "containers", "rm", name)

    def close(self) -> None:
        self.containerd.close()


@pytest.fixture(
    scope="module", params=["fake", pytest.param("containerd", marks=pytest.mark.integration)]
)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    base = Path(tempfile.mkdtemp(prefix="nsd-"))  # short: a socket's path ends at 107 bytes
    made = FakeWorld(base) if request.param == "fake" else RealWorld(base)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(base)


def ask(world: World, question: Callable[[RuntimeSession], Awaitable[T]]) -> T:
    async def main() -> T:
        async with await RuntimeSession.open(str(world.socket_path)) as session:
            return await question(session)

    return asyncio.run(main())


def test_version_names_the_runtime_and_the_cri_generation(world: World) -> None:
    version = ask(world, lambda session: session.version())

    assert version.runtime_name == "containerd"
    assert version.cri_package == "v1"
    assert version.runtime_version.startswith("1.6.20")
    assert version.containerd_version is not None
    assert version.containerd_version.startswith("1.6.20")


def test_status_names_the_effective_configuration(world: World) -> None:
    status = ask(world, lambda session: session.status())

    assert status.root == str(world.root)
    assert status.state is not None
    assert status.state.endswith("io.containerd.grpc.v1.cri")
    assert status.snapshotter == "overlayfs"
    assert status.sandbox_image == PAUSE_REFERENCE


def test_conditions_are_found_by_type(world: World) -> None:
    status = ask(world, lambda session: session.status())

    runtime, network = status.condition("RuntimeReady"), status.condition("NetworkReady")
    assert runtime is not None
    assert runtime.holds
    assert network is not None
    assert (network.holds, network.reason) == (False, "NetworkPluginNotReady")
    assert status.condition("NoSuchCondition") is None


def test_image_fs_is_the_snapshotters_directory(world: World) -> None:
    usage = ask(world, lambda session: session.image_fs())

    assert usage.mountpoint == f"{world.root}/io.containerd.snapshotter.v1.overlayfs"
    assert usage.taken_at_ns > 1_700_000_000 * 10**9


def test_a_running_runtime_is_not_waited_for(world: World) -> None:
    awaited = ask(world, lambda session: session.await_image_fs(10))

    assert awaited.attempts == 1
    assert awaited.usage.mountpoint.startswith(str(world.root))


def test_ensure_namespace_creates_once_and_then_agrees(world: World) -> None:
    async def twice(session: RuntimeSession) -> tuple[bool, bool, tuple[str, ...]]:
        first = await session.ensure_namespace("nodestorage-test")
        second = await session.ensure_namespace("nodestorage-test")
        return first, second, await session.namespaces()

    first, second, names = ask(world, twice)

    assert (first, second) == (True, False)
    assert "nodestorage-test" in names
    assert "k8s.io" in names


def test_images_are_listed_with_their_digests(world: World) -> None:
    images = ask(world, lambda session: session.images())

    digests = {each.name: each.digest for each in images}
    assert digests[PAUSE_REFERENCE].startswith("sha256:")
    assert digests[PAUSE_REFERENCE] != digests[APP_REFERENCE]


def test_listing_in_an_unknown_namespace_is_empty_and_creates_nothing(world: World) -> None:
    async def look(session: RuntimeSession) -> tuple[int, tuple[str, ...]]:
        return len(await session.images("nowhere")), await session.namespaces()

    count, names = ask(world, look)

    assert count == 0
    assert "nowhere" not in names


def test_snapshots_are_counted(world: World) -> None:
    assert ask(world, lambda session: session.snapshots("overlayfs")) >= 1


def test_an_unloaded_snapshotter_is_a_final_refusal(world: World) -> None:
    with pytest.raises(RuntimeCallError) as refusal:
        ask(world, lambda session: session.snapshots("nosuch"))

    assert refusal.value.code == "INVALID_ARGUMENT"
    assert not refusal.value.retriable


def test_plugins_give_the_paths_of_the_root(world: World) -> None:
    plugins = ask(world, lambda session: session.plugins("overlayfs"))

    assert plugins.snapshotter is not None
    assert plugins.snapshotter.init_error is None
    assert plugins.snapshotter.export("root") == (
        f"{world.root}/io.containerd.snapshotter.v1.overlayfs"
    )
    assert plugins.metadata is not None
    assert plugins.metadata.export("path") == f"{world.root}/io.containerd.metadata.v1.bolt/meta.db"
    assert plugins.content is not None
    assert plugins.cri is not None
    assert plugins.cri.init_error is None


def test_a_snapshotter_that_did_not_load_says_why(world: World) -> None:
    plugins = ask(world, lambda session: session.plugins("btrfs"))

    assert plugins.snapshotter is not None
    assert "skip plugin" in (plugins.snapshotter.init_error or "")


def test_a_task_outside_kubernetes_is_foreign_until_it_ends(world: World) -> None:
    world.run_pod("ours")
    world.run_foreign("web")
    try:
        found = ask(world, lambda session: session.foreign())
    finally:
        world.end_foreign("web")

    assert [(each.namespace, each.container_id, each.status) for each in found] == [
        ("default", "web", "running")
    ]
    assert found[0].pid > 0
    assert ask(world, lambda session: session.foreign()) == ()
    ask(world, lambda session: session.stop_pods(grace_seconds=5, deadline_seconds=30))


def test_the_owner_of_the_socket_is_the_runtime(world: World) -> None:
    owner = ask(world, lambda session: session.socket_owner())

    assert (owner.pid, owner.uid) == (world.pid, os.geteuid())


def test_an_image_is_found_under_the_name_of_the_store(world: World) -> None:
    async def look(session: RuntimeSession) -> tuple[bool, bool, str, str]:
        found = await session.find_image(PAUSE_REFERENCE)
        assert found is not None
        missing = "registry.example/none:1"
        assert await session.find_image(missing) is None
        return (
            await session.has_image(PAUSE_REFERENCE),
            await session.has_image(missing),
            found.name,
            found.digest,
        )

    present, absent, name, digest = ask(world, look)

    assert (present, absent, name) == (True, False, PAUSE_REFERENCE)
    assert digest.startswith("sha256:")


def test_without_a_pin_no_image_is_pinned(world: World) -> None:
    # 1.6.20 pins nothing, not even its sandbox image.
    assert ask(world, lambda session: session.pinned_images()) == ()


def test_running_pods_are_listed_stopped_and_removed(world: World) -> None:
    world.run_pod("alpha")
    world.run_pod("beta")

    before = ask(world, lambda session: session.pods())
    result = ask(world, lambda session: session.stop_pods(grace_seconds=5, deadline_seconds=30))
    after = ask(world, lambda session: session.pods())

    assert sorted(pod.name for pod in before) == ["alpha", "beta"]
    assert all(pod.ready and pod.namespace == "default" for pod in before)
    assert [each.state for pod in before for each in pod.containers] == [
        ContainerState.RUNNING,
        ContainerState.RUNNING,
    ]
    assert (result.containers_stopped, result.sandboxes_removed, result.left) == (2, 2, ())
    assert result.took_seconds < 20
    assert after == ()


def test_stopping_no_pods_is_done_at_once(world: World) -> None:
    result = ask(world, lambda session: session.stop_pods(grace_seconds=5, deadline_seconds=5))

    assert (result.containers_stopped, result.sandboxes_removed, result.left) == (0, 0, ())
    assert result.took_seconds < 2
