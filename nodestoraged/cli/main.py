"""nodestoragectl: finds the verb, builds its parser only, turns every ending into an exit code."""

from __future__ import annotations

import os
import sys

from nodestoraged.cli import exits
from nodestoraged.cli.render import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LATER", "VERBS", "main"]

#: Each verb: the module that has it, and one line for the list of verbs.
VERBS = {
    "status": ("look", "one screen: where the images are, why, and what to do next"),
    "list": ("look", "all candidates with verdict and reason"),
    "show": ("look", "one operation, step by step, or all that is known of one stick"),
    "operations": ("history", "what was done, newest first"),
    "events": ("history", "what happened"),
    "explain": ("offline.explain", "what a word on the screen means, or why a stick is not used"),
    "doctor": ("offline.doctor.verb", "all checks of this machine, with what helps"),
    "plan": ("move", "what would be done, and how long it would take; changes nothing"),
    "switch": ("move", "move to a stick, a directory, internal, or as policy says (auto)"),
    "eject": ("move", "make a stick safe to pull out"),
    "rollback": ("move", "switch to what served before"),
    "abort": ("move", "stop an operation and roll it back"),
    "pause": ("move", "no automatic moves towards a stick"),
    "resume": ("move", "end pause; --clear also ends NO_CHANGES"),
    "enroll": ("trust", "trust a stick on this node"),
    "adopt": ("trust", "make a stick ours that served elsewhere or is an older copy"),
    "forget": ("trust", "end a stick's enrolment"),
    "rename": ("trust", "give an enrolled stick another name"),
    "delist": ("trust", "keep a stick enrolled, but never choose it"),
    "relist": ("trust", "end delist"),
    "prepare": ("prepare", "make a disk a stick: partition, file system, label, data"),
    "reclaim": ("reclaim", "free what lies hidden below the mount"),
    "powerwash": ("reclaim", "clear containers, images or all of it, and start again"),
    "is-bound": ("scripts", "exit 0 if bound, 3 if not"),
    "wait": ("scripts", "wait for a phase"),
    "config": ("offline.config", "validate, show, default, set"),
}

#: Names that are kept for verbs of a later version.
LATER = ("identify", "check", "rehearse")

_GROUPS = (
    ("Look", "status list show operations events explain doctor"),
    ("Move", "plan switch eject rollback abort pause resume"),
    ("Trust", "enroll adopt forget rename delist relist"),
    ("Disks", "prepare reclaim powerwash"),
    ("Scripts", "is-bound wait config"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except exits.StopError as stop:
        if stop.message:
            say(f"nodestoragectl: {stop.message}")
        if stop.hint:
            say(f"  {stop.hint}")
        return stop.code
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough
        _no_more_output()
        return exits.PIPE_CLOSED
    except OSError as error:
        _no_more_output()
        say(f"nodestoragectl: {error.strerror or error}")
        return exits.FAILED
    return code


def _no_more_output() -> None:
    """Python would complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _help()
        return exits.OK if arguments else exits.USAGE
    if arguments[0] in ("-V", "--version"):
        from nodestoraged import __version__

        sys.stdout.write(f"nodestoragectl {__version__}\n")
        return exits.OK
    verb, *rest = arguments
    if verb not in VERBS:
        raise _unknown(verb)
    from nodestoraged.cli.session import calls_explained
    from nodestoraged.cli.verb import parsed

    name, summary = VERBS[verb]
    module = __import__(f"nodestoraged.cli.{name}", fromlist=["VERBS"])
    add_arguments, run = module.VERBS[verb]
    with calls_explained():
        return int(run(parsed(verb, summary, add_arguments, rest)))


def _unknown(verb: str) -> exits.StopError:
    if verb in LATER:
        return exits.StopError(exits.USAGE, f"this version does not have {verb} yet")
    from difflib import get_close_matches

    from nodestoraged.cli.text import safe

    near = get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean {near[0]}?" if near else "nodestoragectl --help lists all verbs"
    return exits.StopError(exits.USAGE, f"there is no verb {safe(verb)}", hint)


def _help() -> None:
    lines = ["usage: nodestoragectl VERB [options]      nodestoragectl VERB --help", ""]
    for title, verbs in _GROUPS:
        lines += [title, *(f"  {verb:<11}{VERBS[verb][1]}" for verb in verbs.split()), ""]
    lines += [
        "STICK is a name, sdb1 or /dev/sdb1, a serial, a UUID or 4 and more of its first",
        "characters, the absolute path of a directory, or internal.",
        "",
        "Exit codes: 0 ok, 1 failed, 2 usage, 3 not bound, 4 no such or ambiguous object,",
        "5 daemon unreachable, 6 refused, 7 timeout, 8 degraded or needs an operator,",
        "130 Ctrl-C (an operation that was begun goes on), 141 the reader of a pipe went away.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
