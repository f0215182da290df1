"""Verbs about the past: operations, events."""

from __future__ import annotations

import time

from nodestoraged.cli import exits, tables, times
from nodestoraged.cli.fields import Json, entries, text
from nodestoraged.cli.render import as_json, as_jsonl, out
from nodestoraged.cli.session import connect
from nodestoraged.cli.verb import format_option, role_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.cli.verb import Arguments, Declares

__all__ = ["VERBS", "begin_of"]

_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}


def _operations_arguments(parser: Declares) -> None:
    role_option(parser)
    format_option(parser)
    parser.add_argument("-n", "--limit", type=int, default=20, help="at most so many (20)")
    parser.add_argument("-f", "--follow", action="store_true", help="then show what changes")


def _operations(args: Arguments) -> int:
    with connect(args) as client:
        if not args.follow:
            reply = client.call("ListOperations", role=args.role, limit=args.limit)
            _show_operations(entries(reply, "operations"), args.output)
            return exits.OK
        client.wait_at_most(None)
        for reply in client.stream("ListOperations", role=args.role, limit=args.limit):
            changed = entries(reply, "operations")
            changed.reverse()
            for one in changed:
                if args.output in ("json", "jsonl"):
                    out(as_jsonl(one))
                elif args.output == "name":
                    out(text(one, "id"))
                else:
                    cells = tables.operation_row(one, time.time())
                    out("  ".join(cell for cell in cells if cell not in ("", "-")))
    return exits.OK


def _show_operations(operations: list[Json], form: str) -> None:
    if form == "json":
        out(as_json(operations))
    elif form == "jsonl":
        out(*(as_jsonl(one) for one in operations))
    elif form == "name":
        out(*(text(one, "id") for one in operations))
    else:
        out(*tables.of_operations(operations, time.time()))


def _events_arguments(parser: Declares) -> None:
    role_option(parser)
    format_option(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="then show new ones")
    parser.add_argument(
        "--since", metavar="TIME", help="30s, 10min, 2h, 1d, 2026-11-20 or 2026-11-20T10:31:00Z"
    )


def _events(args: Arguments) -> int:
    begin = begin_of(args.since, time.time())
    with connect(args) as client:
        events = entries(client.call("ListEvents", since=begin), "events")
        _show_events(events, args)
        if not args.follow:
            return exits.OK
        cursors = [cursor for one in events if isinstance(cursor := one.get("cursor"), int)]
        client.wait_at_most(None)
        for reply in client.stream("WatchEvents", cursor=max(cursors, default=0)):
            _show_events(entries(reply, "events"), args)
    return exits.OK


def _show_events(events: list[Json], args: Arguments) -> None:
    shown = [one for one in events if args.role is None or one.get("role") in (None, args.role)]
    if args.output == "json" and not args.follow:
        out(as_json(shown))
    elif args.output in ("json", "jsonl"):
        out(*(as_jsonl(one) for one in shown))
    elif args.output == "name":
        out(*(text(one, "kind") for one in shown))
    else:
        out(*(tables.event_line(one) for one in shown))


def begin_of(since: str | None, now: float) -> str | None:
    """An RFC 3339 time from what --since takes; exit 2 for anything else."""
    if since is None:
        return None
    digits = since.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = since[len(digits) :].strip()
    if digits.isascii() and digits.isdigit() and unit in _UNITS and len(digits) < 10:
        return times.rfc3339(now - int(digits) * _UNITS[unit])
    for ending in ("", "Z", ":00Z", "T00:00:00Z"):
        if times.epoch(since + ending) is not None:
            return (since + ending).replace(" ", "T").upper()
    raise exits.StopError(
        exits.USAGE, f"--since {text({'t': since}, 't')}: not a time",
        "30s, 10min, 2h, 1d, 2026-11-20 or 2026-11-20T10:31:00Z",
    )  # fmt: skip


VERBS = {
    "operations": (_operations_arguments, _operations),
    "events": (_events_arguments, _events),
}
