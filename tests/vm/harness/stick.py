"""Stick images: what lies on the USB sticks that a machine is given.

Owns the making, cloning and fingerprinting of the image files. Knows nothing of machines. All files
are sparse: a stick of 6 GiB costs a few MiB.
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import uuid as uuids
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypedDict

from tests.vm.harness.errors import HarnessError

FilesystemType = Literal["ext4", "xfs"]
Damage = Literal["none", "fixable", "beyond-repair"]
_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
_SECTOR_BYTES: Final = 512
_BLOCK_BYTES: Final = 4096
_CHUNK_BYTES: Final = 256 * _BLOCK_BYTES
# The superblock of an empty squashfs 4.0 (fs/squashfs/squashfs_fs.h of Linux): magic, inodes, time,
# block size, fragments, compression, log2 of the block size, flags, ids, major, minor, root inode,
# bytes used. ext4 leaves its first KiB alone, so both signatures hold.
_SQUASHFS: Final = struct.pack(
    "<4sIIIIHHHHHHQQ", b"hsqs", 1, 0, 1 << 17, 0, 1, 17, 0, 1, 4, 0, 96, 4096
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StickSpec:
    """What a stick shall be. Sizes in bytes.

    `partlabel` None: named like the file system's label. `partitioned` False: the file system lies
    on the whole disk. `content`: a directory whose files go onto it (ext4 only). `damage`:
    "fixable" is mended by `e2fsck -p` (ext4 only), "beyond-repair" is not. `ambivalent`: a second
    signature, so that libblkid refuses and udev sets no ID_FS_… and no ID_PART_ENTRY_… at all.
    """

    serial: str
    label: str = "containerd-opt"
    fstype: FilesystemType = "ext4"
    uuid: str | None = None
    size_bytes: int = 6 * _GIB
    partitioned: bool = True
    partlabel: str | None = None
    content: Path | None = None
    damage: Damage = "none"
    ambivalent: bool = False


class StickOptions(TypedDict, total=False):
    """The fields of `StickSpec` without the serial, as keyword arguments."""

    label: str
    fstype: FilesystemType
    uuid: str | None
    size_bytes: int
    partitioned: bool
    partlabel: str | None
    content: Path | None
    damage: Damage
    ambivalent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stick:
    """A stick: its image file, and what is on it. `uuid` is the file system's."""

    path: Path
    serial: str
    uuid: str
    label: str
    fstype: FilesystemType
    size_bytes: int
    partitioned: bool

    @property
    def offset_bytes(self) -> int:
        """Where the file system begins in the image."""
        return _MIB if self.partitioned else 0


def make_stick(path: Path, spec: StickSpec) -> Stick:
    """Write a stick's image to `path` (must not exist).

    Raises HarnessError when a tool fails or the combination makes no sense.
    """
    if path.exists():
        raise HarnessError(f"{path} exists")
    if spec.fstype == "xfs" and (spec.content is not None or spec.damage == "fixable"):
        raise HarnessError("content and fixable damage are for ext4")
    uuid = spec.uuid or str(uuids.uuid4())
    filesystem = path.with_name(path.name + ".fs")
    size = spec.size_bytes - (2 * _MIB if spec.partitioned else 0)
    try:
        _make_filesystem(filesystem, spec, uuid, size)
        _damage(filesystem, spec)
        if spec.ambivalent:
            _add_second_signature(filesystem)
        if spec.partitioned:
            _make_partition(path, spec, size)
            _copy_data(filesystem, path, _MIB)
        else:
            filesystem.rename(path)
    finally:
        filesystem.unlink(missing_ok=True)
    return Stick(
        path=path,
        serial=spec.serial,
        uuid=uuid,
        label=spec.label,
        fstype=spec.fstype,
        size_bytes=spec.size_bytes,
        partitioned=spec.partitioned,
    )


def clone_stick(stick: Stick, path: Path, *, serial: str) -> Stick:
    """Copy a stick byte for byte (same UUIDs and labels) as one with another serial."""
    with path.open("xb") as target:
        target.truncate(stick.path.stat().st_size)
    _copy_data(stick.path, path, 0)
    return replace(stick, path=path, serial=serial)


def sha256(stick: Stick) -> str:
    """A fingerprint of every byte of the stick, fast: blocks of zeros count as holes.

    Two sticks have the same one if and only if they have the same size and content, however their
    files are laid out on the host.
    """
    digest = hashlib.sha256(stick.path.stat().st_size.to_bytes(8, "little"))
    zeros = bytes(_BLOCK_BYTES)
    with stick.path.open("rb") as source:
        for start, end in _data_extents(source.fileno()):
            first = start // _BLOCK_BYTES * _BLOCK_BYTES
            for at in range(first, end, _CHUNK_BYTES):
                data = os.pread(source.fileno(), min(_CHUNK_BYTES, end - at), at)
                for offset in range(0, len(data), _BLOCK_BYTES):
                    block = data[offset : offset + _BLOCK_BYTES]
                    if block != zeros[: len(block)]:
                        digest.update((at + offset).to_bytes(8, "little") + block)
    return digest.hexdigest()


def debugfs(stick: Stick, request: str) -> str:
    """Run one request of debugfs(8) on an unplugged ext4 stick, writable; return its output.

    For looking at a stick without mounting it: `debugfs(stick, "ls -p /")`.
    """
    target = f"{stick.path}?offset={stick.offset_bytes}" if stick.offset_bytes else str(stick.path)
    return _tool("debugfs", "-w", "-R", request, target)


def _tool(*command: str) -> str:
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        timeout=120,
    )
    if result.returncode != 0:
        raise HarnessError(f"exit {result.returncode} of {' '.join(command)}\n{result.stdout}")
    return result.stdout


def _make_filesystem(path: Path, spec: StickSpec, uuid: str, size_bytes: int) -> None:
    with path.open("xb") as target:
        target.truncate(size_bytes)
    if spec.fstype == "ext4":
        content = ("-d", str(spec.content)) if spec.content else ()
        options = ("-q", "-F", "-t", "ext4", "-L", spec.label, "-U", uuid, "-E", "nodiscard")
        _tool("mke2fs", *options, *content, str(path))
    else:
        _tool("mkfs.xfs", "-q", "-K", "-L", spec.label, "-m", f"uuid={uuid}", str(path))


def _make_partition(path: Path, spec: StickSpec, size_bytes: int) -> None:
    with path.open("xb") as target:
        target.truncate(spec.size_bytes)
    first = _MIB // _SECTOR_BYTES
    last = first + size_bytes // _SECTOR_BYTES - 1
    # The backup table needs 33 sectors after the partition; a MiB is left for it.
    name = spec.label if spec.partlabel is None else spec.partlabel
    _tool("sgdisk", f"-n1:{first}:{last}", "-t1:8300", f"-c1:{name}", str(path))


def _damage(path: Path, spec: StickSpec) -> None:
    if spec.damage == "none":
        return
    if spec.fstype == "xfs":
        _tool("xfs_db", "-x", "-c", "sb 0", "-c", "write -d rootino 77777", str(path))
        return
    # Not clean: otherwise `e2fsck -p` does not look.
    _tool("debugfs", "-w", "-R", "set_super_value state 0", str(path))
    if spec.damage == "fixable":
        _tool("debugfs", "-w", "-R", "set_super_value free_blocks_count 4242", str(path))
    else:
        _tool("debugfs", "-w", "-R", "clri <2>", str(path))


def _add_second_signature(path: Path) -> None:
    with path.open("r+b") as target:
        target.write(_SQUASHFS)


def _data_extents(descriptor: int) -> Iterator[tuple[int, int]]:
    end = 0
    size = os.fstat(descriptor).st_size
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # ENXIO: no data up to the end
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def _copy_data(source: Path, target: Path, offset_bytes: int) -> None:
    with source.open("rb") as reader, target.open("r+b") as writer:
        for start, end in _data_extents(reader.fileno()):
            at = start
            while at < end:
                data = os.pread(reader.fileno(), min(_CHUNK_BYTES, end - at), at)
                os.pwrite(writer.fileno(), data, at + offset_bytes)
                at += len(data)
