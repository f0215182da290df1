"""An idle daemon: its memory, its wake-ups, and what ten thousand events leave behind.

All processes idle side by side in one private node.  The anchors are a process that has imported
what the daemon needs and does nothing, and the programs that people run today to mount what comes
in.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import private
from benchmarks.bench_storm import storm
from benchmarks.measure import children, resident_mib, switches_between, voluntary_switches
from benchmarks.report import Report
from benchmarks.rows import Target
from benchmarks.units import systemd
from demo.node import PROJECT, DemoNode
from tests.fakes.node_bench import bind

WINDOW_SECONDS, WINDOWS = 30, 4
LIBRARIES = ("asyncio", "pyudev", "dbus_next.aio", "structlog", "tomli_w", "tomllib")
#: The package runs with Debian's libraries, so these are what a node's memory is spent on.
DEBIAN = PROJECT / ".venv-debian/bin/python"
PYTHON = str(DEBIAN if DEBIAN.exists() else sys.executable)
UDISKSD = "/usr/libexec/udisks2/udisksd"
#: It shall watch, and mount nothing of this machine.
UDISKIE_WORDS = ("--no-automount", "--no-notify", "--no-tray", "--no-file-manager")

RSS = Target(
    name="idle.rss",
    what="resident memory of the daemon, a stick serving",
    unit="MiB",
    anchor="a process that only imports the libraries",
    ratio=1.25,
)
WARM = Target(
    name="idle.warm",
    what="resident memory of the warm worker",
    unit="MiB",
    anchor="a bare interpreter",
    limit=14,
)
WAKEUPS = Target(
    name="idle.wakeups",
    what="wake-ups of the daemon, a stick serving",
    unit="/s",
    anchor="udisksd",
    limit=0.5,
)
INTERNAL = Target(
    name="idle.internal",
    what="wake-ups of the daemon, no stick in",
    unit="/s",
    anchor="udisksd",
    limit=0.5,
)
WORKER = Target(
    name="idle.worker",
    what="wake-ups of the warm worker, a stick serving",
    unit="/s",
    anchor="udisksd",
)
GROWTH = Target(
    name="idle.growth",
    what="memory that 10,000 events leave behind, after as many before them",
    unit="MiB",
    anchor="the daemon before them",
    limit=1,
)
UDISKIE = Target(
    name="idle.udiskie",
    what="resident memory of the daemon and its warm worker",
    unit="MiB",
    anchor="udiskie with the udisksd that it needs",
)
UDISKSD_RSS = Target(
    name="idle.udisksd",
    what="resident memory of the daemon",
    unit="MiB",
    anchor="udisksd",
)
UDISKIE_WAKEUPS = Target(
    name="idle.udiskie_wakeups",
    what="wake-ups of the daemon, a stick serving",
    unit="/s",
    anchor="udiskie",
)
TARGETS = (
    RSS, WARM, WAKEUPS, INTERNAL, WORKER, GROWTH, UDISKIE, UDISKSD_RSS, UDISKIE_WAKEUPS,
)  # fmt: skip


def run(report: Report) -> None:
    """Measure a quiet node for some minutes."""
    found = private.run(measure, seconds=600)
    assert isinstance(found, dict)
    rss, idle, internal = found["rss"], found["bound"], found["internal"]
    no_udisksd = "" if idle["udisksd"] else "anchor not installed: package udisks2"
    no_udiskie = "" if idle["udiskie"] else "anchor not installed: package udiskie"
    report.row(RSS, rss["daemon"], rss["imports"])
    report.row(WARM, rss["worker"], rss["bare"])
    report.row(WAKEUPS, idle["daemon"], idle["udisksd"], missing=no_udisksd)
    report.row(INTERNAL, internal["daemon"], internal["udisksd"], missing=no_udisksd)
    report.row(WORKER, idle["worker"], idle["udisksd"], missing=no_udisksd)
    report.row(GROWTH, found["growth"]["daemon"], rss["daemon"])
    both = [ours + worker for ours, worker in zip(rss["daemon"], rss["worker"], strict=True)]
    theirs = [a + b for a, b in zip(rss["udiskie"], rss["udisksd"], strict=True)]
    report.row(UDISKIE, both, theirs, missing=no_udiskie)
    report.row(UDISKSD_RSS, rss["daemon"], rss["udisksd"], missing=no_udisksd)
    report.row(UDISKIE_WAKEUPS, idle["daemon"], idle["udiskie"], missing=no_udiskie)
    report.note(
        f"Wake-ups are voluntary context switches, in windows of {WINDOW_SECONDS} s in which udev"
        f" told of nothing. The libraries: {', '.join(LIBRARIES)}, those of"
        f" {'Debian' if sys.executable != PYTHON else 'PyPI'}."
    )


def measure(base: Path) -> dict[str, dict[str, list[float]]]:
    """Inside: everything, on a node that first has no stick and then works from one."""
    with DemoNode(base, python=PYTHON) as node, systemd(node), _bystanders() as others:
        node.until(lambda: node.pods() > 0)
        node.start_daemon()
        internal = _wakeups({"daemon": node.daemon_pid, **others}, 2)
        node.stop_daemon()
        stick = bind(node)
        everybody = {"daemon": node.daemon_pid, "worker": _worker(node), **others}
        bound = _wakeups(everybody, WINDOWS)
        memory = {name: [resident_mib(pid)] for name, pid in everybody.items()}
        growth = []
        for _ in range(4):
            before = resident_mib(node.daemon_pid)
            storm(stick)
            time.sleep(3)
            growth.append(resident_mib(node.daemon_pid) - before)
    absent: dict[str, list[float]] = {"udisksd": [], "udiskie": []}
    return {
        "rss": {**absent, **memory},
        "bound": {**absent, **bound},
        "internal": {**absent, **internal},
        "growth": {"daemon": growth[1:]},
    }


@contextlib.contextmanager
def _bystanders() -> Iterator[dict[str, int]]:
    """The anchors run and idle, those that are installed."""
    imports = f"import {', '.join(LIBRARIES)}, time; time.sleep(600)"
    commands: dict[str, Sequence[str]] = {
        "bare": (PYTHON, "-I", "-c", "import time; time.sleep(600)"),
        "imports": (PYTHON, "-I", "-c", imports),
    }
    if Path(UDISKSD).exists():
        commands["udisksd"] = (UDISKSD, "--no-debug")
        udiskie = shutil.which("udiskie")
        if udiskie is not None:
            commands["udiskie"] = (udiskie, *UDISKIE_WORDS)
    with contextlib.ExitStack() as stack:
        running = {}
        for name, words in commands.items():
            process = subprocess.Popen(
                words, cwd=PROJECT, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
            running[name] = process
            time.sleep(1)
        ended = [name for name, process in running.items() if process.poll() is not None]
        if ended:
            raise RuntimeError(f"did not stay: {', '.join(ended)}")
        yield {name: process.pid for name, process in running.items()}


def _wakeups(pids: dict[str, int], windows: int) -> dict[str, list[float]]:
    """Voluntary context switches per second, by window, once everything has settled."""
    rates: dict[str, list[float]] = {name: [] for name in pids}
    time.sleep(10)
    # Kernel events of anybody's disks are kept waiting: this is about nothing happening.
    subprocess.run(["udevadm", "control", "--stop-exec-queue"], check=True, timeout=10)
    time.sleep(2)
    for _ in range(windows):
        before = {name: voluntary_switches(pid) for name, pid in pids.items()}
        time.sleep(WINDOW_SECONDS)
        for name, pid in pids.items():
            woken = switches_between(before[name], voluntary_switches(pid))
            rates[name].append(woken / WINDOW_SECONDS)
    subprocess.run(["udevadm", "control", "--start-exec-queue"], check=True, timeout=10)
    return rates


def _worker(node: DemoNode) -> int:
    """The warm worker: the daemon's child that is always there."""
    found = [pid for pid, words in children(node.daemon_pid) if "worker/__main__.py" in words]
    return found[0]
