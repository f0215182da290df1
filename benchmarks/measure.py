"""Ways to measure: commands by the clock, ours and the anchor in turns, a process's size."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def in_turns(
    rounds: int, ours: Callable[[], float], anchor: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """`rounds` values of each, measured in turns, so that a busy machine strikes both alike."""
    ours_values, anchor_values = [], []
    for _ in range(rounds):
        ours_values.append(ours())
        anchor_values.append(anchor())
    return ours_values, anchor_values


def wall_seconds(action: Callable[[], object]) -> float:
    """How long `action` took."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def command_ms(words: Sequence[str], *, environment: dict[str, str] | None = None) -> float:
    """Milliseconds from the start of a program to its end; it must succeed within 60 s."""
    begun = time.perf_counter()
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as process:
        # Not wait(timeout): it looks at intervals that double, and would be what is measured.
        timer = threading.Timer(60, process.kill)
        timer.start()
        code = process.wait()
        ended = time.perf_counter()
        timer.cancel()
    if code != 0:
        raise RuntimeError(f"{words} ended with {code}")
    return (ended - begun) * 1000


def resident_mib(pid: int) -> float:
    """Resident memory of a process in MiB."""
    return _status(pid, "VmRSS") / 1024


def voluntary_switches(pid: int) -> dict[str, int]:
    """How often each living thread of a process has gone to sleep of its own will."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {each.name: _status(int(each.name), "voluntary_ctxt_switches") for each in threads}


def switches_between(before: dict[str, int], after: dict[str, int]) -> int:
    """The sum of what was added; a thread that ended in between is not known any more."""
    return sum(count - before.get(thread, 0) for thread, count in after.items())


def cpu_seconds(pid: int) -> float:
    """Time on a processor of all living threads of a process since its start."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1e9


def children(pid: int) -> list[tuple[int, str]]:
    """The children of a process, each with its command line in one string."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    listed = [word for each in threads for word in (each / "children").read_text().split()]
    return [
        (int(word), Path(f"/proc/{word}/cmdline").read_text().replace("\0", " ")) for word in listed
    ]


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    raise KeyError(key)
