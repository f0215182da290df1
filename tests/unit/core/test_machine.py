"""The phase moves by the table and by nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from nodestoraged.core import machine
from nodestoraged.core.machine import advance, settle, trigger_of
from nodestoraged.model.errors import InternalError
from nodestoraged.model.mount import MountTable
from nodestoraged.model.operation import OperationKind, Stage
from nodestoraged.model.phase import TERMINAL, TRANSITIONS, Phase, Trigger
from nodestoraged.model.registry import Intent
from tests.unit.core.worlds import ROOT, device, entry, mounted, world

BLUE = device()
PAIRS = tuple(itertools.product(Phase, Trigger))


@pytest.mark.parametrize(("phase", "trigger"), [pair for pair in PAIRS if pair in TRANSITIONS])
def test_a_legal_pair_moves_as_the_table_says(phase, trigger):
    assert advance(phase, trigger) is TRANSITIONS[phase, trigger]


@pytest.mark.parametrize(("phase", "trigger"), [pair for pair in PAIRS if pair not in TRANSITIONS])
def test_an_illegal_pair_raises_and_changes_nothing(phase, trigger):
    before = dict(TRANSITIONS)
    with pytest.raises(InternalError, match=f"{trigger} cannot happen in {phase}"):
        advance(phase, trigger)
    assert before == TRANSITIONS


GONE = world(mounts=MountTable(mounts=(ROOT, mounted(BLUE))), gone=frozenset({BLUE.number}))
RUNNING = world(entry=entry(OperationKind.BIND))
GRACE = world(entry=entry(stage=Stage.GRACE))
FAILED = world(intent=Intent(failed=True))


@pytest.mark.parametrize(
    ("phase", "observation", "trigger"),
    [
        (Phase.SWITCHING, world(), Trigger.SETTLED_INTERNAL),
        (Phase.SWITCHING, world(BLUE, active=BLUE), Trigger.SETTLED_SLOT),
        (Phase.SWITCHING, world(intent=Intent(stopped=True)), Trigger.SETTLED_STOPPED),
        (Phase.BOUND, GONE, Trigger.SLOT_VANISHED),
        (Phase.BOUND, RUNNING, Trigger.BEGUN),
        (Phase.SWITCHING, GRACE, Trigger.SLOT_VANISHED),
        (Phase.LOST, RUNNING, Trigger.GRACE_OVER),
        (Phase.LOST, world(), Trigger.GRACE_OVER),
        (Phase.LOST, GRACE, Trigger.SLOT_VANISHED),
        (Phase.SWITCHING, FAILED, Trigger.ROLLBACK_FAILED),
        (Phase.FAILED, world(), Trigger.CLEARED),
    ],
)
def test_the_world_names_the_trigger(phase, observation, trigger):
    assert trigger_of(phase, observation) is trigger


@pytest.mark.parametrize(
    ("phase", "observation", "rests"),
    [
        (Phase.SWITCHING, world(), Phase.INTERNAL),
        (Phase.LOST, world(BLUE, active=BLUE), Phase.BOUND),
        (Phase.LOST, world(intent=Intent(stopped=True)), Phase.STOPPED),
        (Phase.FAILED, world(), Phase.INTERNAL),
        (Phase.FAILED, world(intent=Intent(stopped=True)), Phase.STOPPED),
        (Phase.BOUND, GRACE, Phase.LOST),
        (Phase.INTERNAL, RUNNING, Phase.SWITCHING),
    ],
)
def test_the_machine_rests_where_the_world_says(phase, observation, rests):
    assert settle(phase, observation) is rests


def test_every_phase_is_reached_and_can_be_left():
    assert {phase for phase, _ in TRANSITIONS} == set(Phase)
    assert set(TRANSITIONS.values()) == set(Phase)
    for phase in TERMINAL:
        assert any(
            target is not phase for (start, _), target in TRANSITIONS.items() if start is phase
        )


def test_a_table_that_never_rests_is_a_bug_that_says_so(monkeypatch):
    looping = {
        **TRANSITIONS,
        (Phase.INTERNAL, Trigger.SETTLED_INTERNAL): Phase.SWITCHING,
        (Phase.SWITCHING, Trigger.SETTLED_INTERNAL): Phase.INTERNAL,
    }
    monkeypatch.setattr(machine, "TRANSITIONS", looping)
    with pytest.raises(InternalError, match="does not come to rest"):
        settle(Phase.SWITCHING, replace(world()))
