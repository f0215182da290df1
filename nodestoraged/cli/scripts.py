"""Verbs for scripts: is-bound, wait.  They look at the phase only."""

from __future__ import annotations

import time

from nodestoraged.api.client import CallFailed, Client, Unreachable
from nodestoraged.cli import exits
from nodestoraged.cli.fields import Json, obj, text
from nodestoraged.cli.health import PHASES
from nodestoraged.cli.render import out
from nodestoraged.cli.session import RETRY_SECONDS, connect, is_away, roles_of, status_of
from nodestoraged.cli.verb import role_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.cli.verb import Arguments, Declares

__all__ = ["VERBS"]


def _is_bound_arguments(parser: Declares) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing")
    role_option(parser)


def _is_bound(args: Arguments) -> int:
    with connect(args) as client:
        roles = roles_of(status_of(client), args.role)
    if not args.quiet:
        out(*(text(role, "phase", "?") for role in roles))
    return exits.OK if _all_in(roles, "BOUND") else exits.NOT_BOUND


def _all_in(roles: list[Json], phase: str) -> bool:
    return bool(roles) and all(role.get("phase") == phase for role in roles)


def _wait_arguments(parser: Declares) -> None:
    parser.add_argument("--for", dest="phase", required=True, metavar="PHASE",
                        help=", ".join(PHASES))  # fmt: skip
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="no limit if not given")
    role_option(parser)


def _wait(args: Arguments) -> int:
    phase = args.phase.upper()
    if phase not in PHASES:
        raise exits.StopError(
            exits.USAGE, f"there is no phase {text({'p': args.phase}, 'p')}",
            f"phases: {', '.join(PHASES)}",
        )  # fmt: skip
    end = None if args.timeout is None else time.monotonic() + args.timeout
    while True:
        try:
            if _watch(args, phase, end):
                return exits.OK
        except (Unreachable, CallFailed) as error:
            if not is_away(error):  # or silent until our time was over
                raise
        left = _left(end)
        if left is not None and left <= 0:
            raise exits.StopError(exits.TIMEOUT, f"not {phase} within {args.timeout:g} s")
        time.sleep(RETRY_SECONDS if left is None else min(RETRY_SECONDS, left))


def _watch(args: Arguments, phase: str, end: float | None) -> bool:
    """True once it is so; False when the stream or the time ended before."""
    with connect(args) as client:
        _patience(client, end)
        for reply in client.stream("GetStatus"):
            if _all_in(roles_of(obj(reply, "status"), args.role), phase):
                return True
            left = _left(end)
            if left is not None and left <= 0:
                return False
            _patience(client, end)
    return False


def _patience(client: Client, end: float | None) -> None:
    left = _left(end)
    client.wait_at_most(None if left is None else max(left, 0.05))


def _left(end: float | None) -> float | None:
    return None if end is None else end - time.monotonic()


VERBS = {
    "is-bound": (_is_bound_arguments, _is_bound),
    "wait": (_wait_arguments, _wait),
}
