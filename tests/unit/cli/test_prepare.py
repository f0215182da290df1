"""prepare: the serial is typed by a person, or given whole; a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.cli import main, verb
from nodestoraged.model.errors import RefusedError
from tests.unit.api.fake_service import Json, RunningServer, running
from tests.unit.cli.on_terminal import on_terminal

_SERIAL = "4C530001"
_ON_IT = (
    "/dev/sdd (SanDisk Ultra, 57.3 GiB) holds gpt table with 1 partition, "
    "/dev/sdd1 ext4 'x\x1b[J'\n"
    f"to overwrite it, type its serial, {_SERIAL}"
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    with running(tmp_path / "socket") as one:
        monkeypatch.setenv(verb.SOCKET_VARIABLE, one.path)
        one.service.state |= {"roles": [{"name": "containerd"}]}
        one.service.act_reply = {
            "operationId": "9", "changed": True, "message": "preparing blue", "hint": ""
        }  # fmt: skip
        one.service.history = [
            {"id": "9", "role": "containerd", "kind": "prepare", "result": "done",
             "source": "blue", "target": "blue", "message": "", "copiedBytes": 851862323,
             "steps": [{"step": "make a file system on sdd1", "seconds": 1.4}]}
        ]  # fmt: skip
        one.service.judge = _judge
        yield one


def _judge(verb_: str, arguments: Json) -> Exception | None:
    if arguments.get("wipe") is True and arguments.get("serial") == _SERIAL:
        return None
    return RefusedError("SerialNeeded", _ON_IT, "daemon's hint")


def test_without_a_terminal_it_is_6_and_says_how_to_confirm(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["prepare", "sdd", "--wipe"]) == 6
    shown = capsys.readouterr()
    assert not shown.out
    assert "nodestoragectl prepare sdd --wipe --yes SERIAL" in shown.err
    assert "/dev/sdd1 ext4 'x\\x1b[J'; to overwrite it" in shown.err, "nothing acts on a terminal"
    assert len(server.service.acts) == 1


def test_a_wrong_serial_as_argument_is_6(server: RunningServer) -> None:
    assert main.main(["prepare", "sdd", "--wipe", "--yes", "4C53"]) == 6
    assert len(server.service.acts) == 1


def test_the_whole_serial_as_argument_asks_nobody_and_follows(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["prepare", "sdd", "--wipe", "--yes", _SERIAL]) == 0
    shown = capsys.readouterr()
    assert shown.out == "9\n"
    assert shown.err.splitlines() == [
        "preparing blue", "   1.4 s  make a file system on sdd1", "done: prepare blue",
        "  copied 812.4 MiB",
    ]  # fmt: skip


def test_no_wait_only_tells_the_operation(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["prepare", "sdd", "--wipe", "--yes", _SERIAL, "--no-wait"]) == 0
    assert capsys.readouterr() == ("9\n", "preparing blue\n")


def test_a_person_reads_what_is_on_it_and_types_the_serial(server: RunningServer) -> None:
    with on_terminal(["prepare", "sdd", "--wipe", "--name", "blue"]) as terminal:
        terminal.read_until("type it: ")
        assert "holds gpt table with 1 partition" in terminal.seen
        assert f"type its serial, {_SERIAL}\r\n" in terminal.seen
        assert "\x1b[J" not in terminal.seen
        terminal.type(f"{_SERIAL}\n")
        assert terminal.end() == (0, "9\n")
    asked = {"stick": "sdd", "name": "blue", "wipe": True}
    assert server.service.acts == [
        ("prepare", None, asked), ("prepare", None, {**asked, "serial": _SERIAL})
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "asked", "said"),
    [("yes\n", 2, "that is not it"), ("\n", 1, "nothing was typed"), ("\x04", 1, "no answer")],
)
def test_any_other_answer_changes_nothing(
    server: RunningServer, typed: str, asked: int, said: str
) -> None:
    with on_terminal(["prepare", "sdd", "--wipe"]) as terminal:
        terminal.read_until("type it: ")
        terminal.type(typed)
        assert terminal.end() == (6, "")
        assert said in terminal.seen
    assert len(server.service.acts) == asked


def test_another_refusal_is_not_asked_about(server: RunningServer) -> None:
    server.service.act_error = RefusedError("SystemDisk", "/dev/sda carries the system")
    with on_terminal(["prepare", "sda", "--wipe"]) as terminal:
        assert terminal.end() == (6, "")
        assert "(SystemDisk)" in terminal.seen


def test_a_relative_path_is_made_absolute(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main.main(["prepare", "sdd", "--from", "seed/../images", "--no-wait"])
    assert server.service.acts[0][2]["origin"] == str(tmp_path / "images")
