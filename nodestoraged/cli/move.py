"""Verbs that move the root, or hold the automation back."""

from __future__ import annotations

from nodestoraged.cli import exits, tables
from nodestoraged.cli.fields import obj, text
from nodestoraged.cli.follow import follow, outcome
from nodestoraged.cli.render import as_json, as_jsonl, out, say
from nodestoraged.cli.session import connect, only_role
from nodestoraged.cli.text import rate
from nodestoraged.cli.verb import format_option, role_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.api.client import Client
    from nodestoraged.cli.verb import Arguments, Declares

__all__ = ["VERBS", "acted", "followed", "moved", "no_wait_option", "rate_option"]

_DATA = ("keep", "copy", "pinned")


def acted(client: Client, method: str, **parameters: object) -> str | None:
    """Ask for a change; say what came of it.  The id of the operation that it began, if any."""
    client.wait_at_most(None)
    reply = client.call(method, **parameters)
    for line in (text(reply, "message"), text(reply, "hint")):
        if line:
            say(line)
    return text(reply, "operationId") or None


def moved(args: Arguments, method: str, **parameters: object) -> int:
    """Ask for a change, then follow the operation that it began, if any."""
    with connect(args) as client:
        role = only_role(client, args.role)
        return followed(client, args, acted(client, method, role=role, **parameters))


def followed(client: Client, args: Arguments, operation_id: str | None) -> int:
    """The operation's id on stdout; then, but with --no-wait, its steps and its outcome."""
    if operation_id is None:
        return exits.OK
    out(operation_id)
    if getattr(args, "no_wait", False):
        return exits.OK
    return outcome(follow(client, operation_id))


def _plan_arguments(parser: Declares) -> None:
    role_option(parser)
    format_option(parser)
    parser.add_argument("--to", metavar="STICK", help="as if somebody switched to it")
    parser.add_argument(
        "--with", dest="device", metavar="DESCRIPTION", help="as if such a stick were there"
    )
    _data_options(parser)


def _plan(args: Arguments) -> int:
    with connect(args) as client:
        role = only_role(client, args.role)
        asked = {"to": args.to, "device": args.device, "data": _data(args)}
        plan = obj(client.call("Plan", role=role, **asked), "plan")
    if args.output == "json":
        out(as_json(plan))
    elif args.output == "jsonl":
        out(as_jsonl(plan))
    elif args.output == "name":
        out(text(plan, "decision"))
    else:
        out(*tables.of_plan(plan))
    return exits.OK


def _switch_arguments(parser: Declares) -> None:
    parser.add_argument(
        "stick", metavar="STICK", help="a stick, an absolute path, internal, or auto"
    )
    _data_options(parser)
    rate_option(parser)
    no_wait_option(parser)
    role_option(parser)


def _data_options(parser: Declares) -> None:
    parser.add_argument("--copy", action="store_true", help="carry over all that serves now")
    parser.add_argument("--keep", action="store_true", help="take what is on the stick")
    parser.add_argument(
        "--data", choices=_DATA, metavar="WHAT",
        help="copy, keep, or pinned: only images that are pinned or local",
    )  # fmt: skip


def _data(args: Arguments) -> str | None:
    """What becomes of the images; None leaves it to the role.  Exit 2 for two answers."""
    said = [word for word, given in (("copy", args.copy), ("keep", args.keep)) if given]
    said += [args.data] if args.data else []
    if len(set(said)) > 1:
        raise exits.StopError(exits.USAGE, "--copy, --keep and --data exclude each other")
    return said[0] if said else None


def rate_option(parser: Declares) -> None:
    """Add --rate."""
    parser.add_argument(
        "--rate", type=rate, metavar="RATE", help="copy so many bytes per second at most: 20M"
    )


def no_wait_option(parser: Declares) -> None:
    """Add --no-wait."""
    parser.add_argument("--no-wait", action="store_true", help="return once it is journalled")


def _switch(args: Arguments) -> int:
    return moved(
        args, "Switch", stick=args.stick, noWait=args.no_wait or None, data=_data(args),
        rate=args.rate,
    )  # fmt: skip


def _eject_arguments(parser: Declares) -> None:
    parser.add_argument("stick", nargs="?", metavar="STICK", help="the active one if not named")
    parser.add_argument("--to", metavar="STICK", help="what shall serve then")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="wait so long for its users")
    role_option(parser)


def _eject(args: Arguments) -> int:
    return moved(args, "Eject", stick=args.stick, to=args.to, waitSeconds=args.wait)


def _rollback_arguments(parser: Declares) -> None:
    no_wait_option(parser)
    role_option(parser)


def _rollback(args: Arguments) -> int:
    return moved(args, "Rollback")


def _abort_arguments(parser: Declares) -> None:
    parser.add_argument("id", metavar="ID", help="an operation's number")
    role_option(parser)


def _abort(args: Arguments) -> int:
    with connect(args) as client:
        acted(client, "Abort", role=args.role, id=args.id)
    return exits.OK


def _pause(args: Arguments) -> int:
    with connect(args) as client:
        acted(client, "Pause", role=only_role(client, args.role))
    return exits.OK


def _resume_arguments(parser: Declares) -> None:
    parser.add_argument("--clear", action="store_true", help="also end NO_CHANGES")
    role_option(parser)


def _resume(args: Arguments) -> int:
    with connect(args) as client:
        acted(client, "Resume", role=only_role(client, args.role), clear=args.clear or None)
    return exits.OK


VERBS = {
    "plan": (_plan_arguments, _plan),
    "switch": (_switch_arguments, _switch),
    "eject": (_eject_arguments, _eject),
    "rollback": (_rollback_arguments, _rollback),
    "abort": (_abort_arguments, _abort),
    "pause": (role_option, _pause),
    "resume": (_resume_arguments, _resume),
}
