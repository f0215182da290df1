"""Talking to the daemon: connecting, roles, and what its errors mean for a person.

Owns: exit codes 4, 5 and 6 of everything that the daemon or the socket refuses.
"""

from __future__ import annotations

import os

from nodestoraged.api.client import CallFailed, Client, Denied, Unreachable
from nodestoraged.cli import exits
from nodestoraged.cli.fields import entries, obj, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.cli.fields import Json
    from nodestoraged.cli.verb import Arguments

__all__ = [
    "RETRY_SECONDS", "calls_explained", "connect", "is_away", "only_role", "roles_of", "status_of",
    "unreachable_hint",
]  # fmt: skip

GROUP = "nodestorage"
#: How soon a daemon that is away is asked again.
RETRY_SECONDS = 0.5


class calls_explained:  # noqa: N801 - used like contextlib's functions, without loading contextlib
    """Inside, what the client raises becomes a StopError with the contract's exit code."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Denied):
            raise exits.StopError(
                exits.REFUSED,
                f"only root and members of the group {GROUP} may ask nodestoraged ({error})",
                f"use sudo, or join the group {GROUP} and log in again",
            ) from None
        if isinstance(error, Unreachable):
            raise exits.StopError(
                exits.UNREACHABLE, f"nodestoraged does not answer: {error}", unreachable_hint()
            ) from None
        if isinstance(error, CallFailed):
            raise _failed(error) from None


def connect(args: Arguments) -> Client:
    """A connection to the daemon."""
    return Client(args.socket)


def is_away(error: Unreachable | CallFailed) -> bool:
    """True if nobody answers now, and somebody may again: absent, going, or not there yet."""
    if isinstance(error, CallFailed):
        return error.parameters.get("exitCode") == exits.UNREACHABLE
    return True


def status_of(client: Client) -> Json:
    """The daemon's status."""
    return obj(client.call("GetStatus"), "status")


def roles_of(status: Json, role: str | None) -> list[Json]:
    """All roles, or the one named; exit 4 when there is no such role."""
    roles = entries(status, "roles")
    if role is None:
        return roles
    named = [one for one in roles if one.get("name") == role]
    if not named:
        known = ", ".join(text(one, "name") for one in roles) or "none"
        raise exits.StopError(
            exits.NOT_FOUND, f"there is no role {text({'role': role}, 'role')}", f"roles: {known}"
        )
    return named


def only_role(client: Client, role: str | None) -> str | None:
    """The role that a verb is about: the one named, or the only one; exit 2 with several."""
    if role is not None:
        return role
    roles = entries(status_of(client), "roles")
    if len(roles) > 1:
        names = ", ".join(text(one, "name") for one in roles)
        raise exits.StopError(exits.USAGE, f"there are several roles: {names}", "name one: --role")
    return None


def unreachable_hint() -> str:
    """How to look after the daemon on this system."""
    if os.path.isdir("/run/systemd/system"):  # noqa: PTH112 - pathlib costs more than all of this
        return "see: systemctl status nodestoraged   start: systemctl start nodestoraged"
    if os.path.isdir("/run/openrc"):  # noqa: PTH112
        return "see: rc-service nodestoraged status   start: rc-service nodestoraged start"
    return "start the daemon: nodestoraged"


def _failed(error: CallFailed) -> exits.StopError:
    said = error.parameters
    code = said.get("exitCode")
    if isinstance(code, int) and exits.OK < code <= exits.DEGRADED:
        message, reason = text(said, "message"), text(said, "reason")
        shown = f"{message} ({reason})" if message and reason else message or reason
        return exits.StopError(code, shown, text(said, "hint"))
    name = text({"name": error.name}, "name")
    details = ", ".join(
        f"{key} {text(said, key)}" for key in ("method", "parameter") if key in said
    )
    return exits.StopError(
        exits.FAILED,
        f"nodestoraged answered {name}" + (f" ({details})" if details else ""),
        "the daemon and this program may be of different versions",
    )
