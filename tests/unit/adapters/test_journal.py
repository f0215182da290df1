"""Rules for the journal: what was written is found again, whatever happened to the disk."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodestoraged.adapters import journal as module
from nodestoraged.adapters.journal import HISTORY_MAX, HISTORY_SLACK, FileJournal, OperationIds
from nodestoraged.model.errors import StepError
from nodestoraged.model.operation import (
    INTERNAL_ROOT,
    Operation,
    OperationKind,
    Result,
    StepRecord,
)

ROLE = "containerd"


def operation(number: str, steps: int = 0, result: Result | None = None) -> Operation:
    return Operation(
        id=number,
        role=ROLE,
        kind=OperationKind.BIND,
        source=INTERNAL_ROOT,
        target=INTERNAL_ROOT,
        boot_id="b",
        started_at=1.0,
        started_time="2026-01-01T00:00:00.000Z",
        ran_before=("containerd.service",),
        automatic=False,
        result=result,
        steps=tuple(StepRecord(step=f"step {n}", started_at=1.0) for n in range(steps)),
    )


def written(directory: Path, steps: int = 3) -> list[Operation]:
    """The states of one operation, all of them in the journal."""
    states = [operation("1", n) for n in range(steps)]
    journal = FileJournal(directory)
    for state in states:
        journal.write(state)
    journal.close()
    return states


def reopened(directory: Path) -> Operation | None:
    journal = FileJournal(directory)
    try:
        return journal.open_operation(ROLE)
    finally:
        journal.close()


def test_an_open_operation_is_found_by_the_next_daemon(tmp_path: Path) -> None:
    assert reopened(tmp_path) is None
    assert reopened(tmp_path) == None  # noqa: E711 - reading leaves nothing behind
    states = written(tmp_path)
    assert reopened(tmp_path) == states[-1]


def test_a_closed_operation_is_in_the_history_and_no_longer_open(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.write(operation("1"))
    closed = operation("1", 2, Result.DONE)
    journal.write(closed)
    assert journal.open_operation(ROLE) is None
    for each in (journal, FileJournal(tmp_path)):
        assert each.history(ROLE, 5) == (closed,)
        assert each.history("other", 5) == ()
        assert each.history(ROLE, 0) == ()
        assert each.open_operation(ROLE) is None


def test_every_prefix_of_a_torn_journal_is_the_last_whole_state(tmp_path: Path) -> None:
    states = written(tmp_path)
    data = (tmp_path / "journal").read_bytes()
    ends = [at + 1 for at, byte in enumerate(data) if byte == 10]
    for cut in range(len(data) + 1):
        (tmp_path / "journal").write_bytes(data[:cut])
        # A line whose last byte, the newline, is the only one missing is whole.
        whole = sum(cut >= end - 1 for end in ends)
        assert reopened(tmp_path) == (states[whole - 1] if whole else None), cut


def test_what_is_written_after_a_torn_line_stands_on_its_own(tmp_path: Path) -> None:
    states = written(tmp_path)
    data = (tmp_path / "journal").read_bytes()
    begin = data.rindex(b"\n", 0, -1) + 1
    for cut in (begin + 1, begin + 100, len(data) - 1):
        (tmp_path / "journal").write_bytes(data[:cut])
        journal = FileJournal(tmp_path)
        after = operation("1", 7)
        journal.write(after)
        journal.close()
        assert reopened(tmp_path) == after
        assert states


def test_what_is_written_after_a_torn_history_stands_on_its_own(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    for number in ("1", "2"):
        journal.write(operation(number, 0, Result.DONE))
    data = (tmp_path / "history").read_bytes()
    (tmp_path / "history").write_bytes(data[:-9])
    journal = FileJournal(tmp_path)
    number = journal.next_id()
    assert number == "3", "a torn line has used its id"
    journal.write(operation(number, 0, Result.DONE))
    assert [each.id for each in FileJournal(tmp_path).history(ROLE, 9)] == ["3", "1"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_no_flipped_bit_is_believed_and_no_id_is_used_twice(
    tmp_path: Path, data: st.DataObject
) -> None:
    for name in ("journal", "history"):
        (tmp_path / name).unlink(missing_ok=True)
    journal = FileJournal(tmp_path)
    journal.write(operation("1", 0, Result.DONE))
    states = [operation("2", n) for n in range(3)]
    for state in states:
        journal.write(state)
    journal.close()
    path = tmp_path / data.draw(st.sampled_from(["journal", "history"]))
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    journal = FileJournal(tmp_path)
    assert journal.open_operation(ROLE) in states
    assert int(journal.next_id()) >= 3
    assert {each.id for each in journal.history(ROLE, 9)} <= {"1"}
    journal.close()


def test_a_power_cut_between_history_and_journal_leaves_the_operation_closed(
    tmp_path: Path,
) -> None:
    written(tmp_path)
    before = (tmp_path / "journal").read_bytes()
    journal = FileJournal(tmp_path)
    closed = operation("1", 3, Result.ROLLED_BACK)
    journal.write(closed)
    (tmp_path / "journal").write_bytes(before)
    again = FileJournal(tmp_path)
    assert again.open_operation(ROLE) is None
    assert again.history(ROLE, 1) == (closed,)
    again.write(operation("2"))
    assert reopened(tmp_path) == operation("2")


def test_the_history_is_on_the_medium_before_the_journal_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = FileJournal(tmp_path)
    journal.write(operation("1"))
    seen: list[tuple[str, bool]] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        name = Path(f"/proc/self/fd/{fd}").readlink()
        seen.append((name.name, (tmp_path / "journal").stat().st_size > 0))
        real(fd)

    monkeypatch.setattr(module.os, "fsync", fsync)
    journal.write(operation("1", 0, Result.DONE))
    assert seen == [("history", True), (tmp_path.name, True), ("journal", False)]


def test_ids_go_on_after_every_kind_of_end(tmp_path: Path) -> None:
    seen = set()
    for turn in range(12):
        journal = FileJournal(tmp_path)
        number = journal.next_id()
        assert number not in seen
        seen.add(number)
        journal.write(operation(number))
        if turn % 3 == 0:
            journal.write(operation(number, 1, Result.DONE))
        journal.close()


def test_the_history_is_bounded_and_the_newest_is_kept(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    for number in range(1, HISTORY_MAX + HISTORY_SLACK + 50):
        journal.write(operation(str(number), 0, Result.DONE))
    last = str(HISTORY_MAX + HISTORY_SLACK + 49)
    for each in (journal, FileJournal(tmp_path)):
        kept = each.history(ROLE, 10_000)
        assert HISTORY_MAX <= len(kept) <= HISTORY_MAX + HISTORY_SLACK
        assert kept[0].id == last
        assert each.next_id() == str(int(last) + 1)


def line(schema: int, body: dict[str, object]) -> bytes:
    text = json.dumps({"schema": schema, "operation": body}, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def test_an_operation_of_a_newer_version_is_never_guessed_at_but_kept(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "journal"
    newer = line(2, {"id": "7", "role": ROLE, "what": "nobody knows"})
    path.write_bytes(path.read_bytes() + newer)
    content = path.read_bytes()
    said: list[str] = []
    journal = FileJournal(tmp_path, said.append)
    assert journal.open_operation(ROLE) is None, "the older lines are no longer true"
    assert len(said) == 1
    assert (tmp_path / "journal.unknown").read_bytes() == content
    assert journal.next_id() == "8"
    journal.write(operation("8"))
    assert reopened(tmp_path) == operation("8")


def test_a_word_that_this_version_does_not_know_is_treated_alike(tmp_path: Path) -> None:
    from nodestoraged.adapters import records

    body = records.dump(operation("3"))
    assert isinstance(body, dict)
    (tmp_path / "journal").write_bytes(line(1, {**body, "kind": "teleport"}))
    (tmp_path / "history").write_bytes(line(1, {**body, "stage": "sideways", "result": "done"}))
    said: list[str] = []
    journal = FileJournal(tmp_path, said.append)
    assert journal.open_operation(ROLE) is None
    assert journal.history(ROLE, 5) == ()
    assert journal.next_id() == "4"
    assert said


def test_a_full_disk_is_said_and_nothing_that_was_there_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = FileJournal(tmp_path)
    journal.write(operation("1", 1))
    real = os.write
    room = [40]

    def write(fd: int, data: bytes) -> int:
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        count = real(fd, data[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(module.os, "write", write)
    with pytest.raises(StepError) as caught:
        journal.write(operation("1", 2))
    assert caught.value.reason == "JournalFailed"
    assert journal.open_operation(ROLE) == operation("1", 1)
    assert reopened(tmp_path) == operation("1", 1)
    monkeypatch.undo()
    journal.write(operation("1", 3))
    assert reopened(tmp_path) == operation("1", 3)
    closed = replace(operation("1", 3), result=Result.DONE)
    journal.write(closed)
    assert FileJournal(tmp_path).history(ROLE, 1) == (closed,)


def test_two_roles_never_hand_out_the_same_number(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    before = FileJournal(second)
    before.write(replace(operation("7"), role="b"))
    before.close()
    ids = OperationIds()
    ours, theirs = FileJournal(first, ids=ids), FileJournal(second, ids=ids)
    assert [ours.next_id(), theirs.next_id(), ours.next_id()] == ["8", "9", "10"]
    ours.close()
    theirs.close()
