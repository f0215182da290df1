"""Rules for what the shells' completions read: as the status is, whole, and for the group alone."""

from __future__ import annotations

import asyncio
import grp
import os
import stat
from pathlib import Path

import pytest

from nodestoraged.adapters.offers import OfferFiles, keep_offers

Json = dict[str, object]


class Node:
    """A status that is changed by hand."""

    def __init__(self) -> None:
        self.generation = 1
        self.candidates: list[Json] = []
        self.news = asyncio.Event()

    def status(self) -> Json:
        return {"generation": self.generation, "roles": [{"candidates": self.candidates}]}

    async def changed(self, generation: int) -> None:
        while self.generation == generation:
            await self.news.wait()

    def operations(self, role: str | None, limit: int) -> list[Json]:
        assert role is None
        return [{"id": number} for number in range(30, 0, -1)][:limit]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_the_files_follow_the_status(tmp_path: Path) -> None:
    async def scenario() -> None:
        node = Node()
        keeper = asyncio.create_task(keep_offers(node, OfferFiles(tmp_path, "nobody-s")))
        await asyncio.sleep(0)
        assert lines(tmp_path / "sticks") == []
        node.candidates = [
            {"name": "blue", "path": None, "devnode": "/dev/sda1"},
            {"name": None, "path": None, "devnode": "/dev/sdb1"},
            {"name": None, "path": "/mnt/slot", "devnode": "/dev/sdc1"},
        ]
        node.generation = 2
        node.news.set()
        await asyncio.sleep(0.01)
        assert lines(tmp_path / "sticks") == ["blue", "/dev/sdb1", "/mnt/slot"]
        assert lines(tmp_path / "operations") == [str(number) for number in range(30, 10, -1)]
        keeper.cancel()

    asyncio.run(scenario())


def test_the_same_words_are_not_written_again_and_new_ones_come_whole(tmp_path: Path) -> None:
    files = OfferFiles(tmp_path, "nobody-s")
    files.write("sticks", ["blue"])
    first = (tmp_path / "sticks").stat().st_ino
    with (tmp_path / "sticks").open() as reader:
        files.write("sticks", ["blue"])
        assert (tmp_path / "sticks").stat().st_ino == first
        files.write("sticks", ["green", "blue"])
        assert reader.read() == "blue\n"
    assert lines(tmp_path / "sticks") == ["green", "blue"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sticks"]


def test_a_name_of_two_lines_is_not_offered(tmp_path: Path) -> None:
    OfferFiles(tmp_path, "nobody-s").write("sticks", ["a\nb", "", "blue", "\x1b[2J", "blue"])
    assert lines(tmp_path / "sticks") == ["blue"]


@pytest.mark.parametrize(("group", "mode"), [("nobody-s", 0o600), ("daemon", 0o640)])
def test_who_may_read_is_who_may_ask(tmp_path: Path, group: str, mode: int) -> None:
    before = os.umask(0o077)
    try:
        OfferFiles(tmp_path, group).write("sticks", ["blue"])
    finally:
        os.umask(before)
    found = (tmp_path / "sticks").stat()
    assert stat.S_IMODE(found.st_mode) == mode
    if mode == 0o640:
        assert found.st_gid == grp.getgrnam(group).gr_gid


def test_a_directory_that_takes_nothing_and_a_link_in_the_way_harm_nobody(tmp_path: Path) -> None:
    OfferFiles(tmp_path / "gone", "nobody-s").write("sticks", ["blue"])
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".sticks").symlink_to(victim)
    OfferFiles(tmp_path, "nobody-s").write("sticks", ["blue"])
    assert victim.read_text() == "mine"
    assert lines(tmp_path / "sticks") == ["blue"]
