"""The screen whatever the daemon says: it never fails, never grows, never acts."""

from __future__ import annotations

import copy
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests
from nodestoraged.cli import candidate, health, reclaim, render, screen, tables, wide
from nodestoraged.cli.fields import Json, entries, obj
from nodestoraged.cli.text import width

_STATUSES = [
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(tests.__file__).parent / "golden" / "status").glob("*.json"))
]
_NASTY = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**60), st.floats(),
    st.text(st.characters(codec=None), max_size=100), st.builds(list), st.builds(dict),
    st.builds(lambda: [None, 1]),
    st.builds(lambda: {"name": "\x1b[2J" * 30, "text": 3, "command": []}),
)  # fmt: skip


@st.composite
def _mangled(draw: st.DrawFn) -> Json:
    """A status of ours in which some values were replaced by anything."""
    status: Json = copy.deepcopy(draw(st.sampled_from(_STATUSES)))
    for _ in range(draw(st.integers(0, 4))):
        place: object = status
        while isinstance(place, (dict, list)) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            inner = place[key]  # type: ignore[index]
            if not isinstance(inner, (dict, list)) or not inner or draw(st.booleans()):
                place[key] = draw(_NASTY)  # type: ignore[index]
                break
            place = inner
    return status


@given(_mangled())
@settings(max_examples=300)
def test_any_status_gives_a_screen_that_fits_and_an_exit_code(status: Json) -> None:
    roles = entries(status, "roles")
    for role in roles:
        lines = screen.of_role(status, role, 1_795_000_000.0)
        assert len(lines) <= screen.LINES
        assert all(line.isprintable() for line in lines)
        assert all(width(line) <= render.COLUMNS for line in lines[:-1])
        tables.of_candidates(entries(role, "candidates"), several=True, wide=True)
        for one in entries(role, "candidates"):
            lines = candidate.of_candidate(one, {})
            assert all(line.isprintable() and width(line) <= render.COLUMNS for line in lines)
    for key in ("operation", "lastOperation"):
        tables.of_operation(obj(status, key), 1_795_000_000.0)
    assert all(line.isprintable() for line in wide.of_status(status, roles, 0.0))
    assert health.exit_code(roles) in (0, 3, 8)


@given(
    st.dictionaries(st.sampled_from(
        ["path", "usedBytes", "files", "entries", "heldBy", "allowed", "reason", "message", "hint"]
    ), st.one_of(_NASTY, st.lists(st.dictionaries(st.sampled_from(["name", "files"]), _NASTY)))),
)  # fmt: skip
def test_any_account_of_what_is_hidden_can_be_shown(hidden: Json) -> None:
    assert all(line.isprintable() for line in reclaim.of_hidden(hidden))


@given(st.dictionaries(st.sampled_from(
    ["decision", "reason", "message", "steps", "data", "predictedBytes", "warnings",
     "predictedDowntimeSeconds"]
), _NASTY))  # fmt: skip
def test_any_plan_can_be_shown(plan: Json) -> None:
    assert all(line.isprintable() for line in tables.of_plan(plan))


def _role(**fields: object) -> Json:
    return {"name": "containerd", "phase": "BOUND", "imagefs": {"verified": True}, **fields}


@pytest.mark.parametrize(
    ("role", "code"),
    [
        (_role(), 0),
        (_role(phase="INTERNAL"), 3),
        (_role(phase="SWITCHING"), 3),
        (_role(phase="LOST"), 3),
        (_role(phase="STOPPED"), 8),
        (_role(phase="FAILED"), 8),
        (_role(availability="FULL"), 0),
        (_role(availability="NO_CHANGES"), 8),
        (_role(attention={"reason": "Clone"}), 8),
        (_role(phase="INTERNAL", attention={"reason": "Clone"}), 8),
        (_role(imagefs=None), 8),
        (_role(imagefs={"verified": False}), 8),
        (_role(phase="INTERNAL", imagefs={"verified": False}), 3),
        (_role(conditions=[{"type": "KubeletAgrees", "status": "False"}]), 8),
        (_role(conditions=[{"type": "KubeletAgrees", "status": "Unknown"}]), 0),
        (_role(conditions=[{"type": "Trusted", "status": "False"}]), 0),
        (_role(phase="INTERNAL",
               conditions=[{"type": "SandboxImagePresent", "status": "False"}]), 8),
        (_role(phase="SWITCHING",
               conditions=[{"type": "RuntimeAnswering", "status": "False"}]), 3),
        (_role(phase="INTERNAL", reason="RuntimeNotInstalled",
               conditions=[{"type": "RuntimeAnswering", "status": "False"}]), 3),
    ],
)  # fmt: skip
def test_exit_code_of_a_role(role: Json, code: int) -> None:
    assert health.exit_code([role]) == code
    assert health.exit_code([role, _role(attention={"reason": "x"})]) == 8, "8 goes first"
    assert health.exit_code([role, _role(phase="LOST")]) == max(code, 3)


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", _Terminal())
    assert render.paint("x", "red") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert render.paint("x", "red") == "x"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert render.paint("x", "red") == "x"


def test_an_output_without_unicode_gets_an_asterisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert render.bullet() == "*"
