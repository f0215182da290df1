"""Rules of the superblock parser: real images read right, hostile bytes never raise."""

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodestoraged.linux import superblock
from tests.fakes.loopdev import make_image

UUID = "01234567-89ab-4cde-8f01-23456789abcd"
EXT4 = ("mkfs.ext4", "-q", "-F", "-U", UUID)
XFS = ("mkfs.xfs", "-q", "-f", "-m", f"uuid={UUID}")


def read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(superblock.READ_BYTES)


def parsed(path: Path) -> superblock.Superblock:
    found = superblock.parse(read(path))
    assert found is not None
    return found


@pytest.mark.parametrize("fstype", ["ext2", "ext3", "ext4"])
def test_the_ext_family_is_told_apart(tmp_path: Path, fstype: str) -> None:
    image = make_image(tmp_path / "image", f"mkfs.{fstype}", "-q", "-F", "-L", "containerd-opt")
    found = parsed(image)
    assert (found.fstype, found.label) == (fstype, "containerd-opt")
    assert found.size_bytes == 32 << 20
    assert not found.external_journal
    assert not found.needs_recovery
    assert not found.damaged


def test_xfs_is_read(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", *XFS, "-L", "ctrd-opt", size_mib=320)
    found = parsed(image)
    assert (found.fstype, found.uuid, found.label) == ("xfs", UUID, "ctrd-opt")
    assert found.size_bytes == 320 << 20
    assert found.file_types
    assert not found.external_journal


def test_xfs_without_file_types_is_told(tmp_path: Path) -> None:
    options = ("mkfs.xfs", "-q", "-f", "-m", "crc=0", "-n", "ftype=0")
    assert not parsed(make_image(tmp_path / "image", *options, size_mib=320)).file_types


def test_an_external_xfs_log_is_told(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", *XFS, size_mib=320)
    data = bytearray(read(image))
    data[48:56] = bytes(8)
    found = superblock.parse(bytes(data))
    assert found is not None
    assert found.external_journal


def test_errors_panic_and_own_mount_options_are_told(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", *EXT4)
    tune = ["/sbin/tune2fs", "-e", "panic", "-E", "mount_opts=data=journal", str(image)]
    subprocess.run(tune, check=True, capture_output=True)
    found = parsed(image)
    assert (found.uuid, found.errors, found.mount_options) == (UUID, "panic", "data=journal")


def test_an_external_journal_is_told(tmp_path: Path) -> None:
    data = bytearray(read(make_image(tmp_path / "image", *EXT4)))
    struct.pack_into("<I", data, 1024 + 0xE4, 0x801)
    found = superblock.parse(bytes(data))
    assert found is not None
    assert found.external_journal


def test_a_journal_device_is_no_file_system_to_mount(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", "mke2fs", "-q", "-F", "-O", "journal_dev")
    assert parsed(image).fstype == "jbd"


def test_a_needed_recovery_and_recorded_errors_are_told(tmp_path: Path) -> None:
    data = bytearray(read(make_image(tmp_path / "image", *EXT4)))
    data[1024 + 0x60] |= 0x4
    struct.pack_into("<I", data, 1024 + 0x194, 1)
    found = superblock.parse(bytes(data))
    assert found is not None
    assert found.needs_recovery
    assert found.damaged


def test_two_signatures_are_nobody_s_file_system(tmp_path: Path) -> None:
    data = b"XFSB" + read(make_image(tmp_path / "image", *EXT4))[4:]
    assert superblock.signatures(data) == ("ext", "xfs")
    assert superblock.parse(data) is None


def test_a_label_keeps_every_character(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", *EXT4, "-L", "a/\x1b[31m$(id)")
    assert parsed(image).label == "a/\x1b[31m$(id)"


@pytest.mark.parametrize("data", [b"", bytes(100), bytes(superblock.READ_BYTES)])
def test_nothing_is_found_in_nothing(data: bytes) -> None:
    assert superblock.parse(data) is None
    assert superblock.signatures(data) == ()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2048), st.integers(0, 2047))
def test_hostile_ext_superblocks_never_raise(noise: bytes, at: int) -> None:
    data = bytearray(2048)
    data[at : at + len(noise)] = noise
    data[1024 + 0x38 : 1024 + 0x3A] = b"\x53\xef"
    found = superblock.parse(bytes(data))
    assert found is None or (len(found.uuid) == 36 and len(found.label) <= 16)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=512))
def test_hostile_xfs_superblocks_never_raise(noise: bytes) -> None:
    found = superblock.parse(b"XFSB" + noise)
    assert found is None or (found.fstype == "xfs" and len(found.label) <= 12)
