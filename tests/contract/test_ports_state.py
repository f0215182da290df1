"""What every journal and every store keeps to, on a disk or in the simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nodestoraged.adapters.journal import FileJournal
from nodestoraged.adapters.store import FileStore
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.device import Identity
from nodestoraged.model.operation import (
    INTERNAL_ROOT,
    Operation,
    OperationKind,
    Result,
    Stage,
)
from nodestoraged.model.registry import Intent, Registry, Stick
from nodestoraged.ports import Journal, Store
from nodestoraged.sim.adapters import ports
from nodestoraged.sim.world import World

ROLE = "containerd"


@dataclass(frozen=True)
class State:
    """What a start of the daemon finds: each call is another start on the same disk."""

    journal: Callable[[], Journal]
    store: Callable[[], Store]


def on_disk(directory: Path) -> State:
    def fail(text: str) -> None:
        raise AssertionError(text)

    return State(lambda: FileJournal(directory, fail), lambda: FileStore(directory, fail))


def simulated(_directory: Path) -> State:
    world = World(RoleConfig(name=ROLE))
    return State(lambda: ports(world).journal, lambda: ports(world).store)


@pytest.fixture(params=[on_disk, simulated], ids=["files", "sim"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> State:
    make: Callable[[Path], State] = request.param
    return make(tmp_path)


def operation(number: str) -> Operation:
    return Operation(
        id=number,
        role=ROLE,
        kind=OperationKind.BIND,
        source=INTERNAL_ROOT,
        target=INTERNAL_ROOT,
        boot_id="b",
        started_at=1.0,
        started_time="2026-01-01T00:00:00.000Z",
        ran_before=(),
        automatic=True,
    )


def test_nothing_is_open_and_nothing_is_past_at_first(state: State) -> None:
    assert state.journal().open_operation(ROLE) is None
    assert state.journal().history(ROLE, 5) == ()
    assert state.store().registry() == Registry()
    assert state.store().intent(ROLE) == Intent()


def test_an_operation_is_open_from_its_first_word_to_its_result(state: State) -> None:
    journal = state.journal()
    one = operation(journal.next_id())
    for step in (one, replace(one, touched=True), replace(one, stage=Stage.BACK)):
        journal.write(step)
        assert journal.open_operation(ROLE) == step
        assert state.journal().open_operation(ROLE) == step
        assert journal.history(ROLE, 5) == ()
    closed = replace(one, result=Result.ROLLED_BACK, reason="FsckFailed")
    journal.write(closed)
    assert journal.open_operation(ROLE) is None
    assert state.journal().open_operation(ROLE) is None
    assert state.journal().history(ROLE, 5) == (closed,)


def test_an_operation_without_an_open_word_is_closed_all_the_same(state: State) -> None:
    closed = replace(operation("1"), result=Result.INTERRUPTED)
    state.journal().write(closed)
    assert state.journal().history(ROLE, 5) == (closed,)


def test_the_history_is_newest_first_and_as_long_as_asked(state: State) -> None:
    journal = state.journal()
    ids = []
    for _ in range(4):
        ids.append(journal.next_id())
        journal.write(replace(operation(ids[-1]), result=Result.DONE))
    assert [each.id for each in journal.history(ROLE, 9)] == ids[::-1]
    assert [each.id for each in journal.history(ROLE, 2)] == ids[:1:-1]
    assert journal.history(ROLE, 0) == ()


def test_ids_count_up_and_are_never_used_twice(state: State) -> None:
    seen: list[int] = []
    for turn in range(6):
        journal = state.journal()
        number = journal.next_id()
        seen.append(int(number))
        journal.write(operation(number))
        if turn % 2:
            journal.write(replace(operation(number), result=Result.DONE))
        else:
            journal.write(replace(operation(number), result=Result.ABORTED))
    assert seen == sorted(set(seen))


def test_what_is_saved_is_there_at_the_next_start(state: State) -> None:
    stick = Stick(name="blue", identity=Identity(uuid="u"), role=ROLE, order=1, enrolled_at="then")
    store = state.store()
    store.save_registry(Registry(sticks=(stick,)))
    store.save_intent(ROLE, Intent(failed=True, owed_units=("kubelet.service",)))
    store.save_intent("other", Intent(stopped=True))
    for each in (store, state.store()):
        assert each.registry() == Registry(sticks=(stick,))
        assert each.intent(ROLE) == Intent(failed=True, owed_units=("kubelet.service",))
        assert each.intent("other") == Intent(stopped=True)
    store.save_registry(Registry())
    store.save_intent(ROLE, Intent())
    assert state.store().registry() == Registry()
    assert state.store().intent(ROLE) == Intent()
