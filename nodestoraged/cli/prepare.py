"""Verb: prepare.  The serial is typed by a person, or given whole; nothing else confirms a wipe."""

from __future__ import annotations

import os

from nodestoraged.api.client import CallFailed
from nodestoraged.cli import ask, exits
from nodestoraged.cli.fields import text
from nodestoraged.cli.move import acted, followed, no_wait_option, rate_option
from nodestoraged.cli.render import say
from nodestoraged.cli.session import connect, only_role
from nodestoraged.cli.verb import role_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.api.client import Client
    from nodestoraged.cli.verb import Arguments, Declares

__all__ = ["VERBS"]

_FILESYSTEMS = ("ext4", "xfs")


def _arguments(parser: Declares) -> None:
    parser.add_argument("stick", metavar="STICK", help="a disk: sdd or /dev/sdd, or a stick on it")
    parser.add_argument("--name", help="what to call it")
    parser.add_argument("--empty", action="store_true", help="with no data on it")
    parser.add_argument(
        "--from-active", action="store_true", help="with all that serves now (default if any does)"
    )
    parser.add_argument(
        "--from", dest="source", metavar="PATH", help="with what lies in this directory"
    )
    parser.add_argument(
        "--check", action="store_true", help="measure it: true capacity, speed, latency"
    )
    parser.add_argument("--wipe", action="store_true", help="overwrite what is on it")
    parser.add_argument("--yes", dest="serial", metavar="SERIAL", help="do not ask for its serial")
    parser.add_argument("--whole-disk", action="store_true", help="without a partition table")
    parser.add_argument(
        "--fs", dest="fstype", choices=_FILESYSTEMS, metavar="FSTYPE", help="ext4 (default) or xfs"
    )
    parser.add_argument("--label", help="the file system's label, one of the role's")
    rate_option(parser)
    no_wait_option(parser)
    role_option(parser)


def _prepare(args: Arguments) -> int:
    wishes: dict[str, object] = {
        "stick": args.stick, "name": args.name, "wipe": args.wipe or None, "serial": args.serial,
        "wholeDisk": args.whole_disk or None, "fstype": args.fstype, "label": args.label,
        "origin": _origin(args), "check": args.check or None, "rate": args.rate,
    }  # fmt: skip
    with connect(args) as client:
        wishes["role"] = only_role(client, args.role)
        refusal, operation_id = _asked(client, wishes)
        if refusal is not None:
            wishes |= {"wipe": True, "serial": _typed_serial(args, refusal)}
            refusal, operation_id = _asked(client, wishes)
        if refusal is not None:
            raise exits.StopError(exits.REFUSED, "that is not it; nothing was changed")
        return followed(client, args, operation_id)


def _asked(client: Client, wishes: dict[str, object]) -> tuple[str | None, str | None]:
    """What the daemon says where it wants the serial, else None and the operation's id."""
    try:
        return None, acted(client, "Prepare", **wishes)
    except CallFailed as error:
        if error.parameters.get("reason") != "SerialNeeded":
            raise
        return str(error.parameters.get("message") or "the disk is not blank"), None


def _origin(args: Arguments) -> str | None:
    said = ["empty"] if args.empty else []
    said += ["active"] if args.from_active else []
    if args.source is not None:
        said.append(os.path.abspath(args.source))  # noqa: PTH100 - pathlib is not loaded
    if len(said) > 1:
        raise exits.StopError(exits.USAGE, "--empty, --from-active and --from exclude each other")
    return said[0] if said else None


def _typed_serial(args: Arguments, refusal: str) -> str:
    """The serial that a person typed after reading what is on the disk; exit 6 without one."""
    lines = [text({"line": line}, "line") for line in refusal.split("\n") if line.strip()]
    if not ask.somebody_is_there():
        stick = text({"stick": args.stick}, "stick")
        raise exits.StopError(
            exits.REFUSED, f"{'; '.join(lines)} (SerialNeeded)",
            f"nodestoragectl prepare {stick} --wipe --yes SERIAL",
        )  # fmt: skip
    say(*lines)
    serial = ask.answer("All of it will be lost. To go on, type it: ")
    if not serial:
        raise exits.StopError(exits.REFUSED, "nothing was typed, nothing was changed")
    return serial


VERBS = {"prepare": (_arguments, _prepare)}
