"""`config`: validate, show, default, set.  Works on the files; the daemon is told after `set`."""

from __future__ import annotations

from pathlib import Path

from nodestoraged.adapters import configfile
from nodestoraged.api.client import CallFailed, Client, Denied, Unreachable
from nodestoraged.cli import exits
from nodestoraged.cli.fields import text
from nodestoraged.cli.render import as_json, as_jsonl, out, say, table
from nodestoraged.cli.text import safe
from nodestoraged.cli.verb import format_option
from nodestoraged.model.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.cli.verb import Arguments, Declares

__all__ = ["VERBS"]


def _arguments(parser: Declares) -> None:
    parser.add_argument("action", choices=("validate", "show", "default", "set"))
    parser.add_argument("key", nargs="?", metavar="KEY", help="dotted: role.containerd.trust")
    parser.add_argument("value", nargs="?", metavar="VALUE", help="a TOML value or a bare string")
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIRECTORY",
                        help="the files of another system")  # fmt: skip
    format_option(parser)


def _config(args: Arguments) -> int:
    if (args.action == "set") != (args.value is not None) or (
        args.action in ("validate", "default") and args.key is not None
    ):
        raise exits.StopError(
            exits.USAGE,
            f"config {args.action}: wrong number of words",
            "config validate | config show [KEY] | config default | config set KEY VALUE",
        )
    try:
        return _ACTIONS[args.action](args)
    except ConfigError as error:
        where = ": ".join(part for part in (error.path, error.key) if part)
        message = error.message if where in error.message else f"{where}: {error.message}"
        code = exits.REFUSED if isinstance(error.__cause__, PermissionError) else exits.FAILED
        raise exits.StopError(code, safe(message), safe(error.hint)) from None
    except PermissionError as error:
        raise exits.StopError(
            exits.REFUSED, f"{safe(error.filename)}: {error.strerror}", "use sudo"
        ) from None
    except OSError as error:
        raise exits.StopError(exits.FAILED, f"{safe(error.filename)}: {error.strerror}") from None


def _validate(args: Arguments) -> int:
    configfile.load(args.root)
    say("the configuration is valid")
    return exits.OK


def _show(args: Arguments) -> int:
    shown = [
        one
        for one in configfile.show(configfile.load(args.root))
        if args.key is None or one.key == args.key or one.key.startswith(f"{args.key}.")
    ]
    if not shown:
        raise exits.StopError(exits.NOT_FOUND, f"there is no key {safe(args.key)}")
    values = [{"key": one.key, "value": one.value, "origin": one.origin or None} for one in shown]
    if args.output == "json":
        out(as_json(values))
    elif args.output == "jsonl":
        out(*(as_jsonl(one) for one in values))
    elif args.output == "name":
        out(*(safe(one.key) for one in shown))
    else:
        cells = [(safe(one.key), safe(one.value), safe(one.origin or "default")) for one in shown]
        out(*table(("KEY", "VALUE", "FROM"), cells))
    return exits.OK


def _default(_: Arguments) -> int:
    out(configfile.render_default().rstrip("\n"))
    return exits.OK


def _set(args: Arguments) -> int:
    path = configfile.set_key(args.root, args.key, args.value)
    say(f"written to {path}")
    if not path.is_relative_to(args.root / "etc"):
        say("  /etc cannot be written here, so it stands there")
    if args.root != Path("/"):
        return exits.OK
    try:
        with Client(args.socket, timeout_seconds=30.0) as client:
            reply = client.call("Reload")
    except Denied:
        say("nodestoraged was not told: only root may; it reads this when it starts again")
        return exits.OK
    except Unreachable:
        say("nodestoraged does not run: it reads this when it starts")
        return exits.OK
    except CallFailed as error:
        raise exits.StopError(
            exits.FAILED,
            f"written, but nodestoraged did not take it: {text(error.parameters, 'message')}",
            text(error.parameters, "hint"),
        ) from None
    say(text(reply, "message") or "nodestoraged has read it")
    return exits.OK


_ACTIONS = {"validate": _validate, "show": _show, "default": _default, "set": _set}

VERBS = {"config": (_arguments, _config)}
