"""Rules for the runtime port: one child per operation, and one broken link hides no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from nodestoraged.adapters.clock import RealClock
from nodestoraged.adapters.runtimes import runtime as module
from nodestoraged.adapters.runtimes.profiles import CONTAINERD
from nodestoraged.adapters.runtimes.replies import RuntimeCallError
from nodestoraged.adapters.runtimes.runtime import ContainerdRuntime
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.model.imagefs import (
    AwaitedImageFs,
    ForeignTask,
    ImageFsUsage,
    PluginInfo,
    PodSandbox,
    RuntimePlugins,
    RuntimeStatus,
    RuntimeVersion,
    SocketOwner,
    StopPodsResult,
    StoredImage,
)
from nodestoraged.model.proof import Link

LONG = 5.0
STICK = {"major": 8, "minor": 17}
MOUNTPOINT = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs"


def plugin(kind: str, error: str | None = None) -> PluginInfo:
    return PluginInfo(type=kind, id="x", exports=(), init_error=error)


class FakeSession:
    """A runtime that answers from here; `broken` methods fail."""

    def __init__(self) -> None:
        self.alive = True
        self.closed = 0
        self.broken: dict[str, StepError] = {}
        self.plugin = plugin("snapshotter")
        self.images_present = {"docker.io/library/pause:3": "sha256:1"}
        self.sandbox: str | None = "pause:3"
        self.mountpoint = MOUNTPOINT

    def _may(self, name: str) -> None:
        if name in self.broken:
            raise self.broken[name]

    async def close(self) -> bool:
        self.closed += 1
        return True

    async def version(self, _seconds: float = 0) -> RuntimeVersion:
        self._may("version")
        return RuntimeVersion(
            runtime_name="containerd", runtime_version="1.6.20", cri_package="v1",
            containerd_version="1.6.20",
        )  # fmt: skip

    async def status(self, _seconds: float = 0) -> RuntimeStatus:
        self._may("status")
        return RuntimeStatus(
            conditions=(), root=None, state=None, snapshotter="overlayfs",
            sandbox_image=self.sandbox,
        )  # fmt: skip

    async def image_fs(self, _seconds: float) -> ImageFsUsage:
        self._may("image_fs")
        return ImageFsUsage(mountpoint=self.mountpoint, used_bytes=1, inodes_used=1, taken_at_ns=1)

    async def await_image_fs(self, seconds: float) -> AwaitedImageFs:
        self._may("await_image_fs")
        return AwaitedImageFs(usage=await self.image_fs(seconds), attempts=1)

    async def pods(self, _seconds: float = 0) -> tuple[PodSandbox, ...]:
        self._may("pods")
        return tuple(
            PodSandbox(id=str(n), name="p", namespace="d", uid="u", ready=n != 2) for n in range(3)
        )

    async def stop_pods(self, *, grace_seconds: float, deadline_seconds: float) -> StopPodsResult:
        assert grace_seconds < deadline_seconds
        return StopPodsResult(containers_stopped=4, sandboxes_removed=3, left=(), took_seconds=1.0)

    async def plugins(self, name: str) -> RuntimePlugins:
        self._may("plugins")
        assert name == "overlayfs"
        return RuntimePlugins(
            snapshotter=self.plugin, metadata=None, content=None, cri=plugin("cri")
        )

    async def ensure_namespace(self) -> None:
        self._may("ensure_namespace")

    async def namespaces(self) -> tuple[str, ...]:
        return ("default", "k8s.io")

    async def images(self) -> tuple[StoredImage, ...]:
        self._may("images")
        return ()

    async def snapshots(self, _name: str) -> int:
        return 4

    async def socket_owner(self) -> SocketOwner:
        self._may("socket_owner")
        return SocketOwner(pid=42, uid=0)

    async def foreign(self, _seconds: float) -> tuple[ForeignTask, ...]:
        self._may("foreign")
        return (ForeignTask(namespace="moby", container_id="a" * 64, pid=1, status="RUNNING"),)

    async def find_image(self, name: str) -> StoredImage | None:
        digest = self.images_present.get(name)
        return StoredImage(name=name, digest=digest, size_bytes=1) if digest else None

    async def pinned_images(self) -> tuple[str, ...]:
        return ("registry.k8s.io/pause:3.9",)


class FakeChildren:
    """The worker, by canned answers."""

    def __init__(self) -> None:
        self.answers: dict[str, Mapping[str, object] | StepError] = {
            "stat_fs": {
                "st_major": 8, "st_minor": 17, "capacity_bytes": 100, "available_bytes": 50,
            },
            "runtime_view": {
                "mount": {**STICK, "options": ["rw", "nosuid"], "super_options": ["rw"]},
                "root_mount_ids": {"ours": 1, "init": 1, "runtime": 1},
                "locks": [{**STICK, "inode": 9}, {"major": 254, "minor": 1, "inode": 7}],
                "database": {**STICK, "inode": 9},
            },
            "probe_write": {"seconds": 0.01},
        }  # fmt: skip

    async def call(
        self, operation: str, _arguments: object, *, deadline_seconds: float
    ) -> Mapping[str, object]:
        assert deadline_seconds > 0
        answer = self.answers[operation]
        if isinstance(answer, StepError):
            raise answer
        return answer


class Bench:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, archive: Path) -> None:
        self.session = FakeSession()
        self.children = FakeChildren()
        self.opened = 0
        self.runtime = ContainerdRuntime(
            self.children,  # type: ignore[arg-type]
            RealClock(),
            archive,
        )
        self.runtime.configure(RoleConfig(name="containerd", floor_images=("localhost/app:1",)))

        async def opened(_socket: str) -> FakeSession:
            self.opened += 1
            if "open" in self.session.broken:
                raise self.session.broken["open"]
            return self.session

        monkeypatch.setattr(module.RuntimeSession, "open", opened)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await scenario()

    asyncio.run(whole())


def test_one_child_serves_a_whole_operation_and_a_dead_one_is_replaced(bench: Bench) -> None:
    async def scenario() -> None:
        await bench.runtime.open(CONTAINERD)
        await bench.runtime.foreign_containers(CONTAINERD, deadline_seconds=LONG)
        await bench.runtime.stop_pods(CONTAINERD, grace_seconds=1, deadline_seconds=LONG)
        assert (bench.opened, bench.session.closed) == (1, 0)
        bench.session.alive = False
        await bench.runtime.foreign_containers(CONTAINERD, deadline_seconds=LONG)
        assert (bench.opened, bench.session.closed) == (2, 1)
        await bench.runtime.close()
        await bench.runtime.close()
        assert bench.session.closed == 2

    run(scenario)


def test_foreign_containers_are_named_and_none_where_nobody_can_tell(bench: Bench) -> None:
    async def scenario() -> None:
        found = await bench.runtime.foreign_containers(CONTAINERD, deadline_seconds=LONG)
        assert found == ("moby/aaaaaaaaaaaa",)
        unknown = RuntimeCallError("UNIMPLEMENTED", "Unimplemented", "no such service", False)
        bench.session.broken = {"foreign": unknown}
        assert await bench.runtime.foreign_containers(CONTAINERD, deadline_seconds=LONG) == ()
        bench.session.broken = {"foreign": RuntimeCallError("UNAVAILABLE", "Gone", "gone", True)}
        with pytest.raises(StepError):
            await bench.runtime.foreign_containers(CONTAINERD, deadline_seconds=LONG)

    run(scenario)


def test_the_directory_of_the_images_is_told_with_its_links_followed(bench: Bench) -> None:
    async def asked() -> str | None:
        return await bench.runtime.image_directory(CONTAINERD, deadline_seconds=LONG)

    async def scenario() -> None:
        bench.children.answers["stat_fs"] = {"path": "/mnt/root/images"}
        assert await asked() == MOUNTPOINT, "what lies below the root by name is not looked at"
        bench.session.mountpoint = "/data/images"
        assert await asked() == "/mnt/root/images"
        bench.children.answers["stat_fs"] = StepTimeout("Hung", "hung")
        assert await asked() is None
        bench.session.broken = {"image_fs": RuntimeCallError("", "NoImageFs", "starts", True)}
        assert await asked() is None

    run(scenario)


def test_a_whole_proof_has_every_link(bench: Bench) -> None:
    async def scenario() -> None:
        found = await bench.runtime.prove(CONTAINERD, deadline_seconds=LONG)
        stick = DeviceNumber(8, 17)
        assert found.errors == ()
        assert found.path_number == found.mount_number == found.database_number == stick
        assert found.lock_numbers == (stick,), "only meta.db's lock counts"
        assert found.mount_read_only is False
        assert found.root_mount_ids == (1, 1, 1)
        assert (found.capacity_bytes, found.available_bytes) == (100, 50)
        assert (found.images, found.snapshots, found.pods) == (0, 4, 2)
        assert (found.snapshotter, found.snapshotter_error) == ("overlayfs", None)
        assert found.namespace_exists is True
        assert (found.sandbox_image, found.sandbox_image_present) == ("pause:3", True)
        assert (found.runtime_pid, found.runtime_version) == (42, "1.6.20")

    run(scenario)


@pytest.mark.parametrize(
    ("what", "links"),
    [
        ("stat_fs", {Link.IMAGE_FS_PATH, Link.CAPACITY}),
        ("runtime_view", {Link.DATABASE_LOCK, Link.RUNTIME_MOUNT, Link.MOUNT_NAMESPACE}),
        ("probe_write", {Link.WRITE_PROBE}),
        ("socket_owner", {Link.DATABASE_LOCK, Link.RUNTIME_MOUNT, Link.MOUNT_NAMESPACE}),
        ("plugins", {Link.SNAPSHOTTER}),
        ("ensure_namespace", {Link.NAMESPACE}),
        ("images", {Link.LISTING}),
        ("version", set()),
        ("status", set()),
        ("pods", set()),
    ],
)
def test_a_link_that_cannot_be_read_names_its_cause_and_hides_no_other(
    bench: Bench, what: str, links: set[Link]
) -> None:
    async def scenario() -> None:
        error = StepError("IoError", "input/output error")
        if what in bench.children.answers:
            bench.children.answers[what] = error
        else:
            bench.session.broken = {what: error}
        found = await bench.runtime.prove(CONTAINERD, deadline_seconds=LONG)
        assert {link for link, _ in found.errors} == links
        assert all(text == "input/output error" for _, text in found.errors)

    run(scenario)


def test_without_imagefs_there_is_no_proof(bench: Bench) -> None:
    async def scenario() -> None:
        bench.session.broken = {"await_image_fs": StepError("NoImageFs", "no image fs")}
        with pytest.raises(StepError, match="no image fs"):
            await bench.runtime.prove(CONTAINERD, deadline_seconds=LONG)

    run(scenario)


def test_a_snapshotter_that_did_not_load_says_why(bench: Bench) -> None:
    async def scenario() -> None:
        bench.session.plugin = plugin("snapshotter", "path must not be on tmpfs")
        found = await bench.runtime.prove(CONTAINERD, deadline_seconds=LONG)
        assert found.snapshotter_error == "path must not be on tmpfs"

    run(scenario)


def test_the_sandbox_image_is_present_in_the_root_in_force_or_not(bench: Bench) -> None:
    async def scenario() -> None:
        bench.session.images_present = {}
        found = await bench.runtime.prove(CONTAINERD, deadline_seconds=LONG)
        assert (found.sandbox_image, found.sandbox_image_present) == ("pause:3", False)
        bench.session.sandbox = None
        found = await bench.runtime.prove(CONTAINERD, deadline_seconds=LONG)
        assert (found.sandbox_image, found.sandbox_image_present) == (None, None)
        # Neither the root nor the archive has it: that is a fact, not an error.
        assert await bench.runtime.load_images(CONTAINERD, deadline_seconds=LONG) is False

    run(scenario)


def test_images_that_the_root_does_not_have_are_named_and_do_not_fail_the_save(
    bench: Bench,
) -> None:
    async def scenario() -> None:
        bench.session.images_present = {}
        said = await bench.runtime.save_images(CONTAINERD, deadline_seconds=LONG)
        assert said == "0 kept, not present: pause:3, localhost/app:1"

    run(scenario)
