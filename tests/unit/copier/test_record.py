"""Which entries are believed without a look inside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodestoraged.copier import record
from nodestoraged.copier.record import Record
from nodestoraged.copier.tree import Tree

BEFORE, BEGIN, COPIED, SYNCED, LATER = 50, 100, 150, 200, 250


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Tree, Tree]:
    return tree(tmp_path / "source"), tree(tmp_path / "target")


def tree(path: Path) -> Tree:
    path.mkdir()
    device = path.stat().st_dev
    return Tree(str(path), (os.major(device), os.minor(device)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [BEGIN]
    monkeypatch.setattr(record, "coarse_now_ns", lambda: now[0])
    return now


def test_what_was_copied_since_and_flushed_is_believed(trees, clock):
    ours = Record(*trees)
    ours.begin()
    ours.synced(SYNCED)
    assert ours.believes(BEFORE, COPIED)
    again = Record(*trees)
    assert again.believes(BEFORE, COPIED)


@pytest.mark.parametrize(
    ("source_ctime", "target_ctime"),
    [
        (BEGIN, COPIED),  # changed while the pass ran
        (COPIED, COPIED),
        (BEFORE, BEFORE),  # not by us
        (BEFORE, SYNCED),  # not known to be on the medium
        (BEFORE, LATER),
    ],
)
def test_everything_else_is_not(trees, clock, source_ctime, target_ctime):
    ours = Record(*trees)
    ours.begin()
    ours.synced(SYNCED)
    assert not ours.believes(source_ctime, target_ctime)


def test_each_entry_is_judged_by_the_pass_that_copied_it(trees, clock):
    ours = Record(*trees)
    ours.begin()
    ours.synced(SYNCED)
    clock[0] = 300
    ours = Record(*trees)
    ours.begin()
    ours.synced(400)
    assert ours.believes(BEFORE, COPIED)
    assert ours.believes(COPIED, 350)
    assert not ours.believes(COPIED, COPIED)


def test_a_pass_that_was_cut_off_is_believed_up_to_its_last_flush(trees, clock):
    ours = Record(*trees)
    ours.begin()
    ours.synced(140)
    ours = Record(*trees)
    assert ours.believes(BEFORE, 130)
    assert not ours.believes(BEFORE, COPIED)


def test_a_clock_that_was_set_back_ends_all_belief(trees, clock):
    ours = Record(*trees)
    ours.begin()
    ours.synced(SYNCED)
    clock[0] = 120
    ours = Record(*trees)
    ours.begin()
    ours.synced(130)
    assert not ours.believes(BEFORE, 110)
    assert ours.believes(BEFORE, 125)


def test_the_record_of_another_source_is_none(trees, clock, tmp_path):
    ours = Record(*trees)
    ours.top_names = frozenset({"plain"})
    ours.begin()
    ours.synced(SYNCED)
    other = Record(tree(tmp_path / "other"), trees[1])
    assert not other.believes(BEFORE, COPIED)
    assert other.top_names == frozenset()
    assert Record(*trees).top_names == {"plain"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"schema": 9}', b"7"])
def test_an_unreadable_record_is_none(trees, clock, content, tmp_path):
    Record(*trees).begin()
    (tmp_path / "target" / ".nodestoraged" / "copy-state.json").write_bytes(content)
    assert not Record(*trees).believes(BEFORE, COPIED)


def test_names_that_are_no_text_survive(trees, clock):
    ours = Record(*trees)
    ours.top_names = frozenset({"bad\udcff"})
    ours.begin()
    assert Record(*trees).top_names == {"bad\udcff"}


def test_only_the_last_passes_are_kept(trees, clock, monkeypatch):
    monkeypatch.setattr(record, "_MOST_PASSES", 3)
    ours = Record(*trees)
    for number in range(4):
        clock[0] = BEGIN + number
        ours.begin()
    ours.synced(1000)
    assert not ours.believes(0, BEGIN)
    assert ours.believes(BEFORE, BEGIN + 3)


def test_after_a_tick_time_has_moved_on():
    before = record.coarse_now_ns()
    record.wait_for_tick()
    assert record.coarse_now_ns() > before
