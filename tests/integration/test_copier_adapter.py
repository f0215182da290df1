"""The `Copier` port over real processes: progress, abort, hang, full and dying disks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.adapters import copier as adapter
from nodestoraged.adapters.copier import TransientCopier
from nodestoraged.model.copy import CopyProgress, CopyRequest, CopyResult
from nodestoraged.model.errors import StepError, StepTimeout
from tests.fakes import copies, nasty_tree
from tests.fakes.copies import request
from tests.fakes.faultfs import FaultDisk, fault_disk
from tests.fakes.loopdev import loop_device, make_image

EXT4 = ("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0")
MIB = 1 << 20


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    with copies.memory_disk(tmp_path / "memory") as place:
        yield place


@pytest.fixture
def source(memory: Path) -> Path:
    return nasty_tree.build(memory / "source")


@pytest.fixture
def target(memory: Path) -> Path:
    path = memory / "target"
    path.mkdir()
    return path


@contextlib.contextmanager
def mounted(devnode: str, target: Path) -> Iterator[None]:
    """The device is mounted for the time of the block; a dead one is let go of lazily."""
    subprocess.run(["mount", "-o", "noatime", devnode, str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)


def copy(
    wish: CopyRequest,
    *,
    copier: TransientCopier | None = None,
    abort_after: float | None = None,
    seen: list[CopyProgress] | None = None,
) -> CopyResult:
    begin = time.monotonic()

    def cancelled() -> bool:
        return abort_after is not None and time.monotonic() - begin > abort_after

    async def main() -> CopyResult:
        return await (copier or TransientCopier(systemd=False)).copy(
            wish, report=(seen if seen is not None else []).append, cancelled=cancelled
        )

    return asyncio.run(main())


def big(source: Path, mib: int) -> None:
    content = random.Random(5).randbytes(MIB)
    with (source / "big").open("wb") as file:
        for _ in range(mib):
            file.write(content)


def test_a_copy_reports_and_ends_with_what_it_did(source: Path, target: Path):
    big(source, 3)
    seen: list[CopyProgress] = []
    begin = time.monotonic()
    result = copy(request(source, target, "final", bytes_per_second=2 * MIB), seen=seen)
    took = time.monotonic() - begin
    assert nasty_tree.differences(source, target) == ""
    assert result.bytes_written > 3 * MIB
    assert result.entries == 1 + len(list(source.rglob("*")))
    assert seen[0].bytes_done == 0
    assert 0 < seen[-1].bytes_done <= seen[-1].bytes_total
    assert seen[-1].eta_seconds is not None
    # Of the time of the copy alone, which is less than the call's.
    assert seen[-1].bytes_done / took <= seen[-1].bytes_per_second + 1 < 3 * MIB


def test_an_abort_ends_the_process_and_a_later_pass_goes_on(source: Path, target: Path):
    big(source, 8)
    begin = time.monotonic()
    with pytest.raises(StepError) as caught:
        copy(request(source, target, "warm", bytes_per_second=MIB), abort_after=1.0)
    assert caught.value.reason == "Aborted"
    assert time.monotonic() - begin < 6
    assert copiers_of(target) == []
    copy(request(source, target, "final"))
    assert nasty_tree.differences(source, target) == ""


def copiers_of(target: Path) -> list[str]:
    """Processes that have the target open."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            links = [os.readlink(fd) for fd in (process / "fd").iterdir()]  # noqa: PTH115
            found += [process.name] if str(target) in links else []
    return found


def test_cancelling_the_task_ends_the_process(source: Path, target: Path):
    big(source, 8)
    wish = request(source, target, "warm", bytes_per_second=MIB)

    async def main() -> None:
        never = TransientCopier(systemd=False)
        task = asyncio.create_task(never.copy(wish, report=lambda _: None, cancelled=lambda: False))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert copiers_of(target) == []


def test_a_copier_that_nobody_listens_to_ends(source: Path, target: Path):
    big(source, 8)
    process = copies.start(source, target, "warm", bytes_per_second=MIB)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) != 0


def test_a_copier_that_dies_without_an_answer_is_told_of(source: Path, target: Path):
    copier = TransientCopier(systemd=False, python=("sh", "-c", "echo broken >&2; exit 3"))
    with pytest.raises(StepError) as caught:
        copy(request(source, target, "warm"), copier=copier)
    assert (caught.value.reason, caught.value.message) == (
        "CopyFailed",
        "the copier died: broken",
    )
    missing = TransientCopier(systemd=False, python=("/nowhere/python",))
    with pytest.raises(StepError, match="could not be started"):
        copy(request(source, target, "warm"), copier=missing)


def test_a_target_too_small_is_refused_before_anything_is_copied(
    source: Path, target: Path, tmp_path: Path
):
    big(source, 20)
    with (
        loop_device(make_image(tmp_path / "stick", *EXT4, size_mib=16)) as device,
        mounted(device.devnode, target),
    ):
        with pytest.raises(StepError) as caught:
            copy(request(source, target, "warm"))
        assert caught.value.reason == "NoSpace"
        assert "bytes are needed" in caught.value.message
        assert {path.name for path in target.iterdir()} == {"lost+found", ".nodestoraged"}


def test_too_few_inodes_are_refused_before_anything_is_copied(
    source: Path, target: Path, tmp_path: Path
):
    image = make_image(tmp_path / "stick", *EXT4, "-N", "64", size_mib=32)
    with (
        loop_device(image) as device,
        mounted(device.devnode, target),
        pytest.raises(StepError, match="inodes are needed"),
    ):
        copy(request(source, target, "warm"))


def test_a_disk_that_fills_up_in_the_middle_says_so_and_serves_again(
    source: Path, target: Path, tmp_path: Path
):
    big(source, 12)
    image = make_image(tmp_path / "stick", *EXT4, size_mib=64)
    moving = asyncio.Event()

    def report(progress: CopyProgress) -> None:
        if progress.bytes_done > 0:
            moving.set()

    with loop_device(image) as device, mounted(device.devnode, target):
        wish = request(source, target, "final", bytes_per_second=MIB)

        async def main() -> None:
            copier = TransientCopier(systemd=False)
            task = asyncio.create_task(copier.copy(wish, report=report, cancelled=lambda: False))
            async with asyncio.timeout(20):
                await moving.wait()
            # Taken without a byte being written: the copy would be over before a slow write is.
            with (target / "hog").open("wb") as hog, contextlib.suppress(OSError):
                for number in range(64):
                    os.posix_fallocate(hog.fileno(), number * MIB, MIB)
            await task

        with pytest.raises(StepError) as caught:
            asyncio.run(main())
        assert caught.value.reason == "NoSpace"
        assert "bytes and" in caught.value.message
        (target / "hog").unlink()
        copy(request(source, target, "final"))
        assert nasty_tree.differences(source, target) == ""


@pytest.fixture
def dying(tmp_path: Path) -> Iterator[tuple[FaultDisk, str]]:
    """A disk that fails on demand, and its device."""
    image = make_image(tmp_path / "stick", *EXT4, size_mib=64)
    with fault_disk(image, life_seconds=25) as disk, loop_device(disk.path) as device:
        yield disk, device.devnode


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_disk_that_dies_in_the_middle_fails_the_copy(
    dying: tuple[FaultDisk, str], source: Path, target: Path, side: str
):
    disk, devnode = dying
    stick = source if side == "source" else target
    if side == "source":
        subprocess.run(["mv", str(source), str(source) + ".kept"], check=True)
        source.mkdir()
    with mounted(devnode, stick):
        if side == "source":
            subprocess.run(["cp", "-a", f"{source}.kept/.", str(source)], check=True)
        big(source, 24)
        if side == "source":
            # Unmounting would not do: a neighbour's mount namespace may keep it, and its pages.
            with (source / "big").open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        async def main() -> None:
            under_way = asyncio.Event()
            task = asyncio.create_task(
                TransientCopier(systemd=False).copy(
                    request(source, target, "warm", bytes_per_second=4 * MIB),
                    report=lambda progress: under_way.set() if progress.bytes_done else None,
                    cancelled=lambda: False,
                )
            )
            async with asyncio.timeout(20):
                await under_way.wait()
            disk.kill()
            await task

        with pytest.raises(StepError) as caught:
            asyncio.run(main())
        assert caught.value.reason in {"IoError", "ReadOnly"}


def test_a_disk_that_hangs_is_given_up_and_costs_two_seconds(
    dying: tuple[FaultDisk, str], source: Path, target: Path
):
    disk, devnode = dying
    big(source, 24)
    copier = TransientCopier(systemd=False, silence_seconds=2.5)
    with mounted(devnode, target):

        async def main() -> float:
            task = asyncio.create_task(
                copier.copy(
                    request(source, target, "warm"),
                    report=lambda _: None,
                    cancelled=lambda: False,
                )
            )
            await asyncio.sleep(0.05)
            disk.say("hang")
            begin = time.monotonic()
            with pytest.raises(StepTimeout) as caught:
                await task
            assert caught.value.reason == "Hung"
            return time.monotonic() - begin

        assert asyncio.run(main()) < 8
        disk.say("ok")
        for process in copier._unreaped:  # it hung in the kernel until now
            process.wait(10)


FAKE_RUN = """#!/bin/sh
echo "$@" > {directory}/asked
while [ "$1" != -- ]; do shift; done
shift
exec 3<&0
"$@" <&3 &
echo $! > {directory}/pid
wait $!
"""
FAKE_CTL = """#!/bin/sh
echo "$@" >> {directory}/ctl
[ "$1" = kill ] && kill -9 $(cat {directory}/pid)
exit 0
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemd-run that runs what it is given, and a systemctl that can kill that."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name, text in (("systemd-run", FAKE_RUN), ("systemctl", FAKE_CTL)):
        (directory / name).write_text(text.format(directory=directory))
        (directory / name).chmod(0o755)
    path = f"{directory}:/usr/bin:/bin"
    monkeypatch.setattr(adapter, "ENVIRONMENT", {"PATH": path, "LANG": "C.UTF-8"})
    monkeypatch.setenv("PATH", path)
    return directory


def test_under_systemd_it_runs_in_a_unit_of_its_own(source: Path, target: Path, systemd: Path):
    copy(request(source, target, "final"), copier=TransientCopier(systemd=True))
    assert nasty_tree.differences(source, target) == ""
    asked = (systemd / "asked").read_text()
    assert f"--unit=nodestoraged-copy-{os.getpid()}-1.service" in asked
    assert "--property=PartOf=nodestoraged.service" in asked


def test_under_systemd_an_abort_ends_the_unit(source: Path, target: Path, systemd: Path):
    big(source, 8)
    with pytest.raises(StepError) as caught:
        copy(
            request(source, target, "warm", bytes_per_second=MIB),
            copier=TransientCopier(systemd=True),
            abort_after=0.8,
        )
    assert caught.value.reason == "Aborted"
    unit = f"nodestoraged-copy-{os.getpid()}-1.service"
    assert (systemd / "ctl").read_text().splitlines() == [
        f"kill --signal=SIGKILL {unit}",
        f"stop --no-block {unit}",
    ]
    assert copiers_of(target) == []


def test_leftover_units_are_stopped_by_their_name(systemd: Path):
    asyncio.run(TransientCopier(systemd=False).stop_leftovers())
    assert not (systemd / "ctl").exists()
    asyncio.run(TransientCopier(systemd=True).stop_leftovers())
    assert (systemd / "ctl").read_text() == "stop nodestoraged-copy-*.service\n"
