"""Small files of others, read within bounds: what is missing or strange is None, never an error.

Owns: the bounds, and how a path of the machine becomes one below `root`.  May not know: what any
file means.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["assignments", "below", "matching", "read_text", "table", "text_at", "toml", "words"]

#: A configuration is a few kilobytes; whatever is larger is none.
_LARGEST_BYTES = 1024 * 1024
_MOST_FILES = 64


def below(root: Path, path: str) -> Path:
    """The absolute `path` of the machine that lies below `root`."""
    return root / path.lstrip("/")


def read_text(path: Path) -> str | None:
    """The file's text; None if it cannot be read, is no file, or is too large."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError):
        return None
    return None if len(data) > _LARGEST_BYTES else data.decode(errors="replace")


def matching(root: Path, pattern: str) -> tuple[Path, ...]:
    """The files below `root` that an absolute pattern names, ordered by name, and not too many."""
    # In the programs that write such patterns no star crosses a slash.
    relative = pattern.lstrip("/").replace("**", "*")
    if not relative:
        return ()
    try:
        found = sorted(root.glob(relative))
    except (OSError, ValueError, IndexError):
        return ()
    return tuple(found[:_MOST_FILES])


def toml(text: str) -> dict[str, object] | None:
    """A TOML document; None if it is none."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return None


def table(document: Mapping[str, object], *keys: str) -> Mapping[str, object]:
    """The table at the end of `keys`; empty where it is missing or something else."""
    value: object = document
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def text_at(document: Mapping[str, object], key: str) -> str | None:
    """A text that is not empty, or None."""
    value = document.get(key)
    return value if isinstance(value, str) and value else None


def words(line: str) -> tuple[str, ...]:
    """A command line's words as a shell parts them; none where its quotes do not close."""
    try:
        return tuple(shlex.split(line))
    except ValueError:
        return ()


def assignments(text: str) -> Iterator[tuple[str, str]]:
    """The `NAME=value` lines of a file in the manner of /etc/default."""
    for line in text.splitlines():
        name, mark, value = line.strip().removeprefix("export ").partition("=")
        if mark and name.isidentifier():
            yield name, " ".join(words(value))
