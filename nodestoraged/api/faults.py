"""Errors on the wire: from our exceptions to Varlink's error replies.

Owns: which exception becomes which error and exit code.  May not know: connections.
"""

from __future__ import annotations

from nodestoraged.api.interface import INTERFACE
from nodestoraged.api.service import JsonObject
from nodestoraged.model.errors import NodeStorageError, NotFoundError, RefusedError

__all__ = ["GROUP", "Fault", "busy", "denied", "fault_of", "standard"]

#: Members of this group may read.
GROUP = "nodestorage"

FAILED, NOT_FOUND, UNREACHABLE, REFUSED = 1, 4, 5, 6


class Fault(Exception):  # noqa: N818 - it is a reply, not a mistake of ours
    """An error reply: its full Varlink name and its parameters."""

    def __init__(self, name: str, parameters: JsonObject) -> None:
        super().__init__(name)
        self.name = name
        self.parameters = parameters


def standard(word: str, **parameters: object) -> Fault:
    """One of org.varlink.service's own errors."""
    return Fault(f"org.varlink.service.{word}", dict(parameters))


def fault_of(error: NodeStorageError) -> Fault:
    """The reply for an exception that a person can be told about."""
    name, code = "Error", FAILED
    if isinstance(error, NotFoundError):
        name, code = "NotFound", NOT_FOUND
    elif isinstance(error, RefusedError):
        name, code = "Refused", REFUSED
    elif error.reason == "Starting":
        name, code = "NotReady", UNREACHABLE
    return _said(name, code, error.reason, error.message, error.hint)


def denied(verb: str) -> Fault:
    """The reply to a peer that is not root and asked for a change."""
    fault = _said(
        "PermissionDenied", REFUSED, "PermissionDenied",
        f"{verb} changes this node: only root may; members of the group {GROUP} may read",
        f"sudo nodestoragectl {verb} …",
    )  # fmt: skip
    fault.parameters["group"] = GROUP
    return fault


def busy(message: str) -> Fault:
    """The reply to a client that is one too many."""
    return _said("NotReady", UNREACHABLE, "TooManyClients", message, "try again")


def bad_frame(message: str) -> Fault:
    """The last reply on a connection whose bytes make no sense."""
    return _said("Error", FAILED, "BadFrame", message, "speak Varlink: JSON ended by NUL")


def internal() -> Fault:
    """The reply when our own code broke; the log has the details."""
    return _said(
        "Error", FAILED, "InternalError", "nodestoraged made a mistake; its log says where",
        "please report this",
    )  # fmt: skip


def _said(name: str, code: int, reason: str, message: str, hint: str) -> Fault:
    parameters: JsonObject = {
        "reason": str(reason), "message": message, "hint": hint, "exitCode": code,
    }  # fmt: skip
    return Fault(f"{INTERFACE}.{name}", parameters)
