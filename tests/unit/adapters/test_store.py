"""Rules for what is remembered: readable, whole, and never guessed."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodestoraged.adapters import store as module
from nodestoraged.adapters.store import FileStore
from nodestoraged.model.device import Identity
from nodestoraged.model.errors import StepError
from nodestoraged.model.registry import Attempt, Intent, Marked, Registry, Stick, Wish
from tests.unit.adapters.test_records import FLOATS, TEXT, identities, incarnations

ROLE = "containerd"
BLUE = Stick(
    name="blue",
    identity=Identity(uuid="3f2a-11", size_bytes=5 << 30, serial="0781:5583:4C530001"),
    role=ROLE,
    order=1,
    enrolled_at="2026-01-01T00:00:00.000Z",
)

sticks = st.builds(
    Stick,
    name=TEXT,
    identity=identities,
    role=TEXT,
    order=st.integers(0, 99),
    enrolled_at=TEXT,
    delisted=st.booleans(),
)
marks = st.lists(st.builds(Marked, incarnation=incarnations, boot_id=TEXT), max_size=2).map(tuple)
intents = st.builds(
    Intent,
    wish=st.none() | st.builds(Wish, identity=st.none() | identities, since=TEXT, boot_id=TEXT),
    paused_since=st.none() | TEXT,
    failed=st.booleans(),
    owed_units=st.lists(TEXT, max_size=2).map(tuple),
    last_active=st.none() | identities,
    attempts=st.lists(st.builds(Attempt, uuid=TEXT, at=FLOATS, boot_id=TEXT), max_size=2).map(
        tuple
    ),
    ejected=marks,
    patient=marks,
    bound_at=st.none() | FLOATS,
)


def no_complaint(text: str) -> None:
    raise AssertionError(text)


def test_a_node_without_memory_is_empty_and_reading_writes_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path, no_complaint)
    assert store.empty
    assert store.registry() == Registry()
    assert store.intent(ROLE) == Intent()
    assert list(tmp_path.iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(sticks, max_size=3).map(tuple), intents, intents)
def test_everything_comes_back_as_it_went(
    tmp_path: Path, found: tuple[Stick, ...], one: Intent, two: Intent
) -> None:
    store = FileStore(tmp_path, no_complaint)
    store.save_registry(Registry(sticks=found))
    store.save_intent("a", one)
    store.save_intent("b", two)
    again = FileStore(tmp_path, no_complaint)
    assert again.registry() == Registry(sticks=found)
    assert (again.intent("a"), again.intent("b")) == (one, two)


def test_the_registry_is_toml_for_people_and_stays_the_same_for_the_same_sticks(
    tmp_path: Path,
) -> None:
    store = FileStore(tmp_path, no_complaint)
    store.save_registry(Registry(sticks=(BLUE,)))
    text = (tmp_path / "sticks.toml").read_text()
    assert text.startswith("# The sticks that this node trusts.")
    assert tomllib.loads(text) == {
        "schema": 1,
        "stick": [
            {
                "name": "blue",
                "role": ROLE,
                "order": 1,
                "enrolled_at": "2026-01-01T00:00:00.000Z",
                "delisted": False,
                "generation": 0,
                "uuid": "3f2a-11",
                "size_bytes": 5 << 30,
                "serial": "0781:5583:4C530001",
            }
        ],
    }
    store.save_registry(Registry())
    store.save_registry(Registry(sticks=(BLUE,)))
    assert (tmp_path / "sticks.toml").read_text() == text


def test_an_unchanged_value_is_not_written_again(tmp_path: Path) -> None:
    store = FileStore(tmp_path, no_complaint)
    store.save_registry(Registry(sticks=(BLUE,)))
    store.save_intent(ROLE, Intent(failed=True))
    before = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    store.save_registry(Registry(sticks=(BLUE,)))
    store.save_intent(ROLE, Intent(failed=True))
    assert {path.name: path.stat().st_ino for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"stick = 5",
        b"[[stick]",
        b"\xff\xfe",
        b"schema = 2\nstick = []\n",
        b"schema = 1\nstick = [5]\n",
        b"schema = 1\n[stick]\nname = 'blue'\n",
        b"schema = 1\n[[stick]]\nname = 'b'\nuuid = 5\nrole = 'r'\norder = 1\nenrolled_at = ''\n",
        b"schema = 1\n[[stick]]\nname = 'blue'\n",
    ],
)
def test_a_registry_that_cannot_be_read_is_said_and_kept_and_trusts_nobody(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "sticks.toml"
    path.write_bytes(content)
    said: list[str] = []
    store = FileStore(tmp_path, said.append)
    assert store.registry() == Registry()
    assert len(said) == 1
    assert (tmp_path / "sticks.toml.broken").read_bytes() == content
    store.save_registry(Registry(sticks=(BLUE,)))
    assert (tmp_path / "sticks.toml.broken").read_bytes() == content
    path.write_bytes(b"again")
    FileStore(tmp_path, said.append)
    assert (tmp_path / "sticks.toml.broken").read_bytes() == content
    assert (tmp_path / "sticks.toml.broken2").read_bytes() == b"again"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"schema":1,"roles":[]}', '{"schema":2,"roles":{}}',
                '{"schema":1,"roles":{"containerd":{"failed":"no"}}}']
)  # fmt: skip
def test_intents_that_cannot_be_read_are_said_and_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / "intent.json").write_text(content)
    said: list[str] = []
    assert FileStore(tmp_path, said.append).intent(ROLE) == Intent()
    assert len(said) == 1
    assert (tmp_path / "intent.json.broken").read_text() == content


def test_a_full_disk_leaves_the_old_file_and_the_old_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path, no_complaint)
    store.save_registry(Registry(sticks=(BLUE,)))
    real = os.write
    calls: list[int] = []

    def write(fd: int, data: bytes) -> int:
        if calls:
            raise OSError(28, "No space left on device")
        calls.append(1)
        return real(fd, data[:10])  # what a nearly full disk does, without an error

    monkeypatch.setattr(module.os, "write", write)
    with pytest.raises(StepError) as caught:
        store.save_registry(Registry())
    assert caught.value.reason == "StateNotSaved"
    assert store.registry() == Registry(sticks=(BLUE,))
    assert FileStore(tmp_path, no_complaint).registry() == Registry(sticks=(BLUE,))


def test_state_is_readable_by_root_only(tmp_path: Path) -> None:
    store = FileStore(tmp_path, no_complaint)
    store.save_registry(Registry(sticks=(BLUE,)))
    store.save_intent(ROLE, Intent(failed=True))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
