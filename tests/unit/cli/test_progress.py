"""Progress: one bar that is redrawn where a person looks, few lines elsewhere."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodestoraged.cli import main, progress, verb
from nodestoraged.cli.fields import Json
from nodestoraged.cli.text import rate, width
from tests.unit.api.fake_service import RunningServer, running
from tests.unit.cli.on_terminal import lines_on_screen, on_terminal

_MIB = 1 << 20


def _progress(done: float, total: int = 812, **more: object) -> Json:
    return {
        "pass": "warm", "bytesDone": int(done * _MIB), "bytesTotal": total * _MIB,
        "filesDone": 8122, "filesTotal": 20311, "bytesPerSecond": 48.2 * _MIB, "etaSeconds": 10.1,
        **more,
    }  # fmt: skip


def test_words_name_only_what_is_known() -> None:
    assert progress.words_of(_progress(325)) == "40 %, 325.0 of 812.0 MiB, 48.2 MiB/s, 10 s left"
    assert progress.words_of(_progress(0.5)) == "0 %, 512.0 KiB of 812.0 MiB, 48.2 MiB/s, 10 s left"
    counting = _progress(325, 0, filesTotal=0, etaSeconds=None)
    assert progress.words_of(counting) == "325.0 MiB, 8122 files, 48.2 MiB/s"
    assert progress.words_of({}) == ""


def test_share_is_of_bytes_then_of_files_and_never_more_than_all() -> None:
    assert progress.share(_progress(406)) == 0.5
    assert progress.share(_progress(900)) == 1.0
    assert progress.share(_progress(0, 0)) == 8122 / 20311
    assert progress.share(_progress(0, 0, filesTotal=0)) is None


def test_the_bar_grows_and_gives_way_to_the_numbers_where_it_is_narrow() -> None:
    assert progress.bar(_progress(325), 79) == (
        "  warm pass   40 %  [####......]  325.0 of 812.0 MiB  48.2 MiB/s  10 s left"
    )
    assert progress.bar(_progress(325), 70) == (
        "  warm pass   40 %  325.0 of 812.0 MiB  48.2 MiB/s  10 s left"
    )
    assert progress.bar(_progress(325), 30) == "  warm pass   40 %  325.0 o..."
    early, late = (progress.bar(_progress(done, etaSeconds=eta), 79).index("]")
                   for done, eta in ((9, 100.0), (800, 3.0)))  # fmt: skip
    assert early == late, "its length does not depend on the numbers"
    assert "[" not in progress.bar(_progress(325, 0, filesTotal=0), 79), "no bar without a total"


_NUMBERS = st.one_of(st.none(), st.integers(-5, 2**70), st.floats(), st.just("x"))


@given(
    st.fixed_dictionaries({
        "pass": st.text(max_size=20), "bytesDone": _NUMBERS, "bytesTotal": _NUMBERS,
        "filesDone": _NUMBERS, "filesTotal": _NUMBERS, "bytesPerSecond": _NUMBERS,
        "etaSeconds": _NUMBERS,
    }),
    st.integers(10, 200),
)  # fmt: skip
def test_any_progress_gives_a_bar_that_fits(said: Json, columns: int) -> None:
    line = progress.bar(said, columns)
    assert width(line) <= columns
    assert line.isprintable()
    progress.words_of(said)


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ({}, ""),
        ({"copiedBytes": 812 * _MIB}, "copied 812.0 MiB"),
        ({"copiedBytes": 812 * _MIB, "copiedStoppedBytes": 3 * _MIB, "downtimeSeconds": 0.9,
          "predictedDowntimeSeconds": 1.2},
         "copied 812.0 MiB in two passes, 3.0 MiB of it while stopped; down 0.9 s "
         "(predicted 1.2 s)"),
        ({"copiedBytes": 5 * _MIB, "copiedStoppedBytes": 5 * _MIB, "predictedBytes": 6 * _MIB},
         "copied 5.0 MiB (predicted 6.0 MiB), all of it while stopped"),
    ],
)  # fmt: skip
def test_the_truth_stands_beside_the_prediction(operation: Json, said: str) -> None:
    assert progress.copied(operation) == said


def _lines(monkeypatch: pytest.MonkeyPatch, steps: list[tuple[float, Json]]) -> list[str]:
    """What is told off a terminal, each progress coming at its second."""
    clock = {"now": 0.0}
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(time, "monotonic", lambda: clock["now"])
    teller = progress.Teller()
    for second, said in steps:
        clock["now"] = second
        teller.progress(said)
    told = stderr.getvalue()
    assert "\r" not in told
    assert "\x1b" not in told
    return told.splitlines()


def test_off_a_terminal_there_is_one_line_for_each_tenth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = [(second / 10, _progress(second, 1000)) for second in range(1001)]
    lines = _lines(monkeypatch, steps)
    assert len(lines) == 10
    assert lines[0] == "          warm pass: 10 %, 100.0 of 1000.0 MiB, 48.2 MiB/s, 10 s left"
    assert lines[-1].startswith("          warm pass: 100 %, ")


def test_off_a_terminal_a_jump_is_one_line_and_the_next_pass_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    final = {"pass": "final"}
    steps = [(0.0, _progress(90, 100)), (1.0, _progress(91, 100)),
             (2.0, _progress(20, 100, **final)), (3.0, _progress(10, 100, **final))]  # fmt: skip
    lines = _lines(monkeypatch, steps)
    assert [line.split(",")[0].strip() for line in lines] == ["warm pass: 90 %", "final pass: 20 %"]


def test_off_a_terminal_while_counting_there_is_a_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counting = _progress(5, 0, filesTotal=0, etaSeconds=None)
    lines = _lines(monkeypatch, [(float(second), counting) for second in range(35)])
    assert lines == ["          warm pass: 5.0 MiB, 8122 files, 48.2 MiB/s"] * 3


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    with running(tmp_path / "socket") as one:
        monkeypatch.setenv(verb.SOCKET_VARIABLE, one.path)
        one.service.state |= {"roles": [{"name": "containerd"}]}
        one.service.act_reply = {
            "operationId": "8", "changed": True, "message": "moving to green", "hint": ""
        }  # fmt: skip
        one.service.history = [_operation(None, 1, _progress(0))]
        yield one


def _operation(result: str | None, steps: int, said: Json | None, **more: object) -> Json:
    names = ("mount green aside", "copy what serves", "stop containerd")
    return {
        "id": "8", "role": "containerd", "kind": "switchover", "result": result,
        "source": "blue", "target": "green", "message": "green serves", "progress": said,
        "step": None if result else names[steps],
        "steps": [{"step": name, "seconds": 0.2} for name in names[:steps]], **more,
    }  # fmt: skip


def _play(server: RunningServer) -> None:
    """A copy in four readings, once somebody follows it; then its end.  None is skipped."""
    service = server.service
    told = [_operation(None, 1, _progress(done)) for done in (203, 406, 609, 812)]
    told.append(_operation(None, 2, None))
    for operation in told:
        while service.waiting == 0:
            time.sleep(0.005)
        before = service.waits
        service.history = [operation]
        server.bump()
        while service.waits == before:
            time.sleep(0.005)
    service.history = [
        _operation("done", 3, None, copiedBytes=812 * _MIB, copiedStoppedBytes=3 * _MIB,
                   downtimeSeconds=0.9, podsDownSeconds=7.1, predictedDowntimeSeconds=1.2)
    ]  # fmt: skip
    server.bump()


_END = [
    "   0.2 s  mount green aside", "   0.2 s  copy what serves", "   0.2 s  stop containerd",
    "done: green serves, pods down 7.1 s",
    "  copied 812.0 MiB in two passes, 3.0 MiB of it while stopped; down 0.9 s",
    "  (predicted 1.2 s)",
]  # fmt: skip


@pytest.mark.parametrize("columns", [80, 60, 40])
def test_on_a_terminal_there_is_one_bar_that_is_gone_in_the_end(
    server: RunningServer, columns: int
) -> None:
    with on_terminal(["switch", "green", "--copy"], columns) as terminal:
        player = threading.Thread(target=_play, args=(server,))
        player.start()
        assert terminal.end() == (0, "8\n")
        player.join()
    seen = terminal.seen.replace("\r\n", "\n")
    assert lines_on_screen(terminal.seen) == ["moving to green", *_END, ""]
    drawn = [part.removeprefix("\x1b[K") for part in seen.replace("\n", "\r").split("\r")]
    bars = [line for line in drawn if "warm pass" in line]
    assert len(bars) == 5
    assert all(len(line) < columns for line in bars)
    if columns == 80:
        assert any("[#####.....]" in line and "50 %" in line for line in bars)


@pytest.mark.parametrize("term", ["dumb"])
def test_a_terminal_that_cannot_erase_gets_lines(server: RunningServer, term: str) -> None:
    with on_terminal(["switch", "green", "--copy"], term=term) as terminal:
        player = threading.Thread(target=_play, args=(server,))
        player.start()
        assert terminal.end()[0] == 0
        player.join()
    assert "\x1b" not in terminal.seen
    assert "          warm pass: 50 %, 406.0 of 812.0 MiB" in terminal.seen


def test_off_a_terminal_lines_stand_between_the_steps(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    player = threading.Thread(target=_play, args=(server,))
    player.start()
    assert main.main(["switch", "green", "--copy"]) == 0
    player.join()
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "warm pass" not in line] == ["moving to green", *_END]
    told = [line for line in lines if "warm pass" in line]
    assert len(told) == 4
    assert lines.index(_END[0]) < lines.index(told[0]) < lines.index(_END[1])


def test_ctrl_c_erases_the_bar_and_leaves_the_copy_alone(server: RunningServer) -> None:
    server.service.history = [_operation(None, 1, _progress(406))]
    with on_terminal(["switch", "green", "--copy"]) as terminal:
        terminal.read_until("50 %")
        terminal.program.send_signal(2)
        assert terminal.end() == (130, "8\n")
    shown = lines_on_screen(terminal.seen)
    assert "nodestoragectl: no longer watching; the operation goes on" in shown
    assert not any("50 %" in line for line in shown)
    assert [one[0] for one in server.service.acts] == ["switch"]


def test_an_error_in_the_middle_stands_on_a_line_of_its_own(server: RunningServer) -> None:
    server.service.history = [_operation(None, 1, _progress(406))]
    with on_terminal(["switch", "green", "--copy"]) as terminal:
        terminal.read_until("50 %")
        server.service.history = []
        server.bump()
        assert terminal.end() == (4, "8\n")
    shown = lines_on_screen(terminal.seen)
    assert "nodestoragectl: there is no operation 8 (NoSuchOperation)" in shown
    assert not any("50 %" in line for line in shown)


@pytest.mark.parametrize(
    ("word", "value"),
    [("20M", 20 << 20), ("20MiB/s", 20 << 20), ("20MB", 20_000_000), ("500000", 500_000),
     ("1.5g", 3 << 29), ("64k", 65536), ("1b", 1)],
)  # fmt: skip
def test_a_rate_in_words(word: str, value: int) -> None:
    assert rate(word) == value


@pytest.mark.parametrize(
    "word", ["", "0", "-5M", "fast", "M", "20Mb/h", "1e9", "20 M", "9999999T", "¹M", "1.2.3M", "."]
)
def test_what_is_no_rate(word: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        rate(word)
