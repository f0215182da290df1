"""A root moved by hand: the bare calls in their order, and nothing that looks, checks or records.

    python -m benchmarks.anchors.by_hand stop|start|ask BASE     (for the script beside this)

No pod runs, no journal is written, nothing is proven beyond ImageFsInfo naming the root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from demo import services
from nodestoraged.worker.grpc.cri import Cri
from nodestoraged.worker.grpc.deadline import Deadline
from nodestoraged.worker.grpc.failure import CallFailure
from nodestoraged.worker.grpc.wire import Wire

_LIBC = ctypes.CDLL(None, use_errno=True)
#: A question in a row of questions: often enough to lose nothing of what is measured.
POLL_SECONDS = 0.005
LIMIT_SECONDS = 30.0


def move(base: Path, devnode: str, before: Callable[[], object] = lambda: None) -> float:
    """containerd's root is the disk `devnode`; seconds from its stop to ImageFsInfo.

    `before` is called in between, while nothing runs and the old root is still in place.
    """
    begun = time.monotonic()
    stop(base)
    before()
    root = str(base / "root")
    if os.path.ismount(root):
        umount(root)
    _checked(_LIBC.mount(devnode.encode(), root.encode(), b"ext4", ctypes.c_ulong(0), None))
    start(base)
    ask(base, LIMIT_SECONDS)
    return time.monotonic() - begun


def stop(base: Path) -> None:
    """containerd does not run."""
    services.stop(services.running(base / "containerd.pid"))


def start(base: Path) -> None:
    """containerd was started; nothing is awaited."""
    with (base / "containerd.log").open("ab") as log:
        process = subprocess.Popen(
            ["containerd", "--config", str(base / "config.toml")],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    (base / "containerd.pid").write_text(str(process.pid))


def ask(base: Path, seconds: float) -> None:
    """ImageFsInfo names a place below the root; TimeoutError if it does not in time."""
    wire = Wire(str(base / "c.sock"))
    end = time.monotonic() + seconds
    try:
        while True:
            try:
                Cri(wire).image_fs(Deadline(LIMIT_SECONDS))
            except CallFailure:
                if time.monotonic() > end:
                    raise TimeoutError("the runtime names no image file system") from None
                time.sleep(POLL_SECONDS)
            else:
                return
    finally:
        wire.close_if_idle()


def umount(root: str) -> None:
    """Nothing is mounted there; the last threads of containerd may hold files for a moment."""
    end = time.monotonic() + LIMIT_SECONDS
    while _LIBC.umount2(root.encode(), 0) < 0:
        if ctypes.get_errno() != errno.EBUSY or time.monotonic() > end:
            raise OSError(ctypes.get_errno(), f"umount {root}")
        time.sleep(0.001)


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def main() -> int:
    """One step for a script."""
    verb, base = sys.argv[1], Path(sys.argv[2])
    if verb == "ask":
        try:
            ask(base, 0)
        except TimeoutError:
            return 1
    else:
        {"stop": stop, "start": start}[verb](base)
    return 0


if __name__ == "__main__":
    sys.exit(main())
