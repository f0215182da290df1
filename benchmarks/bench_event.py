"""From a stick's event to its mount: the real daemon against what scripts do at an event.

The clock runs from udev's own event, when its database holds the label, to the mount in mountinfo.
The runtime is stopped meanwhile, so that nothing but recognising, judging, checking and mounting
is measured; the settle time is set to nothing.
"""

from __future__ import annotations

import contextlib
import json
import select
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyudev

from benchmarks import private
from benchmarks.report import Report
from benchmarks.rows import Target
from benchmarks.units import systemd
from demo.node import DemoNode
from tests.fakes.node_bench import enroll

ROUNDS = 15
#: A node moves by itself a few times in ten minutes only, unless it is told otherwise.
OFTEN = "switch_limit = 1000"
#: Only the anchor's disks have it: other labelled sticks of the machine are not its business.
LABEL = "bench-anchor"
#: A hung disk of anybody freezes both of the anchor's commands.
ANCHOR_SECONDS = 10
HUNG = "anchor hung: no answer within 10 s"
#: How long the disks of others that could hang may keep the anchor from running.
PATIENCE_SECONDS = 60

MOUNTED = Target(
    name="event.mounted",
    what="event to mounted, everything: decision, journal, e2fsck, mount",
    unit="ms",
    anchor="`udevadm settle; mount -L`",
    ratio=0.6,
    limit=15,
)
CHECKED = Target(
    name="event.checked",
    what="event to mounted, everything",
    unit="ms",
    anchor="`udevadm settle; e2fsck -p; mount -L`, which checks too",
)
DECIDED = Target(
    name="event.decided",
    what="event to the decision",
    unit="ms",
    anchor="`udevadm settle; mount -L`",
)
TARGETS = (MOUNTED, CHECKED, DECIDED)


def run(report: Report) -> None:
    """Measure sticks that come in."""
    found = private.run(measure, seconds=240)
    assert isinstance(found, dict)
    hung = HUNG if found["hung"] else ""
    report.row(MOUNTED, found["mounted"], found["script"], missing=hung)
    report.row(CHECKED, found["mounted"], found["checking"], missing=hung)
    report.row(DECIDED, found["decided"], found["script"], missing=hung)
    report.note(f"The steps of ours in ms, by the journal: {found['steps']}.")


def measure(base: Path) -> dict[str, object]:
    """Inside: milliseconds of each way, in turns; what hangs once has no values."""
    target = base / "mnt"
    target.mkdir()
    scripts = {
        "script": f"udevadm settle; mount -L {LABEL} {target}",
        "checking": f"udevadm settle; e2fsck -p $0; mount -L {LABEL} {target}",
    }
    values: dict[str, list[float]] = {"mounted": [], "decided": [], "script": [], "checking": []}
    steps: dict[str, list[float]] = {}
    with waiting_node(base) as node:
        anchor = node.make_stick("anchor", LABEL)
        for _ in range(ROUNDS):
            mounted, decided = come_and_go(node, steps)
            values["mounted"].append(mounted)
            values["decided"].append(decided)
            for name, script in scripts.items():
                values[name] += _by_script(node, anchor, target, script)
    hung = any(len(values[name]) < ROUNDS for name in scripts)
    if hung:
        values["script"] = values["checking"] = []
    return {**values, "hung": hung, "steps": by_step(steps)}


@contextlib.contextmanager
def waiting_node(base: Path) -> Iterator[DemoNode]:
    """A node whose runtime and kubelet are stopped; its daemon knows the stick `blue`."""
    with DemoNode(base, extra=OFTEN) as node, systemd(node):
        node.service("stop", "kubelet")
        node.service("stop", "containerd")
        node.containerd.close()  # the pod goes, too
        node.start_daemon()
        enroll(node, "blue")
        node.until(lambda: is_mounted(base / "root"))
        _pull(node)
        yield node


def come_and_go(node: DemoNode, steps: dict[str, list[float]]) -> tuple[float, float]:
    """`blue` is plugged in, mounted and pulled: milliseconds from event to mount, and to decision.

    `steps` gets the milliseconds of each step.
    """
    event, mounted = _timed(node, "blue", node.make_stick("blue"), node.base / "root")
    node.until(lambda: node.role()["phase"] == "BOUND")
    decided = _decision_time(node)
    note_steps(node, steps)
    _pull(node)
    return (mounted - event) * 1000, (decided - event) * 1000


def fuse_disks() -> bool:
    """True if some loop device of the machine lies on a FUSE file, by sysfs, which cannot hang."""
    for found in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            text = found.read_text().strip()
        except OSError:
            continue
        if "faultfs" in text or text == "/disk":
            return True
    return False


def is_mounted(target: Path) -> bool:
    """True if something is mounted exactly there."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split(" ")[4] == str(target) for line in lines)


def _timed(
    node: DemoNode,
    name: str,
    image: Path | str,
    target: Path,
    act: Callable[[str], object] | None = None,
) -> tuple[float, float]:
    """A stick is plugged in: when udev told of it, and when it was on `target`.

    `act` is called with its devnode at the event; the daemon needs nobody to call it.
    """
    with Path("/proc/self/mountinfo").open() as table:
        waiting = select.poll()
        waiting.register(table, select.POLLPRI | select.POLLERR)
        event, devnode = _plugged(node, name, image)
        if act is not None:
            act(devnode)
        end = time.time() + ANCHOR_SECONDS
        while not is_mounted(target):
            if time.time() > end:
                raise TimeoutError(f"{image} was not mounted")
            waiting.poll(500)
        return event, time.time()


def _plugged(node: DemoNode, name: str, image: Path | str) -> tuple[float, str]:
    """The stick is attached; when udev told of it with its label, and its devnode."""
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="udev")
    monitor.filter_by("block")
    monitor.start()
    devnode = node.attach(name, image).devnode
    while (event := monitor.poll(timeout=ANCHOR_SECONDS)) is not None:
        if event.device_node == devnode and event.properties.get("ID_FS_LABEL"):
            return time.time(), devnode
    raise TimeoutError(f"udev told nothing of {image}")


def _by_script(node: DemoNode, image: Path, target: Path, script: str) -> list[float]:
    """Milliseconds from the event to the mount by a script started at the event; [] if it hung."""
    end = time.monotonic() + PATIENCE_SECONDS
    while fuse_disks():
        if time.monotonic() > end:
            raise RuntimeError("a disk on a FUSE file does not go: the anchor might freeze")
        time.sleep(0.2)
    started: list[subprocess.Popen[bytes]] = []
    words = ["timeout", "--signal=KILL", str(ANCHOR_SECONDS), "sh", "-c", script]

    def start(devnode: str) -> None:
        quiet = subprocess.DEVNULL
        started.append(subprocess.Popen([*words, devnode], stdin=quiet, stdout=quiet, stderr=quiet))

    try:
        event, mounted = _timed(node, "anchor", image, target, start)
    except TimeoutError:
        return []
    finally:
        for process in started:
            process.wait()
        if is_mounted(target):
            subprocess.run(["umount", str(target)], check=True, timeout=10)
        node.unplug("anchor")
        time.sleep(0.3)
    return [(mounted - event) * 1000]


def _pull(node: DemoNode) -> None:
    """The stick is ejected and out."""
    # A pass that looks once more after the operation refuses it for a moment.
    node.until(lambda: node.ctl("eject", "blue", check=False).returncode == 0)
    node.until(lambda: not is_mounted(node.base / "root"))
    node.unplug("blue")
    node.until(lambda: node.role()["phase"] == "INTERNAL")
    time.sleep(0.3)


def _decision_time(node: DemoNode) -> float:
    """When the last decision was logged: after it was made, before the journal's first write."""
    lines = (node.base / "daemon.log").read_text().splitlines()
    decided = [entry for entry in map(json.loads, lines) if entry["kind"] == "decision"]
    return datetime.fromisoformat(decided[-1]["time"]).timestamp()


def note_steps(
    node: DemoNode, steps: dict[str, list[float]], *, name: str = "blue", called: str = "blue"
) -> None:
    """The milliseconds of each step of the last operation are added to `steps`.

    The step's words say `called` in place of `name`, so that moves to several sticks add up.
    """
    for step in last_operation(node)["steps"]:
        words = step["step"].replace(name, called)
        steps.setdefault(words, []).append(step["seconds"] * 1000)


def last_operation(node: DemoNode) -> dict[str, Any]:
    """The newest operation, as the JSON tells of it."""
    told = json.loads(node.ctl("operations", "-o", "json").stdout)
    newest: dict[str, Any] = (told["operations"] if isinstance(told, dict) else told)[0]
    return newest


def by_step(steps: dict[str, list[float]]) -> str:
    """The median milliseconds of each step, in words."""
    return ", ".join(f"{name} {statistics.median(ms):.0f}" for name, ms in steps.items())
