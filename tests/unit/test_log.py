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
