"""`explain`: what a word on the screen means, what is the matter with a stick, what proves imagefs.

Owns: the one way from the command line to the catalogues of words.
"""

from __future__ import annotations

from nodestoraged.api.client import Denied, Unreachable
from nodestoraged.cli import exits
from nodestoraged.cli.candidate import explained, find
from nodestoraged.cli.fields import entries, obj, text
from nodestoraged.cli.render import COLUMNS, out
from nodestoraged.cli.session import connect, roles_of, status_of
from nodestoraged.cli.text import wrap
from nodestoraged.cli.verb import role_option
from nodestoraged.cli.wide import proof_lines
from nodestoraged.model.failure import FAILURES
from nodestoraged.model.reason import MEANINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.cli.verb import Arguments, Declares

__all__ = ["VERBS", "meanings"]


def _explain_arguments(parser: Declares) -> None:
    parser.add_argument(
        "word", metavar="REASON|STICK|imagefs",
        help="a word that status or list shows, or one of the sticks",
    )  # fmt: skip
    role_option(parser)


def meanings() -> dict[str, str]:
    """Each published word and what it means."""
    return {reason.value: meaning for reason, meaning in MEANINGS.items()} | FAILURES


def _explain(args: Arguments) -> int:
    if args.word == "imagefs":
        return _explain_imagefs(args)
    known = meanings()
    by_lower = {word.lower(): word for word in known}
    word = by_lower.get(args.word.lower())
    if word is None:
        return _explain_stick(args, known)
    out(*wrap(f"{word}: {known[word]}", COLUMNS, "  "))
    return exits.OK


def _explain_stick(args: Arguments, known: dict[str, str]) -> int:
    """Words are explained without a daemon; sticks are known to it alone."""
    said = text({"word": args.word}, "word")
    try:
        with connect(args) as client:
            roles = roles_of(status_of(client), args.role)
    except (Unreachable, Denied):
        raise exits.StopError(
            exits.NOT_FOUND,
            f"{said} is not a word that is shown, and nodestoraged cannot be asked for sticks",
            _near(args.word, known) or f"words: {', '.join(sorted(known))}",
        ) from None
    candidate = find([one for role in roles for one in entries(role, "candidates")], args.word)
    if candidate is None:
        raise exits.StopError(
            exits.NOT_FOUND,
            f"{said} is neither a word that is shown nor a stick",
            _near(args.word, known) or "status and list show words and sticks",
        )
    out(*explained(candidate, known))
    return exits.OK


def _near(word: str, known: dict[str, str]) -> str:
    from difflib import get_close_matches

    by_lower = {one.lower(): one for one in known}
    near = [by_lower[one] for one in get_close_matches(word.lower(), by_lower, n=1)]
    return f"did you mean {near[0]}?" if near else ""


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
