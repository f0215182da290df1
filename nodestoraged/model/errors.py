"""The error tree, split first by whose fault it is.

Every error carries a CamelCase `reason` that `nodestoragectl explain` knows, a
sentence for a person, and a `hint` that says what to do next.  Exceptions never
log: the engine logs once, where it decides.  Refusals by policy are values
(verdicts, decisions), not exceptions.
"""

from __future__ import annotations


class NodeStorageError(Exception):
    """Something went wrong that a person can be told about."""

    def __init__(self, reason: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint


class ConfigError(NodeStorageError):
    """A configuration file is wrong; `key` is dotted, `path` names the file."""

    def __init__(self, message: str, *, key: str = "", path: str = "", hint: str = "") -> None:
        super().__init__("InvalidConfig", message, hint)
        self.key = key
        self.path = path


class RequestError(NodeStorageError):
    """The caller asked for something that cannot be: nothing has changed."""


class NotFoundError(RequestError):
    """No such object, or an ambiguous name."""


class RefusedError(RequestError):
    """Policy, authorisation or the present situation forbids it."""


class ObservationError(NodeStorageError):
    """A part of the world could not be read."""


class StepError(NodeStorageError):
    """A step did not reach its wished fact; `errno` is the kernel's, where it had one."""

    def __init__(self, reason: str, message: str, hint: str = "", errno: int | None = None) -> None:
        super().__init__(reason, message, hint)
        self.errno = errno


class StepTimeout(StepError):  # noqa: N818 - named like asyncio's own timeout
    """A step passed its deadline: its outcome is unknown until the world is read again."""


class RollbackError(NodeStorageError):
    """Undoing failed too: both stories are kept, and the daemon changes nothing any more."""

    def __init__(self, cause: NodeStorageError, rollback_error: NodeStorageError) -> None:
        super().__init__(
            "RollbackFailed",
            f"{cause.message}; and going back failed: {rollback_error.message}",
            "mend the cause, then: nodestoragectl resume --clear",
        )
        self.cause = cause
        self.rollback_error = rollback_error


class InternalError(NodeStorageError):
    """A broken invariant: a bug of ours."""

    def __init__(self, message: str) -> None:
        super().__init__("InternalError", message, "please report this")
