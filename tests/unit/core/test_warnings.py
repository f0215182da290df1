"""What goes well now and may not go well later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from nodestoraged.core import report, warnings, words
from nodestoraged.model.config import DataPolicy, Fallback, RoleConfig
from nodestoraged.model.copy import CopyPass, CopyProgress
from nodestoraged.model.manifest import Quality
from nodestoraged.model.mount import MountTable
from nodestoraged.model.operation import RootRef, StepRecord
from nodestoraged.model.view import View
from nodestoraged.sim.node import SimNode

GIB = 1 << 30


@pytest.fixture
def view() -> Iterator[View]:
    """Blue serves, 8 GiB of it in use, and is known to be slow."""
    node = SimNode(RoleConfig(name="containerd"))
    node.world.make("blue")
    device = node.world.plug("blue")
    node.settle()
    node.ask("enroll", stick=device.devnode, name="blue")
    told = node.world.media["blue"].manifest
    assert told is not None
    slow = Quality(checked_at="then", capacity_bytes=16 * GIB, write_rate=7, slow=True)
    node.world.media["blue"].manifest = replace(told, quality=slow)
    node.restart_daemon()
    yield node.view
    node.close()


def reasons(view: View) -> list[str]:
    return [warning["reason"] for warning in warnings.of(view)]


def test_a_fallback_that_would_fill_the_internal_disk_is_told_before_the_slow_stick(view):
    full = replace(view, internal_space=(64 * GIB, 8 * GIB))
    assert reasons(full) == ["FallbackFull", "SlowStick"]
    assert warnings.of(full)[0]["message"] == (
        "a fallback to internal has 8.0 GiB for 8.0 GiB of images"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"internal_space": (64 * GIB, 9 * GIB)},
        {"internal_space": None},
        {"proof": None},
        {"role": RoleConfig(name="containerd", fallback=(Fallback.STANDBY,))},
    ],
)
def test_what_fits_or_is_not_known_or_never_happens_is_no_warning(view, changes):
    narrow = replace(view, internal_space=(64 * GIB, 8 * GIB))
    assert "FallbackFull" not in reasons(replace(narrow, **changes))


def test_a_proof_without_a_capacity_says_nothing_of_space(view):
    proof = replace(view.proof, capacity_bytes=None)
    assert reasons(replace(view, internal_space=(1, 0), proof=proof)) == ["SlowStick"]


def test_a_stick_that_is_not_slow_or_does_not_serve_is_no_warning(view):
    inspected = view.observation.inspections[0]
    manifest = inspected.inspection.manifest
    assert manifest is not None
    quick = replace(manifest, quality=replace(manifest.quality, slow=False))
    for told in (quick, replace(manifest, quality=None), None):
        inspection = replace(inspected.inspection, manifest=told)
        observation = replace(
            view.observation, inspections=(replace(inspected, inspection=inspection),)
        )
        assert reasons(replace(view, observation=observation)) == []


# -- the same facts in the report -------------------------------------------------------------


def test_the_report_tells_what_a_stick_says_of_itself(view):
    told = report.role(view, {})
    assert told["active"]["generation"] == 1
    assert (told["active"]["origin"], told["active"]["complete"]) == ("by hand", True)
    assert told["active"]["quality"]["writeRate"] == 7
    assert told["active"]["availableBytes"] == 8 * GIB
    assert told["candidates"][0]["generation"] == 1
    assert [warning["reason"] for warning in told["warnings"]] == ["SlowStick"]


def test_a_broken_database_asks_for_a_person_and_offers_the_gentlest_tier(view):
    broken = replace(view, database_failure="meta.db: invalid page type")
    attention = report.role(broken, {})["attention"]
    assert (attention["reason"], attention["message"]) == (
        "DatabaseCorrupt",
        "meta.db: invalid page type",
    )
    assert attention["hint"]["command"] == "nodestoragectl powerwash --containers"


def test_a_copy_is_told_with_its_progress_and_afterwards_with_its_truth(view):
    assert view.last is not None
    running = replace(
        view.last,
        result=None,
        data=DataPolicy.COPY,
        progress=CopyProgress(
            stage=CopyPass.WARM,
            bytes_done=5,
            bytes_total=10,
            files_done=1,
            files_total=2,
            bytes_per_second=2.4,
            eta_seconds=2.04,
        ),
    )
    told = report.operation(running)
    assert told["data"] == "copy"
    assert told["progress"] == {
        "pass": "warm",
        "bytesDone": 5,
        "bytesTotal": 10,
        "filesDone": 1,
        "filesTotal": 2,
        "bytesPerSecond": 2,
        "etaSeconds": 2.0,
    }
    counting = replace(running, progress=CopyProgress(stage=CopyPass.FINAL))
    assert report.operation(counting)["progress"]["etaSeconds"] is None
    over = replace(running, progress=None, copied_bytes=7, copied_stopped_bytes=1)
    told = report.operation(over)
    assert (told["progress"], told["copiedBytes"], told["copiedStoppedBytes"]) == (None, 7, 1)


# -- the line of the service manager ------------------------------------------------------------


def test_one_line_says_where_the_root_is_or_what_is_being_done(view: View) -> None:
    assert view.operation is None
    assert words.one_line(view) == "containerd: BOUND to blue"
    bare = replace(view, observation=replace(view.observation, mounts=MountTable()))
    assert words.one_line(bare) == "containerd: BOUND"
    assert view.last is not None
    begun = replace(view.last, result=None, target=RootRef(identity=None, name="green"), steps=())
    assert words.one_line(replace(view, operation=begun)).endswith(f"{begun.kind} to green, begun")
    step = StepRecord(step="pods stopped", started_at=1.0)
    running = replace(view, operation=replace(begun, steps=(step,)))
    assert words.one_line(running).endswith("to green, pods stopped")
    progress = CopyProgress(
        stage=CopyPass.WARM, bytes_done=1 << 20, bytes_total=3 << 20, bytes_per_second=2048.0
    )
    copying = replace(view, operation=replace(begun, progress=progress))
    assert words.one_line(copying) == (
        "containerd: copying to green, 1.0 MiB of 3.0 MiB, 2.0 KiB/s"
    )
