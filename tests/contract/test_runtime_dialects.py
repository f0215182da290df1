"""What a whole proof makes of cri-o, of containerd 2.x, and of a kubelet beside cri-o.

The answers were written after the sources that tests/fakes/fake_cri.py names; none was recorded
from a running cri-o.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from nodestoraged.adapters.clock import RealClock
from nodestoraged.adapters.localkubelet import LocalKubelet
from nodestoraged.adapters.runtimes.profiles import CONTAINERD, CRIO, DOCKER
from nodestoraged.adapters.runtimes.replies import RuntimeCallError
from nodestoraged.adapters.runtimes.runtime import ContainerdRuntime
from nodestoraged.core import conditions
from nodestoraged.core.verify import verify
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.errors import StepError
from nodestoraged.model.proof import KubeletReading, Link, ProofReading
from nodestoraged.model.runtime import Dialect, RuntimeProfile
from nodestoraged.sim.adapters import PROFILE
from nodestoraged.sim.node import SimNode
from tests.fakes.fake_cri import Behaviour, FakeContainer, FakeCri, FakePod, containerd_2, crio

T = TypeVar("T")
STICK = {"major": 8, "minor": 17}
#: The size of the stick that the root is on, and of the disk that kubelet's own directory is on.
ROOT, NODE_FS = 100, 900
PAUSE = "registry.k8s.io/pause:3.10"
KUBERNETES = "k8s.io"


class Worker:
    """What the worker reads of a runtime whose root is on the stick."""

    def __init__(self, database: bool) -> None:
        locks = [{**STICK, "inode": 9}] if database else []
        self._answers: dict[str, Mapping[str, object]] = {
            "stat_fs": {
                "st_major": 8, "st_minor": 17, "capacity_bytes": ROOT, "available_bytes": 50,
            },
            "runtime_view": {
                "mount": {**STICK, "options": ["rw"], "super_options": ["rw"]},
                "root_mount_ids": {"ours": 1, "init": 1, "runtime": 1},
                "locks": locks,
                "database": {**STICK, "inode": 9} if database else None,
            },
            "probe_write": {"seconds": 0.01},
        }  # fmt: skip

    async def call(
        self, operation: str, _arguments: object, *, deadline_seconds: float
    ) -> Mapping[str, object]:
        assert deadline_seconds > 0
        return self._answers[operation]


@pytest.fixture
def base() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="nsd-"))
    yield made
    shutil.rmtree(made)


def ask(
    base: Path,
    row: RuntimeProfile,
    behaviour: Behaviour,
    question: Callable[[ContainerdRuntime, RuntimeProfile], Awaitable[T]],
) -> T:
    profile = replace(row, socket=str(base / "fake.sock"))
    worker = Worker(database=row.dialect is Dialect.CONTAINERD)

    async def main() -> T:
        runtime = ContainerdRuntime(worker, RealClock(), base / "images")  # type: ignore[arg-type]
        try:
            return await question(runtime, profile)
        finally:
            await runtime.close()

    with FakeCri(base / "fake.sock", behaviour):
        return asyncio.run(main())


def prove(base: Path, row: RuntimeProfile, behaviour: Behaviour) -> ProofReading:
    return ask(base, row, behaviour, lambda runtime, it: runtime.prove(it, deadline_seconds=20))


def broken(reading: ProofReading, row: RuntimeProfile) -> list[Link]:
    results = verify(reading, DeviceNumber(8, 17), own_namespace=False, dialect=row.dialect)
    return [each.link for each in results if not each.holds]


def test_crio_is_proven_without_what_only_containerd_has(base: Path) -> None:
    pod = FakePod("p", containers={"c": FakeContainer("main")})
    reading = prove(
        base, CRIO, crio(images={PAUSE: "sha256:aa", "b:1": "sha256:bb"}, pods={"p": pod})
    )

    assert reading.errors == ()
    assert broken(reading, CRIO) == []
    assert reading.mountpoint == "/var/lib/containers/storage/overlay-images"
    assert (reading.runtime_version, reading.images, reading.snapshots) == ("1.31.0", 2, 1)
    assert (reading.snapshotter, reading.namespace_exists, reading.lock_numbers) == (None, None, ())
    assert (reading.sandbox_image, reading.sandbox_image_present) == (PAUSE, True)


def test_crio_on_another_disk_breaks_the_links_that_it_does_have(base: Path) -> None:
    reading = prove(base, CRIO, crio())
    results = verify(reading, DeviceNumber(8, 33), own_namespace=False, dialect=Dialect.CRI)
    assert {each.link for each in results if not each.holds} == {
        Link.IMAGE_FS_PATH,
        Link.RUNTIME_MOUNT,
    }


def kubelet_says(capacity: int | None, row: RuntimeProfile) -> int | None:
    """What is read of a kubelet whose /stats/summary has that capacity; None: it has no sample."""
    runtime = {} if capacity is None else {"imageFs": {"capacityBytes": capacity}}
    body = json.dumps({"node": {"fs": {"capacityBytes": NODE_FS}, "runtime": runtime}})

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.0 200 OK\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    async def main() -> int | None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await LocalKubelet().capacity_bytes(
                replace(row, stats_port=port), deadline_seconds=5
            )

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("says", "age", "status", "reason"),
    [
        (ROOT, 1, "True", "Shown"),
        (NODE_FS, 1, "False", "KubeletMismatch"),
        (None, 1, "True", "Shown"),
        (ROOT, -1, "True", "Shown"),
        (NODE_FS, -1, "False", "KubeletMismatch"),
        (None, -1, "Unknown", "NotShown"),
    ],
    ids=[
        "newer and agrees", "newer and differs", "newer and silent",
        "older and agrees", "older and differs", "older and silent",
    ],
)  # fmt: skip
def test_a_kubelet_beside_crio_agrees_by_its_number_and_without_one_by_its_age(
    base: Path, says: int | None, age: float, status: str, reason: str
) -> None:
    """Its summary has one place for the number, whether CRI or the label `crio-images` gave it.

    The label is looked up in the mounts that there were when kubelet started, so an older one
    names the size of the file system that the root lay on before.
    """
    reading = prove(base, CRIO, crio())
    assert reading.capacity_bytes == ROOT
    node = SimNode(profile=replace(PROFILE, name=CRIO.name, dialect=CRIO.dialect))
    try:
        node.world.make("blue")
        node.ask("enroll", stick=node.world.plug("blue").devnode, name="blue")
        view = node.view
        assert view.mounted_at is not None
        assert view.proof is not None
        kubelet = KubeletReading(
            installed=True, running=True, healthy=True,
            capacity_bytes=kubelet_says(says, CRIO), started_at=view.mounted_at + age,
        )  # fmt: skip
        proof = replace(view.proof, capacity_bytes=reading.capacity_bytes)
        seen = conditions.of(replace(view, kubelet=kubelet, proof=proof))
    finally:
        node.close()
    (agrees,) = (one for one in seen if one.type == "KubeletAgrees")
    assert (agrees.status, agrees.reason) == (status, reason)


def test_crio_keeps_no_images_and_says_so_without_failing(base: Path) -> None:
    async def all_of(runtime: ContainerdRuntime, it: RuntimeProfile) -> list[object]:
        return [
            await runtime.save_images(it, deadline_seconds=5),
            await runtime.keep_images(it, every=True, deadline_seconds=5),
            await runtime.bring_images(it, every=False, deadline_seconds=5),
            await runtime.load_images(it, deadline_seconds=5),
            runtime.kept_images(),
        ]

    not_kept = "not kept: this runtime has no client that exports images"
    without = ask(base, CRIO, crio(), all_of)
    assert without == [not_kept, not_kept, "none were kept", False, ()]
    with_it = ask(base, CRIO, crio(images={PAUSE: "sha256:aa"}), all_of)
    assert with_it[3] is True


def test_images_are_kept_with_the_client_that_the_row_names(base: Path) -> None:
    row = replace(CONTAINERD, ctr=("/no/such/k3s", "ctr"))
    behaviour = Behaviour(images={PAUSE: "sha256:aa"}, sandbox_image=PAUSE)
    with pytest.raises(StepError, match="/no/such/k3s"):
        ask(base, row, behaviour, lambda runtime, it: runtime.save_images(it, deadline_seconds=5))
    with pytest.raises(StepError, match="/no/such/k3s"):
        ask(
            base,
            row,
            behaviour,
            lambda runtime, it: runtime.keep_images(it, every=True, deadline_seconds=5),
        )


def test_crio_without_its_sandbox_image_is_seen(base: Path) -> None:
    reading = prove(base, CRIO, crio())
    assert (reading.sandbox_image, reading.sandbox_image_present) == (PAUSE, False)


def test_crio_has_no_foreign_containers_and_its_pods_can_be_stopped(base: Path) -> None:
    behaviour = crio(pods={"p": FakePod("p")})

    async def both(runtime: ContainerdRuntime, it: RuntimeProfile) -> tuple[object, int]:
        foreign = await runtime.foreign_containers(it, deadline_seconds=5)
        return foreign, await runtime.stop_pods(it, grace_seconds=1, deadline_seconds=10)

    assert ask(base, CRIO, behaviour, both) == ((), 1)
    assert behaviour.pods == {}


def test_containerd_2_is_waited_for_and_proven(base: Path) -> None:
    behaviour = containerd_2(
        namespaces={KUBERNETES}, images={PAUSE: "sha256:aa"}, pinned=frozenset({PAUSE}), snapshots=3
    )
    reading = prove(base, CONTAINERD, behaviour)

    assert behaviour.not_initialized_calls == 0
    assert broken(reading, CONTAINERD) == []
    assert reading.snapshotter == "overlayfs", "Status does not name it; the directory does"
    assert (reading.images, reading.snapshots) == (1, 3)
    # Status does not name it, so nothing is claimed of it.
    assert (reading.sandbox_image, reading.sandbox_image_present) == (None, None)


def test_an_empty_root_of_containerd_2_gets_the_image_that_was_pinned_before(base: Path) -> None:
    said = base / "said"
    ctr = base / "ctr"
    # ctr -a SOCKET -n NAMESPACE images export -- FILE NAME
    ctr.write_text(f'#!/bin/sh\n[ "$6" = export ] && echo x >"$8"\necho "$6 $9" >>{said}\n')
    ctr.chmod(0o755)
    row = replace(CONTAINERD, ctr=(str(ctr),))

    full = containerd_2(images={PAUSE: "sha256:aa"}, pinned=frozenset({PAUSE}))
    full.not_initialized_calls = 0
    kept = ask(base, row, full, lambda runtime, it: runtime.save_images(it, deadline_seconds=5))
    empty = containerd_2()
    empty.not_initialized_calls = 0
    loaded = ask(base, row, empty, lambda runtime, it: runtime.load_images(it, deadline_seconds=5))

    assert kept == "1 kept"
    assert loaded
    assert said.read_text() == f"export {PAUSE}\nimport \n"


def test_a_failed_part_of_containerd_2_s_cri_breaks_the_snapshotter_link(base: Path) -> None:
    behaviour = containerd_2(plugin_errors={"runtime": "no cgroup"})
    assert broken(prove(base, CONTAINERD, behaviour), CONTAINERD) == [Link.SNAPSHOTTER]


def test_docker_s_containerd_cannot_be_proven_and_says_so_at_once(base: Path) -> None:
    with pytest.raises(RuntimeCallError) as refusal:
        prove(base, DOCKER, Behaviour(packages=()))
    assert (refusal.value.reason, refusal.value.retriable) == ("NotSupported", False)
