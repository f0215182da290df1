"""reclaim and powerwash: shown first, deleted only when a person or --yes agrees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.cli import main, verb
from tests.unit.api.fake_service import Json, RunningServer, running
from tests.unit.cli.on_terminal import on_terminal

_HIDDEN: Json = {
    "path": "/var/lib/containerd", "usedBytes": 3 << 30, "files": 410, "heldBy": [],
    "allowed": True, "reason": None, "message": "", "hint": "nodestoragectl reclaim",
    "entries": [{"name": "io.containerd.content.v1.content", "usedBytes": 3 << 30, "files": 410}],
}  # fmt: skip
_HELD: Json = {
    **_HIDDEN, "allowed": False, "reason": "HiddenInUse", "heldBy": ["pid 812 (containerd)"],
    "message": "somebody still uses it", "hint": "end it first",
}  # fmt: skip
_NOTHING: Json = {
    **_HIDDEN, "usedBytes": 0, "files": 0, "entries": [], "allowed": False, "reason": "NotBound",
    "message": "no stick serves", "hint": "",
}  # fmt: skip


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    with running(tmp_path / "socket") as one:
        monkeypatch.setenv(verb.SOCKET_VARIABLE, one.path)
        one.service.state |= {"roles": [{"name": "containerd"}]}
        one.service.act_reply = {
            "operationId": "9", "changed": True, "message": "", "hint": ""
        }  # fmt: skip
        one.service.history = [
            {"id": "9", "role": "containerd", "kind": "reclaim", "result": "done",
             "source": "internal", "target": "internal", "message": "3.0 GiB freed", "steps": []}
        ]  # fmt: skip
        one.service.lies_hidden = _HIDDEN
        yield one


def test_dry_run_shows_and_asks_for_nothing(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["reclaim", "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "io.containerd.content.v1.content  3.0 GiB  410" in shown.out
    assert shown.err == "to delete it: nodestoragectl reclaim\n"
    assert main.main(["reclaim", "--dry-run", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == _HIDDEN
    assert main.main(["reclaim", "--dry-run", "-o", "name"]) == 0
    assert capsys.readouterr().out == "io.containerd.content.v1.content\n"
    assert not server.service.acts


def test_dry_run_tells_who_holds_it_and_exits_0(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.service.lies_hidden = _HELD
    assert main.main(["reclaim", "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "held by pid 812 (containerd)\nsomebody still uses it\nend it first\n" in shown.out
    assert not shown.err


@pytest.mark.parametrize("words", [["reclaim"], ["reclaim", "--yes"]])
def test_what_may_not_be_deleted_is_6_before_anybody_is_asked(
    server: RunningServer, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    server.service.lies_hidden = _HELD
    assert main.main(words) == 6
    shown = capsys.readouterr()
    assert "held by pid 812" in shown.err
    assert "nothing was deleted (HiddenInUse)" in shown.err
    assert not server.service.acts


def test_nothing_hidden_is_0(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.service.lies_hidden = _NOTHING
    assert main.main(["reclaim"]) == 0
    assert "nothing lies hidden" in capsys.readouterr().err
    assert not server.service.acts


@pytest.mark.parametrize(
    ("words", "unasked"),
    [
        (["reclaim"], "nodestoragectl reclaim --yes"),
        (["powerwash", "blue", "--images"], "nodestoragectl powerwash blue --images --yes"),
        (["powerwash", "--all", "--next-boot"],
         "nodestoragectl powerwash --all --next-boot --yes"),
    ],
)  # fmt: skip
def test_without_a_person_it_is_6_and_names_yes(
    server: RunningServer, words: list[str], unasked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(words) == 6
    shown = capsys.readouterr()
    assert unasked in shown.err
    assert not shown.out
    assert not server.service.acts


def test_yes_asks_nobody_and_follows(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["reclaim", "--yes"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "9\n"
    assert shown.err.endswith("done: 3.0 GiB freed\n")
    assert server.service.acts == [("reclaim", None, {})]


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("YES\n", 0), ("\n", 6), ("n\n", 6)])
def test_a_person_is_asked_with_the_size_in_view(
    server: RunningServer, typed: str, code: int
) -> None:
    with on_terminal(["reclaim"]) as terminal:
        terminal.read_until("Delete 3.0 GiB in 410 files? [y/N] ")
        assert not server.service.acts
        terminal.type(typed)
        assert terminal.end() == (code, "9\n" if code == 0 else "")
    assert len(server.service.acts) == (code == 0)


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("\n", 6)])
def test_powerwash_says_what_goes_and_asks(server: RunningServer, typed: str, code: int) -> None:
    with on_terminal(["powerwash", "--containers"]) as terminal:
        terminal.read_until("Go on? [y/N] ")
        assert "powerwash of what serves, now; all pods stop meanwhile:" in terminal.seen
        assert "the content of images stays" in terminal.seen
        terminal.type(typed)
        assert terminal.end()[0] == code
    assert server.service.acts == [("powerwash", None, {"tier": "containers"})] * (code == 0)


def test_ctrl_c_at_the_question_changes_nothing(server: RunningServer) -> None:
    with on_terminal(["powerwash", "--all"]) as terminal:
        terminal.read_until("Go on? [y/N] ")
        terminal.program.send_signal(2)
        assert terminal.end() == (130, "")
        assert "Traceback" not in terminal.seen
    assert not server.service.acts
