"""Scenarios on a whole node of this host, each in namespaces of its own.

`@on_a_node` makes a pytest function of a scenario: it runs in a child with its own mount, process
and network namespace, a `/run/udev` and a udevd of its own, and a `DemoNode`.  So no port, pid or
mount is shared with anybody else, and when the child ends (or its time does, and it is killed) the
kernel takes every process, mount and loop device of it away.

Block devices have no namespace: each udevd hears of all of the machine.  Of another scenario's loop
device it is told to look away, and so no daemon sees a label or a file system on it.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.demo import active, candidate
from demo.node import (
    FLOOR,
    PROJECT,
    UDEVD,
    DemoNode,
    end_udevd,
    remove_cgroups,
    udev_answers,
)
from tests.fakes import trapped_services
from tests.fakes.loopdev import LoopDevice

Scenario = Callable[[DemoNode], None]
UdevScenario = Callable[[Path], None]

_IN_NAMESPACES = (
    "unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork",
    "--kill-child", "--mount-proc",
    "sh", "-c",
    # The shell stays as process 1: it adopts and reaps what loses its parent.
    'mkdir -p /run/udev /run/containerd && mount -t tmpfs tmpfs /run/udev'
    ' && mount -t tmpfs tmpfs /run/containerd && ip link set lo up && "$@"; exit $?',
    "sh",
)  # fmt: skip
# Others' disks are neither read nor watched: what a hung one holds up would hold up this udevd.
_OURS = """\
KERNEL!="loop*", GOTO="ours"
ATTRS{{loop/backing_file}}=="{base}/*", GOTO="ours"
ENV{{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}}="1", OPTIONS:="nowatch"
LABEL="ours"
"""
# Debian's rules read no superblock of a zram disk.
_ZRAM = 'KERNEL=="zram*", IMPORT{builtin}="blkid"\n'
_SCENARIOS: dict[str, tuple[Scenario, str]] = {}
_UDEV_SCENARIOS: dict[str, UdevScenario] = {}


def on_a_node(
    *, extra: str = FLOOR, seconds: float = 60
) -> Callable[[Scenario], Callable[[], None]]:
    """The scenario runs on a fresh node with `extra` in its role's configuration."""

    def decorate(scenario: Scenario) -> Callable[[], None]:
        name = scenario.__name__
        path = scenario.__globals__["__file__"]
        _SCENARIOS[name] = (scenario, extra)

        @functools.wraps(scenario)
        def test() -> None:
            _run(path, name, seconds)

        del test.__wrapped__  # type: ignore[attr-defined] # pytest would ask for a fixture `node`
        return test

    return decorate


def with_udev(scenario: UdevScenario) -> Callable[[], None]:
    """The scenario runs with a udevd of its own, and gets an empty directory."""
    name, path = scenario.__name__, scenario.__globals__["__file__"]
    _UDEV_SCENARIOS[name] = scenario

    @functools.wraps(scenario)
    def test() -> None:
        _run(path, name, 60)

    del test.__wrapped__  # type: ignore[attr-defined]
    return test


@contextlib.contextmanager
def zram(base: Path) -> Iterator[Path]:
    """A zram disk of 32 MiB: the one kind of disk here that truly comes (`add`) and goes."""
    control = Path("/sys/class/zram-control")
    number = (control / "hot_add").read_text().strip()
    (base / "zram").write_text(number)
    try:
        (Path(f"/sys/block/zram{number}") / "disksize").write_text(str(32 << 20))
        yield Path(f"/dev/zram{number}")
    finally:
        _remove_zram(base)


def _remove_zram(base: Path) -> None:
    listed = base / "zram"
    if not listed.exists():
        return
    number = listed.read_text()
    listed.unlink()
    for _ in range(100):  # udevd has it open for a moment after each event
        try:
            Path("/sys/class/zram-control/hot_remove").write_text(number)
        except OSError as error:
            if error.errno != errno.EBUSY:
                return
            time.sleep(0.05)
        else:
            return


def _run(path: str, name: str, seconds: float) -> None:
    base = Path(tempfile.mkdtemp(prefix="nsd-", dir="/tmp"))
    words = [*_IN_NAMESPACES, sys.executable, "-m", __name__, path, name, str(base), str(seconds)]
    try:
        done = subprocess.run(
            words, cwd=PROJECT, capture_output=True, text=True, timeout=seconds, check=False
        )
        failure = None if done.returncode == 0 else f"{done.stdout}{done.stderr}"
        sys.stdout.write(done.stdout)
    except subprocess.TimeoutExpired as error:
        said = ((error.stdout or b"") + (error.stderr or b"")).decode(errors="replace")
        failure = f"not over within {seconds:g} s\n{said}"
    try:
        if failure is not None:
            pytest.fail(f"{failure}\n{_logs(base)}", pytrace=False)
    finally:
        _remove_zram(base)
        shutil.rmtree(base, ignore_errors=True)
        remove_cgroups(base.name)


def bind(node: DemoNode, name: str = "blue") -> LoopDevice:
    """The daemon runs, and the node and its pod on a fresh stick of that name."""
    node.until(node.pod_runs)
    node.start_daemon()
    stick = enroll(node, name)
    node.until(lambda: node.role()["phase"] == "BOUND" and active(node) == name)
    node.until(node.pod_runs)
    node.until(lambda: node.service_pid("kubelet") is not None)
    return stick


def enroll(node: DemoNode, name: str, *words: str) -> LoopDevice:
    """A fresh stick of that name is plugged in and enrolled; what comes of it is not awaited."""
    stick = node.plug(name)
    node.until(lambda: candidate(node, stick) is not None)
    node.ctl("enroll", stick.devnode, "--name", name, *words)
    return stick


def mounts_at(target: Path) -> list[str]:
    """The device numbers of the mounts made exactly on `target`."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split(" ")[2] for line in lines if line.split(" ")[4] == str(target)]


def processes(node: DemoNode) -> tuple[object, ...]:
    """Who runs, by pid: the same value means that nobody was restarted."""
    return (
        node.service_pid("containerd"),
        node.service_pid("kubelet"),
        tuple(sorted(node.containerd.shims())),
    )


def _logs(base: Path) -> str:
    log = base / "daemon.log"
    return f"--- daemon.log\n{log.read_text()[-6000:]}" if log.exists() else "no daemon.log"


@contextlib.contextmanager
def own_udevd(base: Path) -> Iterator[None]:
    """udevd runs and answers."""
    with (base / "udevd.log").open("ab") as log:
        process = subprocess.Popen([UDEVD], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 10
        while not udev_answers():
            assert time.monotonic() < until
            time.sleep(0.05)
        yield
    finally:
        end_udevd(process)


def main() -> int:
    """Inside: one scenario of one file; 0 if it held."""
    path, name, base, seconds = sys.argv[1:]
    # Where it stands when its time is nearly over.
    faulthandler.dump_traceback_later(float(seconds) - 5)
    assert os.getpid() != 1
    spec = importlib.util.spec_from_file_location("scenarios", path)
    assert spec is not None
    assert spec.loader is not None
    # Under its own name, this module is another one than `__main__`.
    from tests.fakes import node_bench

    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    rules = Path("/run/udev/rules.d")
    rules.mkdir()
    (rules / "10-ours.rules").write_text(_OURS.format(base=base))
    (rules / "99-zram.rules").write_text(_ZRAM)
    try:
        if name in node_bench._UDEV_SCENARIOS:
            with own_udevd(Path(base)):
                node_bench._UDEV_SCENARIOS[name](Path(base))
            return 0
        scenario, extra = node_bench._SCENARIOS[name]
        services = Path(trapped_services.__file__)
        with DemoNode(Path(base), extra=extra, services=services) as node:
            try:
                scenario(node)
            except Exception:
                sys.stderr.write(node.ctl("status", "-o", "json", check=False).stdout)
                raise
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
