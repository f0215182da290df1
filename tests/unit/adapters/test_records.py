"""Rules for values on their way to a file and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodestoraged.adapters import records
from nodestoraged.model.device import DeviceNumber, Identity, Incarnation
from nodestoraged.model.operation import (
    Operation,
    OperationKind,
    Result,
    RootRef,
    Stage,
    StepRecord,
)
from nodestoraged.model.registry import Intent

TEXT = st.text(max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)

numbers = st.builds(DeviceNumber, st.integers(0, 4095), st.integers(0, 1 << 20))
incarnations = st.builds(
    Incarnation, devnode=TEXT, number=numbers, diskseq=st.none() | st.integers(0, 1 << 62)
)
identities = st.builds(
    Identity,
    uuid=TEXT,
    partuuid=st.none() | TEXT,
    size_bytes=st.none() | st.integers(0, 1 << 60),
    serial=st.none() | TEXT,
)
roots = st.builds(
    RootRef, identity=st.none() | identities, name=TEXT, incarnation=st.none() | incarnations
)
step_records = st.builds(
    StepRecord, step=TEXT, started_at=FLOATS, seconds=st.none() | FLOATS, error=st.none() | TEXT
)
operations = st.builds(
    Operation,
    id=st.integers(1, 999_999).map(str),
    role=TEXT,
    kind=st.sampled_from(OperationKind),
    source=roots,
    target=roots,
    boot_id=TEXT,
    started_at=FLOATS,
    started_time=TEXT,
    ran_before=st.tuples(TEXT, TEXT),
    automatic=st.booleans(),
    stage=st.sampled_from(Stage),
    grace_until=st.none() | FLOATS,
    result=st.none() | st.sampled_from(Result),
    reason=st.none() | TEXT,
    message=TEXT,
    steps=st.lists(step_records, max_size=3).map(tuple),
)


@given(operations)
def test_an_operation_comes_back_as_it_went(operation: Operation) -> None:
    text = json.dumps(records.dump(operation))
    assert records.load(Operation, json.loads(text)) == operation


def test_a_field_of_a_newer_version_is_dropped_and_one_that_is_missing_has_its_default() -> None:
    intent = records.load(Intent, {"paused_since": "then", "of_tomorrow": {"a": [1]}})
    assert intent == Intent(paused_since="then")


def test_a_failure_that_an_older_version_wrote_down_is_one_still() -> None:
    written = {"availability": "NO_CHANGES", "failed": True, "failure": "both", "stopped": False}
    assert records.load(Intent, written) == Intent(failed=True, failure="both")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Identity, {"uuid": 5}),
        (Identity, {"uuid": None}),
        (Identity, {}),
        (Identity, []),
        (Identity, {"uuid": "a", "size_bytes": "5"}),
        (Identity, {"uuid": "a", "size_bytes": True}),
        (Intent, {"owed_units": "containerd.service"}),
        (Intent, {"owed_units": [1]}),
        (Intent, {"failed": 1}),
        (Intent, {"wash": {"tier": "SOME", "identity": None, "boot_id": None}}),
        (Incarnation, {"devnode": "/dev/sda", "number": [8], "diskseq": 1}),
        (Incarnation, {"devnode": "/dev/sda", "number": ["8", "1"], "diskseq": 1}),
        (Incarnation, {"devnode": "/dev/sda", "number": "81", "diskseq": 1}),
    ],
)
def test_data_of_another_shape_is_refused(kind: type, data: object) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        records.load(kind, data)


def test_what_is_no_record_is_refused() -> None:
    with pytest.raises(TypeError):
        records.dump({1, 2})
