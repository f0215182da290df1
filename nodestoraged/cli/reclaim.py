"""Verbs that delete: reclaim, powerwash.  They ask a person; without one they need --yes."""

from __future__ import annotations

from nodestoraged.cli import ask, exits
from nodestoraged.cli.fields import Json, entries, number, obj, text, words
from nodestoraged.cli.move import acted, followed, moved
from nodestoraged.cli.progress import Teller
from nodestoraged.cli.render import as_json, as_jsonl, out, say, table
from nodestoraged.cli.session import connect, only_role
from nodestoraged.cli.text import amount
from nodestoraged.cli.verb import format_option, role_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.api.client import Client
    from nodestoraged.cli.verb import Arguments, Declares

__all__ = ["VERBS", "of_hidden"]

#: Each tier, and what it takes away.
_TIERS = {
    "containers": "all containers and layers go, the content of images stays",
    "images": "every image goes but those that are pinned or kept, with all containers",
    "all": "everything goes; what is kept at hand is loaded again",
}


def _reclaim_arguments(parser: Declares) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only show what lies there")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    role_option(parser)
    format_option(parser)


def _reclaim(args: Arguments) -> int:
    with connect(args) as client:
        role = only_role(client, args.role)
        hidden = _hidden(client, role)
        if args.dry_run:
            _show(hidden, args.output)
            if hidden.get("allowed") is True and _anything(hidden):
                say("to delete it: nodestoragectl reclaim")
            return exits.OK
        say(*of_hidden(hidden))
        if not _anything(hidden):
            return exits.OK
        if hidden.get("allowed") is False:
            reason = text(hidden, "reason")
            raise exits.StopError(
                exits.REFUSED, "nothing was deleted" + (f" ({reason})" if reason else "")
            )
        _agree(args, f"Delete {_total(hidden)}?", "nodestoragectl reclaim --yes")
        return followed(client, args, acted(client, "Reclaim", role=role))


def _hidden(client: Client, role: str | None) -> Json:
    """What lies below the mount; reading it may take long."""
    client.wait_at_most(None)
    teller = Teller()
    teller.step("looking below the mount")
    try:
        return obj(client.call("GetHidden", role=role), "hidden")
    finally:
        teller.erase()


def _agree(args: Arguments, question: str, unasked: str) -> None:
    """Return when a person agrees, or --yes did; exit 6 otherwise."""
    if args.yes:
        return
    if not ask.somebody_is_there():
        raise exits.StopError(
            exits.REFUSED, "nobody is there to ask; nothing was changed", f"unasked: {unasked}"
        )
    if not ask.agreed(question):
        raise exits.StopError(exits.REFUSED, "nothing was changed")


def _show(hidden: Json, form: str) -> None:
    if form == "json":
        out(as_json(hidden))
    elif form == "jsonl":
        out(as_jsonl(hidden))
    elif form == "name":
        out(*(text(one, "name") for one in entries(hidden, "entries")))
    else:
        out(*of_hidden(hidden))


def of_hidden(hidden: Json) -> list[str]:
    """What lies hidden, how much it is, who holds it, and whether it may go."""
    path = text(hidden, "path", "the root")
    said = ("message",) if hidden.get("allowed") is True else ("message", "hint")
    lines = [line for key in said if (line := text(hidden, key))]
    if not _anything(hidden):
        return [f"nothing lies hidden below the mount on {path}", *lines]
    rows = [
        [text(one, "name", "?"), amount(one.get("usedBytes")), _count(one)]
        for one in entries(hidden, "entries")
    ]
    holders = words(hidden, "heldBy")
    return [
        f"hidden below the mount on {path}: {_total(hidden)}",
        *(f"  {line}" for line in table(("NAME", "SIZE", "FILES"), rows)),
        *(f"held by {one}" for one in holders),
        *lines,
    ]


def _anything(hidden: Json) -> bool:
    return bool(entries(hidden, "entries") or number(hidden, "files"))


def _total(hidden: Json) -> str:
    return f"{amount(number(hidden, 'usedBytes') or 0)} in {_count(hidden)} files"


def _count(one: Json) -> str:
    return f"{number(one, 'files') or 0:.0f}"


def _powerwash_arguments(parser: Declares) -> None:
    parser.add_argument("stick", nargs="?", metavar="STICK", help="what serves if not named")
    for tier, what in _TIERS.items():
        parser.add_argument(f"--{tier}", action="store_true", help=what)
    parser.add_argument("--next-boot", action="store_true", help="not now, but at the next boot")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    role_option(parser)


def _powerwash(args: Arguments) -> int:
    tiers = [tier for tier in _TIERS if getattr(args, tier)]
    if len(tiers) != 1:
        raise exits.StopError(
            exits.USAGE, "name one tier: --containers, --images or --all",
            "nodestoragectl powerwash --help says what each takes away",
        )  # fmt: skip
    tier = tiers[0]
    stick = text({"stick": args.stick}, "stick")
    again = " ".join(part for part in ("nodestoragectl powerwash", stick, f"--{tier}") if part)
    if not args.yes:
        pods = "if it serves, all pods stop meanwhile" if stick else "all pods stop meanwhile"
        when = "at the next boot" if args.next_boot else f"now; {pods}"
        say(f"powerwash of {stick or 'what serves'}, {when}:", f"  {_TIERS[tier]}")
    _agree(args, "Go on?", f"{again}{' --next-boot' if args.next_boot else ''} --yes")
    return moved(args, "Powerwash", tier=tier, stick=args.stick, nextBoot=args.next_boot or None)


VERBS = {
    "reclaim": (_reclaim_arguments, _reclaim),
    "powerwash": (_powerwash_arguments, _powerwash),
}
