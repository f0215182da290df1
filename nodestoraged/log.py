"""The log: one call, three renderings, chosen by where stderr leads.

Owns: structlog, the journal's native protocol, the escaping of what strangers wrote (a label may
hold an escape sequence).  May not know: what is worth logging; the engine decides that once.

  the journal     `MESSAGE`, `PRIORITY` and `NODESTORAGED_*` fields over its socket
  a terminal      one line of key=value
  anything else   one JSON object per line, with the time (the other two have a clock of their own)

A file of our own (`--log-file`) takes JSON lines too and is kept small.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

#: Where journald listens for its native protocol (systemd's JOURNAL_NATIVE_PROTOCOL).
JOURNAL_SOCKET = "/run/systemd/journal/socket"
#: syslog(3) priorities, which the journal takes as PRIORITY.
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
#: A datagram longer than this would need a memfd; no line of ours is worth one.
_LONGEST_FIELD = 16 * 1024
#: A log file grows so large; so many are kept, the one in use among them.
FILE_BYTES = 5 * 1024 * 1024
FILES = 4
#: The group that an operator gives the file may read it.
_FILE_MODE = 0o640


def configure(
    stream: TextIO | None = None,
    level: str = "info",
    journal_socket: str = JOURNAL_SOCKET,
    path: str | None = None,
) -> None:
    """Everything logged from now on goes to `stream` (default: stderr), from `level` upwards.

    With `path` it goes to that file instead.  If `stream` is the journal's (JOURNAL_STREAM names
    its device and inode), the native protocol is used, so that fields can be asked for:
    `journalctl NODESTORAGED_STICK=3f2a…`.
    """
    chosen = sys.stderr if stream is None else stream
    file = None if path is None else LogFile(path)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _escape,
            _json_line if file else _renderer(chosen, journal_socket),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=file.logger if file else structlog.PrintLoggerFactory(file=chosen),
        cache_logger_on_first_use=False,
    )


class LogFile:
    """A file of lines at `path`, renamed to `path.1` before it is larger than `limit_bytes`.

    `files` are kept in all.  A line that cannot be written (full disk, missing directory) goes to
    stderr and is forgotten: the log never stops the daemon.  What was removed or renamed by
    somebody else is begun anew.
    """

    def __init__(self, path: str, *, limit_bytes: int = FILE_BYTES, files: int = FILES) -> None:
        self._path = Path(path)
        self._limit_bytes = limit_bytes
        self._files = files

    def logger(self, *_: object) -> LogFile:
        """structlog's logger factory: there is one file, and it is the logger."""
        return self

    def write(self, line: str) -> None:
        """The line is in the file, whole, if the disk takes it."""
        content = line.encode("utf-8", "replace") + b"\n"
        try:
            self._rotate(len(content))
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            # Opened for each line: there are few, and nothing has to be noticed or closed then.
            descriptor = os.open(self._path, flags, _FILE_MODE)
            try:
                _write_whole(descriptor, content)
            finally:
                os.close(descriptor)
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"{line}\n")

    debug = info = warning = error = critical = write

    def _rotate(self, more_bytes: int) -> None:
        try:
            size = self._path.lstat().st_size
        except FileNotFoundError:
            return
        if size + more_bytes <= self._limit_bytes:
            return
        for number in range(self._files - 1, 0, -1):
            younger = self._older(number - 1) if number > 1 else self._path
            with contextlib.suppress(FileNotFoundError):
                younger.replace(self._older(number))

    def _older(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _write_whole(descriptor: int, content: bytes) -> None:
    """Written whole or not at all: half a line would spoil the next one."""
    size = os.fstat(descriptor).st_size
    if size == 0:  # just made, and our umask took more than it should
        os.fchmod(descriptor, _FILE_MODE)
    written = 0
    try:
        while written < len(content):
            written += os.write(descriptor, content[written:])
    except OSError:
        if written:
            os.ftruncate(descriptor, size)
        raise


def get() -> FilteringBoundLogger:
    """The logger, with `debug`, `info`, `warning`, `error` taking a message and fields."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def event(kind: str, message: str, *, level: str = "info", **fields: str | float | None) -> None:
    """What happened is in the log under `kind`; fields that are None are left out."""
    present = {name: value for name, value in fields.items() if value is not None}
    getattr(get(), level)(message, kind=kind, **present)


def _escape(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """No string holds a control character: neither a terminal nor a line is to be forged.

    A traceback keeps its lines: it is for people, and both JSON and the journal delimit it.
    """
    return {name: _printable(value, name == "exception") for name, value in fields.items()}


def _printable(value: object, keep_lines: bool) -> object:
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(
        char
        if char.isprintable() or (keep_lines and char == "\n")
        else char.encode("unicode_escape", "replace").decode()
        for char in value
    )


def _renderer(
    stream: TextIO, journal_socket: str
) -> Callable[[WrappedLogger, str, EventDict], str]:
    if _is_journal(stream):
        return _journal(journal_socket)
    if stream.isatty():
        return _key_value
    return _json_line


def _is_journal(stream: TextIO) -> bool:
    """True if the stream leads to the journal, by the test that systemd.exec(5) documents."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{found.st_dev}:{found.st_ino}"


def _key_value(_logger: WrappedLogger, _method: str, fields: EventDict) -> str:
    message, level = fields.pop("event"), fields.pop("level")
    rest = "".join(f" {name}={_quoted(value)}" for name, value in fields.items())
    return f"{level:<7} {message}{rest}"


def _quoted(value: object) -> str:
    word = str(value)
    return json.dumps(word, ensure_ascii=False) if not word or " " in word or '"' in word else word


def _json_line(_logger: WrappedLogger, _method: str, fields: EventDict) -> str:
    fields["message"] = fields.pop("event")
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": now, **fields}, ensure_ascii=False, default=str)


def _journal(path: str) -> Callable[[WrappedLogger, str, EventDict], str]:
    """Send each event as one datagram; a line to the stream when the journal takes none."""

    def render(logger: WrappedLogger, method: str, fields: EventDict) -> str:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        with socket.socket(socket.AF_UNIX, kind) as sender:
            # A journal that is stopped or full must not stop the daemon.
            sender.setblocking(False)
            try:
                sender.sendto(datagram(fields), path)
            except OSError:
                # The stream leads to the journal as well; `<3>` is sd-daemon(3)'s prefix.
                return f"<{_priority(fields)}>{_key_value(logger, method, dict(fields))}"
        # Nothing is left for the stream to print.
        raise structlog.DropEvent

    return render


def _priority(fields: EventDict) -> int:
    return _PRIORITIES.get(str(fields.get("level")), 6)


def datagram(fields: EventDict) -> bytes:
    """An event in the journal's native protocol.

    `NAME=value` per line; a value with a newline as name, newline, length (64 bits, little
    endian), value, newline.  Source: systemd, docs/JOURNAL_NATIVE_PROTOCOL.md.
    """
    rows = [
        ("MESSAGE", str(fields.get("event", ""))),
        ("PRIORITY", str(_priority(fields))),
        ("SYSLOG_IDENTIFIER", "nodestoraged"),
        *(
            (f"NODESTORAGED_{name.upper()}", str(value))
            for name, value in fields.items()
            if name not in {"event", "level"}
        ),
    ]
    return b"".join(_row(name, value) for name, value in rows)


def _row(name: str, value: str) -> bytes:
    content = value.encode("utf-8", "replace")[:_LONGEST_FIELD]
    if b"\n" not in content:
        return name.encode() + b"=" + content + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(content)) + content + b"\n"
