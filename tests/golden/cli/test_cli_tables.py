"""Tables and help texts, as a person sees them.  Anew with: pytest tests/golden --update-golden"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodestoraged.cli import candidate, main, reclaim, tables, times, verb
from nodestoraged.cli.fields import Json, entries
from nodestoraged.cli.offline import explain

_HERE = Path(__file__).parent
_STATUSES = _HERE.parent / "status"
_OPEN: Json = {
    "id": "9", "role": "containerd", "kind": "failover", "result": None, "source": "blue",
    "target": None, "startedAt": "2026-11-20T12:45:20Z", "step": "wait for a stick",
    "downtimeSeconds": None, "podsDownSeconds": None, "steps": [
        {"step": "stop containerd", "seconds": 0.12}, {"step": "wait for a stick", "seconds": None},
    ],
}  # fmt: skip
_FAILED: Json = {
    **_OPEN, "id": "8", "kind": "switchover", "result": "rolled-back", "source": "blue",
    "target": "green\x1b[2J", "reason": "IoError", "message": "mounting green failed",
    "hint": "nodestoragectl doctor", "downtimeSeconds": 3.25, "startedAt": "2026-11-19T08:00:00Z",
    "steps": [{"step": "mount green", "seconds": 0.4, "error": "Input/output error"}],
}  # fmt: skip
_PLAN: Json = {
    "role": "containerd", "decision": "Switchover", "reason": "WishInternal",
    "message": "an operator asked for internal", "predictedDowntimeSeconds": 0.94,
    "steps": [{"step": "stop kubelet", "deadlineSeconds": 30}, {"step": "prove"}],
}  # fmt: skip
_COPIED: Json = {
    **_OPEN, "id": "10", "kind": "switchover", "result": "done", "source": "internal",
    "target": "blue", "message": "blue serves", "step": None, "data": "copy",
    "downtimeSeconds": 0.9, "podsDownSeconds": 7.1, "predictedDowntimeSeconds": 1.2,
    "copiedBytes": 851862323, "copiedStoppedBytes": 3250586, "predictedBytes": 848297164,
    "progress": None,
}  # fmt: skip
_COPYING: Json = {
    **_COPIED, "result": None, "step": "copy what serves to blue", "copiedBytes": None,
    "copiedStoppedBytes": None, "downtimeSeconds": None, "podsDownSeconds": None,
    "message": None, "progress": {
        "pass": "warm", "bytesDone": 340787200, "bytesTotal": 851862323, "filesDone": 8122,
        "filesTotal": 20311, "bytesPerSecond": 50541363.2, "etaSeconds": 10.1,
    },
}  # fmt: skip
_HIDDEN: Json = {
    "path": "/var/lib/containerd", "usedBytes": 15891378995, "files": 20311, "heldBy": [],
    "allowed": True, "reason": None, "message": "the proof has held for 2 h 14 min", "hint": "",
    "entries": [
        {"name": "io.containerd.snapshotter.v1.overlayfs", "usedBytes": 12 << 30, "files": 19900},
        {"name": "io.containerd.content.v1.content", "usedBytes": 3891360000, "files": 410},
        {"name": "x\x1b[2J", "usedBytes": 18995, "files": 1},
    ],
}  # fmt: skip


def _meant(word: str, case: str = "bound-with-data") -> list[str]:
    found = candidate.find(_candidates(case), word)
    assert found is not None
    return candidate.of_candidate(found, explain.meanings())


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _candidates(case: str) -> list[Json]:
    status = json.loads((_STATUSES / f"{case}.json").read_text(encoding="utf-8"))
    return entries(status["roles"][0], "candidates")


def _operations() -> list[Json]:
    status = json.loads((_STATUSES / "bound.json").read_text(encoding="utf-8"))
    return [_OPEN, _FAILED, status["lastOperation"]]


def _now() -> float:
    now = times.epoch("2026-11-20T12:45:30Z")
    assert now is not None
    return now


_SCREENS: dict[str, Callable[[], list[str]]] = {
    "list": lambda: tables.of_candidates(_candidates("bound"), several=False, wide=False),
    "list-wide": lambda: tables.of_candidates(_candidates("bound"), several=False, wide=True),
    "list-clones": lambda: tables.of_candidates(
        _candidates("internal-clones"), several=False, wide=False
    ),
    "list-many": lambda: tables.of_candidates(
        [{"role": "containerd", **one} for one in _candidates("bound-many-sticks")],
        several=True, wide=False,
    ),
    "list-hostile": lambda: tables.of_candidates(_candidates("hostile"), several=False, wide=True),
    "list-hostile-table": lambda: tables.of_candidates(
        _candidates("hostile"), several=False, wide=False
    ),
    "list-empty": lambda: tables.of_candidates([], several=False, wide=False),
    "operations": lambda: tables.of_operations(_operations(), _now()),
    "operations-empty": lambda: tables.of_operations([], _now()),
    "show-open": lambda: tables.of_operation(_OPEN, _now()),
    "show-failed": lambda: tables.of_operation(_FAILED, _now()),
    "show-copied": lambda: tables.of_operation(_COPIED, _now()),
    "show-copying": lambda: tables.of_operation(_COPYING, _now()),
    "show-stick": lambda: _meant("blue"),
    "show-stick-stale": lambda: _meant("sdc1"),
    "show-directory": lambda: _meant("/mnt/storage/containerd"),
    "show-hostile": lambda: candidate.of_candidate(_candidates("hostile")[0], {}),
    "list-data": lambda: tables.of_candidates(
        _candidates("bound-with-data"), several=False, wide=False
    ),
    "list-data-wide": lambda: tables.of_candidates(
        _candidates("bound-with-data"), several=False, wide=True
    ),
    "reclaim": lambda: reclaim.of_hidden(_HIDDEN),
    "reclaim-held": lambda: reclaim.of_hidden({
        **_HIDDEN, "allowed": False, "reason": "HiddenInUse", "heldBy": ["pid 812 (containerd)"],
        "message": "somebody still uses it", "hint": "end it, then ask again",
    }),
    "reclaim-nothing": lambda: reclaim.of_hidden({"path": "/var/lib/containerd"}),
    "plan-copy": lambda: tables.of_plan({
        **_PLAN, "reason": "WishSlot", "message": "an operator asked for blue", "data": "copy",
        "predictedBytes": 848297164, "predictedDowntimeSeconds": 1.2, "warnings": [
            "blue holds 21.4 GiB; internal has 14.8 GiB free: a fallback to it would fill it",
        ],
    }),
    "show-done": lambda: tables.of_operation(_operations()[2], _now()),
    "plan": lambda: tables.of_plan(_PLAN),
    "plan-nothing": lambda: tables.of_plan({"decision": "Keep", "reason": "SlotProven"}),
    "event": lambda: [
        tables.event_line({"cursor": 1, "time": "2026-11-20T10:00:00Z", "role": "containerd",
                           "kind": "lost", "message": "blue\n was pulled out"})
    ],
}  # fmt: skip


def _compare(name: str, seen: str, update_golden: bool) -> None:
    path = _HERE / f"{name}.txt"
    if update_golden:
        path.write_text(seen, encoding="utf-8")
    assert seen == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", _SCREENS)
def test_table(name: str, update_golden: bool) -> None:
    lines = _SCREENS[name]()
    assert all(line.isprintable() for line in lines)
    _compare(name, "\n".join(lines) + "\n", update_golden)


def test_help(update_golden: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0
    _compare("help", capsys.readouterr().out, update_golden)


@pytest.mark.parametrize("name", main.VERBS)
def test_every_verb_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main([name, "--help"])
    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert shown.startswith(f"usage: nodestoragectl {name}")
    assert main.VERBS[name][1][1:] in " ".join(shown.split())
    assert verb.SOCKET_VARIABLE not in shown
