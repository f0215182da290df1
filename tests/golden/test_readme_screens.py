"""README's screens, and one of docs/data.md: what nodestoragectl says of a node led the same way.

The node is simulated. Numbers, devices and versions are a real machine's; all else is compared.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nodestoraged.cli import ask, look, main, times, verb
from tests.unit.api.fake_service import running
from tests.unit.engine.test_node import Bench, run

TOP = Path(__file__).parents[2]
README = TOP / "README.md"
DATA = TOP / "docs" / "data.md"
_MARK = re.compile(r"<!-- screen: (\S+) -->\n```\n(.*?)```", re.DOTALL)
#: What stands for something in a screen, and what is left of it.
_WORDS = (
    (re.compile(r"\b(?:loop|sd|vd)\w*"), "DEVICE"),
    (re.compile(r"\.service\b"), ""),  # the machine of the screens has services of its own
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


def shape(line: str) -> str:
    """A line without its numbers and names of devices, columns one blank apart."""
    for pattern, instead in _WORDS:
        line = pattern.sub(instead, line)
    return line.strip()


def screens() -> dict[str, str]:
    return dict(_MARK.findall(README.read_text()))


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


async def lead(bench: Bench, moments: dict[str, Moment]) -> None:
    """The first tour: a blank disk is prepared, served from, ejected, used again, reclaimed."""
    world = bench.world
    world.internal_images = {"pause", "app"}
    world.make("blue", fstype=None, uuid=None, label=None, serial=None)
    await bench.until(bench.rests)
    disk = world.plug("blue").disk
    moments["prepare"] = await act(bench, "prepare", stick=disk, name="blue", check=True)
    switched = await act(bench, "switch", stick="blue", data="copy")
    # Little had changed, and nobody had counted beforehand what there is.
    switched.operation |= {"copiedBytes": 9, "copiedStoppedBytes": 9, "predictedBytes": None}
    moments["switch-copy"] = switched
    await rests(bench, "BOUND")
    moments["status-bound"] = of(bench, {}, {})
    moments["eject"] = await act(bench, "eject")
    world.pull("blue")
    await bench.until(lambda: bench.role()["candidates"] == [])
    world.plug("blue")
    await rests(bench, "BOUND")
    moments["too-early"] = of(bench, {}, await bench.node.hidden(None))
    world.now += 700
    moments["reclaim"] = await act(bench, "reclaim")


async def lose(bench: Bench, moments: dict[str, Moment]) -> None:
    """A stick with a serial is pulled out while it serves."""
    bench.world.internal_images = {"pause", "app"}
    bench.world.make("blue", serial="4C530001")
    await bench.until(bench.rests)
    devnode = bench.world.plug("blue").devnode
    await bench.until(lambda: bool(bench.role()["candidates"]))
    await bench.node.act("enroll", None, {"stick": devnode, "name": "blue"})
    await rests(bench, "BOUND")
    bench.world.pull("blue")
    await rests(bench, "INTERNAL")
    moments["status-lost"] = of(bench, {}, {})


@pytest.fixture(scope="module")
def moments() -> dict[str, Moment]:
    found: dict[str, Moment] = {}
    run(lambda bench: lead(bench, found))
    run(lambda bench: lose(bench, found))
    return found


class Terminal(io.StringIO):
    """One for both streams, that can show a bullet."""

    encoding = "utf-8"


class Person(io.StringIO):
    """Types y, which the terminal shows."""

    def readline(self, _size: int | None = -1) -> str:
        sys.stdout.write("y\n")
        return "y\n"


@pytest.fixture
def said(
    moments: dict[str, Moment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Gives the commands of a screen; what nodestoragectl writes, as on one terminal."""
    monkeypatch.setattr(ask, "somebody_is_there", lambda: True)
    monkeypatch.setattr(sys, "stdin", Person())
    with running(tmp_path / "socket") as server:
        monkeypatch.setenv(verb.SOCKET_VARIABLE, server.path)

        def give(name: str, commands: list[str]) -> list[str]:
            now = moments[name]
            service = server.service
            service.state = now.status
            service.act_reply, service.lies_hidden = now.reply, now.hidden
            service.history = [now.operation]
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


def test_every_screen_has_a_comparison(moments: dict[str, Moment]) -> None:
    assert list(screens()) == [
        "prepare", "switch-copy", "status-bound", "eject", "reclaim", "status-lost",
    ]  # fmt: skip
    assert set(screens()) <= set(moments)


@pytest.mark.parametrize("name", screens())
def test_a_screen_of_the_readme_is_the_program_s(name: str, said: Any) -> None:
    lines = screens()[name].splitlines()
    commands = [line[2:] for line in lines if line.startswith("$ ")]
    written = [shape(line) for line in said(name, commands)]
    left_out = [line for line in lines if line.startswith("   (")]
    shown = [shape(line) for line in lines if line not in left_out and not line.startswith("$ ")]
    if not left_out:
        assert shown == written
        return
    rest = iter(written)
    assert [line for line in shown if line not in rest] == [], written
    for count in re.findall(r"and (\d+) smaller", "".join(left_out)):
        assert len(written) - len(shown) == int(count)


def test_the_refusal_in_data_md_is_the_program_s(moments: dict[str, Moment]) -> None:
    early = moments["too-early"].hidden
    assert early["allowed"] is False
    shown = "\n".join(shape(line) for line in DATA.read_text().splitlines())
    assert f"\n{shape(early['message'])}\n{shape(early['hint'])}\n" in shown
