"""A verb with its arguments, the world that it is judged in, and what it changes."""

from __future__ import annotations

from dataclasses import dataclass

from nodestoraged.model.candidate import Candidate
from nodestoraged.model.config import DataPolicy, RoleConfig
from nodestoraged.model.device import Incarnation
from nodestoraged.model.errors import RefusedError
from nodestoraged.model.hidden import Wash
from nodestoraged.model.observation import Observation
from nodestoraged.model.reason import MEANINGS, Reason
from nodestoraged.model.registry import Intent, Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One verb with its arguments, as the socket gave them.

    `release_seconds` is how long an eject gives the stick to lose its last user.
    """

    verb: str
    stick: str | None = None
    to: str | None = None
    name: str | None = None
    no_switch: bool = False
    clear: bool = False
    data: DataPolicy | None = None
    bytes_per_second: int | None = None
    tier: Wash | None = None
    next_boot: bool = False
    release_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The world that a request is judged in; `busy`: an operation's steps are running."""

    observation: Observation
    candidates: tuple[Candidate, ...]
    role: RoleConfig
    busy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the request changes.  `moves`: the caller may want to follow an operation.

    `forgiven` are insertions of which nothing is held against any more.
    """

    intent: Intent
    registry: Registry
    message: str
    changed: bool = True
    moves: bool = False
    permitted: frozenset[Incarnation | None] = frozenset()
    forgiven: frozenset[Incarnation] = frozenset()
    hint: str = ""


def occupied() -> RefusedError:
    """What a verb gets while another operation runs."""
    reason = Reason.OPERATION_IN_PROGRESS
    return RefusedError(reason, MEANINGS[reason], "nodestoragectl operations --follow")
