"""Questions to a person, on stderr, answered on stdin.

Owns: whether anybody is there to ask.  May not know: what is asked.
"""

from __future__ import annotations

import sys

from nodestoraged.cli import exits

__all__ = ["agreed", "answer", "somebody_is_there"]


def somebody_is_there() -> bool:
    """True when a person can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def answer(question: str) -> str:
    """The line that was typed, without blanks around it; exit 6 when the input ends."""
    sys.stderr.write(question)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise exits.StopError(exits.REFUSED, "no answer")
    return line.strip()


def agreed(question: str) -> bool:
    """True for y or yes; everything else is a no."""
    return answer(f"{question} [y/N] ").lower() in ("y", "yes")
