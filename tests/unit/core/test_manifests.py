"""What becomes of a manifest when a copy begins, when a stick serves, when it is adopted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.core import forecast, manifests
from nodestoraged.core.sizes import size
from nodestoraged.model.config import DataPolicy
from nodestoraged.model.manifest import Manifest
from nodestoraged.model.operation import OperationKind, Result
from tests.unit.core.worlds import entry

HERE = manifests.Here(node="here", role="containerd", time="2026-05-01T00:00:00Z")
THEIRS = Manifest(
    id="theirs",
    generation=7,
    complete=True,
    node="elsewhere",
    role="other",
    created="2025-01-01T00:00:00Z",
    origin="their disk",
)


def test_a_fresh_manifest_has_served_nowhere():
    made = manifests.fresh("new", HERE, origin="empty", complete=True)
    assert (made.id, made.generation, made.complete) == ("new", 0, True)
    assert (made.node, made.role, made.created) == ("here", "containerd", HERE.time)
    assert made.activated is None


def test_a_copy_that_has_begun_makes_what_was_there_count_no_more():
    begun = manifests.begun(THEIRS, "unused", HERE, origin="internal")
    assert begun == replace(
        THEIRS, complete=False, node="here", role="containerd", origin="internal"
    )
    first = manifests.begun(None, "new", HERE, origin="blue")
    assert (first.id, first.complete, first.origin) == ("new", False, "blue")


@pytest.mark.parametrize(("known", "generation"), [(None, 1), (THEIRS, 8)])
def test_an_activation_is_one_generation_more_and_makes_the_stick_ours(known, generation):
    active = manifests.activated(known, "new", HERE)
    assert (active.generation, active.complete, active.activated) == (generation, True, HERE.time)
    assert (active.node, active.role) == ("here", "containerd")
    assert active.id == (known.id if known else "new")


@pytest.mark.parametrize(
    ("known", "at_least", "generation"), [(None, 0, 0), (THEIRS, 3, 7), (THEIRS, 9, 9)]
)
def test_an_adopted_stick_is_no_older_than_what_this_node_knows_of_it(known, at_least, generation):
    ours = manifests.adopted(known, "theirs", HERE, at_least=at_least)
    assert (ours.generation, ours.node, ours.id) == (generation, "here", "theirs")
    assert ours.origin == (known.origin if known else "by hand")


# -- forecasts and sizes ----------------------------------------------------------------------


def took(kind: OperationKind, seconds: float | None, result: Result = Result.DONE):
    stopped = None if seconds is None else 10.0
    proven = None if seconds is None else 10.0 + seconds
    return replace(entry(kind), stopped_at=stopped, proven_at=proven, result=result)


BIND, SWITCH, EJECT = OperationKind.BIND, OperationKind.SWITCHOVER, OperationKind.EJECT


@pytest.mark.parametrize(
    ("history", "kind", "predicted"),
    [
        ([], BIND, None),
        ([took(BIND, 3.0)], BIND, 3.0),
        ([took(BIND, 3.0), took(BIND, 9.0)], BIND, 3.0),
        ([took(SWITCH, 4.0), took(BIND, 3.0)], BIND, 3.0),
        ([took(SWITCH, 4.0)], BIND, 4.0),
        ([took(EJECT, 4.0)], BIND, None),
        ([took(SWITCH, 4.0)], EJECT, None),
        ([took(BIND, 4.0, Result.ROLLED_BACK)], BIND, None),
        ([took(BIND, None)], BIND, None),
    ],
)
def test_nothing_is_predicted_that_was_not_measured(history, kind, predicted):
    assert forecast.downtime(history, kind, DataPolicy.KEEP) == predicted


def test_a_move_with_a_copy_tells_nothing_of_one_without():
    copied = replace(took(BIND, 9.0), data=DataPolicy.COPY)
    assert forecast.downtime([copied], BIND, DataPolicy.KEEP) is None
    assert forecast.downtime([copied], SWITCH, DataPolicy.COPY) == 9.0


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1 << 10, "1.0 KiB"),
        (5 << 20, "5.0 MiB"),
        (1023 << 20, "1023.0 MiB"),
        (3 << 29, "1.5 GiB"),
    ],
)
def test_a_size_is_in_the_unit_that_fits(number, words):
    assert size(number) == words
