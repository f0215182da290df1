"""The real worker in a mount namespace of its own, so that tests mount without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from nodestoraged.adapters.children import Children
from nodestoraged.linux import mountinfo

_PRIVATE = ("unshare", "-m", "--propagation", "private", sys.executable, "-I", "-S")


class PrivateWorker:
    """Synchronous calls of one worker; everything it mounts ends with it."""

    def __init__(self, runner: asyncio.Runner, children: Children) -> None:
        self.runner = runner
        self.children = children

    def call(
        self, op: str, *, deadline_seconds: float = 20.0, **args: object
    ) -> Mapping[str, object]:
        """One operation, as `Children.call`."""
        return self.runner.run(self.children.call(op, args, deadline_seconds=deadline_seconds))

    @property
    def pid(self) -> int:
        """The warm process."""
        assert self.children.pid is not None
        return self.children.pid

    def mounts_at(self, target: object) -> tuple[mountinfo.MountRow, ...]:
        """The rows at `target` in the worker's namespace, the visible one last."""
        return mountinfo.mounts_at(mountinfo.read(self.pid), str(target))

    def namespace(self) -> Path:
        """The name of its mount namespace."""
        return Path(f"/proc/{self.pid}/ns/mnt").readlink()

    def path(self, path: object) -> str:
        """`path` as the worker sees it, for use by the test."""
        return f"/proc/{self.pid}/root{path}"


@contextlib.contextmanager
def private_worker() -> Iterator[PrivateWorker]:
    """A worker in its own mount namespace for the time of a `with` block."""
    with asyncio.Runner() as runner:
        children = Children(python=_PRIVATE)
        runner.run(children.start())
        try:
            worker = PrivateWorker(runner, children)
            # Until it answers, it may still be in the namespace of everybody.
            worker.call("stat_fs", path="/")
            assert worker.namespace() != Path("/proc/self/ns/mnt").readlink()
            yield worker
        finally:
            runner.run(children.close())
