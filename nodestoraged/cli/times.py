"""Times for people: RFC 3339 in, local wall-clock times and ages out.

Owns: conversions.  datetime and calendar are not loaded: they cost more than they do here.
"""

from __future__ import annotations

import time

__all__ = ["age", "ago", "clock", "epoch", "moment", "rfc3339", "since"]

_DAY = 86400


def epoch(text: object) -> float | None:
    """Seconds since 1970 of an RFC 3339 UTC time (`2026-11-20T10:31:02.5Z`), None if it is none."""
    if not isinstance(text, str) or len(text) < 20 or text[10] not in "Tt " or text[-1] not in "Zz":
        return None
    try:
        year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
        hour, minute = int(text[11:13]), int(text[14:16])
        second = float(text[17:-1])
    except ValueError:
        return None
    return _days(year, month, day) * _DAY + hour * 3600 + minute * 60 + second


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar; years counted from March."""
    year -= month <= 2
    month += 12 if month <= 2 else 0
    return (
        365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719469
    )


def rfc3339(seconds: float) -> str:
    """The reverse of `epoch`, to whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def age(seconds: float) -> str:
    """How long, in the two units that matter: `41 s`, `12 min`, `2 h 14 min`, `3 days`."""
    if seconds < 0:
        return "0 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} days"


def clock(seconds: float, now: float) -> str:
    """A wall-clock time as short as it can be told: today's without date, recent with seconds."""
    then, today = time.localtime(seconds), time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("%H:%M:%S" if now - seconds < 600 else "%H:%M", then)
    if then[0] == today[0]:
        return time.strftime("%m-%d %H:%M", then)
    return time.strftime("%Y-%m-%d", then)


def since(text: object, now: float) -> str:
    """`since 10:31 today (2 h 14 min)`, "" when the time is unknown."""
    then = epoch(text)
    if then is None:
        return ""
    passed = age(now - then)
    if time.localtime(then)[:3] != time.localtime(now)[:3]:
        return f"since {time.strftime('%Y-%m-%d %H:%M', time.localtime(then))} ({passed})"
    day = " today" if now - then >= 600 else ""
    return f"since {clock(then, now)}{day} ({passed})"


def ago(text: object, now: float) -> str:
    """`12 s ago`, "" when the time is unknown."""
    then = epoch(text)
    return "" if then is None else f"{age(now - then)} ago"


def moment(text: object, now: float) -> str:
    """`clock` of an RFC 3339 time, "?" when it is none."""
    then = epoch(text)
    return "?" if then is None else clock(then, now)
