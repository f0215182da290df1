"""Output: data on stdout in the form asked for, messages on stderr, colour where it belongs."""

from __future__ import annotations

import json
import os
import sys

from nodestoraged.cli.text import pad, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "COLUMNS", "FORMATS", "as_json", "as_jsonl", "bullet", "clear_screen", "out", "paint", "say",
    "table",
]  # fmt: skip

FORMATS = ("table", "wide", "json", "jsonl", "name")
#: Screens are made for a terminal of this width.
COLUMNS = 80

_COLOURS = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1"}


def out(*lines: str) -> None:
    """Data: these lines on stdout, at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def say(*lines: str) -> None:
    """Messages: these lines on stderr."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


def as_json(value: object) -> str:
    """The value for people who read JSON; ASCII, so that nothing in it can act on a terminal."""
    return json.dumps(value, indent=2)


def as_jsonl(value: object) -> str:
    """The value in one line."""
    return json.dumps(value, separators=(",", ":"))


def paint(text: str, colour: str) -> str:
    """The text in this colour on a terminal; NO_COLOR (https://no-color.org) switches it off."""
    if not colour or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    if os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def bullet() -> str:
    """The dot that begins a screen, as far as the output's encoding has one."""
    return "●" if "utf" in (sys.stdout.encoding or "").lower() else "*"


def clear_screen() -> None:
    """Start at the top of an empty screen, on a terminal; otherwise leave a blank line."""
    sys.stdout.write("\x1b[H\x1b[2J" if sys.stdout.isatty() else "\n")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns; the last one keeps its length.  A column that is empty is left out."""
    kept = [
        number for number in range(len(heads)) if any(row[number] not in ("", "-") for row in rows)
    ]
    lines = [[heads[number] for number in kept]]
    lines += [[row[number] or "-" for number in kept] for row in rows]
    widths = [max(width(line[place]) for line in lines) for place in range(len(kept))]
    return [
        "  ".join(pad(cell, columns) for cell, columns in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
