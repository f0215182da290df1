"""The command line against a real socket: verbs, exit codes, what goes where."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nodestoraged.cli
import tests
from nodestoraged.api import client as api_client
from nodestoraged.cli import exits, history, main, session, verb
from nodestoraged.cli.exits import StopError
from nodestoraged.model.errors import NotFoundError, RefusedError
from tests.unit.api.fake_service import RunningServer, running

_GOLDEN = Path(tests.__file__).parent / "golden" / "status"
_CLI = Path(nodestoraged.cli.__file__).parent


def _state(case: str) -> dict[str, object]:
    loaded = json.loads((_GOLDEN / f"{case}.json").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    with running(tmp_path / "socket") as one:
        monkeypatch.setenv(verb.SOCKET_VARIABLE, one.path)
        one.service.state |= _state("bound")
        yield one


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(verb.SOCKET_VARIABLE, str(tmp_path / "absent"))


def test_status_prints_one_screen_and_exits_0(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["status"]) == 0
    shown = capsys.readouterr()
    assert "containerd  BOUND to blue" in shown.out
    assert not shown.err


@pytest.mark.parametrize(
    ("case", "code"), [("bound", 0), ("lost", 3), ("failed", 8), ("bound-proof-broken", 8)]
)
def test_status_exit_code_only_when_asked_for(server: RunningServer, case: str, code: int) -> None:
    server.service.state |= _state(case)
    assert main.main(["status"]) == 0
    assert main.main(["status", "--exit-code"]) == code


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_comes_as_the_daemon_gave_it(
    server: RunningServer, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.service.state |= _state("hostile")
    assert main.main(["status", "-o", form]) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown) == server.service.state
    assert shown.isascii()
    assert "\x1b" not in shown
    assert (shown.count("\n") == 1) == (form == "jsonl")


def test_one_role_can_be_named_and_an_unknown_one_is_4(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.service.state |= _state("two-roles")
    assert main.main(["status", "k3s", "-o", "name"]) == 0
    assert main.main(["status", "--role", "k3s", "-o", "name"]) == 0
    assert capsys.readouterr().out == "k3s\nk3s\n"
    assert main.main(["status", "k8s"]) == 4


def test_list_names_are_words_that_name_one_stick(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["list", "-o", "name"]) == 0
    server.service.state |= _state("internal-clones")
    assert main.main(["list", "-o", "name"]) == 0
    assert capsys.readouterr().out.split() == ["blue", "green", "sdd1", "sdb1", "sdd1"]


@pytest.mark.parametrize(("case", "code"), [("bound", 0), ("two-roles", 3), ("failed", 3),
                                            ("bound-proof-broken", 0)])  # fmt: skip
def test_is_bound_looks_at_the_phase_only(server: RunningServer, case: str, code: int) -> None:
    server.service.state |= _state(case)
    assert main.main(["is-bound"]) == code


def test_an_absent_daemon_is_5_and_says_what_to_do(
    nobody: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["status"]) == 5
    shown = capsys.readouterr()
    assert not shown.out
    assert "nodestoraged does not answer" in shown.err
    assert session.unreachable_hint() in shown.err


def test_a_closed_socket_is_6_and_names_the_group(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed(api_client.socket.socket):  # type: ignore[misc,name-defined]
        def connect(self, _: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(api_client.socket, "socket", Closed)
    assert main.main(["status"]) == 6
    assert "group nodestorage" in capsys.readouterr().err


@pytest.mark.parametrize("later", main.LATER)
def test_verbs_of_later_versions_are_known_by_name(
    later: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([later]) == 2
    assert "this version does not have" in capsys.readouterr().err


def test_a_wrong_verb_gets_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["statsu"]) == 2
    assert "did you mean status?" in capsys.readouterr().err
    assert main.main(["\x1b[2J"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert main.main([]) == 2


@pytest.mark.parametrize(
    "words",
    [["status", "--no"], ["switch"], ["wait"], ["status", "-o", "yaml"], ["eject", "--wait", "x"],
     ["switch", "blue", "--rate", "fast"], ["switch", "blue", "--data", "all"], ["prepare"],
     ["prepare", "sdd", "--fs", "btrfs"], ["prepare", "sdd", "--yes"], ["adopt"]],
)  # fmt: skip
def test_a_wrong_command_line_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["switch", "blue", "--copy", "--keep"], ["switch", "blue", "--copy", "--data", "pinned"],
     ["plan", "--keep", "--data", "copy"], ["prepare", "sdd", "--empty", "--from-active"],
     ["prepare", "sdd", "--empty", "--from", "/srv"], ["powerwash"], ["powerwash", "blue", "--yes"],
     ["powerwash", "--all", "--images", "--yes"]],
)  # fmt: skip
def test_what_excludes_each_other_is_2_and_asks_for_nothing(
    server: RunningServer, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(words) == 2
    assert capsys.readouterr().err
    assert not server.service.acts
    assert not server.service.planned


def _operation(result: str | None, reason: str | None = None) -> dict[str, object]:
    return {
        "id": "8", "role": "containerd", "kind": "switchover", "result": result,
        "source": "blue", "target": "green", "reason": reason, "message": "it went so",
        "step": None if result else "stop containerd", "downtimeSeconds": 0.9,
        "podsDownSeconds": None,
        "steps": [{"step": "stop kubelet", "seconds": 0.2},
                  {"step": "stop containerd", "seconds": 0.1 if result else None}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("result", "reason", "code"),
    [
        ("done", None, 0), ("rolled-back", "IoError", 1), ("failed", "RollbackFailed", 1),
        ("aborted", None, 1), ("interrupted", None, 1), ("failed", "ForeignContainers", 6),
        ("rolled-back", "PodsWithoutRuntime", 6), ("failed", "OperationInProgress", 6),
    ],
)  # fmt: skip
def test_switch_follows_its_operation_to_the_end(
    server: RunningServer, result: str, reason: str | None, code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    server.service.history = [_operation(None)]
    server.service.act_reply = {
        "operationId": "8", "changed": True, "message": "moving to green", "hint": ""
    }  # fmt: skip

    def end() -> None:
        server.service.history = [_operation(result, reason)]
        server.bump()

    timer = threading.Timer(0.1, end)
    timer.start()
    assert main.main(["switch", "green"]) == code
    timer.join()
    shown = capsys.readouterr()
    assert shown.out == "8\n", "the id alone is data"
    lines = shown.err.splitlines()
    assert lines[:3] == ["moving to green", "   0.2 s  stop kubelet", "   0.1 s  stop containerd"]
    assert lines[3].startswith(f"{result}: it went so")
    assert server.service.acts == [("switch", None, {"stick": "green"})]


def test_no_wait_returns_once_it_is_journalled(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.service.history = [_operation(None)]
    server.service.act_reply["operationId"] = "8"
    assert main.main(["switch", "green", "--no-wait"]) == 0
    assert capsys.readouterr().out == "8\n"
    assert server.service.acts == [("switch", None, {"stick": "green", "noWait": True})]


def test_already_there_is_0_and_has_no_id(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.service.act_reply |= {"changed": False, "message": "blue serves already"}
    assert main.main(["switch", "blue"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "blue serves already\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [(RefusedError("OperationInProgress", "7 runs"), 6), (NotFoundError("NoSuchStick", "no"), 4)],
)
def test_a_refused_verb_says_why(
    server: RunningServer, error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    server.service.act_error = error
    assert main.main(["switch", "green"]) == code
    assert f"({getattr(error, 'reason', '')})" in capsys.readouterr().err


def test_ctrl_c_only_detaches(server: RunningServer) -> None:
    server.service.history = [_operation(None)]
    server.service.act_reply["operationId"] = "8"
    program = [sys.executable, "-m", "nodestoraged.cli", "switch", "green"]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=_CLI.parent.parent,
    ) as running_program:  # fmt: skip
        assert running_program.stdout is not None
        assert running_program.stdout.readline() == "8\n"
        while server.service.waiting == 0:
            time.sleep(0.01)
        running_program.send_signal(2)
        _, said = running_program.communicate(timeout=10)
    assert running_program.returncode == 130
    assert "the operation goes on" in said
    assert "nodestoragectl show 8" in said
    assert [one[0] for one in server.service.acts] == ["switch"], "nothing was aborted"


@pytest.mark.parametrize(
    ("words", "act"),
    [
        (["eject"], ("eject", None, {})),
        (["eject", "blue", "--to", "green", "--wait", "5"],
         ("eject", None, {"stick": "blue", "to": "green", "waitSeconds": 5.0})),
        (["rollback"], ("rollback", None, {})),
        (["abort", "8"], ("abort", None, {"id": "8"})),
        (["pause", "--role", "k3s"], ("pause", "k3s", {})),
        (["resume", "--clear"], ("resume", None, {"clear": True})),
        (["enroll", "sdd1", "--name", "red", "--no-switch"],
         ("enroll", None, {"stick": "sdd1", "name": "red", "noSwitch": True})),
        (["forget", "blue"], ("forget", None, {"stick": "blue"})),
        (["rename", "blue", "red"], ("rename", None, {"stick": "blue", "name": "red"})),
        (["delist", "blue"], ("delist", None, {"stick": "blue"})),
        (["relist", "blue"], ("relist", None, {"stick": "blue"})),
        (["switch", "/mnt/storage/containerd"],
         ("switch", None, {"stick": "/mnt/storage/containerd"})),
        (["switch", "blue", "--copy", "--rate", "20M"],
         ("switch", None, {"stick": "blue", "data": "copy", "rate": 20 << 20})),
        (["switch", "blue", "--keep"], ("switch", None, {"stick": "blue", "data": "keep"})),
        (["switch", "blue", "--data", "pinned"],
         ("switch", None, {"stick": "blue", "data": "pinned"})),
        (["adopt", "blue"], ("adopt", None, {"stick": "blue"})),
        (["adopt", "blue", "--images-only", "--name", "red"],
         ("adopt", None, {"stick": "blue", "imagesOnly": True, "name": "red"})),
        (["prepare", "sdd"], ("prepare", None, {"stick": "sdd"})),
        (["prepare", "sdd", "--name", "red", "--from", "/srv/seed", "--check", "--wipe", "--yes",
          "4C53", "--whole-disk", "--fs", "xfs", "--label", "ctrd-opt", "--rate", "500kB"],
         ("prepare", None, {
             "stick": "sdd", "name": "red", "origin": "/srv/seed", "check": True, "wipe": True,
             "serial": "4C53", "wholeDisk": True, "fstype": "xfs", "label": "ctrd-opt",
             "rate": 500_000})),
        (["prepare", "sdd", "--empty"], ("prepare", None, {"stick": "sdd", "origin": "empty"})),
        (["prepare", "sdd", "--from-active"],
         ("prepare", None, {"stick": "sdd", "origin": "active"})),
        (["powerwash", "--images", "--yes"], ("powerwash", None, {"tier": "images"})),
        (["powerwash", "blue", "--all", "--next-boot", "--yes"],
         ("powerwash", None, {"stick": "blue", "tier": "all", "nextBoot": True})),
    ],
)  # fmt: skip
def test_each_verb_asks_the_daemon_for_just_that(
    server: RunningServer, words: list[str], act: tuple[str, str | None, dict[str, object]]
) -> None:
    assert main.main(words) == 0
    assert server.service.acts == [act]


@pytest.mark.parametrize("words", [["switch", "blue"], ["eject"], ["rollback"], ["pause"],
                                   ["enroll", "sdd1"], ["forget", "blue"], ["plan"],
                                   ["adopt", "blue"], ["prepare", "sdd"], ["reclaim", "--dry-run"],
                                   ["powerwash", "--all", "--yes"]])  # fmt: skip
def test_with_several_roles_one_has_to_be_named(server: RunningServer, words: list[str]) -> None:
    server.service.state |= _state("two-roles")
    assert main.main(words) == 2
    assert not server.service.acts
    assert main.main([*words, "--role", "k3s"]) == 0


def test_enroll_without_a_stick_and_without_a_person_is_6(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["enroll"]) == 6
    assert "--yes" in capsys.readouterr().err
    assert not server.service.acts


def test_enroll_yes_takes_all_that_wait_by_devnode(server: RunningServer) -> None:
    assert main.main(["enroll", "--yes"]) == 0
    assert server.service.acts == [("enroll", None, {"stick": "/dev/sdd1"})]


def test_a_directory_that_waits_is_enrolled_by_its_path(server: RunningServer) -> None:
    state = _state("bound")
    waiting = state["roles"][0]["candidates"][2]  # type: ignore[index]
    waiting |= {"path": "/mnt/storage/containerd"}
    server.service.state |= state
    assert main.main(["enroll", "--yes"]) == 0
    assert server.service.acts == [("enroll", None, {"stick": "/mnt/storage/containerd"})]


def test_a_directory_without_a_name_is_listed_by_its_path(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    state = _state("bound-with-data")
    state["roles"][0]["candidates"][3]["name"] = None  # type: ignore[index]
    server.service.state |= state
    assert main.main(["list", "-o", "name"]) == 0
    assert capsys.readouterr().out.split()[-1] == "/mnt/storage/containerd"


def _answers(monkeypatch: pytest.MonkeyPatch, *lines: str, before: Callable[[], None]) -> None:
    class Person:
        given = iter(lines)

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            before()
            return next(self.given, "")

    monkeypatch.setattr(sys, "stdin", Person())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)


@pytest.mark.parametrize(
    ("lines", "named"), [(["y\n", "\n"], "red"), (["yes\n", "spare\n"], "spare"), (["\n"], None)]
)
def test_enroll_asks_and_proposes_a_name(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, lines: list[str], named: str | None
) -> None:
    _answers(monkeypatch, *lines, before=lambda: None)
    assert main.main(["enroll"]) == 0
    expected = [("enroll", None, {"stick": "/dev/sdd1", "name": named})] if named else []
    assert server.service.acts == expected


def test_enroll_leaves_alone_what_was_exchanged_while_asking(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exchange() -> None:
        other = _state("bound")
        other["roles"][0]["candidates"][2]["uuid"] = "another"  # type: ignore[index]
        server.service.state |= other

    _answers(monkeypatch, "y\n", "\n", before=exchange)
    assert main.main(["enroll"]) == 0
    assert not server.service.acts
    assert "not there any more" in capsys.readouterr().err


def test_wait_returns_at_once_when_it_is_so(server: RunningServer) -> None:
    assert main.main(["wait", "--for", "bound"]) == 0


def test_wait_times_out_with_7_present_or_absent(server: RunningServer, tmp_path: Path) -> None:
    assert main.main(["wait", "--for", "LOST", "--timeout", "0.2"]) == 7
    absent = ["--socket", str(tmp_path / "absent")]
    assert main.main(["wait", "--for", "LOST", "--timeout", "0.2", *absent]) == 7
    assert main.main(["wait", "--for", "AWAY"]) == 2
    assert main.main(["wait", "--for", "BOUND", "--role", "no"]) == 4


def test_wait_sees_a_change_and_a_daemon_that_comes(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    codes: list[int] = []
    words = ["wait", "--for", "BOUND", "--timeout", "10", "--socket", str(path)]
    waiter = threading.Thread(target=lambda: codes.append(main.main(words)))
    waiter.start()
    time.sleep(0.1)
    with running(path) as server:
        while server.service.waiting == 0:
            time.sleep(0.01)
        server.bump(**{key: _state("bound")[key] for key in ("roles",)})
        waiter.join(10)
    assert codes == [0]


def test_events_are_shown_since_a_time_and_by_role(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("inserted", "bound", "lost"):
        server.happen(kind)
    assert main.main(["events", "-o", "name", "--since", "2026-11-20T10:00:02Z"]) == 0
    assert capsys.readouterr().out.split() == ["bound", "lost"]
    assert main.main(["events", "--role", "other"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("since", "begin"),
    [
        (None, None), ("30s", "2026-11-20T12:00:00Z"), ("10min", "2026-11-20T11:50:30Z"),
        ("2h", "2026-11-20T10:00:30Z"), ("1d", "2026-11-19T12:00:30Z"),
        ("2026-11-20", "2026-11-20T00:00:00Z"), ("2026-11-20 10:31", "2026-11-20T10:31:00Z"),
        ("2026-11-20T10:31:05Z", "2026-11-20T10:31:05Z"),
    ],
)  # fmt: skip
def test_since_takes_ages_and_times(since: str | None, begin: str | None) -> None:
    assert history.begin_of(since, 1795176030.0) == begin


@pytest.mark.parametrize("since", ["", "x", "10", "-5s", "5 weeks", "2026", "99999999999d"])
def test_since_refuses_what_is_no_time(since: str) -> None:
    with pytest.raises(StopError) as caught:
        history.begin_of(since, 0.0)
    assert caught.value.code == 2


def test_plan_passes_what_it_is_asked(server: RunningServer) -> None:
    assert main.main(["plan", "--to", "green", "--with", "uuid=1"]) == 0
    assert main.main(["plan", "--to", "nobody"]) == 4
    assert main.main(["plan", "--to", "green", "--copy"]) == 0
    assert server.service.planned == [
        (None, "green", "uuid=1", None), (None, "nobody", None, None), (None, "green", None, "copy")
    ]  # fmt: skip


def test_explain_knows_each_word_and_guesses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["explain", "notenrolled"]) == 0
    assert capsys.readouterr().out.startswith("NotEnrolled: ")
    assert main.main(["explain", "NotEnroled"]) == 4
    assert "did you mean NotEnrolled?" in capsys.readouterr().err


def test_explain_without_a_daemon_says_that_it_knows_no_sticks(
    nobody: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["explain", "NotEnrolled"]) == 0
    assert main.main(["explain", "green"]) == 4
    assert "nodestoraged cannot be asked" in capsys.readouterr().err


def test_explain_a_stick_tells_what_its_reasons_mean(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.service.state |= _state("bound-with-data")
    assert main.main(["explain", "green"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("green (sdc1): waiting\n  Stale: It is ")
    assert main.main(["explain", "purple"]) == 4
    assert "neither a word that is shown nor a stick" in capsys.readouterr().err


def test_a_word_of_the_catalogue_goes_before_a_stick_of_that_name(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    state = _state("bound")
    state["roles"][0]["candidates"][1]["name"] = "clone"  # type: ignore[index]
    server.service.state |= state
    assert main.main(["explain", "clone"]) == 0
    assert capsys.readouterr().out.startswith("Clone: ")


def test_show_takes_an_operation_or_a_stick(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.service.state |= _state("bound-with-data")
    server.service.history = [_operation("done")]
    assert main.main(["show", "8"]) == 0
    assert capsys.readouterr().out.startswith("operation 8: ")
    assert main.main(["show", "green"]) == 0
    shown = capsys.readouterr().out
    assert "Generation  9\n" in shown
    assert "Stale: " in shown
    assert main.main(["show", "/mnt/storage/containerd", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == "/mnt/storage/containerd"
    assert main.main(["show", "9"]) == 4
    assert "no operation and no stick 9" in capsys.readouterr().err


def test_show_does_not_guess_between_clones(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.service.state |= _state("internal-clones")
    assert main.main(["show", "blue"]) == 4
    assert "blue names sdb1, sdd1" in capsys.readouterr().err
    assert main.main(["show", "sdd1"]) == 0


def test_explain_imagefs_shows_the_links(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.service.state |= _state("bound-proof-broken")
    assert main.main(["explain", "imagefs"]) == 0
    assert "BROKEN  DatabaseLock" in capsys.readouterr().out


_WORDS = st.one_of(
    st.sampled_from([
        "-o", "json", "--output", "yaml", "--role", "containerd", "--watch", "--exit-code", "-q",
        "--for", "BOUND", "--timeout", "5", "--wait", "--no-wait", "--name", "--to", "--", "-",
        "-ojson", "--output=json", "--wat", "", "a b", "-5", "set", "show", "-f", "-n", "--yes",
        "-h", "--copy", "--data", "pinned", "--rate", "20M", "--fs", "xfs", "--from", "/srv",
        "--all", "--images-only", "--wipe", "--dry-run",
    ]),
    st.text(max_size=3),
)  # fmt: skip


@given(st.sampled_from(sorted(main.VERBS)), st.lists(_WORDS, max_size=5))
def test_the_plain_reading_is_argparses_reading(name: str, words: list[str]) -> None:
    module = __import__(f"nodestoraged.cli.{main.VERBS[name][0]}", fromlist=["VERBS"])
    declare = module.VERBS[name][0]
    plain = verb.plainly(declare, words)
    if plain is not None:
        assert vars(plain) == vars(verb.strictly(name, "what", declare, words))


@pytest.mark.parametrize("case", ["bound", "bound-preparing", "bound-with-data"])
@pytest.mark.parametrize("words", [["status"], ["is-bound"], ["list"], ["status", "-o", "json"]])
def test_a_reading_verb_loads_next_to_nothing(
    server: RunningServer, words: list[str], case: str
) -> None:
    server.service.state |= _state(case)
    heavy = {
        "dataclasses", "asyncio", "http", "rich", "inspect", "typing", "logging", "argparse",
        "subprocess", "shutil", "contextlib", "pathlib", "datetime", "unicodedata",
    }  # fmt: skip
    source = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "from nodestoraged.cli.main import main; code = main(sys.argv[2:])\n"
        "print(code, *sorted(set(sys.modules) - before), file=sys.stderr)\n"
    )
    program = [sys.executable, "-I", "-S", "-c", source, str(_CLI.parent.parent), *words]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=10)
    code, *loaded = done.stderr.split()
    assert code == "0"
    assert [one for one in loaded if one.split(".")[0] in heavy] == []
    ours = [one for one in loaded if one.startswith("nodestoraged.")]
    assert all(one.startswith(("nodestoraged.cli", "nodestoraged.api")) for one in ours)
    assert "nodestoraged.api.server" not in ours


def test_our_own_code_imports_no_re_and_no_dataclasses() -> None:
    for path in [*_CLI.glob("*.py"), _CLI.parent / "api" / "client.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {"re", "dataclasses", "asyncio"} & set(names), path


def test_the_reader_of_a_pipe_may_go_away(server: RunningServer) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = [sys.executable, "-m", "nodestoraged.cli", "status"]
    done = subprocess.run(
        program, stdout=writing, stderr=subprocess.PIPE, check=False, timeout=10,
        cwd=_CLI.parent.parent,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == b""


def test_a_full_disk_is_a_failure_with_a_reason(server: RunningServer) -> None:
    program = [sys.executable, "-m", "nodestoraged.cli", "status"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            program, stdout=full, stderr=subprocess.PIPE, check=False, timeout=10,
            cwd=_CLI.parent.parent,
        )  # fmt: skip
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_installed_script_gives_output_and_exit_code(
    server: RunningServer, tmp_path: Path
) -> None:
    top = _CLI.parent.parent
    text = (top / "bin" / "nodestoragectl").read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/python3 -I\n")
    script = tmp_path / "bin/nodestoragectl"
    script.parent.mkdir()
    script.write_text(text, encoding="utf-8")
    modules = tmp_path / "lib/nodestoraged/python"
    modules.parent.mkdir(parents=True)
    modules.symlink_to(top)
    server.service.state |= _state("failed")
    program = [sys.executable, "-I", str(script), "status", "--exit-code"]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode == 8
    assert "needs you" in done.stdout


def test_watch_shows_it_again_on_each_change(server: RunningServer) -> None:
    program = [sys.executable, "-m", "nodestoraged.cli", "status", "--watch", "-o", "jsonl"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, cwd=_CLI.parent.parent) as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        server.bump()
        second = json.loads(watching.stdout.readline())
        watching.terminate()
    assert second["generation"] == first["generation"] + 1


def test_watch_goes_on_after_a_restart_of_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    program = [sys.executable, "-m", "nodestoraged.cli", "status", "--watch", "-o", "jsonl"]
    environment = os.environ | {verb.SOCKET_VARIABLE: str(path)}
    with contextlib.ExitStack() as stack:
        with running(path):
            watching = stack.enter_context(
                subprocess.Popen(
                    program,
                    cwd=_CLI.parent.parent,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
            stack.callback(watching.terminate)
            assert watching.stdout is not None
            assert watching.stderr is not None
            assert json.loads(watching.stdout.readline())["roles"] == []
        assert watching.stderr.readline() == b"nodestoraged does not answer; waiting for it\n"
        with running(path) as again:
            json.loads(watching.stdout.readline())
            again.bump(roles=[{"name": "containerd"}])
            assert json.loads(watching.stdout.readline())["roles"] == [{"name": "containerd"}]


def test_watch_of_a_daemon_that_is_not_there_ends_with_5(
    nobody: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["status", "--watch"]) == exits.UNREACHABLE
    assert "does not answer" in capsys.readouterr().err
