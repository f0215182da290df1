"""The tour's screens: what nodestoragectl says of a node that was led the same way.

The node is simulated.  Numbers, devices and versions are a real machine's; all else is compared,
but for steps that the tour leaves out, which are counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden.screens import Give, Moment, act, marked, of, rests, shape, terminal
from tests.golden.test_readme_screens import lose
from tests.unit.engine.test_node import Bench, run

TOUR = Path(__file__).parents[2] / "docs" / "tour.md"
SCREENS = {name: text for name, text in marked(TOUR).items() if name != "doctor"}


async def lead(bench: Bench, moments: dict[str, Moment]) -> None:
    """A disk becomes blue, which serves; green stands by and takes over; then internal again."""
    world = bench.world
    world.internal_images = {"pause", "app"}
    world.make("blue", fstype=None, uuid=None, label=None, serial=None)
    world.make("green", serial=None)

    def now() -> Moment:
        return of(bench, {}, {})

    await rests(bench, "INTERNAL")
    moments["status-first"] = now()
    disk = world.plug("blue").disk
    moments["prepare"] = await act(bench, "prepare", stick=disk, name="blue")
    moments["list-prepared"] = now()
    moments["plan"] = now()
    moments["plan"].plan = dict(await bench.node.plan(None, "blue", None, "copy"))
    switched = await act(bench, "switch", stick="blue", data="copy")
    # Little was there beside the databases, which are copied while all is stopped.
    switched.operation |= {"copiedBytes": 9, "copiedStoppedBytes": 9}
    moments["switch-copy"] = switched
    await rests(bench, "BOUND")
    moments["status-bound"] = now()
    devnode = world.plug("green").devnode
    await bench.until(lambda: len(bench.role()["candidates"]) == 2)
    moments["list-second"] = moments["explain"] = now()
    known = json.dumps(moments["explain"].status).replace(devnode, "/dev/loop1")
    moments["explain"].status = json.loads(known)
    reply = await bench.node.act("enroll", None, {"stick": devnode, "name": "green"})
    moments["enroll"] = of(bench, reply, {})
    await bench.until(lambda: "standby" in json.dumps(bench.role()["candidates"]))
    moments["status-both"] = now()
    moments["eject"] = await act(bench, "eject")
    await rests(bench, "BOUND")
    moments["list-ejected"] = now()
    moments["show"] = Moment(now().status, {}, moments["eject"].operation, {})
    moments["switch-internal"] = await act(bench, "switch", stick="internal")
    await rests(bench, "INTERNAL")
    moments["status-wished"] = now()


@pytest.fixture(scope="module")
def moments() -> dict[str, Moment]:
    found: dict[str, Moment] = {}
    run(lambda bench: lead(bench, found))
    run(lambda bench: lose(bench, found))
    return found


@pytest.fixture
def give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Give]:
    with terminal(tmp_path / "socket", monkeypatch) as given:
        yield given


def test_every_screen_of_the_tour_has_a_comparison(moments: dict[str, Moment]) -> None:
    blocks = re.findall(r"(?m)^\$ nodestoragectl (?!doctor)", TOUR.read_text())
    assert len(SCREENS) == len(blocks)
    assert set(SCREENS) == set(moments)


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_of_the_tour_is_the_program_s(
    name: str, moments: dict[str, Moment], give: Give
) -> None:
    lines = SCREENS[name].splitlines()
    commands = [line[2:] for line in lines if line.startswith("$ ")]
    written = [shape(line) for line in give(moments[name], commands)]
    shown = [line for line in lines if not line.startswith("$ ")]
    at = 0
    for line in shown:
        more = re.fullmatch(r"   \((\d+) more\)", line)
        if more:
            at += int(more[1])
            continue
        assert written[at] == shape(line)
        at += 1
    assert at == len(written)
