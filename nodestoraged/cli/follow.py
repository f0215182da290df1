"""Following an operation: its steps on stderr as they come, its outcome as an exit code."""

from __future__ import annotations

import sys

from nodestoraged.cli import exits
from nodestoraged.cli.fields import Json, entries, number, obj, text
from nodestoraged.cli.render import say
from nodestoraged.cli.rows import between

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.api.client import Client

__all__ = ["follow", "outcome"]

#: Results of an operation that mean: refused, nothing was changed.
_REFUSALS = ("ForeignContainers", "PodsWithoutRuntime", "OperationInProgress")


def follow(client: Client, operation_id: str) -> Json:
    """The operation once it has ended.  Ctrl-C leaves it alone and ends with 130."""
    client.wait_at_most(None)
    told = 0
    operation: Json = {}
    try:
        for reply in client.stream("GetOperation", id=operation_id):
            operation = obj(reply, "operation")
            told = _tell(operation, told)
    except KeyboardInterrupt:
        _transient("")
        raise exits.StopError(
            exits.INTERRUPTED,
            "no longer watching; the operation goes on",
            f"nodestoragectl show {text({'id': operation_id}, 'id')}",
        ) from None
    _transient("")
    return operation


def outcome(operation: Json) -> int:
    """Say how it ended; the exit code for it."""
    result = text(operation, "result", "unknown")
    message, reason = text(operation, "message"), text(operation, "reason")
    if result == "done":
        facts = [
            f"{words} {seconds:.1f} s"
            for key, words in (
                ("downtimeSeconds", "runtime down"),
                ("podsDownSeconds", "pods down"),
            )
            if (seconds := number(operation, key)) is not None
        ]
        say(", ".join([f"done: {message or between(operation)}", *facts]))
        return exits.OK
    say(f"{result}: {message or 'no message'}" + (f" ({reason})" if reason else ""))
    if text(operation, "hint"):
        say(f"  {text(operation, 'hint')}")
    return exits.REFUSED if reason in _REFUSALS else exits.FAILED


def _tell(operation: Json, told: int) -> int:
    """Tell each step once it is over, and on a terminal also the one that runs."""
    steps = entries(operation, "steps")
    over = [one for one in steps if number(one, "seconds") is not None or one.get("error")]
    for one in over[told:]:
        _transient("")
        error = text(one, "error")
        took = number(one, "seconds") or 0.0
        say(f"{took:6.1f} s  {text(one, 'step')}" + (f": {error}" if error else ""))
    if operation.get("result") is None:
        _transient(text(operation, "step"))
    return max(told, len(over))


def _transient(step: str) -> None:
    """A line that the next one overwrites; only where a person looks."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K   ...    {step}" if step else "\r\x1b[K")
        sys.stderr.flush()
