"""Which paths are databases: written in place while the runtime runs.

Owns: the matching.  May not know: what is done with them.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

__all__ = ["Patterns", "below"]

#: Patterns that are still open below some directory, as their remaining components.
Patterns = tuple[tuple[str, ...], ...]


def below(patterns: Patterns, name: str) -> tuple[bool, Patterns]:
    """Whether `name` is a database in a directory with `patterns`, and those below `name`."""
    rest: list[tuple[str, ...]] = []
    for pattern in patterns:
        if fnmatchcase(name, pattern[0]):
            if len(pattern) == 1:
                return True, ()
            rest.append(pattern[1:])
    return False, tuple(rest)
