"""The registry and the intents on the root disk: `sticks.toml` for people, `intent.json` for us.

Written whole, fsynced and renamed, so that a power cut leaves the old or the new file.  A file
that cannot be read, or that a newer version wrote, is kept beside as `.broken` and said, never
guessed at and never overwritten.  Without it nothing is trusted: the gentle side to err on.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import tomli_w

from nodestoraged.adapters import records
from nodestoraged.adapters.durable import put_in_place
from nodestoraged.model.device import Identity
from nodestoraged.model.errors import StepError
from nodestoraged.model.hidden import Wash
from nodestoraged.model.registry import Intent, Registry, Stick

SCHEMA = 1
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError)
_HEADER = (
    "# The sticks that this node trusts.  Written by nodestoraged: use nodestoragectl enroll,\n"
    "# rename, delist, relist and forget; edit by hand only while the daemon is stopped.\n\n"
)


class FileStore:
    """The `Store` port.  `complain` is told of a file that could not be read."""

    def __init__(self, directory: Path, complain: Callable[[str], None]) -> None:
        self._sticks = directory / "sticks.toml"
        self._intents = directory / "intent.json"
        self._marker = directory / "powerwash"
        self._complain = complain
        self._registry = self._load_registry()
        self._by_role = self._load_intents()

    @property
    def empty(self) -> bool:
        """True if this node has never remembered anything: a first contact."""
        return not self._registry.sticks and not self._by_role

    def registry(self) -> Registry:
        """The enrolled sticks."""
        return self._registry

    def save_registry(self, registry: Registry) -> None:
        """`sticks.toml` holds exactly this, or `StepError("StateNotSaved")`."""
        if registry != self._registry:
            table = {"schema": SCHEMA, "stick": [_stick_table(stick) for stick in registry.sticks]}
            _replace(self._sticks, (_HEADER + tomli_w.dumps(table)).encode())
            self._registry = registry

    def take_wash_marker(self) -> Wash | None:
        """The tier in the file `powerwash`, which is gone; an empty one means the gentlest."""
        try:
            word = self._marker.read_text(errors="replace").strip()
            self._marker.unlink()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain(f"{self._marker}: {error.strerror}; nothing is washed")
            return None
        try:
            return Wash(word or Wash.CONTAINERS)
        except ValueError:
            known = ", ".join(Wash)
            self._complain(f"{self._marker} said {word!r:.40}, which is none of {known}")
            return None

    def intent(self, role: str) -> Intent:
        """What is remembered of `role`."""
        return self._by_role.get(role, Intent())

    def save_intent(self, role: str, intent: Intent) -> None:
        """What is remembered of `role` is exactly this, or `StepError("StateNotSaved")`."""
        if intent != self._by_role.get(role):
            by_role = {**self._by_role, role: intent}
            table = {name: records.dump(value) for name, value in by_role.items()}
            document = {"schema": SCHEMA, "roles": table}
            _replace(self._intents, json.dumps(document, indent=1).encode())
            self._by_role = by_role

    def _load_registry(self) -> Registry:
        try:
            table = tomllib.loads(self._sticks.read_text(encoding="utf-8"))
            _check_schema(table)
            sticks = tuple(_stick(entry) for entry in table.get("stick", []))
        except FileNotFoundError:
            return Registry()
        except _UNREADABLE as error:
            self._set_aside(self._sticks, error)
            return Registry()
        return Registry(sticks=sticks)

    def _load_intents(self) -> dict[str, Intent]:
        try:
            table = json.loads(self._intents.read_text(encoding="utf-8"))
            _check_schema(table)
            return {name: records.load(Intent, value) for name, value in table["roles"].items()}
        except FileNotFoundError:
            return {}
        except _UNREADABLE as error:
            self._set_aside(self._intents, error)
            return {}

    def _set_aside(self, path: Path, error: Exception) -> None:
        kept = path.with_suffix(path.suffix + ".broken")
        count = 1
        while kept.exists():
            count += 1
            kept = path.with_suffix(f"{path.suffix}.broken{count}")
        self._complain(f"{path} cannot be read ({error}); kept as {kept}")
        try:
            path.replace(kept)
        except OSError as failure:
            self._complain(f"{path} cannot be kept: {failure.strerror}")


def _check_schema(table: dict[str, object]) -> None:
    if table["schema"] != SCHEMA:
        raise ValueError(f"schema {table['schema']!r:.20} is of another version")


def _stick_table(stick: Stick) -> dict[str, object]:
    """The stick with what is None left out, for TOML has no null."""
    identity = {k: v for k, v in _plain(stick.identity).items() if v is not None}
    rest = {k: v for k, v in _plain(stick).items() if k != "identity" and v is not None}
    return {**rest, **identity}


def _plain(value: object) -> dict[str, object]:
    dumped = records.dump(value)
    assert isinstance(dumped, dict)
    return dict(dumped)


def _stick(entry: dict[str, object]) -> Stick:
    identity = records.load(Identity, entry)
    return records.load(Stick, {**entry, "identity": records.dump(identity)})


def _replace(path: Path, content: bytes) -> None:
    try:
        _write(path, content)
    except OSError as error:
        raise StepError(
            "StateNotSaved",
            f"{path}: {error.strerror}",
            "free some space on the root disk",
            errno=error.errno,
        ) from error


def _write(path: Path, content: bytes) -> None:
    partial = path.with_suffix(path.suffix + ".partial")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while content:  # a full disk takes a part and says nothing; the next attempt says it
            content = content[os.write(fd, content) :]
    finally:
        os.close(fd)
    put_in_place(partial, path)
