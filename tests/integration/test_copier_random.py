"""Random small trees, changed between the passes and after a kill, judged by rsync."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes import copies, nasty_tree

#: Few names, sizes and times, so that entries meet, and look alike when they are not.
NAMES = ("a", "b", "c", "metadata.db", "bad\udcff")
TOPS = (
    "io.containerd.metadata.v1.bolt",
    "io.containerd.snapshotter.v1.overlayfs",
    "tmpmounts",
    "plain",
)
TIMES = (0, 1_000_000_000, 1_700_000_000_123_456_789)


def change(root: Path, chance: random.Random, count: int) -> None:
    """`count` random changes below `root`."""
    for _ in range(count):
        place = root / chance.choice(TOPS)
        place.mkdir(exist_ok=True)
        directories = [
            place,
            *sorted(p for p in place.rglob("*") if p.is_dir() and not p.is_symlink()),
        ]
        path = chance.choice(directories) / chance.choice(NAMES)
        with contextlib.suppress(FileExistsError, FileNotFoundError, IsADirectoryError):
            chance.choice(CHANGES)(path, chance, directories)


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_file(path: Path, chance: random.Random, _all: list[Path]) -> None:
    clear(path)
    path.write_bytes(bytes([chance.randrange(3)]) * chance.choice((0, 10, 5000)))
    path.chmod(chance.choice((0o600, 0o4755, 0o000)))
    os.utime(path, ns=(0, chance.choice(TIMES)))


def write_in_place(path: Path, chance: random.Random, all_: list[Path]) -> None:
    if path.is_file() and not path.is_symlink():
        times = path.stat()
        path.write_bytes(bytes([chance.randrange(3)]) * times.st_size)
        os.utime(path, ns=(0, times.st_mtime_ns))
    else:
        make_file(path, chance, all_)


def make_sparse(path: Path, chance: random.Random, _all: list[Path]) -> None:
    clear(path)
    with path.open("wb") as file:
        file.seek(chance.choice((0, 65536, 200_000)))
        file.write(b"data")
        file.truncate(300_000)
    os.utime(path, ns=(0, chance.choice(TIMES)))


def make_directory(path: Path, chance: random.Random, _all: list[Path]) -> None:
    path.mkdir()
    path.chmod(chance.choice((0o700, 0o2775, 0o1777, 0o000)))
    os.utime(path, ns=(0, chance.choice(TIMES)))


def make_link(path: Path, chance: random.Random, _all: list[Path]) -> None:
    clear(path)
    path.symlink_to(chance.choice(("/etc", "..", "a", "/etc/passwd")))
    os.utime(path, ns=(0, chance.choice(TIMES)), follow_symlinks=False)


def make_special(path: Path, chance: random.Random, _all: list[Path]) -> None:
    clear(path)
    kind, device = chance.choice(((0o020000, 0), (0o010000, 0), (0o060000, os.makedev(7, 99))))
    os.mknod(path, kind | 0o600, device)


def join(path: Path, chance: random.Random, all_: list[Path]) -> None:
    others = [p for d in all_ for p in d.iterdir() if not p.is_dir() or p.is_symlink()]
    if others:
        other = chance.choice(others)
        if other != path:
            clear(path)
            os.link(other, path, follow_symlinks=False)


def remove(path: Path, _chance: random.Random, _all: list[Path]) -> None:
    clear(path)


def give_away(path: Path, chance: random.Random, _all: list[Path]) -> None:
    if os.path.lexists(path):
        os.chown(path, chance.randrange(3), chance.randrange(3), follow_symlinks=False)


def mark(path: Path, chance: random.Random, _all: list[Path]) -> None:
    if os.path.lexists(path):
        value = bytes([chance.randrange(3)])
        os.setxattr(path, "trusted.overlay.mark", value, follow_symlinks=False)


def give_rights(path: Path, chance: random.Random, all_: list[Path]) -> None:
    which = chance.choice(("system.posix_acl_access", "system.posix_acl_default"))
    os.setxattr(all_[-1], which, nasty_tree.acl(chance.randrange(5)))
    del path


def move(path: Path, chance: random.Random, all_: list[Path]) -> None:
    names = [p for d in all_ for p in d.iterdir() if not p.is_dir() or p.is_symlink()]
    if names and not (path.is_dir() and not path.is_symlink()):
        chance.choice(names).rename(path)


CHANGES = (
    *(make_file, make_file, write_in_place, write_in_place, make_sparse, make_directory),
    *(make_directory, make_link, make_special, join, join, remove, give_away, mark),
    *(give_rights, move),
)


@pytest.mark.timeout(240)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    seed=st.integers(0, 2**32),
    first=st.integers(0, 40),
    meanwhile=st.integers(0, 25),
    foreign=st.integers(0, 10),
    kill=st.booleans(),
)
def test_after_a_final_pass_the_trees_are_alike_whatever_happened_before(
    seed: int, first: int, meanwhile: int, foreign: int, kill: bool
):
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory) / "source", Path(directory) / "target"
        source.mkdir()
        target.mkdir()
        change(source, chance, first)
        if foreign % 2:
            change(target, chance, foreign)
        if kill:
            process = copies.start(source, target, "warm")
            time.sleep(chance.random() * 0.1)
            process.kill()
            process.communicate()
        assert "reason" not in copies.run(source, target, "warm")
        change(source, chance, meanwhile)
        assert "reason" not in copies.run(source, target, "final")
        ours = {path.name for path in source.iterdir()} | {".nodestoraged"}
        for extra in [path for path in target.iterdir() if path.name not in ours]:
            assert not extra.name.startswith("io.containerd.")
            clear(extra)  # foreign to the copier, which must leave it
        os.utime(target, ns=(0, source.stat().st_mtime_ns))
        assert nasty_tree.differences(source, target) == ""
