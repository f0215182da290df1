"""What a shell can offer at a Tab without starting anything: names, one a line, in two files.

Owns: the files and who may read them.  May not know: which shell reads, and at which word.

A shell reads a file in less than a millisecond; a start of Python for the same answer is felt, on
a Raspberry Pi by everybody.  The files are as old as the status and of no use to anything else.
"""

from __future__ import annotations

import contextlib
import grp
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

__all__ = ["OfferFiles", "keep_offers"]

#: As many as anybody would look through.
_OPERATIONS = 20

Json = dict[str, object]


class Shown(Protocol):
    """The part of a node that is offered."""

    def status(self) -> Json:
        """The JSON of the contract."""
        ...

    async def changed(self, generation: int) -> None:
        """Returns when the status has another generation."""
        ...

    def operations(self, role: str | None, limit: int) -> list[Json]:
        """Open and closed operations, newest first."""
        ...


class OfferFiles:
    """`sticks` and `operations` in `directory`, for root and `group`, as the socket is."""

    def __init__(self, directory: Path, group: str) -> None:
        self._directory = directory
        self._group = group
        self._written: dict[str, tuple[str, ...]] = {}

    def write(self, name: str, words: Iterable[str]) -> None:
        """The file `name` has these words; where it cannot be written, there is no offer.

        A reader meets the old words or the new ones, never a part.
        """
        # A name with the end of a line in it would be two, and neither true.
        lines = tuple(dict.fromkeys(word for word in words if word and word.isprintable()))
        if self._written.get(name) == lines:
            return
        self._written[name] = lines
        partial = self._directory / f".{name}"
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(partial, flags, 0o600), "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
                with contextlib.suppress(KeyError):  # without the group the files are root's alone
                    os.fchown(file.fileno(), -1, grp.getgrnam(self._group).gr_gid)
                    os.fchmod(file.fileno(), 0o640)
            partial.replace(self._directory / name)


async def keep_offers(node: Shown, files: OfferFiles) -> None:
    """The files follow the status for as long as this runs."""
    while True:
        status = node.status()
        files.write("sticks", _sticks(status))
        files.write("operations", (str(one["id"]) for one in node.operations(None, _OPERATIONS)))
        generation = status["generation"]
        assert isinstance(generation, int)
        await node.changed(generation)


def _sticks(status: Json) -> Iterable[str]:
    """Names, and the device nodes (or directories) of those that have none."""
    roles = status["roles"]
    assert isinstance(roles, list)
    for role in roles:
        for one in role["candidates"]:
            yield str(one["name"] or one["path"] or one["devnode"])
