"""A switchover: how long the runtime is down, by the real daemon and by hand.

Downtime runs from the moment the runtime is told to stop until ImageFsInfo names the new root; ours
ends later than that, with the whole proof.  No pod runs, because by hand nobody would stop it.
"""

from __future__ import annotations

import contextlib
import random
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import anchors, private
from benchmarks.anchors import by_hand
from benchmarks.bench_event import OFTEN, by_step, last_operation, note_steps
from benchmarks.report import Report
from benchmarks.rows import Target
from benchmarks.units import systemd
from demo.demo import active, candidate
from demo.node import DemoNode
from tests.fakes.node_bench import enroll

ROUNDS = 6
SEED_ROUNDS = 2
COPY_ROUNDS = 3
#: A root as pods leave it: many small files, some large ones.
SMALL_FILES, LARGE_FILES, LARGE_BYTES = 8_000, 2, 128 << 20

DOWNTIME = Target(
    name="switch.downtime",
    what="`switch STICK`: downtime of the runtime",
    unit="ms",
    anchor="stop, umount, mount, start, ImageFsInfo every 5 ms",
    ratio=1.5,
)
REPOINT = Target(
    name="switch.repoint",
    what="`switch STICK`: downtime of the runtime",
    unit="ms",
    anchor="stop, back up, copy, bind, start, wait 5 s, try up to five times",
    ratio=0.1,
)
COPY = Target(
    name="switch.copy",
    what="`switch STICK --copy`: downtime of the runtime",
    unit="ms",
    anchor="stop, `rsync -aHAXS`, umount, mount, start, ImageFsInfo",
    ratio=0.2,
)
TARGETS = (DOWNTIME, REPOINT, COPY)


def run(report: Report) -> None:
    """Measure moves of a root."""
    plain = private.run(switch, seconds=240)
    script = private.run(repoint, seconds=120)
    copied = private.run(copy, seconds=400)
    assert isinstance(plain, dict)
    assert isinstance(script, dict)
    assert isinstance(copied, dict)
    report.row(DOWNTIME, plain["ours"], plain["bare"])
    report.row(REPOINT, plain["ours"], script["script"])
    absent = "" if copied["ours"] else "not in this version: `nodestoragectl switch --copy`"
    report.row(COPY, copied["ours"], copied["rsync"], missing=absent)
    report.note(f"The steps of `switch` in ms, by the journal: {plain['steps']}.")
    report.note(f"The steps of `switch --copy` in ms: {copied['steps']}.")
    report.note(
        f"The script had {script['bytes'] >> 20} MiB to copy, `--copy` and rsync"
        f" {copied['bytes'] >> 20} MiB in {SMALL_FILES + LARGE_FILES:,} files, each time to a"
        " fresh stick."
    )


def switch(base: Path) -> dict[str, object]:
    """Inside: milliseconds of downtime between two sticks, by the daemon and by hand in turns."""
    steps: dict[str, list[float]] = {}
    ours, bare = [], []
    with _quiet_node(base) as node:
        node.start_daemon()
        sticks = {name: enroll(node, name) for name in ("blue", "green")}
        for _ in range(ROUNDS):
            node.until(lambda: active(node) == "blue" and node.role()["phase"] == "BOUND")
            for name in ("green", "blue"):
                ours.append(_switched(node, name))
                note_steps(node, steps, called="the stick", name=name)
            node.stop_daemon()
            bare += [by_hand.move(base, sticks[n].devnode) * 1000 for n in ("green", "blue")]
            node.start_daemon()
    return {"ours": ours, "bare": bare, "steps": by_step(steps)}


def repoint(base: Path) -> dict[str, object]:
    """Inside: milliseconds of the script, and how many bytes it copied."""
    program = Path(anchors.__file__).with_name("repoint.sh")
    step = [sys.executable, "-m", by_hand.__name__]
    verbs = [shlex.join([*step, verb, str(base)]) for verb in ("stop", "start", "ask")]
    root, new = base / "root", base / "new"
    spent = []
    with _quiet_node(base) as node:
        size = _size(root)
        for _ in range(SEED_ROUNDS):
            new.mkdir()
            begun = time.monotonic()
            words = [str(program), str(root), str(new), str(node.containerd.socket_path), *verbs]
            subprocess.run(words, check=True, timeout=60)
            spent.append((time.monotonic() - begun) * 1000)
            by_hand.stop(base)
            by_hand.umount(str(root))
            shutil.rmtree(new)
            shutil.rmtree(base / "root.backup")
            by_hand.start(base)
            by_hand.ask(base, by_hand.LIMIT_SECONDS)
    return {"script": spent, "bytes": size}


def copy(base: Path) -> dict[str, object]:
    """Inside: milliseconds of downtime with all data carried over, each time to a fresh stick."""
    ours: list[float] = []
    steps: dict[str, list[float]] = {}
    with _quiet_node(base) as node:
        fill(base / "root/ballast")
        size = _size(base / "root")
        by_rsync = [_stop_copy_start(node, f"r{number}") for number in range(COPY_ROUNDS)]
        node.start_daemon()
        if "--copy" in node.ctl("switch", "--help").stdout:
            for number in range(COPY_ROUNDS):
                name = f"c{number}"
                stick = enroll(node, name, "--no-switch")
                node.until(lambda stick=stick: candidate(node, stick.devnode) is not None)  # type: ignore[misc]
                ours.append(_switched(node, name, "--copy"))
                note_steps(node, steps, called="the stick", name=name)
                if not (base / "root/ballast/large-0").exists():
                    raise RuntimeError("the data was not carried over")
    return {"ours": ours, "rsync": by_rsync, "bytes": size, "steps": by_step(steps)}


def fill(directory: Path) -> None:
    """Small files in many directories, and a few large ones."""
    chance = random.Random(1)
    directory.mkdir()
    for number in range(SMALL_FILES):
        place = directory / str(number // 100)
        place.mkdir(exist_ok=True)
        (place / f"{number}").write_bytes(chance.randbytes(chance.randrange(1 << 16)))
    for number in range(LARGE_FILES):
        with (directory / f"large-{number}").open("wb") as stream:
            for _ in range(LARGE_BYTES >> 20):
                stream.write(chance.randbytes(1 << 20))


@contextlib.contextmanager
def _quiet_node(base: Path) -> Iterator[DemoNode]:
    """A node whose containerd runs without kubelet and pods, on its internal directory."""
    with DemoNode(base, extra=OFTEN) as node, systemd(node):
        node.service("stop", "kubelet")
        node.service("stop", "containerd")
        node.containerd.close()
        node.service("start", "containerd")
        by_hand.ask(base, by_hand.LIMIT_SECONDS)
        yield node


def _switched(node: DemoNode, *words: str) -> float:
    """`switch` came to its end; milliseconds of downtime."""
    node.ctl("switch", *words)
    newest = last_operation(node)
    if newest["result"] != "done":
        raise RuntimeError(f"the switch ended as {newest['result']}: {newest['message']}")
    return float(newest["downtimeSeconds"]) * 1000


def _stop_copy_start(node: DemoNode, name: str) -> float:
    """Milliseconds of downtime of a move by hand, with everything copied to a fresh stick."""
    target = node.base / "mnt"
    target.mkdir(exist_ok=True)
    stick = node.plug(name, "bench-rsync")

    def rsync() -> None:
        words = ["rsync", "-aHAXS", f"{node.base}/root/", f"{target}/"]
        subprocess.run(["mount", stick.devnode, str(target)], check=True, timeout=10)
        subprocess.run(words, check=True, timeout=120)
        subprocess.run(["umount", str(target)], check=True, timeout=30)

    spent = by_hand.move(node.base, stick.devnode, rsync) * 1000
    by_hand.stop(node.base)
    by_hand.umount(str(node.base / "root"))
    by_hand.start(node.base)
    by_hand.ask(node.base, by_hand.LIMIT_SECONDS)
    node.unplug(name)
    return spent


def _size(root: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in root.rglob("*"))
