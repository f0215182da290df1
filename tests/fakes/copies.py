"""Runs the copier on two directories, as the daemon would but without it.

`memory_disk` is for tests that judge how long it takes: a copy ends with a flush of its file
systems, and that of the host's waits for whatever anybody else has written.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from nodestoraged import copier
from nodestoraged.model.copy import DATABASES, NOT_DATA, CopyPass, CopyRequest
from tests.fakes.loopdev import loop_device, make_image

MAIN = Path(copier.__file__).with_name("__main__.py")
COMMAND = (sys.executable, "-I", "-S", str(MAIN))


@contextlib.contextmanager
def memory_disk(place: Path) -> Iterator[Path]:
    """A directory below `place`, which is made, on a disk in memory, for the time of the block.

    It has an ext4, because a tmpfs keeps no attributes of users before Linux 6.6.
    """
    place.mkdir()
    with _mounted(place, "-t", "tmpfs", "copies"):
        inside = place / "disk"
        inside.mkdir()
        # Of large blocks: a link as long as Linux allows has to fit into one.
        mkfs = ("mkfs.ext4", "-q", "-F", "-b", "4096")
        image = make_image(place / "image", *mkfs, size_mib=128)
        with loop_device(image) as device, _mounted(inside, device.devnode):
            yield inside


@contextlib.contextmanager
def _mounted(place: Path, *words: str) -> Iterator[None]:
    subprocess.run(["mount", *words, str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def number(path: Path) -> str:
    """The device of `path` as `major:minor`."""
    device = path.stat().st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def request(source: Path, target: Path, stage: str, **more: object) -> CopyRequest:
    """A request for the devices that the directories are on."""
    fields: dict[str, object] = {
        "source": str(source),
        "target": str(target),
        "stage": CopyPass(stage),
        "source_number": number(source),
        "target_number": number(target),
    }
    return CopyRequest(**(fields | more))  # type: ignore[arg-type]


def line(source: Path, target: Path, stage: str, **more: object) -> str:
    """The request as the copier reads it."""
    fields = {
        "source": str(source),
        "target": str(target),
        "stage": stage,
        "source_number": number(source),
        "target_number": number(target),
        "databases": DATABASES,
        "not_data": NOT_DATA,
    }
    return json.dumps(fields | more)


def start(source: Path, target: Path, stage: str, **more: object) -> subprocess.Popen[str]:
    """A copier that has its request."""
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(line(source, target, stage, **more))
    process.stdin.close()
    process.stdin = None  # or communicate() would flush it
    return process


def run(source: Path, target: Path, stage: str, **more: object) -> dict[str, object]:
    """The last line of one pass: `result` or `error`, with that key taken off."""
    done = subprocess.run(
        COMMAND,
        input=line(source, target, stage, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    (answer,) = json.loads(done.stdout.splitlines()[-1]).values()
    assert isinstance(answer, dict)
    return answer
