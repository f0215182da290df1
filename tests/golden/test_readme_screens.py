"""README's screens, and one of docs/data.md: what nodestoragectl says of a node led the same way.

The node is simulated. Numbers, devices and versions are a real machine's; all else is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden.screens import Give, Moment, act, marked, of, rests, shape, terminal
from tests.unit.engine.test_node import Bench, run

TOP = Path(__file__).parents[2]
README = TOP / "README.md"
DATA = TOP / "docs" / "data.md"


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


@pytest.fixture
def give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Give]:
    with terminal(tmp_path / "socket", monkeypatch) as given:
        yield given


def test_every_screen_has_a_comparison(moments: dict[str, Moment]) -> None:
    assert list(marked(README)) == [
        "prepare", "switch-copy", "status-bound", "eject", "reclaim", "status-lost",
    ]  # fmt: skip
    assert set(marked(README)) <= set(moments)


@pytest.mark.parametrize("name", marked(README))
def test_a_screen_of_the_readme_is_the_program_s(
    name: str, moments: dict[str, Moment], give: Give
) -> None:
    lines = marked(README)[name].splitlines()
    commands = [line[2:] for line in lines if line.startswith("$ ")]
    written = [shape(line) for line in give(moments[name], commands)]
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
