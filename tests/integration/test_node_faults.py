"""Sticks that are broken, cloned, hostile, dying or dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from demo.demo import active, candidate
from demo.node import FLOOR, DemoNode
from nodestoraged.api.client import Client
from tests.fakes.faultfs import fault_disk
from tests.fakes.node_bench import mounts_at, on_a_node, processes

UUID = "01234567-89ab-4cde-8f01-23456789abcd"
QUICK = f"{FLOOR}\nprobe_seconds = 1\nswap_grace_seconds = 1"


@on_a_node()
def test_a_stick_with_a_broken_file_system_is_unusable_and_nothing_is_stopped(
    node: DemoNode,
) -> None:
    node.until(node.pod_runs)
    node.start_daemon()
    image = node.make_stick("blue")
    # The root directory's inode (2, the second of the table of 256-byte inodes) is a nonsense.
    listed = subprocess.run(["dumpe2fs", image], capture_output=True, text=True, check=True)
    table = next(line for line in listed.stdout.splitlines() if "Inode table at" in line)
    with image.open("r+b") as stream:
        stream.seek(int(table.split("Inode table at ")[1].split("-")[0]) * 4096 + 256)
        stream.write(b"\xa5" * 256)
    # With its error flag set e2fsck looks; without, `-p` would call it clean.
    words = ["debugfs", "-w", "-R", "ssv state 2", str(image)]
    subprocess.run(words, check=True, capture_output=True)
    before = processes(node)
    stick = node.attach("blue", image)
    node.until(lambda: candidate(node, stick) is not None)
    node.ctl("enroll", stick.devnode, "--name", "blue")
    node.until(lambda: candidate(node, stick) == "unusable FsckFailed")
    assert node.role()["phase"] == "INTERNAL"
    assert processes(node) == before
    assert mounts_at(node.base / "root") == []
    assert json.loads(node.ctl("operations", "-o", "json").stdout) == []


@on_a_node()
def test_a_stick_that_only_the_kernel_finds_broken_is_found_before_anything_is_stopped(
    node: DemoNode,
) -> None:
    node.until(node.pod_runs)
    node.start_daemon()
    image = node.make_stick("blue")
    listed = subprocess.run(["dumpe2fs", image], capture_output=True, text=True, check=True)
    table = next(line for line in listed.stdout.splitlines() if "Inode table at" in line)
    with image.open("r+b") as stream:
        stream.seek(int(table.split("Inode table at ")[1].split("-")[0]) * 4096 + 256)
        stream.write(b"\xa5" * 256)
    stick = node.attach("blue", image)
    node.until(lambda: candidate(node, stick) is not None)
    node.ctl("enroll", stick.devnode, "--name", "blue")
    node.until(lambda: candidate(node, stick) == "unusable FsckFailed")
    node.until(lambda: node.role()["phase"] == "INTERNAL")
    assert json.loads(node.ctl("operations", "-o", "json").stdout) == []
    node.until(node.pod_runs)
    assert mounts_at(node.base / "root") == []


@on_a_node()
def test_two_clones_are_never_mounted_and_can_be_told_apart(node: DemoNode) -> None:
    node.until(node.pod_runs)
    node.start_daemon()
    one, two = (node.plug(name, "containerd-opt", "-U", UUID) for name in ("one", "two"))
    for stick in (one, two):
        node.until(lambda stick=stick: candidate(node, stick) is not None)
    node.ctl("enroll", one.devnode, "--name", "one", check=False)
    time.sleep(2.5)
    for stick in (one, two):
        assert "Clone" in str(candidate(node, stick)), candidate(node, stick)
    assert mounts_at(node.base / "root") == []
    assert node.role()["phase"] == "INTERNAL"


@on_a_node()
def test_a_hostile_label_reaches_the_terminal_as_text(node: DemoNode) -> None:
    node.start_daemon()
    labels = ("\x1b[2J\x1b]0;x\x07", "containerd-opt\n", "../../etc", "a b\tc", "\u202egpj")
    sticks = [node.plug(f"s{n}", label) for n, label in enumerate(labels)]
    match = node.plug("match", "containerd-opt ")
    node.until(lambda: candidate(node, match) is not None)
    for words in (
        ("list",),
        ("list", "-o", "wide"),
        ("list", "-o", "json"),
        ("status", "-o", "wide"),
        ("status", "-o", "json"),
        ("show", sticks[0].devnode),
    ):
        out = node.ctl(*words, check=False)
        said = out.stdout + out.stderr
        bad = [c for c in said if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160]
        assert bad == [], words
        assert "\u202e" not in out.stdout
    for stick in sticks:
        assert "standby" not in str(candidate(node, stick))


def memory_for_state(node: DemoNode) -> None:
    """What the daemon writes down waits for no disk that others keep busy."""
    words = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(node.base / "lib")]
    subprocess.run(words, check=True)


def phase(client: Client) -> str:
    (role,) = client.call("GetStatus")["status"]["roles"]
    return str(role["phase"])


@on_a_node(extra=QUICK, seconds=120)
def test_a_stick_that_dies_in_silence_is_found_and_the_node_falls_back(node: DemoNode) -> None:
    memory_for_state(node)
    node.until(node.pod_runs)
    node.start_daemon()
    with fault_disk(node.make_stick("blue"), life_seconds=90) as disk:
        stick = node.attach("blue", disk.path)
        node.until(lambda: candidate(node, stick) is not None)
        node.ctl("enroll", stick.devnode, "--name", "blue")
        node.until(lambda: node.role()["phase"] == "BOUND" and active(node) == "blue")
        node.until(node.pod_runs)
        time.sleep(1.5)
        disk.say("eio")
        died = time.monotonic()
        with Client(str(node.base / "run/io.nodestorage")) as client:
            node.until(lambda: phase(client) in {"LOST", "SWITCHING", "INTERNAL"})
            noticed = time.monotonic() - died
            node.until(lambda: phase(client) == "INTERNAL")
        back = time.monotonic() - died
        node.until(node.pod_runs)
        served = time.monotonic() - died
        assert candidate(node, stick) == "unusable ProbeFailed"
        assert mounts_at(node.base / "root") == []
        disk.kill()

    report(f"noticed {noticed:.1f} s, internal {back:.1f} s, pods {served:.1f} s after the death")
    assert noticed < 6
    last = json.loads(node.ctl("operations", "-o", "json").stdout)[0]
    assert (last["kind"], last["result"]) == ("failover", "done")
    assert node.role()["lastActive"] is not None


@on_a_node(extra=QUICK, seconds=120)
def test_a_hung_stick_never_delays_an_answer(node: DemoNode) -> None:
    memory_for_state(node)
    node.until(node.pod_runs)
    node.start_daemon()
    with fault_disk(node.make_stick("blue"), life_seconds=90) as disk:
        stick = node.attach("blue", disk.path)
        node.until(lambda: candidate(node, stick) is not None)
        node.ctl("enroll", stick.devnode, "--name", "blue")
        node.until(lambda: node.role()["phase"] == "BOUND")
        node.until(node.pod_runs)
        time.sleep(1.5)  # a write probe that is under way has a longer deadline
        os.kill(disk.process.pid, signal.SIGSTOP)
        hung = time.monotonic()
        slowest, phases = 0.0, []
        with Client(str(node.base / "run/io.nodestorage")) as client:
            while (spent := time.monotonic() - hung) < 14 or ("LOST" not in phases and spent < 40):
                begun = time.monotonic()
                now = phase(client)
                slowest = max(slowest, time.monotonic() - begun)
                if phases[-1:] != [now]:
                    phases.append(now)
                time.sleep(0.1)
        disk.kill()
    # Of the daemon's own answer: how long a program takes to start says more of the machine.
    assert slowest < 1.0
    # A probe period and a read deadline of 8 s are over: the loss is shown while it is contained.
    assert phases[:2] == ["BOUND", "LOST"], phases
    node.until(lambda: node.role()["phase"] == "INTERNAL")
    node.until(node.pod_runs)


def report(text: str) -> None:
    """For who runs with `-s`."""
    sys.stdout.write(f"measured: {text}\n")
