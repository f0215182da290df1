"""`explain`: what a word on the screen means, and which links prove the image file system."""

from __future__ import annotations

from nodestoraged.cli import exits
from nodestoraged.cli.fields import entries, obj, text
from nodestoraged.cli.render import out
from nodestoraged.cli.session import connect, roles_of, status_of
from nodestoraged.cli.text import wrap
from nodestoraged.cli.verb import role_option
from nodestoraged.cli.wide import proof_lines
from nodestoraged.model.failure import FAILURES
from nodestoraged.model.reason import MEANINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.cli.verb import Arguments, Declares

__all__ = ["VERBS"]


def _explain_arguments(parser: Declares) -> None:
    parser.add_argument("word", metavar="REASON|imagefs", help="a word that status or list shows")
    role_option(parser)


def _explain(args: Arguments) -> int:
    if args.word == "imagefs":
        return _explain_imagefs(args)
    meanings = {reason.value: meaning for reason, meaning in MEANINGS.items()} | FAILURES
    by_lower = {word.lower(): word for word in meanings}
    word = by_lower.get(args.word.lower())
    if word is None:
        from difflib import get_close_matches

        near = [by_lower[one] for one in get_close_matches(args.word.lower(), by_lower, n=1)]
        hint = f"did you mean {near[0]}?" if near else f"words: {', '.join(sorted(meanings))}"
        raise exits.StopError(
            exits.NOT_FOUND, f"{text({'w': args.word}, 'w')} is not a word that is shown", hint
        )
    out(*wrap(f"{word}: {meanings[word]}", 80, "  "))
    return exits.OK


def _explain_imagefs(args: Arguments) -> int:
    with connect(args) as client:
        roles = roles_of(status_of(client), args.role)
    for role in roles:
        imagefs = obj(role, "imagefs")
        name = text(role, "name", "?")
        if not entries(imagefs, "proof"):
            out(f"{name}: no proof, {text(role, 'reason', 'no reason given')}")
            continue
        out(f"{name}: {text(imagefs, 'mountpoint', '?')} on {text(imagefs, 'devnode', '?')}")
        out(*proof_lines(role))
    return exits.OK


VERBS = {"explain": (_explain_arguments, _explain)}
