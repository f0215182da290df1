"""A private containerd whose root can be washed, with our adapters around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from nodestoraged.adapters.children import Children
from nodestoraged.adapters.roots import WorkerRoots
from nodestoraged.adapters.runtimes.image_carry import CarriedImage, ImageCarry
from nodestoraged.adapters.runtimes.session import RuntimeSession
from nodestoraged.model.hidden import Removed, Wash
from tests.fakes import kubelet_standin
from tests.fakes.oci_archive import APP_REFERENCE
from tests.fakes.private_containerd import PrivateContainerd

T = TypeVar("T")
BLOBS = "io.containerd.content.v1.content/blobs/sha256"


class WashBench:
    """A private containerd with our adapters around it."""

    def __init__(self, base: Path, runner: asyncio.Runner) -> None:
        self.base = base
        self.runner = runner
        self.containerd = PrivateContainerd(base)
        self.children = Children()
        runner.run(self.children.start())
        self.roots = WorkerRoots(self.children)
        socket = str(self.containerd.socket_path)
        self.carry = ImageCarry(self.children, socket, base / "carry")

    def ask(self, question: Callable[[RuntimeSession], Awaitable[T]]) -> T:
        async def main() -> T:
            async with await RuntimeSession.open(str(self.containerd.socket_path)) as session:
                return await question(session)

        return self.runner.run(main())

    def remember(self) -> tuple[CarriedImage, ...]:
        return self.ask(lambda session: self.carry.remember(session, deadline_seconds=30))

    def wash(self, tier: Wash) -> Removed:
        root = str(self.containerd.root)
        return self.runner.run(self.roots.wash(root, tier, deadline_seconds=60))

    def listing(self) -> list[tuple[str, str, str]]:
        """Name, digest and labels of everything in k8s.io, once CRI has labelled it."""
        until = time.monotonic() + 10
        while True:
            lines = self.containerd.ctr("-n", "k8s.io", "images", "ls").stdout.splitlines()[1:]
            rows = [line.split() for line in lines]
            if all("io.cri-containerd.image=managed" in row[-1] for row in rows):
                return sorted((row[0], row[2], row[-1]) for row in rows)
            assert time.monotonic() < until, rows
            time.sleep(0.05)

    def blobs(self) -> dict[str, int]:
        """Each blob with its inode."""
        directory = self.containerd.root / BLOBS
        if not directory.is_dir():
            return {}
        return {path.name: path.stat().st_ino for path in directory.iterdir()}

    def run_a_pod(self) -> None:
        """A pod of the application image runs, as kubelet would have it."""
        container = kubelet_standin.Container("app", APP_REFERENCE, ())
        pod = kubelet_standin.Pod("app", "default", "uid-app", (container,))
        kubelet = kubelet_standin.Cri(f"unix://{self.containerd.socket_path}")
        kubelet_standin.PodWorker(kubelet, pod, "", 0).reconcile()
        pods = self.ask(lambda session: session.pods())
        assert [each.ready for each in pods] == [True]

    def close(self) -> None:
        """Nothing of it runs any more."""
        self.containerd.close()
        self.runner.run(self.children.close())
