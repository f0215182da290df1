"""Rules of the partition table that we write, judged by sgdisk and partx."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from nodestoraged.linux import gpt
from nodestoraged.model.disk import PARTITION_TYPE

MIB = 1 << 20
GUIDS = ("11111111-2222-4333-8444-555555555555", "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")


def written(path: Path, size_bytes: int, name: str = "containerd-opt") -> gpt.Table:
    table = gpt.one_partition(
        size_bytes, 512, partition_type=PARTITION_TYPE, name=name, guids=GUIDS
    )
    with path.open("wb") as stream:
        stream.truncate(size_bytes)
        for offset, data in table.pieces:
            stream.seek(offset)
            stream.write(data)
    assert path.stat().st_size == size_bytes, "nothing is written beyond the disk's end"
    return table


def said(*command: str) -> str:
    env = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "LANG": "C"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout


@pytest.mark.parametrize("size_bytes", [3 * MIB, 64 * MIB, 64 * MIB + 512, 100_000_256, 3 << 40])
def test_others_find_the_table_whole(tmp_path: Path, size_bytes: int) -> None:
    disk = tmp_path / "disk"
    size_bytes -= size_bytes % 512
    table = written(disk, size_bytes)
    assert "No problems found" in said("sgdisk", "--verify", str(disk))
    info = said("sgdisk", "--info=1", str(disk))
    assert PARTITION_TYPE.upper() in info
    assert GUIDS[1].upper() in info
    assert "Partition name: 'containerd-opt'" in info
    first = re.search(r"First sector: (\d+)", info)
    size = re.search(r"Partition size: (\d+)", info)
    assert first is not None
    assert size is not None
    assert int(first[1]) * 512 == table.start_bytes == MIB
    assert int(size[1]) * 512 == table.length_bytes
    assert table.length_bytes % MIB == 0
    assert size_bytes - (table.start_bytes + table.length_bytes) < 2 * MIB
    assert GUIDS[0].upper() in said("sgdisk", "--print", str(disk))
    assert said("partx", "-g", "-o", "NAME", str(disk)).strip() == "containerd-opt"


def test_a_disk_with_large_sectors_has_its_own_arithmetic() -> None:
    table = gpt.one_partition(
        64 * MIB, 4096, partition_type=PARTITION_TYPE, name="opt", guids=GUIDS
    )
    pieces = dict(table.pieces)
    assert sorted(pieces) == [0, 4096, 8192, 64 * MIB - 5 * 4096, 64 * MIB - 4096]
    assert all(len(data) % 4096 == 0 for data in pieces.values())
    assert pieces[4096][:8] == b"EFI PART" == pieces[64 * MIB - 4096][:8]
    assert (table.start_bytes, table.length_bytes) == (MIB, 62 * MIB)


@pytest.mark.parametrize("size_bytes", [0, 512, MIB, 2 * MIB])
def test_a_disk_without_room_is_refused(size_bytes: int) -> None:
    with pytest.raises(ValueError, match="too few"):
        gpt.one_partition(size_bytes, 512, partition_type=PARTITION_TYPE, name="", guids=GUIDS)


def test_a_name_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "disk", 8 * MIB, "x" * gpt.NAME_LENGTH)
    with pytest.raises(ValueError, match="too long"):
        written(tmp_path / "disk", 8 * MIB, "x" * (gpt.NAME_LENGTH + 1))


def test_random_guids_are_of_version_4() -> None:
    found = {gpt.random_guid() for _ in range(50)}
    assert len(found) == 50
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", guid) for guid in found)
    assert all(guid[14] == "4" and guid[19] in "89ab" for guid in found)
