"""Rules for sticks: what is asked of the worker, and what its answers mean."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nodestoraged.adapters.children import Children
from nodestoraged.adapters.sticks import WorkerSticks, kept_node_id, node_id
from nodestoraged.linux import mountinfo
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.disk import PARTITION_TYPE, Disk, Formatted
from nodestoraged.model.errors import ObservationError, StepError, StepTimeout
from nodestoraged.model.manifest import Inspection, Manifest

NUMBER = DeviceNumber(8, 17)
STICK = BlockDevice(
    devnode="/dev/sdb1", number=NUMBER, diskseq=7, disk="/dev/sdb", size_bytes=1, fstype="ext4",
    uuid="3f2a",
)  # fmt: skip
DISK = Disk(devnode="/dev/sdb", number=DeviceNumber(8, 16), diskseq=7, size_bytes=1 << 34)
MANIFEST = {"id": "d0", "generation": 2, "complete": True, "node": "n", "role": "r"}
MANIFEST = {**MANIFEST, "created": "t", "origin": "empty", "activated": None, "quality": None}
SPACE = {"capacity_bytes": 100, "available_bytes": 40}


class Worker(Children):
    """Answers from a table, and keeps what was asked."""

    def __init__(self, **answers: object) -> None:
        super().__init__()
        self.answers = answers
        self.asked: list[tuple[str, Mapping[str, object], float]] = []

    async def call(
        self, op: str, args: Mapping[str, object], *, deadline_seconds: float
    ) -> Mapping[str, object]:
        """As `Children.call`."""
        self.asked.append((op, args, deadline_seconds))
        answer = self.answers[op]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, dict)
        return answer


def inspected(answer: object) -> Inspection:
    sticks = WorkerSticks(Worker(inspect=answer), "n")
    return asyncio.run(sticks.inspect(STICK, deadline_seconds=5))


def test_a_stick_is_inspected_by_its_pin_and_its_file_system() -> None:
    worker = Worker(inspect={"manifest": MANIFEST, **SPACE})
    found = asyncio.run(WorkerSticks(worker, "n").inspect(STICK, deadline_seconds=5))
    assert found.manifest == Manifest(
        id="d0", generation=2, complete=True, node="n", role="r", created="t"
    )
    assert (found.capacity_bytes, found.available_bytes, found.failure) == (100, 40, None)
    pin = {"devnode": "/dev/sdb1", "major": 8, "minor": 17, "diskseq": 7}
    assert worker.asked == [("inspect", {**pin, "uuid": "3f2a", "fstype": "ext4"}, 5)]


@pytest.mark.parametrize("reason", ["ManifestBroken", "ManifestUnknown", "IoError", "FsckFailed"])
def test_what_is_wrong_with_a_stick_is_an_inspection_that_failed(reason: str) -> None:
    assert inspected(StepError(reason, "words")) == Inspection(failure=reason)


def test_a_manifest_that_does_not_fit_the_model_is_broken() -> None:
    odd = {"manifest": {**MANIFEST, "generation": "two"}, **SPACE}
    assert inspected(odd) == Inspection(failure="ManifestBroken")
    assert inspected({"manifest": None}) == Inspection(failure="ManifestBroken")


@pytest.mark.parametrize(
    "error",
    [
        StepTimeout("Hung", "words"),
        StepError("WorkerDied", "words"),
        StepError("TooManyStuckChildren", "words"),
    ],
)
def test_a_hung_stick_and_a_fault_of_ours_are_raised(error: StepError) -> None:
    with pytest.raises(StepError) as caught:
        inspected(error)
    assert caught.value is error


def test_a_stamp_says_where_it_must_lie() -> None:
    worker = Worker(stamp={"stamped": True})
    manifest = Manifest(id="d0", generation=2, complete=True, node="n", role="r", created="t")
    sticks = WorkerSticks(worker, "n")
    asyncio.run(sticks.stamp("/mnt", NUMBER, manifest, deadline_seconds=9))
    place = {"path": "/mnt", "major": 8, "minor": 17}
    assert worker.asked == [("stamp", {**place, "manifest": MANIFEST}, 9)]


def test_a_formatted_disk_is_described_by_what_was_read_back() -> None:
    answer = {"devnode": "/dev/sdb1", "major": 8, "minor": 17, "diskseq": 7}
    answer |= {"uuid": "3f2a", "label": "opt", "fstype": "ext4"}
    worker = Worker(format=answer)
    found = asyncio.run(
        WorkerSticks(worker, "n").format(
            DISK, label="opt", fstype="ext4", whole_disk=False, deadline_seconds=60
        )
    )
    assert found == Formatted(
        devnode="/dev/sdb1", number=NUMBER, diskseq=7, uuid="3f2a", label="opt", fstype="ext4"
    )
    assert worker.asked[0][1]["partition_type"] == PARTITION_TYPE
    assert worker.asked[0][1]["whole_disk"] is False
    assert worker.asked[0][1]["blank"] is True


@pytest.mark.parametrize(
    ("change", "slow"),
    [
        ({}, False),
        ({"write_rate": 4_000_000}, True),
        ({"small_writes_per_second": 3.5}, True),
        ({"fsync_seconds": 0.5}, True),
        ({"write_rate": None, "small_writes_per_second": None, "fsync_seconds": None}, False),
    ],
)
def test_a_slow_disk_is_called_slow(change: dict[str, object], slow: bool) -> None:
    speed = {"write_rate": 20_000_000, "read_rate": 80_000_000, "small_writes_per_second": 200.0}
    speed |= {"capacity_bytes": 1 << 34, "samples": 9, "fsync_seconds": 0.004}
    worker = Worker(measure={**speed, **change})
    heard: list[str] = []
    sticks = WorkerSticks(worker, "n")
    found = asyncio.run(sticks.measure(DISK, report=heard.append, deadline_seconds=60))
    assert (found.slow, found.capacity_bytes, found.read_rate) == (slow, 1 << 34, 80_000_000)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.checked_at)
    assert len(heard) == 1
    assert replace(found, slow=False).write_rate == change.get("write_rate", 20_000_000)


def test_a_node_s_id_is_stable_and_does_not_tell_the_machine_id(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("0123456789abcdef0123456789abcdef\n")
    second.write_text("0123456789abcdef0123456789abcdee\n")
    found = node_id(first)
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert found == node_id(first)
    assert found != node_id(second)
    assert found not in first.read_text()


@pytest.mark.parametrize("text", [None, "", "uninitialized\n", "0123\n"])
def test_a_machine_without_an_id_has_no_node_id(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "machine-id"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ObservationError) as caught:
        node_id(path)
    assert caught.value.reason == "MachineIdUnreadable"


def test_ids_of_data_differ() -> None:
    sticks = WorkerSticks(Worker(), "n")
    assert sticks.new_id() != sticks.new_id()
    assert sticks.node == "n"


def test_without_any_id_a_random_one_is_kept_and_stays_also_beside_a_later_machine_id(
    tmp_path: Path,
) -> None:
    missing = tmp_path / "machine-id"
    first = kept_node_id(tmp_path, missing, ())
    assert len(bytes.fromhex(first)) == 16
    assert kept_node_id(tmp_path, missing, ()) == first
    (tmp_path / "node-id").write_text("torn")
    second = kept_node_id(tmp_path, missing, ())
    assert second not in {first, "torn"}
    missing.write_text("0123456789abcdef0123456789abcdef")
    assert kept_node_id(tmp_path, missing, ()) == second


def test_a_machine_id_of_the_disk_is_taken_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = mountinfo.parse(b"27 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(mountinfo, "read", lambda: disk)
    given = tmp_path / "machine-id"
    given.write_text("0123456789abcdef0123456789abcdef\n")
    assert kept_node_id(tmp_path, given) == node_id(given)
    assert not (tmp_path / "node-id").exists()


@pytest.mark.parametrize("text", ["", "uninitialized\n"])
def test_where_there_is_no_machine_id_the_hardware_names_the_node(
    tmp_path: Path, text: str
) -> None:
    given, firmware = tmp_path / "machine-id", tmp_path / "product_uuid"
    given.write_text(text)
    firmware.write_text("4C4C4544-0042-3510-8058-B4C04F4D3232\n")
    first, second = (kept_node_id(state, given, (firmware,)) for state in fresh(tmp_path, 2))
    assert first == second
    assert "4c4c4544" not in first


@pytest.mark.parametrize(
    "told",
    [
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "03000200-0400-0500-0006-000700080009",
        "",
    ],
)
def test_firmware_that_does_not_know_who_it_is_names_nobody(tmp_path: Path, told: str) -> None:
    firmware, board = tmp_path / "product_uuid", tmp_path / "serial-number"
    firmware.write_text(told)
    missing, paths = tmp_path / "machine-id", (firmware, board)
    one, two, three, four = fresh(tmp_path, 4)
    assert kept_node_id(one, missing, paths) != kept_node_id(two, missing, paths)
    board.write_text("10000000abcdef01\0")
    assert kept_node_id(three, missing, paths) == kept_node_id(four, missing, paths)


def fresh(directory: Path, count: int) -> list[Path]:
    """State directories in which nothing was ever kept."""
    made = [directory / f"state{number}" for number in range(count)]
    for state in made:
        state.mkdir()
    return made
