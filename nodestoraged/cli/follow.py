"""Following an operation: its steps on stderr as they come, its outcome as an exit code."""

from __future__ import annotations

from nodestoraged.cli import exits
from nodestoraged.cli.fields import Json, entries, number, obj, text
from nodestoraged.cli.progress import Teller, copied, predicted_downtime
from nodestoraged.cli.render import COLUMNS, say
from nodestoraged.cli.rows import between
from nodestoraged.cli.text import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nodestoraged.api.client import Client

__all__ = ["follow", "outcome"]

#: Results of an operation that mean: refused, nothing was changed.
_REFUSALS = ("ForeignContainers", "PodsWithoutRuntime", "RootElsewhere", "OperationInProgress")


def follow(client: Client, operation_id: str) -> Json:
    """The operation once it has ended.  Ctrl-C leaves it alone and ends with 130."""
    client.wait_at_most(None)
    teller = Teller()
    told = 0
    operation: Json = {}
    try:
        for reply in client.stream("GetOperation", id=operation_id):
            operation = obj(reply, "operation")
            told = _tell(operation, told, teller)
    except KeyboardInterrupt:
        raise exits.StopError(
            exits.INTERRUPTED,
            "no longer watching; the operation goes on",
            f"nodestoragectl show {text({'id': operation_id}, 'id')}",
        ) from None
    finally:
        teller.erase()
    return operation


def outcome(operation: Json) -> int:
    """Say how it ended; the exit code for it."""
    result = text(operation, "result", "unknown")
    message, reason = text(operation, "message"), text(operation, "reason")
    if result == "done":
        say(", ".join([f"done: {message or between(operation)}", *_took(operation)]))
        if copied(operation):
            say(*wrap(f"  {copied(operation)}", COLUMNS, "  "))
        return exits.OK
    say(f"{result}: {message or 'no message'}" + (f" ({reason})" if reason else ""))
    if text(operation, "hint"):
        say(f"  {text(operation, 'hint')}")
    return exits.REFUSED if reason in _REFUSALS else exits.FAILED


def _took(operation: Json) -> list[str]:
    """The downtimes; the runtime's stands beside the copy where there was one."""
    facts = []
    down, pods = (number(operation, key) for key in ("downtimeSeconds", "podsDownSeconds"))
    if down is not None and not copied(operation):
        facts.append(f"runtime down {down:.1f} s{predicted_downtime(operation)}")
    if pods is not None:
        facts.append(f"pods down {pods:.1f} s")
    return facts


def _tell(operation: Json, told: int, teller: Teller) -> int:
    """Tell each step once it is over, and what runs or how far it has come."""
    steps = entries(operation, "steps")
    over = [one for one in steps if number(one, "seconds") is not None or one.get("error")]
    for one in over[told:]:
        teller.erase()
        error = text(one, "error")
        took = number(one, "seconds") or 0.0
        say(f"{took:6.1f} s  {text(one, 'step')}" + (f": {error}" if error else ""))
    if operation.get("result") is None:
        progress = obj(operation, "progress")
        if progress:
            teller.progress(progress)
        else:
            teller.step(text(operation, "step"))
    return max(told, len(over))
