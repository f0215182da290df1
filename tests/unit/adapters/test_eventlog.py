"""Rules for what is kept of what happened."""

from __future__ import annotations

from nodestoraged.adapters.clock import RealClock
from nodestoraged.adapters.eventlog import EVENTS_MAX, RecordingLog


def test_an_event_is_kept_with_its_time_and_a_cursor_and_without_what_is_not_known() -> None:
    told: list[int] = []
    log = RecordingLog(RealClock(), lambda: told.append(1))
    log.event("phase", "A -> B", role="containerd", reason=None)
    log.event("step", "done", seconds=0.5)
    first, second = log.kept
    assert first == {
        "role": "containerd",
        "cursor": 1,
        "time": first["time"],
        "kind": "phase",
        "message": "A -> B",
    }
    assert str(first["time"]).endswith("Z")
    assert (second["cursor"], second["seconds"]) == (2, 0.5)
    assert told == [1, 1]


def test_a_thousand_events_are_kept_and_cursors_go_on() -> None:
    log = RecordingLog(RealClock(), lambda: None)
    for number in range(EVENTS_MAX + 5):
        log.event("step", str(number))
    assert len(log.kept) == EVENTS_MAX
    assert [log.kept[0]["cursor"], log.kept[-1]["cursor"]] == [6, EVENTS_MAX + 5]


def test_the_kind_of_an_event_is_told_before_it_is_read_by_anybody_who_is_woken() -> None:
    seen: list[object] = []
    log = RecordingLog(RealClock(), lambda: seen.append(log.kept[-1]["message"]))
    log.event("slot-lost", "blue is lost", operation="3")
    assert seen == ["blue is lost"]
