"""Verbs about trust: enroll, adopt, forget, rename, delist, relist."""

from __future__ import annotations

from nodestoraged.cli import ask, exits
from nodestoraged.cli.fields import Json, entries, port, text, words
from nodestoraged.cli.move import acted, moved
from nodestoraged.cli.render import say
from nodestoraged.cli.session import connect, only_role, roles_of, status_of
from nodestoraged.cli.sticks import place
from nodestoraged.cli.text import short_size, short_uuids
from nodestoraged.cli.verb import role_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.api.client import Client
    from nodestoraged.cli.verb import Arguments, Declares

__all__ = ["VERBS"]

#: Proposed in this order; a colour can be painted on a stick.
_NAMES = ("blue", "green", "red", "yellow", "white", "black", "orange", "grey")


def _enroll_arguments(parser: Declares) -> None:
    parser.add_argument("stick", nargs="?", metavar="STICK", help="else asks about all that wait")
    parser.add_argument("--name", help="what to call it")
    parser.add_argument("--no-switch", action="store_true", help="do not move to it now")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    role_option(parser)


def _enroll(args: Arguments) -> int:
    with connect(args) as client:
        role = only_role(client, args.role)
        if args.stick is not None:
            _enroll_one(client, args, role, args.stick, args.name)
            return exits.OK
        waiting = _waiting(client, role)
        if not waiting:
            say("no stick waits to be enrolled")
        elif args.yes:
            _enroll_all(client, args, role, waiting)
        else:
            _ask_about(client, args, role, waiting)
    return exits.OK


def _enroll_one(
    client: Client, args: Arguments, role: str | None, stick: str, name: str | None
) -> None:
    acted(client, "Enroll", role=role, stick=stick, name=name, noSwitch=args.no_switch or None)


def _enroll_all(client: Client, args: Arguments, role: str | None, waiting: list[Json]) -> None:
    if args.name and len(waiting) > 1:
        raise exits.StopError(
            exits.USAGE, f"--name is for one stick, {len(waiting)} wait", "name the STICK too"
        )
    for one in waiting:
        _enroll_one(client, args, role, _argument(one), args.name)


def _ask_about(client: Client, args: Arguments, role: str | None, waiting: list[Json]) -> None:
    if not ask.somebody_is_there():
        raise exits.StopError(
            exits.REFUSED, f"{len(waiting)} sticks wait, and nobody is there to ask",
            "name the STICK, or enrol all of them: nodestoragectl enroll --yes",
        )  # fmt: skip
    say("What is on an enrolled stick runs as root on this node.")
    taken = {text(one, "name") for one in _candidates(client, role)}
    for one in waiting:
        if not ask.agreed(f"Enrol {_described(one)}?"):
            continue
        proposal = args.name or next((name for name in _NAMES if name not in taken), "")
        name = ask.answer(f"Its name [{proposal}]: ") or proposal or None
        now = [other for other in _waiting(client, role) if _who(other) == _who(one)]
        if not now:  # pulled, or another one sits there now
            say(f"{_described(one)} is not there any more: left alone")
            continue
        _enroll_one(client, args, role, _argument(one), name)
        taken.add(name or "")


def _candidates(client: Client, role: str | None) -> list[Json]:
    return [
        one for each in roles_of(status_of(client), role) for one in entries(each, "candidates")
    ]


def _waiting(client: Client, role: str | None) -> list[Json]:
    return [
        one
        for one in _candidates(client, role)
        if one.get("verdict") == "waiting" and "NotEnrolled" in words(one, "reasons")
    ]


def _who(candidate: Json) -> tuple[object, ...]:
    return tuple(candidate.get(key) for key in ("path", "devnode", "uuid", "serial", "sizeBytes"))


def _argument(candidate: Json) -> str:
    """The STICK that is exactly this one: clones share a UUID, never a devnode or a path."""
    keys = ("path", "devnode", "serial", "uuid")
    return str(next((candidate[key] for key in keys if candidate.get(key)), None))


def _described(candidate: Json) -> str:
    uuid = short_uuids([candidate.get("uuid")]).get(candidate.get("uuid"), "")
    size = short_size(candidate.get("sizeBytes"))
    hardware = f"{text(candidate, 'model')} {text(candidate, 'serial')}".strip()
    parts = (place(candidate), uuid, text(candidate, "fstype"), size, hardware, port(candidate))
    return "  ".join(part for part in parts if part)


def _adopt_arguments(parser: Declares) -> None:
    parser.add_argument("stick", metavar="STICK", help="one that is Stale, ForeignNode or a Clone")
    parser.add_argument(
        "--images-only", action="store_true",
        help="keep only content whose checksum is right; containers and layers go",
    )  # fmt: skip
    parser.add_argument("--name", help="what to call it")
    role_option(parser)


def _adopt(args: Arguments) -> int:
    return moved(
        args, "Adopt", stick=args.stick, name=args.name, imagesOnly=args.images_only or None
    )


def _stick_arguments(parser: Declares) -> None:
    parser.add_argument("stick", metavar="STICK")
    role_option(parser)


def _rename_arguments(parser: Declares) -> None:
    parser.add_argument("stick", metavar="STICK")
    parser.add_argument("name", metavar="NAME")
    role_option(parser)


def _change(args: Arguments) -> int:
    name = getattr(args, "name", None)
    with connect(args) as client:
        role = only_role(client, args.role)
        acted(client, args.verb.capitalize(), role=role, stick=args.stick, name=name)
    return exits.OK


VERBS = {
    "enroll": (_enroll_arguments, _enroll),
    "adopt": (_adopt_arguments, _adopt),
    "forget": (_stick_arguments, _change),
    "rename": (_rename_arguments, _change),
    "delist": (_stick_arguments, _change),
    "relist": (_stick_arguments, _change),
}
