"""The copy of a runtime root: all of it to a fresh disk, and the final pass over what is there.

Thirty thousand files with every nasty kind among them, on ext4 over loop devices with direct I/O,
caches dropped before each copy, what was written on the medium at its end.  Against rsync, which
does the same work, and dd, which only moves the bytes.  The result is compared byte by byte once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import private
from benchmarks.measure import children
from benchmarks.report import Report
from benchmarks.rows import Target
from nodestoraged.linux.beneath import syncfs
from tests.fakes import copies, nasty_tree
from tests.fakes.loopdev import LoopDevice, make_image

ROUNDS, FINAL_ROUNDS = 3, 7
FILES, BLOBS, BLOB_MIB, DISK_MIB = 30_000, 4, 100, 3072
#: include/uapi/linux/loop.h
_LOOP_SET_DIRECT_IO = 0x4C08
_MKFS = ("mkfs.ext4", "-q", "-F")
_RSYNC = ("rsync", "-aHAXS", "--numeric-ids", "--exclude=/.nodestoraged", "--exclude=/lost+found")

RSYNC = Target(
    name="copy.rsync",
    what="all of a root to a fresh disk",
    unit="s",
    anchor="`rsync -aHAXS` and syncfs",
    ratio=0.5,
)
DD = Target(
    name="copy.dd",
    what="all of a root to a fresh disk",
    unit="s",
    anchor="`dd bs=1M conv=fsync` of a file of as many bytes",
    ratio=2.0,
)
FINAL = Target(
    name="copy.final",
    what="the final pass when nothing has changed",
    unit="s",
    anchor="`rsync -aHAXS --delete` of the same, caches warm",
    ratio=0.5,
)
MEMORY = Target(
    name="copy.memory",
    what="the copier's most resident memory",
    unit="MiB",
    anchor="rsync's, the largest of its processes",
    limit=120,
)
TARGETS = (RSYNC, DD, FINAL, MEMORY)


def run(report: Report) -> None:
    """Measure, and say what was copied."""
    found = private.run(measure, seconds=1500)
    assert isinstance(found, dict)
    report.row(RSYNC, found["ours"], found["rsync"])
    report.row(DD, found["ours"], found["dd"])
    report.row(FINAL, found["final"], found["final_rsync"])
    report.row(MEMORY, found["memory"], found["memory_rsync"])
    report.note(f"{found['entries']} entries, {found['mib']} MiB; 4 threads.")


def measure(base: Path) -> dict[str, object]:
    """Inside: seconds and MiB of each way, in turns."""
    names = ("ours", "rsync", "dd", "final", "final_rsync", "memory", "memory_rsync")
    values: dict[str, list[float]] = {name: [] for name in names}
    with _disk(base, "from") as top:
        source = top / "root"
        plant(source)
        written = os.statvfs(top)
        mib = (written.f_blocks - written.f_bfree) * written.f_frsize >> 20
        raw = top / "raw"
        subprocess.run(
            ["dd", "if=/dev/urandom", f"of={raw}", "bs=1M", f"count={mib}", "status=none"],
            check=True,
        )
        _flush(top)
        for number in range(ROUNDS):
            with _disk(base, "to") as target:
                values["dd"].append(_cold(target, _dd(raw, target / "raw"))[0])
            with _disk(base, "to") as target:
                seconds, most = _cold(target, [*_RSYNC, f"{source}/", f"{target}/"])
                values["rsync"].append(seconds)
                values["memory_rsync"].append(most)
            with _disk(base, "to") as target:
                wish = copies.line(source, target, "final")
                seconds, most = _cold(target, copies.COMMAND, wish)
                values["ours"].append(seconds)
                values["memory"].append(most)
                if number == 0:
                    rest = nasty_tree.differences(source, target)
                    assert rest == "", rest[:2000]
                if number == ROUNDS - 1:
                    _passes(source, target, values)
        entries = 1 + sum(len(below) + len(files) for _, below, files in os.walk(source))
    return {**values, "entries": entries, "mib": mib}


def _passes(source: Path, target: Path, values: dict[str, list[float]]) -> None:
    """Final passes over equal trees; the first of each only fills the caches."""
    rsync = [*_RSYNC, "--delete", f"{source}/", f"{target}/"]
    wish = copies.line(source, target, "final")
    for number in range(FINAL_ROUNDS + 1):
        ours, theirs = _warm(copies.COMMAND, wish), _warm(rsync)
        if number:
            values["final"].append(ours)
            values["final_rsync"].append(theirs)


def plant(root: Path) -> None:
    """A root like containerd's: many small files, some large, links, whiteouts, attributes."""
    nasty_tree.build(root)
    chance = random.Random(3)
    stock = chance.randbytes(4 << 20)
    snapshots = root / "io.containerd.snapshotter.v1.overlayfs" / "snapshots"
    directories = [
        snapshots / str(layer) / "fs" / f"d{one % 8}" / f"e{one}"
        for layer in range(100, 140)
        for one in range(60)
    ]
    for number, directory in enumerate(directories):
        directory.mkdir(parents=True)
        if number % 20 == 0:
            os.setxattr(directory, "trusted.overlay.opaque", b"y")
    for number in range(FILES):
        _plant_one(directories[number * len(directories) // FILES], number, chance, stock)
    blobs = root / "io.containerd.content.v1.content" / "blobs" / "sha256"
    for number in range(BLOBS):
        with (blobs / f"big-{number}").open("wb") as file:
            for _ in range(BLOB_MIB // 4):
                file.write(stock)


def _plant_one(directory: Path, number: int, chance: random.Random, stock: bytes) -> None:
    size = min(int(chance.paretovariate(0.9) * 1500), 2_000_000)
    begin = chance.randrange(len(stock) - size)
    path = directory / f"f{number}"
    path.write_bytes(stock[begin : begin + size])
    if number % 3 == 0:
        os.chown(path, 1000, 1000)
    if number % 200 == 0:
        os.setxattr(path, "security.capability", nasty_tree.CAPABILITY)
    os.utime(path, ns=(0, chance.randrange(10**18, 17 * 10**17)))
    if number % 17 == 0:
        (directory / f"l{number}").hardlink_to(path)
    if number % 13 == 0:
        (directory / f"s{number}").symlink_to("../x/y")
    if number % 100 == 0:
        os.mknod(directory / f"w{number}", 0o020000, 0)


def _dd(source: Path, target: Path) -> list[str]:
    return ["dd", f"if={source}", f"of={target}", "bs=1M", "conv=fsync", "status=none"]


def _cold(target: Path, words: Sequence[str], wish: str = "") -> tuple[float, float]:
    """Seconds of a program that finds no cache, until what it wrote is on the medium; its MiB."""
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
    seen = [0.0]
    begun = time.perf_counter()
    with _started(words, wish) as process:
        while process.poll() is None:
            time.sleep(0.05)
            seen.append(_most_mib(process.pid))
    _flush(target)
    return time.perf_counter() - begun, max(seen)


def _warm(words: Sequence[str], wish: str = "") -> float:
    """Seconds of a program, from exec to exit."""
    begun = time.perf_counter()
    with _started(words, wish) as process:
        process.wait()
        return time.perf_counter() - begun


@contextlib.contextmanager
def _started(words: Sequence[str], wish: str) -> Iterator[subprocess.Popen[str]]:
    """A program that gets `wish` on its stdin and must succeed."""
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        process.stdin.write(wish)
        process.stdin.close()
        yield process
    if process.returncode != 0:
        raise RuntimeError(f"{words} ended with {process.returncode}")


def _most_mib(pid: int) -> float:
    """The most memory that the largest of a process and its children ever had."""
    most = 0.0
    with contextlib.suppress(OSError, ProcessLookupError):
        for one in (pid, *(child for child, _ in children(pid))):
            for line in Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    most = max(most, int(line.split()[1]) / 1024)
    return most


@contextlib.contextmanager
def _disk(base: Path, name: str) -> Iterator[Path]:
    """A fresh ext4 disk, mounted; direct I/O, so that its file is not cached a second time."""
    device = LoopDevice(make_image(base / f"{name}.img", *_MKFS, size_mib=DISK_MIB))
    top = base / name
    top.mkdir(exist_ok=True)
    try:
        with open(device.devnode, "rb") as file:  # noqa: PTH123
            fcntl.ioctl(file, _LOOP_SET_DIRECT_IO, 1)
        subprocess.run(["mount", "-o", "noatime", device.devnode, str(top)], check=True)
        try:
            yield top
        finally:
            subprocess.run(["umount", str(top)], check=True)
    finally:
        device.close()
        (base / f"{name}.img").unlink()


def _flush(top: Path) -> None:
    fd = os.open(top, os.O_RDONLY)
    try:
        syncfs(fd)
    finally:
        os.close(fd)
