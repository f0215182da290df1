"""What is remembered and told: journal, store, log, notifications."""

from __future__ import annotations

from typing import Protocol

from nodestoraged.model.hidden import Wash
from nodestoraged.model.operation import Operation
from nodestoraged.model.registry import Intent, Registry


class Journal(Protocol):
    """The write-ahead record of operations; on disk when a method returns."""

    def open_operation(self, role: str) -> Operation | None:
        """The operation that was begun and not closed, or None."""
        ...

    def next_id(self) -> str:
        """The id of the next operation; never used before."""
        ...

    def write(self, operation: Operation) -> None:
        """The operation stands in the journal as given; with a result it is in the history."""
        ...

    def history(self, role: str, limit: int) -> tuple[Operation, ...]:
        """Closed operations, newest first."""
        ...


class Store(Protocol):
    """The registry and the intents; on disk when a `save_` returns."""

    def registry(self) -> Registry:
        """The enrolled sticks."""
        ...

    def save_registry(self, registry: Registry) -> None:
        """`sticks.toml` holds exactly this."""
        ...

    def take_wash_marker(self) -> Wash | None:
        """The tier that a person left for the next boot in a file; the file is gone now."""
        ...

    def intent(self, role: str) -> Intent:
        """What is remembered of the role."""
        ...

    def save_intent(self, role: str, intent: Intent) -> None:
        """The role's memory holds exactly this."""
        ...


class Notifier(Protocol):
    """The service manager that started us."""

    def ready(self) -> None:
        """The root is decided and in place."""
        ...

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        ...

    def extend(self, seconds: float) -> None:
        """Starting takes that much longer."""
        ...


class EventLog(Protocol):
    """Where the engine says what happened, once, where it decided."""

    def event(self, kind: str, message: str, **fields: str | float | int | None) -> None:
        """The event is in the log and in the stream of `events`."""
        ...
