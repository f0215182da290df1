"""Screens in documents, compared with what nodestoragectl writes of a simulated node.

Owns: where a screen stands, what of a line is a machine's own, and the terminal that commands are
given on.  May not know: which document, or how its node was led.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nodestoraged.cli import ask, look, main, times, verb
from tests.unit.api.fake_service import running
from tests.unit.engine.test_node import Bench

_MARK = re.compile(r"<!-- screen: (\S+) -->\n```\n(.*?)```", re.DOTALL)
#: What stands for something in a screen, and what is left of it.
_WORDS = (
    (re.compile(r"\b(?:loop|sd|vd)\w*"), "DEVICE"),
    (re.compile(r"\.service\b"), ""),  # the machine of the screens has services of its own
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{4}\b"), "#"),  # how a UUID begins
    (re.compile(r"\b\d[\w.:~]*"), "#"),
    (re.compile(r"# (?:[KMGT]i)?B\b"), "# SIZE"),
    (re.compile(r"\s+"), " "),
)


@dataclass
class Moment:
    """What the daemon has to say when a command of a screen is given."""

    status: dict[str, Any]
    reply: dict[str, Any]
    operation: dict[str, Any]
    hidden: dict[str, Any]
    plan: dict[str, Any] = field(default_factory=dict)


def shape(line: str) -> str:
    """A line without its numbers and names of devices, columns one blank apart."""
    for pattern, instead in _WORDS:
        line = pattern.sub(instead, line)
    return line.strip()


def marked(path: Path) -> dict[str, str]:
    """The screens of a document by their names."""
    return dict(_MARK.findall(path.read_text()))


def of(bench: Bench, reply: dict[str, Any], hidden: dict[str, Any]) -> Moment:
    """The daemon's answers now, in words of a machine whose kubelet shows its number."""
    status = json.loads(json.dumps(bench.node.status()).replace('"uuid": "', '"uuid": "1eb1'))
    filesystem = status["roles"][0]["imagefs"]
    filesystem["kubeletProof"] = "capacity"
    filesystem["kubeletCapacityBytes"] = filesystem["capacityBytes"]
    operation = dict(bench.node.operation(str(reply.get("operationId"))) or {})
    return Moment(status, reply, operation, hidden)


async def act(bench: Bench, word: str, /, **arguments: object) -> Moment:
    """The verb is said, and what it began is over."""
    hidden = await bench.node.hidden(None) if word == "reclaim" else {}
    reply = await bench.node.act(word, None, arguments)
    key = str(reply["operationId"])
    await bench.until(lambda: bool((bench.node.operation(key) or {}).get("result")))
    await bench.until(bench.rests)
    return of(bench, reply, hidden)


async def rests(bench: Bench, phase: str) -> None:
    """In that phase, and everything that a screen shows has been read since."""

    def known() -> bool:
        role: dict[str, Any] = bench.role()
        answers = role["pods"] == 1 and role["kubelet"]["healthy"] and role["imagefs"]["verified"]
        return role["phase"] == phase and answers and bench.node.status()["operation"] is None

    await bench.until(known)


class Terminal(io.StringIO):
    """One for both streams, that can show a bullet."""

    encoding = "utf-8"


class Person(io.StringIO):
    """Types y, which the terminal shows."""

    def readline(self, _size: int | None = -1) -> str:
        sys.stdout.write("y\n")
        return "y\n"


Give = Callable[[Moment, list[str]], list[str]]


def plans(answer: dict[str, Any]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Answers `plan`, whatever it asks."""

    async def plan(*_question: object) -> dict[str, Any]:
        return answer

    return plan


@contextlib.contextmanager
def terminal(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Give]:
    """Gives the commands of a screen; what nodestoragectl writes, as on one terminal."""
    monkeypatch.setattr(ask, "somebody_is_there", lambda: True)
    monkeypatch.setattr(sys, "stdin", Person())
    with running(path) as server:
        monkeypatch.setenv(verb.SOCKET_VARIABLE, server.path)

        def give(now: Moment, commands: list[str]) -> list[str]:
            service = server.service
            service.state = now.status
            service.act_reply, service.lies_hidden = now.reply, now.hidden
            service.history = [now.operation]
            monkeypatch.setattr(service, "plan", plans(now.plan))
            since = times.epoch(now.status["roles"][0]["since"])
            assert since is not None
            clock = SimpleNamespace(time=lambda: since + 5, monotonic=time.monotonic)
            monkeypatch.setattr(look, "time", clock)
            written = Terminal()
            with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
                codes = [main.main(shlex.split(one)[1:]) for one in commands]
            assert codes == [0] * len(commands), written.getvalue()
            return written.getvalue().splitlines()

        yield give
