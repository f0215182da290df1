"""A hung neighbour: the same as `event`, beside a disk that answers nothing.

The neighbour carries the role's label too, somebody waits for it in vain, and the server behind it
is stopped by SIGSTOP.  It freezes `udevadm settle` and `mount -L`, so there is no script to compare
with: the anchor is ours without the neighbour.  Its life is bounded, whatever happens.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks import private
from benchmarks.bench_event import come_and_go, waiting_node
from benchmarks.report import Report
from benchmarks.rows import Target
from tests.fakes.faultfs import fault_disk
from tests.fakes.loopdev import loop_device, make_image

ROUNDS = 10
LIFE_SECONDS = 50

MOUNTED = Target(
    name="neighbour.mounted",
    what="event to mounted, beside a disk that hangs",
    unit="ms",
    anchor="the same without it",
    ratio=1.5,
)
DECIDED = Target(
    name="neighbour.decided",
    what="event to the decision, beside a disk that hangs",
    unit="ms",
    anchor="the same without it",
    ratio=1.5,
)
TARGETS = (MOUNTED, DECIDED)


def run(report: Report) -> None:
    """Measure with and without."""
    found = private.run(measure, seconds=150)
    assert isinstance(found, dict)
    report.row(MOUNTED, found["mounted"], found["alone_mounted"])
    report.row(DECIDED, found["decided"], found["alone_decided"])


def measure(base: Path) -> dict[str, list[float]]:
    """Inside: milliseconds, half of the rounds alone before the neighbour hangs, half after."""
    names = ("alone_mounted", "alone_decided", "mounted", "decided")
    values: dict[str, list[float]] = {name: [] for name in names}

    def rounds(count: int, mounted: str, decided: str) -> None:
        for _ in range(count):
            spent = come_and_go(node, {})
            values[mounted].append(spent[0])
            values[decided].append(spent[1])

    with waiting_node(base) as node:
        rounds(ROUNDS // 2, "alone_mounted", "alone_decided")
        with _hung_disk(base):
            rounds(ROUNDS, "mounted", "decided")
        rounds(ROUNDS // 2, "alone_mounted", "alone_decided")
    return values


@contextlib.contextmanager
def _hung_disk(base: Path) -> Iterator[None]:
    image = make_image(base / "hung.img", "mkfs.ext4", "-q", "-F", "-L", "containerd-opt")
    with fault_disk(image, life_seconds=LIFE_SECONDS) as disk:
        try:
            with loop_device(disk.path) as loop:
                disk.process.send_signal(signal.SIGSTOP)
                words = ["dd", f"if={loop.devnode}", "of=/dev/null", "bs=1M", "iflag=direct"]
                waiting = subprocess.Popen(words, stderr=subprocess.DEVNULL)
                try:
                    yield
                    if waiting.poll() is not None:
                        raise RuntimeError("the neighbour answered")
                finally:
                    disk.kill()  # what waits for it fails now
                    waiting.kill()
                    waiting.wait(20)
        finally:
            disk.kill()
