"""The write-ahead record of operations: one JSON line per state, with a checksum, fsynced.

Owns: `/var/lib/nodestoraged/journal` and `history`, on the root disk and never on a stick.  May
not know: what a step means.

Each line is the whole operation as it stood, so reading needs no replay: the last line whose
checksum fits is the truth, and a torn tail (a power cut while writing) is passed over.  The
journal starts anew with each operation; closed operations go to the bounded history.  One
journal is one role's: another role's operation would start it anew.

A whole line that this version does not understand (a newer schema, after a downgrade) is never
guessed at.  In the history it is passed over.  In the journal it voids the whole file, older
lines of the same operation included: the file is kept as `journal.unknown`, that is said, and
everything is decided anew from what is observed, as after another boot.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from nodestoraged.adapters import records
from nodestoraged.adapters.durable import put_in_place, sync_directory
from nodestoraged.model.errors import StepError
from nodestoraged.model.operation import Operation

SCHEMA = 1
HISTORY_MAX = 200
#: The history is rewritten when it holds this many more than it shall keep.
HISTORY_SLACK = 100
#: Ids are taken even from lines that are torn, flipped or of a newer schema: none is used twice.
_ID = re.compile(rb'"operation":\{"id":"([0-9]{1,9})"')


def _silent(_text: str) -> None:
    """Nobody asked to be told."""


class OperationIds:
    """The numbers of one node's operations: no two roles hand out the same."""

    def __init__(self) -> None:
        self._last = 0

    def used(self, *numbers: int) -> None:
        """None of these is handed out any more."""
        self._last = max(self._last, *numbers)

    def next(self) -> str:
        """One more than any that was ever used."""
        self._last += 1
        return str(self._last)


class FileJournal:
    """The `Journal` port; what it was given is on the medium when a method returns.

    `complain` is told of what could not be read.  Journals of several roles share their `ids`.
    """

    def __init__(
        self,
        directory: Path,
        complain: Callable[[str], None] = _silent,
        ids: OperationIds | None = None,
    ) -> None:
        self._directory = directory
        self._journal = directory / "journal"
        self._history = directory / "history"
        self._open: dict[str, Operation] = {}
        self._closed: list[Operation] = []
        self._file: int | None = None
        self._begun: str | None = None
        self._complain = complain
        self._ids = ids or OperationIds()
        self._load()

    def open_operation(self, role: str) -> Operation | None:
        """The operation of `role` that was begun and not closed."""
        return self._open.get(role)

    def next_id(self) -> str:
        """One more than any id that was ever written or handed out on this node."""
        return self._ids.next()

    def write(self, operation: Operation) -> None:
        """The operation stands on the medium as given; raises `StepError("JournalFailed")`."""
        self._ids.used(int(operation.id))
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
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            if operation.id not in {known.id for known in self._open.values()}:
                flags |= os.O_TRUNC
            self._file = os.open(self._journal, flags, 0o600)
            self._begun = operation.id
            sync_directory(self._directory)
        _write_line(self._file, operation)

    def _close(self, operation: Operation) -> None:
        # First the history, its name included, then the journal: a cut between the two leaves it
        # in both, and the closed one wins.
        fd = os.open(self._history, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_line(fd, operation)
        finally:
            os.close(fd)
        sync_directory(self._directory)
        self._closed.append(operation)
        if self._open and operation.id not in {known.id for known in self._open.values()}:
            return  # an errand, which was never begun here; what is open stays open
        self._open.pop(operation.role, None)
        self.close()
        self._begun = None
        with self._journal.open("wb") as stream:
            os.fsync(stream.fileno())
        if len(self._closed) > HISTORY_MAX + HISTORY_SLACK:
            try:
                self._shorten()
            except OSError as error:  # the operation is closed all the same
                self._complain(f"{self._history} could not be shortened: {error.strerror}")

    def _shorten(self) -> None:
        self._closed = self._closed[-HISTORY_MAX:]
        partial = self._history.with_suffix(".partial")
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            for operation in self._closed:
                _write_all(fd, _line(operation))
        finally:
            os.close(fd)
        put_in_place(partial, self._history)

    def _load(self) -> None:
        self._closed = [each for each in self._read(self._history) if each is not None]
        closed = {operation.id for operation in self._closed}
        begun = list(self._read(self._journal))
        if None in begun:
            self._set_aside()
            return
        for operation in begun:
            if operation and operation.id not in closed and operation.result is None:
                self._open[operation.role] = operation

    def _read(self, path: Path) -> Iterator[Operation | None]:
        """The operations of every whole line, None for one that is not understood."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            self._complain(f"{path} cannot be read: {error.strerror}")
            return
        self._ids.used(*(int(found) for found in _ID.findall(data)), 0)
        for line in data.split(b"\n"):
            checksum, _, body = line.partition(b" ")
            if len(checksum) == 8 and checksum == b"%08x" % zlib.crc32(body):
                yield _understood(body)

    def _set_aside(self) -> None:
        kept = self._journal.with_suffix(".unknown")
        self._complain(
            f"{self._journal} was written by another version; kept as {kept}, and the operation"
            " that it tells of is decided anew"
        )
        try:
            self._journal.replace(kept)
        except OSError as error:
            self._complain(f"{self._journal} cannot be kept: {error.strerror}")


def _line(operation: Operation) -> bytes:
    body = json.dumps(
        {"schema": SCHEMA, "operation": records.dump(operation)}, separators=(",", ":")
    ).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _write_line(fd: int, operation: Operation) -> None:
    """On the medium, on a line of its own: an earlier one may be torn."""
    size = os.fstat(fd).st_size
    torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
    _write_all(fd, (b"\n" if torn else b"") + _line(operation))
    os.fsync(fd)


def _write_all(fd: int, data: bytes) -> None:
    """A full disk takes a part of the data and says nothing; the next attempt says it."""
    while data:
        data = data[os.write(fd, data) :]


def _understood(body: bytes) -> Operation | None:
    try:
        record = json.loads(body)
        if record["schema"] != SCHEMA:
            return None
        return records.load(Operation, record["operation"])
    except (ValueError, TypeError, KeyError):
        return None
