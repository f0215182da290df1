"""Rules for a manifest as JSON: every field fits, or nothing is believed."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from nodestoraged.adapters import records
from nodestoraged.model.manifest import Manifest, Quality
from nodestoraged.worker import manifest
from nodestoraged.worker.failure import OperationFailed

QUALITY = Quality(
    checked_at="2026-01-31T12:00:00.000Z", capacity_bytes=1 << 34, write_rate=1, read_rate=2,
    small_writes_per_second=3.5, fsync_seconds=0.25, slow=True,
)  # fmt: skip
FULL = Manifest(
    id="d0", generation=3, complete=False, node="n", role="r", created="c", origin="/mnt/ä",
    activated="a", quality=QUALITY,
)  # fmt: skip


def parsed(change: dict[str, object]) -> str | None:
    """The reason why the manifest with `change` is not believed."""
    data = json.loads(manifest.encode(records.dump(FULL)))  # type: ignore[arg-type]
    try:
        manifest.parse(json.dumps({**data, **change}).encode())
    except OperationFailed as error:
        return error.reason
    return None


def test_every_field_of_the_model_goes_there_and_back() -> None:
    written = manifest.encode(records.dump(FULL))  # type: ignore[arg-type]
    assert records.load(Manifest, manifest.parse(written)) == FULL
    stored = json.loads(written)
    assert set(stored) == {"schema", *(field.name for field in fields(Manifest))}
    assert set(stored["quality"]) == {field.name for field in fields(Quality)}
    assert stored["schema"] == 1


def test_fields_of_a_later_version_are_dropped() -> None:
    assert parsed({"colour": "blue"}) is None
    data = {**json.loads(manifest.encode(records.dump(FULL))), "colour": 1}  # type: ignore[arg-type]
    assert "colour" not in manifest.parse(json.dumps(data).encode())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"activated": None, "quality": None}, None),
        ({"schema": 2}, "ManifestUnknown"),
        ({"schema": 0}, "ManifestUnknown"),
        ({"schema": None}, "ManifestBroken"),
        ({"schema": True}, "ManifestBroken"),
        ({"schema": "1"}, "ManifestBroken"),
        ({"id": None}, "ManifestBroken"),
        ({"id": 7}, "ManifestBroken"),
        ({"id": "a\0b"}, "ManifestBroken"),
        ({"id": "\ud800"}, "ManifestBroken"),
        ({"id": "x" * 5000}, "ManifestBroken"),
        ({"generation": True}, "ManifestBroken"),
        ({"generation": -1}, "ManifestBroken"),
        ({"generation": 1.0}, "ManifestBroken"),
        ({"generation": 1 << 63}, "ManifestBroken"),
        ({"complete": 1}, "ManifestBroken"),
        ({"complete": None}, "ManifestBroken"),
        ({"activated": 5}, "ManifestBroken"),
        ({"quality": []}, "ManifestBroken"),
        ({"quality": {}}, "ManifestBroken"),
        ({"quality": {"checked_at": "t", "capacity_bytes": 1, "slow": False}}, None),
        ({"quality": {"checked_at": "t", "capacity_bytes": 1, "slow": None}}, "ManifestBroken"),
        ({"quality": {"checked_at": "t", "capacity_bytes": "1", "slow": False}}, "ManifestBroken"),
    ],
)
def test_a_field_that_does_not_fit_breaks_the_manifest(
    change: dict[str, object], reason: str | None
) -> None:
    assert parsed(change) == reason


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff", b"{}", b"[" * 60_000, b"9" * 9999, b'{"a":NaN}']
)
def test_what_is_no_manifest_is_broken(data: bytes) -> None:
    with pytest.raises(OperationFailed) as caught:
        manifest.parse(data)
    assert caught.value.reason == "ManifestBroken"


def test_a_wrong_wish_is_a_fault_of_ours() -> None:
    with pytest.raises(OperationFailed) as caught:
        manifest.encode({"id": "d0"})
    assert caught.value.reason == "BadArguments"
