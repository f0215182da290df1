"""How far a copy has come, and what it did: in words, as a bar on a terminal, as lines elsewhere.

Owns: the one line on stderr that is overwritten, and when a plain line is due instead.
May not know: the socket, who waits for the operation.
"""

from __future__ import annotations

import os
import sys
import time

from nodestoraged.cli import times
from nodestoraged.cli.fields import Json, number, text
from nodestoraged.cli.render import COLUMNS, say
from nodestoraged.cli.text import amount, clip, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Teller", "bar", "copied", "predicted_downtime", "share", "words_of"]

_STAGES = {"warm": "warm pass", "final": "final pass"}
#: Off a terminal: a line after each tenth, or this often while the totals are not known.
_LINE_SECONDS = 10
_BAR_MIN = 8
#: Kept for the numbers behind the bar, so that it keeps its length when they change theirs.
_FACTS_COLUMNS = 45


def share(progress: Json) -> float | None:
    """How much is done, from 0 to 1; None while nobody knows how much there is."""
    for done, total in (("bytesDone", "bytesTotal"), ("filesDone", "filesTotal")):
        whole = number(progress, total)
        if whole is not None and whole > 0:
            return min(max((number(progress, done) or 0.0) / whole, 0.0), 1.0)
    return None


def words_of(progress: Json) -> str:
    """`40 %, 325.0 of 812.4 MiB, 48.2 MiB/s, 10 s left`, as far as it is known."""
    return ", ".join(part for part in (_percent(progress), *_facts(progress)) if part)


def bar(progress: Json, columns: int) -> str:
    """The same behind a bar, in at most so many columns."""
    done, percent = share(progress), _percent(progress)
    begin = f"  {_stage(progress)}" + (f"  {percent:>5}" if percent else "")
    end = "  ".join(_facts(progress))
    room = columns - width(begin) - max(len(end), _FACTS_COLUMNS) - 6
    if done is None or room < _BAR_MIN:
        return clip(f"{begin}  {end}".rstrip(), columns)
    filled = int(done * room)
    return f"{begin}  [{'#' * filled}{'.' * (room - filled)}]  {end}"


def copied(operation: Json, *, downtime: bool = True) -> str:
    """What a copy did beside what was predicted; "" when nothing was copied."""
    whole, stopped = number(operation, "copiedBytes"), number(operation, "copiedStoppedBytes")
    if whole is None:
        return ""
    line = f"copied {amount(whole)}{_predicted(operation, 'predictedBytes', amount)}"
    if stopped is not None and 0 < whole <= stopped:
        line += ", all of it while stopped"
    elif stopped is not None:
        line += f" in two passes, {amount(stopped)} of it while stopped"
    down = number(operation, "downtimeSeconds")
    if down is None or not downtime:
        return line
    return f"{line}; down {down:.1f} s{predicted_downtime(operation)}"


def predicted_downtime(operation: Json) -> str:
    """` (predicted 1.2 s)`, to stand behind the truth; "" when nothing was predicted."""
    return _predicted(operation, "predictedDowntimeSeconds", _seconds)


def _predicted(operation: Json, key: str, shown: Callable[[float], str]) -> str:
    value = number(operation, key)
    return "" if value is None else f" (predicted {shown(value)})"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s"


def _stage(progress: Json) -> str:
    stage = text(progress, "pass", "copy")
    return _STAGES.get(stage, stage)


def _percent(progress: Json) -> str:
    done = share(progress)
    return "" if done is None else f"{int(100 * done):d} %"


def _facts(progress: Json) -> list[str]:
    done, whole = number(progress, "bytesDone"), number(progress, "bytesTotal")
    facts = []
    if whole:
        value, _, unit = amount(whole).partition(" ")
        begun, _, other = amount(done or 0).partition(" ")
        facts.append(f"{begun}{'' if unit == other else f' {other}'} of {value} {unit}")
    else:
        files = number(progress, "filesDone")
        facts += [amount(done)] if done else []
        facts += [f"{files:.0f} files"] if files else []
    rate, left = number(progress, "bytesPerSecond"), number(progress, "etaSeconds")
    if rate:
        facts.append(f"{amount(rate)}/s")
    if left is not None:
        facts.append(f"{times.age(left)} left")
    return facts


class Teller:
    """Tells on stderr what goes on: one line that is redrawn where a person looks, else few."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._stage = ""
        self._tenths = 0
        self._told_at = time.monotonic()

    def erase(self) -> None:
        """Make room for a line that stays."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def step(self, words: str) -> None:
        """What runs now; only on a terminal."""
        if words:
            self._draw(clip(f"   ...    {words}", self._columns()))

    def progress(self, progress: Json) -> None:
        """How far it has come."""
        if self._live:
            self._draw(bar(progress, self._columns()))
        elif self._is_due(progress):
            say(f"          {_stage(progress)}: {words_of(progress)}")

    def _is_due(self, progress: Json) -> bool:
        now, done = time.monotonic(), share(progress)
        if _stage(progress) != self._stage:
            self._stage, self._tenths, self._told_at = _stage(progress), 0, now
        if done is None:
            due = now - self._told_at >= _LINE_SECONDS
        else:
            tenths = int(10 * done)
            due, self._tenths = tenths > self._tenths, max(tenths, self._tenths)
        if due:
            self._told_at = now
        return due

    def _draw(self, line: str) -> None:
        if self._live:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()

    def _columns(self) -> int:
        """One less than there are: a full line would wrap, and could not be overwritten."""
        try:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        return (columns or COLUMNS) - 1
