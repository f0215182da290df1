"""Storms: ten thousand events, and a thousand disks at once.

Events are sent as udevd sends them (a multicast that libudev believes), so that the machine's own
udevd is not part of what is measured.  The anchor is pyudev alone, doing the least that can be
called having read them.
"""

from __future__ import annotations

import functools
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pyudev

from benchmarks import private, sysfs
from benchmarks.measure import cpu_seconds
from benchmarks.report import Report
from benchmarks.rows import Target
from benchmarks.units import systemd
from demo.demo import candidate
from demo.node import DemoNode
from nodestoraged.adapters.udev import RECEIVE_BUFFER_BYTES, UdevDevices
from nodestoraged.core.decide import decide
from nodestoraged.core.select import select as judge
from nodestoraged.model.config import RoleConfig, Trust
from nodestoraged.model.decision import Move
from nodestoraged.model.observation import Observation
from tests.fakes.loopdev import LoopDevice, loop_device, make_image
from tests.integration.test_udev_events import event
from tests.unit.core.worlds import world

EVENTS = 10_000
DEVICES = 1_000
ROUNDS = 5

EVENTS_READ = Target(
    name="storm.events",
    what="CPU time to take 10,000 uevents of one stick",
    unit="s",
    anchor="pyudev's monitor read empty",
    limit=0.5,
)
DAEMON = Target(
    name="storm.daemon",
    what="CPU time of the whole daemon for 10,000 uevents, its decisions included",
    unit="s",
    anchor="pyudev's monitor read empty",
    limit=0.5,
)
COLD = Target(
    name="storm.cold",
    what="CPU time to read 1,000 labelled disks at a start",
    unit="s",
    anchor="pyudev's enumeration, one property of each",
    limit=0.3,
)
DECIDE = Target(
    name="storm.decide",
    what="CPU time to judge these 1,000, all enrolled, and to decide",
    unit="s",
    anchor="pyudev's enumeration, one property of each",
)
TARGETS = (EVENTS_READ, DAEMON, COLD, DECIDE)


def run(report: Report) -> None:
    """Measure both storms."""
    found = private.run(events, seconds=120)
    whole = private.run(daemon, seconds=180)
    cold = private.run(cold_plug, seconds=120)
    assert isinstance(found, dict)
    assert isinstance(whole, dict)
    assert isinstance(cold, dict)
    report.row(EVENTS_READ, found["ours"], found["anchor"])
    report.row(DAEMON, whole["cpu"], found["anchor"])
    report.row(COLD, cold["ours"], cold["anchor"])
    report.row(DECIDE, cold["decide"], cold["anchor"])
    report.note(
        "After each storm the same device was known with the same insertion, and the daemon had"
        f" begun no operation: {EVENTS * ROUNDS * 2:,} events, no wrong decision."
        " The 1,000 disks are a sysfs and a udev database made of files."
    )


def events(base: Path) -> dict[str, list[float]]:
    """Inside: CPU seconds for the events, by our adapter and by pyudev alone."""
    ours, anchor = [], []
    devices = UdevDevices(lambda: None)
    fd = devices.start()
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="udev")
    monitor.filter_by("block")
    monitor.set_receive_buffer_size(RECEIVE_BUFFER_BYTES)
    monitor.start()
    with loop_device(_stick(base)) as loop:
        time.sleep(1)
        devices.drain()
        before, device = devices.insertions(), _known(devices, loop)
        if device is None:
            raise RuntimeError("the stick was not seen")
        for _ in range(ROUNDS):
            _empty(monitor)
            storm(loop)
            anchor.append(_cpu(lambda: _empty(monitor)))
            ours.append(_cpu(devices.drain))
            if select.select([fd], [], [], 0)[0]:
                raise RuntimeError("events were left over")
            if (devices.insertions(), _known(devices, loop)) != (before, device):
                raise RuntimeError("the storm changed what is known")
    return {"ours": ours, "anchor": anchor}


def daemon(base: Path) -> dict[str, list[float]]:
    """Inside: CPU seconds of a daemon, the stick being enrolled and patient."""
    spent = []
    with DemoNode(base) as node, systemd(node):
        node.start_daemon()
        stick = node.plug("blue")
        node.until(lambda: candidate(node, stick.devnode) is not None)
        node.ctl("enroll", stick.devnode, "--name", "blue", "--no-switch")
        node.until(lambda: "NotEnrolled" not in (candidate(node, stick.devnode) or "NotEnrolled"))
        before = _decisions(node, stick)
        for _ in range(ROUNDS):
            time.sleep(2)
            begun = cpu_seconds(node.daemon_pid)
            storm(stick)
            time.sleep(3)
            spent.append(cpu_seconds(node.daemon_pid) - begun)
        after = _decisions(node, stick)
        if after != before:
            raise RuntimeError(f"the storm changed a decision: {before} {after}")
    return {"cpu": spent}


def cold_plug(_base: Path) -> dict[str, list[float]]:
    """Inside: CPU seconds to read 1,000 disks, and to judge them."""
    sysfs.replace(DEVICES)
    context = pyudev.Context()
    values: dict[str, list[float]] = {"ours": [], "anchor": [], "decide": []}
    for _ in range(ROUNDS):
        values["anchor"].append(_cpu(lambda: _enumerate(context)))
        devices = UdevDevices(lambda: None)
        values["ours"].append(_cpu(devices.devices))
        devices.close()
        found = devices.devices()
        if len(found) != DEVICES:
            raise RuntimeError(f"{len(found)} of {DEVICES} disks were read")
        values["decide"].append(_cpu(functools.partial(_decide, world(*found))))
    return values


def _decide(node: Observation) -> None:
    role = RoleConfig(name="containerd", trust=Trust.LABEL)
    decision = decide(node, judge(node, role), role)
    # All equal, all enrolled: the one that was enrolled first.
    if not (isinstance(decision, Move) and decision.target is not None):
        raise RuntimeError(f"a wrong decision: {decision}")
    if decision.target.device != node.devices[0]:
        raise RuntimeError(f"the wrong stick: {decision.target.device.devnode}")


def storm(loop: LoopDevice) -> None:
    """10,000 `change` events of the device, every other one without a label."""
    packets = [event(loop, sysfs.LABEL.encode()), event(loop, None)]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as sender:
        for number in range(EVENTS):
            sender.sendto(packets[number % 2], (0, 2))


def _stick(base: Path) -> Path:
    return make_image(base / "stick", "mkfs.ext4", "-q", "-F", "-L", sysfs.LABEL)


def _known(devices: UdevDevices, loop: LoopDevice) -> object:
    return next((each for each in devices.devices() if each.devnode == loop.devnode), None)


def _decisions(node: DemoNode, stick: LoopDevice) -> tuple[str, str | None]:
    return node.ctl("operations", "-o", "json").stdout, candidate(node, stick.devnode)


def _empty(monitor: pyudev.Monitor) -> None:
    while monitor.poll(timeout=0) is not None:
        pass


def _enumerate(context: pyudev.Context) -> None:
    for device in context.list_devices(subsystem="block"):
        device.properties.get("ID_FS_LABEL_ENC")


def _cpu(action: Callable[[], object]) -> float:
    begun = time.process_time()
    action()
    return time.process_time() - begun
