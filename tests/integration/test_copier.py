"""The copier on real file systems, judged by rsync, which compares every byte."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.fakes import copies, nasty_tree
from tests.fakes.copies import run
from tests.fakes.nasty_tree import differences

LAYER = "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return nasty_tree.build(tmp_path / "source")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.mkdir()
    return path


def test_a_final_pass_alone_copies_every_kind_of_entry(source: Path, target: Path):
    result = run(source, target, "final")
    assert differences(source, target) == ""
    assert result["entries"] == 1 + len(list(source.rglob("*")))
    assert result["removed"] == result["vanished"] == 0


def test_a_warm_pass_leaves_the_databases_to_the_final_one(source: Path, target: Path):
    run(source, target, "warm")
    missing = differences(source, target).splitlines()
    assert {line.split("/")[-1] for line in missing if line.startswith(">f")} == {
        "meta.db",
        "metadata.db",
        "data",
        "left",
    }
    run(source, target, "final")
    assert differences(source, target) == ""


def test_a_pass_over_equal_trees_writes_nothing(source: Path, target: Path):
    run(source, target, "warm")
    run(source, target, "final")
    before = {path: path.lstat() for path in target.rglob("*")}
    result = run(source, target, "final")
    assert (result["written"], result["bytes_written"], result["removed"]) == (0, 0, 0)
    after = {path: path.lstat() for path in target.rglob("*")}
    assert {p: s.st_ino for p, s in before.items() if ".nodestoraged" not in p.parts} == {
        p: s.st_ino for p, s in after.items() if ".nodestoraged" not in p.parts
    }


def test_holes_stay_holes(source: Path, target: Path):
    run(source, target, "final")
    for name in ("hole-only", "hole-first", "hole-last", "holes"):
        (ours,) = source.rglob(name)
        assert (target / ours.relative_to(source)).stat().st_blocks <= ours.stat().st_blocks + 8


def test_the_source_is_not_changed_in_anything(source: Path, target: Path):
    def seen() -> dict[str, tuple[object, ...]]:
        found = {}
        for path in (source, *source.rglob("*")):
            one = path.lstat()
            found[str(path)] = (one.st_ino, one.st_ctime_ns, one.st_mtime_ns, one.st_atime_ns)
        return found

    seen()  # listing a directory may change the time of its last access: ours, not the copier's
    time.sleep(0.02)
    before = seen()
    run(source, target, "warm")
    run(source, target, "final")
    files = {path for path in before if stat.S_ISREG(Path(path).lstat().st_mode)}
    after = seen()
    assert {path: before[path] for path in files} == {path: after[path] for path in files}
    assert {p: s[:3] for p, s in before.items()} == {p: s[:3] for p, s in after.items()}


def test_what_is_too_much_goes_but_foreign_names_at_the_top_stay(source: Path, target: Path):
    run(source, target, "final")
    extra = target / "io.containerd.old" / "a" / "b"
    extra.mkdir(parents=True)
    (extra / "file").write_text("x")
    (extra / "link").symlink_to("/etc")
    (target / "photos").mkdir()
    (target / "photos" / "one").write_text("mine")
    (target / "lost+found").mkdir()
    shutil.rmtree(source / "opt")
    result = run(source, target, "final")
    assert not (target / "io.containerd.old").exists()
    assert not (target / "opt").exists()
    assert (target / "photos" / "one").read_text() == "mine"
    assert (target / "lost+found").is_dir()
    assert result["removed"] == 6
    assert Path("/etc/passwd").exists()
    # Excluded and not taken away: that would be a change of the directory above it.
    assert differences(source, target, "--exclude=/photos") == ""


def test_a_warm_pass_touches_no_database_of_the_target(source: Path, target: Path):
    run(source, target, "final")
    other = target / "io.containerd.metadata.v1.bolt" / "other.db"
    other.write_text("there before")
    shutil.rmtree(source / "io.containerd.metadata.v1.bolt")
    run(source, target, "warm")
    assert other.read_text() == "there before"
    run(source, target, "final")
    assert not other.parent.exists()


def test_a_link_in_the_target_leads_nowhere(source: Path, target: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    for name in ("io.containerd.content.v1.content", "opt", "tmpmounts"):
        (target / name).symlink_to(outside)
    below = target / "io.containerd.snapshotter.v1.overlayfs" / "snapshots" / "1"
    below.mkdir(parents=True)
    (below / "fs").symlink_to(outside)
    run(source, target, "warm")
    run(source, target, "final")
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert differences(source, target) == ""


def test_a_link_where_we_keep_our_record_fails_the_pass(source: Path, target: Path, tmp_path: Path):
    (target / ".nodestoraged").symlink_to(tmp_path)
    assert run(source, target, "warm")["reason"] == "CopyFailed"
    assert not (tmp_path / "copy-state.json").exists()


@pytest.mark.parametrize("stage", ["warm", "final"])
def test_types_may_change_between_passes(source: Path, target: Path, stage: str):
    run(source, target, "final")
    layer = source / LAYER
    for name in ("shared", "fifo", "opaque", "absolute", "whiteout"):
        path = layer / name
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
            path.write_text("a file now")
        else:
            path.unlink()
            path.mkdir()
            (path / "below").write_text("a directory now")
    run(source, target, stage)
    run(source, target, "final")
    assert differences(source, target) == ""


def test_equal_size_and_time_do_not_hide_what_changed_after_the_warm_pass(
    source: Path, target: Path
):
    """As the unpacking of a layer does: it writes first and sets the old time afterwards."""
    (path,) = source.rglob("shared")
    before = path.stat()
    run(source, target, "warm")
    path.write_bytes(b"Shared" * 1000)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    run(source, target, "final")
    assert differences(source, target) == ""


def test_attributes_that_change_nothing_else_are_carried_over(source: Path, target: Path):
    run(source, target, "warm")
    layer = source / LAYER
    ping, loop, opaque = layer / "ping", layer / "loop", layer / "opaque"
    os.removexattr(ping, "security.capability")
    os.setxattr(ping, "user.note", b"other")
    os.setxattr(loop, "trusted.overlay.origin", b"p", follow_symlinks=False)
    os.removexattr(opaque, "trusted.overlay.opaque")
    result = run(source, target, "final")
    assert differences(source, target) == ""
    assert result["bytes_written"] == sum(  # of the databases only: no data of theirs moved
        path.stat().st_size
        for name in ("meta.db", "metadata.db", "data", "left")
        for path in source.rglob(name)
    )


def test_links_that_were_cut_or_joined_are_cut_and_joined(source: Path, target: Path):
    run(source, target, "final")
    layer = source / LAYER
    content, times = (layer / "shared").read_bytes(), (layer / "shared").stat()
    (layer / "shared-too").unlink()
    (layer / "shared-too").write_bytes(content)
    (layer / "shared-too").chmod(0o640)
    os.utime(layer / "shared-too", ns=(0, times.st_mtime_ns))
    (layer / "plain-too").hardlink_to(layer / "inheriting" / "plain")
    (layer / "whiteout-three").hardlink_to(layer / "whiteout")
    run(source, target, "final")
    assert differences(source, target) == ""


def test_a_mounted_file_system_below_is_not_entered(source: Path, target: Path):
    place = source / "opt"
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True)
    try:
        (place / "secret").write_text("not of this file system")
        run(source, target, "final")
        assert (target / "opt").is_dir()
        assert list((target / "opt").iterdir()) == []
        assert stat.S_IMODE((target / "opt").stat().st_mode) == 0o1777
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_bind_mount_of_the_same_file_system_is_not_entered(source: Path, target: Path):
    place = source / "opt"
    subprocess.run(["mount", "--bind", str(source), str(place)], check=True)
    try:
        run(source, target, "warm")
        assert list((target / "opt").iterdir()) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_directory_on_another_device_is_refused(source: Path, target: Path):
    before = list(target.iterdir())
    for name in ("source_number", "target_number"):
        failure = run(source, target, "warm", **{name: "7:4095"})
        assert failure["reason"] == "DeviceChanged"
    assert list(target.iterdir()) == before


def test_names_deeper_than_any_path_may_be(source: Path, target: Path):
    fd = os.open(source / "opt", os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d" * 50, dir_fd=fd)
        below = os.open("d" * 50, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    assert run(source, target, "final")["vanished"] == 0
    assert run(source, target, "final")["written"] == 0
    subprocess.run(["rm", "-rf", str(source / "opt")], check=True)
    assert run(source, target, "final")["removed"] == 202


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_pass_is_resumed_and_never_believed(tmp_path: Path, seed: int):
    chance = random.Random(seed)
    source = nasty_tree.build(tmp_path / "source", seed=seed, files=400)
    target = tmp_path / "target"
    target.mkdir()
    for stage in ("warm", "warm", "final", "final"):
        process = copies.start(source, target, stage, bytes_per_second=16 << 20)
        time.sleep(0.05 + chance.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (path,) = source.rglob("shared")
    path.write_bytes(chance.randbytes(6000))
    run(source, target, "final")
    assert differences(source, target) == ""


def test_a_resumed_pass_does_not_move_again_what_is_there(source: Path, target: Path):
    first = run(source, target, "final")
    record = target / ".nodestoraged" / "copy-state.json"
    record.unlink()
    second = run(source, target, "final")
    assert int(str(first["bytes_written"])) > 0
    assert (second["bytes_written"], second["written"]) == (0, 0)


def test_without_a_record_everything_is_compared_byte_by_byte(source: Path, target: Path):
    """As after a power cut: sizes and times survive it, data does not."""
    run(source, target, "final")
    (path,) = target.rglob("shared")
    times = path.stat()
    path.write_bytes(bytes(6000))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    record = target / ".nodestoraged" / "copy-state.json"
    for spoilt in ("", "{", "[]", '{"schema": 2}', '{"schema": 1, "begins": [2, 1]}'):
        record.write_text(spoilt)
        assert "reason" not in run(source, target, "warm")
    run(source, target, "final")
    assert differences(source, target) == ""


def test_a_throttled_pass_takes_its_time(tmp_path: Path):
    with copies.memory_disk(tmp_path / "memory") as memory:
        source, target = memory / "source", memory / "target"
        source.mkdir()
        target.mkdir()
        (source / "file").write_bytes(random.Random(1).randbytes(3 << 20))
        result = run(source, target, "warm", bytes_per_second=2 << 20)
        assert 1.0 < float(str(result["seconds"])) < 6
        assert differences(source, target) == ""


def test_a_live_source_may_change_under_a_warm_pass(tmp_path: Path, target: Path):
    source = nasty_tree.build(tmp_path / "source", files=300)
    layer = source / LAYER
    chance = random.Random(11)
    process = copies.start(source, target, "warm", bytes_per_second=4 << 20)
    while process.poll() is None:
        names = [path for path in layer.iterdir() if path.name.startswith("file-")]
        if names:
            chance.choice(names).unlink()
        new = layer / f"new-{chance.randrange(1000)}"
        new.mkdir(exist_ok=True)
        (new / "below").write_bytes(chance.randbytes(9000))
        chance.choice(list(layer.glob("new-*"))).rename(layer / f"moved-{chance.randrange(10**6)}")
        with (layer / "shared").open("r+b") as file:
            file.write(chance.randbytes(10))
        time.sleep(0.005)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    result = run(source, target, "final")
    assert result["vanished"] == 0
    assert differences(source, target) == ""


def test_a_final_pass_does_not_accept_a_source_that_is_still_in_use(tmp_path: Path, target: Path):
    source = nasty_tree.build(tmp_path / "source")
    (source / "log").write_bytes(bytes(1 << 20))
    process = copies.start(source, target, "final", bytes_per_second=1 << 20)
    while process.poll() is None:
        with (source / "log").open("ab") as file:
            file.write(b"another line\n")
        time.sleep(0.01)
    out, _ = process.communicate()
    assert process.returncode == 1
    assert "the source is still in use" in out


def test_a_directory_that_becomes_a_link_is_not_followed(tmp_path: Path, target: Path):
    """As a container may do it to its own files while they are copied."""
    source = nasty_tree.build(tmp_path / "source", files=300)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "below").write_text("not of this tree")
    place, aside = source / LAYER / "inheriting", source / LAYER / "aside"
    process = copies.start(source, target, "warm", bytes_per_second=8 << 20)
    while process.poll() is None:
        place.rename(aside)
        place.symlink_to(outside)
        time.sleep(0.001)
        place.unlink()
        aside.rename(place)
        time.sleep(0.001)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    assert not any(path.name == "below" for path in target.rglob("*"))
    run(source, target, "final")
    assert differences(source, target) == ""
