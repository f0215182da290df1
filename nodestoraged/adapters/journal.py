"""The write-ahead record of operations: one JSON line per state, with a checksum, fsynced.

Owns: `/var/lib/nodestoraged/journal` and `history`, on the root disk and never on a stick.  May
not know: what a step means.

Each line is the whole operation as it stood, so reading needs no replay: the last line whose
checksum fits is the truth, and a torn tail (a power cut while writing) is passed over.  The
journal starts anew with each operation; closed operations go to the bounded history.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from nodestoraged.adapters import records
from nodestoraged.model.errors import StepError
from nodestoraged.model.operation import Operation

SCHEMA = 1
HISTORY_MAX = 200
#: The history is rewritten when it holds this many more than it shall keep.
HISTORY_SLACK = 100


class FileJournal:
    """The `Journal` port; what it was given is on the medium when a method returns."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._journal = directory / "journal"
        self._history = directory / "history"
        self._open: dict[str, Operation] = {}
        self._closed: list[Operation] = []
        self._file: int | None = None
        self._begun: str | None = None
        self._load()

    def open_operation(self, role: str) -> Operation | None:
        """The operation of `role` that was begun and not closed."""
        return self._open.get(role)

    def next_id(self) -> str:
        """One more than any id that was ever written here."""
        ids = [int(operation.id) for operation in (*self._closed, *self._open.values())]
        return str(max(ids, default=0) + 1)

    def write(self, operation: Operation) -> None:
        """The operation stands on the medium as given; raises `StepError("JournalFailed")`."""
        try:
            if operation.result is None:
                self._append(operation)
                self._open[operation.role] = operation
            else:
                self._close(operation)
        except OSError as error:
            raise StepError(
                "JournalFailed",
                f"{self._directory}: {error.strerror}",
                "free some space on the root disk",
                errno=error.errno,
            ) from None

    def history(self, role: str, limit: int) -> tuple[Operation, ...]:
        """Closed operations of `role`, newest first."""
        found = [operation for operation in reversed(self._closed) if operation.role == role]
        return tuple(found[:limit])

    def close(self) -> None:
        """The file is closed; nothing has to be flushed."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, operation: Operation) -> None:
        if self._file is None or self._begun != operation.id:
            self.close()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            if operation.id not in {known.id for known in self._open.values()}:
                flags |= os.O_TRUNC
            self._file = os.open(self._journal, flags, 0o600)
            self._begun = operation.id
            _sync_directory(self._directory)
        _write_line(self._file, operation)

    def _close(self, operation: Operation) -> None:
        # First the history, then the journal: a cut between the two leaves it in both, and the
        # closed one wins.
        fd = os.open(self._history, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_line(fd, operation)
        finally:
            os.close(fd)
        self._closed.append(operation)
        self._open.pop(operation.role, None)
        self.close()
        self._begun = None
        with open(self._journal, "wb") as stream:
            os.fsync(stream.fileno())
        if len(self._closed) > HISTORY_MAX + HISTORY_SLACK:
            self._shorten()
        _sync_directory(self._directory)

    def _shorten(self) -> None:
        self._closed = self._closed[-HISTORY_MAX:]
        partial = self._history.with_suffix(".partial")
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            for operation in self._closed:
                os.write(fd, _line(operation))
            os.fsync(fd)
        finally:
            os.close(fd)
        partial.replace(self._history)

    def _load(self) -> None:
        self._closed = list(_read(self._history))[-HISTORY_MAX:]
        closed = {operation.id for operation in self._closed}
        for operation in _read(self._journal):
            if operation.id not in closed and operation.result is None:
                self._open[operation.role] = operation


def _line(operation: Operation) -> bytes:
    body = json.dumps(
        {"schema": SCHEMA, "operation": records.dump(operation)}, separators=(",", ":")
    ).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _write_line(fd: int, operation: Operation) -> None:
    line = _line(operation)
    if os.write(fd, line) != len(line):
        raise OSError(28, "No space left on device")
    os.fsync(fd)


def _read(path: Path) -> Iterator[Operation]:
    """The operations of every whole line; a line that does not fit is passed over."""
    try:
        data = path.read_bytes()
    except OSError:
        return
    for line in data.split(b"\n"):
        checksum, _, body = line.partition(b" ")
        if len(checksum) != 8 or checksum != b"%08x" % zlib.crc32(body):
            continue
        record = json.loads(body)
        if record.get("schema") == SCHEMA:
            yield records.load(Operation, record["operation"])


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
