"""What an open journal entry asks for at a start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.core.recovery import Recovery, recover
from nodestoraged.model.mount import MountTable
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import INTERNAL_ROOT, OperationKind, Stage
from tests.unit.core.worlds import ROOT, STOPPED, device, entry, mounted, root_of, world

BLUE, GREEN = device(), device("green", 2)
SWITCH = entry(OperationKind.SWITCHOVER, source=root_of(BLUE), target=root_of(GREEN))
BIND = entry(OperationKind.BIND, target=root_of(BLUE))
RETURN = entry(OperationKind.RETURN, source=root_of(BLUE))
FAILOVER = entry(OperationKind.FAILOVER, source=root_of(BLUE))
SWAP = entry(OperationKind.SWAP, source=root_of(BLUE), target=root_of(GREEN))


def on(each=None, **facts: object) -> Observation:
    return world(BLUE, GREEN, active=each, **facts)


def dead(**facts: object) -> Observation:
    table = MountTable(mounts=(ROOT, mounted(BLUE)))
    return world(mounts=table, gone=frozenset({BLUE.number}), **facts)


@pytest.mark.parametrize(
    ("observation", "way"),
    [
        (on(), Recovery.NOTHING),
        (on(entry=replace(SWITCH, boot_id="boot-0")), Recovery.CLOSE),
        (on(entry=replace(FAILOVER, stage=Stage.GRACE)), Recovery.WAIT),
        (on(GREEN, entry=replace(SWITCH, stage=Stage.LEFT)), Recovery.PROVE),
        (dead(entry=replace(SWITCH, stage=Stage.LEFT)), Recovery.BACK),
        (dead(entry=replace(FAILOVER, stage=Stage.LEFT)), Recovery.CONTAIN),
        # On the way: the source still serves, or nothing does, or the fence is still up.
        (on(BLUE, entry=SWITCH), Recovery.BACK),
        (on(entry=SWITCH, fence_up=True, units=STOPPED), Recovery.BACK),
        (on(GREEN, entry=SWITCH, fence_up=True, units=STOPPED), Recovery.BACK),
        (on(entry=BIND), Recovery.BACK),
        (on(GREEN, entry=replace(SWITCH, stage=Stage.BACK)), Recovery.BACK),
        # Arrived: the target serves and the fence is down.
        (on(GREEN, entry=SWITCH), Recovery.PROVE),
        (on(entry=RETURN), Recovery.PROVE),
        (on(entry=RETURN, units=STOPPED), Recovery.BACK),
        # A loss only goes on.
        (dead(entry=FAILOVER), Recovery.CONTAIN),
        (on(entry=FAILOVER, fence_up=True, units=STOPPED), Recovery.CONTAIN),
        (on(entry=FAILOVER), Recovery.PROVE),
        (on(GREEN, entry=SWAP), Recovery.PROVE),
        (on(GREEN, entry=SWAP, fence_up=True), Recovery.CONTAIN),
        (on(entry=replace(RETURN, target=INTERNAL_ROOT, stage=Stage.BACK)), Recovery.BACK),
    ],
)
def test_an_open_entry_is_dealt_with(observation, way):
    assert recover(observation) is way
