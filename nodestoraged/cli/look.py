"""Verbs that look: status, list, show."""

from __future__ import annotations

import time

from nodestoraged.api.client import CallFailed, Unreachable
from nodestoraged.cli import exits, health
from nodestoraged.cli.fields import Json, entries, obj, text
from nodestoraged.cli.render import as_json, as_jsonl, clear_screen, out, say
from nodestoraged.cli.session import RETRY_SECONDS, connect, is_away, roles_of, status_of
from nodestoraged.cli.verb import format_option, role_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from nodestoraged.cli.verb import Arguments, Declares

__all__ = ["VERBS"]


def _status_arguments(parser: Declares) -> None:
    parser.add_argument("role_name", nargs="?", metavar="ROLE", help="only this role")
    role_option(parser)
    format_option(parser)
    parser.add_argument("--watch", action="store_true", help="show it again when it changes")
    parser.add_argument(
        "--exit-code", action="store_true", help="exit 8 when degraded, else 3 when not bound"
    )


def _status(args: Arguments) -> int:
    role = args.role_name or args.role
    if args.watch:
        return _watch(args, role)
    with connect(args) as client:
        status = status_of(client)
    roles = _show_status(status, role, args.output)
    return health.exit_code(roles) if args.exit_code else exits.OK


def _watch(args: Arguments, role: str | None) -> NoReturn:
    """Until Ctrl-C.  A daemon that goes is waited for; one that never was there is not."""
    seen = told = False
    while True:
        try:
            with connect(args) as client:
                client.wait_at_most(None)
                for reply in client.stream("GetStatus"):
                    if args.output in ("table", "wide"):
                        clear_screen()
                    _show_status(obj(reply, "status"), role, args.output)
                    seen, told = True, False
        except (Unreachable, CallFailed) as error:
            if not (seen and is_away(error)):
                raise
            if not told:
                say("nodestoraged does not answer; waiting for it")
            told = True
        time.sleep(RETRY_SECONDS)


def _show_status(status: Json, role: str | None, form: str) -> list[Json]:
    roles = roles_of(status, role)
    shown = {**status, "roles": roles}
    now = time.time()
    if form == "json":
        out(as_json(shown))
    elif form == "jsonl":
        out(as_jsonl(shown))
    elif form == "name":
        out(*(text(one, "name") for one in roles))
    elif form == "wide":
        from nodestoraged.cli import wide

        out(*wide.of_status(status, roles, now))
    else:
        from nodestoraged.cli import screen

        out(*screen.of_status(status, roles, now))
    return roles


def _list_arguments(parser: Declares) -> None:
    role_option(parser)
    format_option(parser)


def _list(args: Arguments) -> int:
    with connect(args) as client:
        roles = roles_of(status_of(client), args.role)
    from nodestoraged.cli import tables

    candidates = _candidates(roles)
    if args.output == "json":
        out(as_json(candidates))
    elif args.output == "jsonl":
        out(*(as_jsonl(one) for one in candidates))
    elif args.output == "name":
        out(*tables.stick_words(candidates))
    else:
        out(*tables.of_candidates(candidates, several=len(roles) > 1, wide=args.output == "wide"))
    return exits.OK


def _show_arguments(parser: Declares) -> None:
    parser.add_argument("id", metavar="ID|STICK", help="an operation's number, or a stick")
    role_option(parser)
    format_option(parser)


def _show(args: Arguments) -> int:
    with connect(args) as client:
        try:
            operation = obj(client.call("GetOperation", id=args.id), "operation")
        except CallFailed as error:
            if error.parameters.get("exitCode") != exits.NOT_FOUND:
                raise
            return _show_stick(args, roles_of(status_of(client), args.role))
    if args.role is not None and operation.get("role") not in (None, args.role):
        raise exits.StopError(
            exits.NOT_FOUND, f"operation {text(operation, 'id')} is not one of that role"
        )
    if not _printed(operation, args.output, "id"):
        from nodestoraged.cli import tables

        out(*tables.of_operation(operation, time.time()))
    return exits.OK


def _show_stick(args: Arguments, roles: list[Json]) -> int:
    from nodestoraged.cli.candidate import find, of_candidate

    candidate = find(_candidates(roles), args.id)
    if candidate is None:
        raise exits.StopError(
            exits.NOT_FOUND, f"there is no operation and no stick {text({'w': args.id}, 'w')}",
            "nodestoragectl operations and nodestoragectl list show those known",
        )  # fmt: skip
    if not _printed(candidate, args.output, "name"):
        from nodestoraged.cli.offline.explain import meanings

        out(*of_candidate(candidate, meanings()))
    return exits.OK


def _printed(one: Json, form: str, key: str) -> bool:
    """True after printing it in a form for programs."""
    if form == "json":
        out(as_json(one))
    elif form == "jsonl":
        out(as_jsonl(one))
    elif form == "name":
        out(text(one, key) or text(one, "path") or text(one, "devnode"))
    else:
        return False
    return True


def _candidates(roles: list[Json]) -> list[Json]:
    """All roles' candidates, each with its role's name."""
    return [
        {"role": role.get("name"), **one} for role in roles for one in entries(role, "candidates")
    ]


VERBS = {
    "status": (_status_arguments, _status),
    "list": (_list_arguments, _list),
    "show": (_show_arguments, _show),
}
