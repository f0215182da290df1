"""The log: what reaches a terminal, a pipe and the journal, and what cannot be forged in it."""

from __future__ import annotations

import io
import json
import os
import pty
import socket

import pytest
import structlog

from nodestoraged import log


@pytest.fixture(autouse=True)
def _unconfigured():
    yield
    structlog.reset_defaults()


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """A journal of our own: the socket, and a stream that JOURNAL_STREAM names."""
    path = tmp_path / "socket"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
        (tmp_path / "stream").open("w+") as stream,
    ):
        receiver.bind(str(path))
        receiver.settimeout(5)
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        log.configure(stream, journal_socket=str(path))
        yield receiver, stream


def read(stream) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def test_a_pipe_gets_one_json_object_per_line():
    out = io.StringIO()
    log.configure(out)
    log.event("bound", "blue serves", stick="3f2a", seconds=0.5, reason=None)
    found = json.loads(out.getvalue())
    assert found.pop("time").endswith("Z")
    assert found == {
        "kind": "bound",
        "stick": "3f2a",
        "seconds": 0.5,
        "level": "info",
        "message": "blue serves",
    }
    assert out.getvalue().count("\n") == 1


def test_a_terminal_gets_key_and_value():
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        log.configure(stream)
        log.event("bound", "blue serves", level="warning", stick="a b", count=1)
        stream.flush()
        line = os.read(master, 1000).decode()
    os.close(master)
    assert line == 'warning blue serves kind=bound stick="a b" count=1\r\n'


def test_what_is_below_the_level_is_not_said():
    out = io.StringIO()
    log.configure(out, level="warning")
    log.event("bound", "no")
    log.event("lost", "yes", level="error")
    assert json.loads(out.getvalue())["message"] == "yes"


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nMESSAGE=forged", "a\\nMESSAGE=forged"),
        ("a\u202eb", "a\\u202eb"),
        ("plain ü", "plain ü"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_of_a_label_are_escaped(label, shown):
    out = io.StringIO()
    log.configure(out)
    log.event("seen", "a stick", label=label)
    assert json.loads(out.getvalue())["label"] == shown


def test_the_journal_gets_fields_over_its_own_socket(journal):
    receiver, stream = journal
    log.event("bound", "blue serves", level="error", stick="3f2a", operation="7", reason="X")
    rows = receiver.recv(65536).decode().splitlines()
    assert rows == [
        "MESSAGE=blue serves",
        "PRIORITY=3",
        "SYSLOG_IDENTIFIER=nodestoraged",
        "NODESTORAGED_KIND=bound",
        "NODESTORAGED_STICK=3f2a",
        "NODESTORAGED_OPERATION=7",
        "NODESTORAGED_REASON=X",
    ]
    assert read(stream) == ""


def test_without_a_listening_journal_the_line_goes_to_the_stream(journal):
    receiver, stream = journal
    receiver.close()
    log.event("bound", "blue serves", level="error")
    assert read(stream) == "<3>error   blue serves kind=bound\n"


def test_a_full_journal_does_not_block_the_daemon(journal):
    _nobody_reads, stream = journal
    for _ in range(2000):
        log.event("bound", "x" * 1000)
    assert "<6>info" in read(stream)


def blow_up():
    raise RuntimeError("boom\x1b")


def test_a_traceback_reaches_the_journal_in_one_field(journal):
    receiver, _stream = journal
    try:
        blow_up()
    except RuntimeError:
        log.get().error("a bug", exc_info=True)
    found = receiver.recv(65536)
    assert b"NODESTORAGED_EXCEPTION\n" in found
    assert b"\nRuntimeError: boom\\x1b\n" in found


def test_a_value_with_newlines_has_its_length_before_it():
    found = log.datagram({"event": "a\nb", "level": "info"})
    assert found.startswith(b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\nPRIORITY=6\n")


def test_a_stream_that_is_not_the_journals_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    with (tmp_path / "stream").open("w+") as stream:
        log.configure(stream, journal_socket=str(tmp_path / "none"))
        log.event("bound", "blue serves")
        assert json.loads(read(stream))["message"] == "blue serves"


# ------------------------------------------------------------------------ a file of our own


def messages(path) -> list[str]:
    return [json.loads(line)["message"] for line in path.read_text().splitlines()]


def test_a_file_gets_json_lines_whatever_stderr_and_umask_are(tmp_path):
    log.configure(path=str(tmp_path / "log"))
    mask = os.umask(0o077)
    try:
        log.event("bound", "one", stick="\x1b[31m")
    finally:
        os.umask(mask)
    log.event("bound", "two", level="error")
    log.get().debug("below the level")
    assert messages(tmp_path / "log") == ["one", "two"]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640
    assert "\x1b" not in (tmp_path / "log").read_text()


def test_a_file_is_renamed_before_it_is_too_large_and_few_are_kept(tmp_path):
    sink = log.LogFile(str(tmp_path / "log"), limit_bytes=100, files=3)
    for number in range(40):
        sink.info(f"{number:029d}")
    found = {path.name: path.read_text().split() for path in tmp_path.iterdir()}
    assert set(found) == {"log", "log.1", "log.2"}
    assert all(len(lines) * 30 <= 100 for lines in found.values())
    lines = found["log.2"] + found["log.1"] + found["log"]
    assert lines == [f"{number:029d}" for number in range(40 - len(lines), 40)]


def test_a_line_longer_than_a_file_is_written_all_the_same(tmp_path):
    sink = log.LogFile(str(tmp_path / "log"), limit_bytes=100, files=2)
    sink.info("x" * 500)
    sink.info("y")
    assert (tmp_path / "log").read_text() == "y\n"
    assert (tmp_path / "log.1").read_text() == "x" * 500 + "\n"


def test_a_file_that_was_removed_is_begun_anew(tmp_path):
    log.configure(path=str(tmp_path / "log"))
    log.event("bound", "one")
    (tmp_path / "log").unlink()
    log.event("bound", "two")
    assert messages(tmp_path / "log") == ["two"]


def test_a_file_that_was_renamed_by_somebody_else_is_begun_anew(tmp_path):
    log.configure(path=str(tmp_path / "log"))
    log.event("bound", "one")
    (tmp_path / "log").rename(tmp_path / "theirs")
    log.event("bound", "two")
    assert (messages(tmp_path / "theirs"), messages(tmp_path / "log")) == (["one"], ["two"])


@pytest.mark.parametrize("path", ["/dev/full", "missing/log"])
def test_what_cannot_be_written_goes_to_stderr_and_stops_nobody(tmp_path, capsys, path):
    """/dev/full refuses every byte, as a full disk does."""
    log.configure(path=str(tmp_path / path))
    log.event("bound", "one")
    assert json.loads(capsys.readouterr().err)["message"] == "one"


def test_half_a_line_on_a_full_disk_is_taken_back(tmp_path, monkeypatch, capsys):
    path = tmp_path / "log"
    sink = log.LogFile(str(path))
    sink.info("whole")
    real, room = os.write, [4]

    def write(descriptor, content):
        if not room:
            raise OSError(28, "No space left on device")
        return real(descriptor, content[: room.pop()])

    monkeypatch.setattr(os, "write", write)
    sink.info("torn apart")
    monkeypatch.undo()
    sink.info("whole again")
    assert path.read_text() == "whole\nwhole again\n"
    assert "torn apart" in capsys.readouterr().err


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path, capsys):
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    log.configure(path=str(tmp_path / "log"))
    log.event("bound", "one")
    assert not (tmp_path / "elsewhere").exists()
    assert "one" in capsys.readouterr().err
