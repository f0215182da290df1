"""Work beside the loop: prepare, adopt, reclaim; at each effect everything that can go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from nodestoraged.engine import desk
from nodestoraged.engine.errands import Errand, Errands
from nodestoraged.model.config import DataPolicy, Trust
from nodestoraged.model.copy import CopyPass, CopyProgress
from nodestoraged.model.errors import (
    NodeStorageError,
    NotFoundError,
    RefusedError,
    RequestError,
    StepError,
)
from nodestoraged.model.manifest import Manifest
from nodestoraged.model.operation import INTERNAL_ROOT, OperationKind
from nodestoraged.sim.adapters import ports
from nodestoraged.sim.node import SimNode
from nodestoraged.sim.world import NODE
from tests.property.laws import check_rest, everything_runs, observed
from tests.unit.engine.conftest import Make
from tests.unit.engine.scenes import enroll, judged, plug, seen, stops

FAULTS = (
    "fail",
    "hang",
    "late",
    "cut-before",
    "cut-after",
    "crash-before",
    "crash-after",
    "down-after",
    "term",
    "yank red",
    "die red",
    "yank blue",
)


def manifest(**facts: object) -> Manifest:
    values: dict[str, object] = {
        "id": "data-0",
        "generation": 2,
        "complete": True,
        "node": NODE,
        "role": "containerd",
        "created": "2026-01-01T00:00:00Z",
    }
    return Manifest(**{**values, **facts})  # type: ignore[arg-type]


def on_blue(make: Make) -> SimNode:
    """Blue serves since long; red is in and is nobody's yet."""
    node = make(before=("blue",))
    node.world.internal_images = {"pause", "app"}
    node.world.media["blue"].images = {"pause", "app"}
    enroll(node, "blue")
    node.ask("switch", stick="blue")
    node.run_for(700)
    node.settle()
    return node


def blank(node: SimNode) -> str:
    """Red is a disk with nothing on it."""
    node.world.blank("red")
    plug(node, "red")
    return node.device("red").disk


def foreign(node: SimNode) -> str:
    """Red served another node."""
    node.world.media["red"].manifest = manifest(node="elsewhere")
    node.world.media["red"].images = {"pause", "theirs"}
    plug(node, "red")
    enroll(node, "red", no_switch=True)
    return "red"


def twin(node: SimNode) -> str:
    """Red bears blue's UUID."""
    node.world.make("red", uuid="blue-uuid", serial="SER-twin")
    node.world.media["red"].images = {"pause", "theirs"}
    plug(node, "red")
    return node.device("red").devnode


# -- prepare --------------------------------------------------------------------------------


def test_a_prepared_stick_has_the_images_and_waits_for_the_last_pass(make: Make) -> None:
    node = on_blue(make)
    done = node.errand("prepare", stick=blank(node), name="red", check=True)
    assert done is not None
    assert (done.kind, done.result, done.target.name) == ("prepare", "done", "red")
    red = node.world.media["red"]
    assert red.images == {"pause", "app"}
    assert red.manifest is not None
    assert (red.manifest.complete, red.manifest.generation) == (False, 0)
    assert red.manifest.quality is not None
    assert judged(node, "red") == "waiting Incomplete"
    assert node.serving() == "blue"
    node.ask("switch", stick="red", data=DataPolicy.COPY)
    assert node.serving() == "red"


def test_an_empty_stick_is_complete_as_it_is_and_interrupts_nobody(make: Make) -> None:
    node = make()
    done = node.errand("prepare", stick=blank(node), name="red", origin="empty")
    assert done is not None
    assert done.result == "done"
    assert (judged(node, "red"), node.serving()) == ("waiting RuntimeRunning", "internal")
    assert not stops(node)
    node.ask("switch", stick="red")
    assert node.serving() == "red"


def test_a_stick_filled_from_a_path_is_complete(make: Make) -> None:
    node = on_blue(make)
    done = node.errand("prepare", stick=blank(node), name="red", origin="/srv/images", rate=10)
    assert done is not None
    assert done.result == "done", done.message
    red = node.world.media["red"]
    assert red.images == {"from /srv/images"}
    assert red.manifest is not None
    assert (red.manifest.complete, red.manifest.origin) == (True, "/srv/images")


def test_the_root_that_serves_is_live_by_whatever_name_it_is_given(make: Make) -> None:
    node = on_blue(make)
    node.errand("prepare", stick=blank(node), name="red", origin="/var/lib/containerd")
    told = node.world.media["red"].manifest
    assert told is None or not told.complete


def test_a_prepared_stick_shows_how_full_it_is(make: Make) -> None:
    node = make()
    node.errand("prepare", stick=blank(node), name="red", origin="empty")
    inspection = observed(node).inspection(node.device("red").incarnation)
    assert inspection is not None
    assert inspection.capacity_bytes is not None


def test_a_stick_that_was_formatted_and_not_marked_is_not_taken_for_a_good_one(
    make: Make,
) -> None:
    node = make()
    disk = blank(node)
    node.inject({2: "fail"})
    done = node.errand("prepare", stick=disk, name="red")
    assert node.world.faults.fired
    assert done is not None
    assert done.result == "failed"
    node.power_cycle()
    assert node.serving() == "internal"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"stick": "/dev/none"}, "NoSuchStick"),
        ({"fstype": "btrfs"}, "BadFilesystem"),
        ({"origin": "over/there"}, "BadOrigin"),
        ({"rate": 0}, "BadRate"),
        ({"name": "blue"}, "NameTaken"),
        ({"name": "NO"}, "BadName"),
    ],
)
def test_what_cannot_be_prepared_is_refused_before_anything_is_written(
    make: Make, arguments: dict[str, object], reason: str
) -> None:
    node = on_blue(make)
    node.world.blank("red")
    plug(node, "red")
    node.world.trace.clear()
    with pytest.raises(RequestError) as refused:
        node.errand("prepare", **{"stick": node.device("red").disk, **arguments})
    assert refused.value.reason == reason
    assert node.world.trace == []


def test_a_label_that_does_not_fit_is_found_before_the_disk_is_overwritten(make: Make) -> None:
    node = make(labels=("much-too-long-for-xfs",))
    disk = blank(node)
    node.world.trace.clear()
    with pytest.raises(NodeStorageError) as refused:
        node.errand("prepare", stick=disk, fstype="xfs", check=True)
    assert refused.value.reason == "LabelTooLong"
    assert "measure" not in node.world.trace


def test_a_stick_that_is_prepared_again_leaves_no_other_enrolment_behind(make: Make) -> None:
    node = make()
    node.errand("prepare", stick=blank(node), name="red", origin="empty")
    disk = node.device("red")
    serial = disk.serial
    node.errand(
        "prepare", stick=disk.disk, name="scarlet", origin="empty", wipe=True, serial=serial
    )
    assert [stick.name for stick in node.world.registry.sticks] == ["scarlet"]


# -- adopt ----------------------------------------------------------------------------------


def test_an_adopted_stick_is_this_nodes(make: Make) -> None:
    node = on_blue(make)
    assert judged_after(node, foreign) == "waiting ForeignNode"
    done = node.errand("adopt", stick="red")
    assert done is not None
    assert (done.kind, done.result) == ("adopt", "done")
    told = node.world.media["red"].manifest
    assert told is not None
    assert (told.node, told.generation, told.id) == (NODE, 2, "data-0")
    assert not seen(node, "red").reasons
    node.ask("switch", stick="red")
    assert node.serving() == "red"


def judged_after(node: SimNode, what: Callable[[SimNode], str]) -> str:
    what(node)
    return judged(node, "red")


def test_an_adopted_clone_has_a_uuid_and_an_id_of_its_own(make: Make) -> None:
    node = on_blue(make)
    node.world.media["red"].manifest = node.world.media["blue"].manifest
    done = node.errand("adopt", stick=twin(node), name="second")
    assert done is not None
    assert done.result == "done", done.message
    assert node.device("red").uuid == "blue-uuid-again"
    told, first = node.world.media["red"].manifest, node.world.media["blue"].manifest
    assert told is not None
    assert first is not None
    assert told.id != first.id
    assert node.serving() == "blue"
    assert {stick.name for stick in node.world.registry.sticks} == {"blue", "second"}


def test_a_file_system_whose_change_udev_missed_is_asked_for_again(make: Make) -> None:
    node = on_blue(make)
    stick = twin(node)
    node.world.udev_misses_writes = True
    began = node.world.now
    done = node.errand("adopt", stick=stick, name="second")
    assert done is not None
    assert done.result == "done", done.message
    assert node.device("red").uuid == "blue-uuid-again"
    assert node.world.now - began < 10


def test_of_a_stick_that_is_not_believed_only_what_proves_itself_is_kept(make: Make) -> None:
    node = on_blue(make)
    foreign(node)
    node.world.trace.clear()
    done = node.errand("adopt", stick="red", imagesOnly=True)
    assert done is not None
    assert done.result == "done"
    assert node.world.trace.index("sift") < node.world.trace.index("stamp")
    told = node.world.media["red"].manifest
    assert told is not None
    assert told.id != "data-0"


def test_half_a_copy_cannot_be_adopted_as_if_it_were_whole(make: Make) -> None:
    node = on_blue(make)
    node.world.media["red"].manifest = manifest(complete=False)
    node.world.media["red"].torn = True
    plug(node, "red")
    enroll(node, "red", no_switch=True)
    with pytest.raises(RefusedError) as refused:
        node.errand("adopt", stick="red")
    assert refused.value.reason == "Incomplete"
    told = node.world.media["red"].manifest
    assert told is not None
    assert not told.complete


def test_an_adoption_that_fails_leaves_the_stick_listed_as_it_was(make: Make) -> None:
    node = on_blue(make)
    foreign(node)
    node.inject({2: "fail"})
    done = node.errand("adopt", stick="red")
    assert done is not None
    assert done.result == "failed"
    assert judged(node, "red") == "waiting ForeignNode"


@pytest.mark.parametrize(
    ("stick", "reason"),
    [(None, "StickMissing"), ("blue", "Active"), ("green", "NoSuchStick")],
)
def test_what_cannot_be_adopted(make: Make, stick: str | None, reason: str) -> None:
    node = on_blue(make)
    with pytest.raises((RequestError, NotFoundError)) as refused:
        node.errand("adopt", stick=stick)
    assert refused.value.reason == reason


def test_where_nobody_is_trusted_nobody_is_adopted(make: Make) -> None:
    node = make(trust=Trust.NONE)
    plug(node, "red")
    with pytest.raises(RefusedError) as refused:
        node.errand("adopt", stick=node.device("red").devnode)
    assert refused.value.reason == "TrustNone"


# -- reclaim --------------------------------------------------------------------------------


def test_what_lies_hidden_goes_and_the_sandbox_image_is_kept_before(make: Make) -> None:
    node = on_blue(make)
    assert node.world.archive == {"pause"}
    done = node.errand("reclaim")
    assert done is not None
    assert (done.kind, done.result) == ("reclaim", "done")
    assert node.world.trace.count("reclaim") == 1
    assert node.world.archive >= {"pause"}
    assert node.world.internal_images == set()
    with pytest.raises(RefusedError) as refused:
        node.errand("reclaim")
    assert refused.value.reason == "NothingHidden"


def test_a_fallback_after_a_reclaim_has_its_sandbox_image(make: Make) -> None:
    node = on_blue(make)
    node.errand("reclaim")
    node.world.pull("blue")
    node.settle()
    assert (node.serving(), node.world.internal_images) == ("internal", {"pause"})


def test_nothing_is_reclaimed_before_the_stick_has_served_for_long(make: Make) -> None:
    node = make(before=("blue",))
    enroll(node, "blue")
    node.ask("switch", stick="blue")
    node.world.internal_images = {"pause"}
    with pytest.raises(RefusedError) as refused:
        node.errand("reclaim")
    assert refused.value.reason == "TooEarly"
    told = node._drive(desk.hidden(node.reconciler))
    assert (told["allowed"], told["reason"], told["files"]) == (False, "TooEarly", 1)


def test_nothing_is_reclaimed_of_a_root_that_serves(make: Make) -> None:
    node = make()
    with pytest.raises(RefusedError) as refused:
        node.errand("reclaim")
    assert refused.value.reason == "NotBound"


# -- every effect, every fault --------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """One errand: how the node is set before it, and its arguments beside the stick."""

    verb: str
    stage: Callable[[SimNode], str]
    arguments: dict[str, object]


SCENES = {
    "prepare": Scene("prepare", blank, {"name": "red", "check": True}),
    "prepare empty": Scene("prepare", blank, {"name": "red", "origin": "empty"}),
    "adopt": Scene("adopt", foreign, {}),
    "adopt images": Scene("adopt", foreign, {"imagesOnly": True}),
    "adopt clone": Scene("adopt", twin, {"name": "red"}),
    "reclaim": Scene("reclaim", lambda _node: "", {}),
}


@pytest.mark.parametrize("name", SCENES)
def test_a_fault_at_any_effect_of_an_errand_moves_no_root_and_leaves_nothing_aside(
    make: Make, name: str
) -> None:
    node = on_blue(make)
    scene = SCENES[name]
    stick = scene.stage(node)
    node.world.trace.clear()
    node.errand(scene.verb, stick=stick, **scene.arguments)
    effects = list(node.world.trace)
    assert 0 < len(effects) < 12
    for number in range(1, len(effects) + 1):
        for fault in FAULTS:
            try:
                suffer(make, scene, number, fault)
            except AssertionError as error:
                where = f"{fault} at effect {number} ({effects[number - 1]})"
                raise AssertionError(f"{where}: {error}") from error


def suffer(make: Make, scene: Scene, number: int, fault: str) -> None:
    node = on_blue(make)
    stick = scene.stage(node)
    before = {s.name: s.delisted for s in node.world.registry.sticks}
    node.inject({number: fault})
    node.errand(scene.verb, stick=stick, **scene.arguments)
    node.settle()
    node.run_for(15)
    node.settle()
    assert node.world.faults.fired
    check_rest(node, everything_runs())
    assert not node.world.aside
    lost = fault == "yank blue"
    assert node.serving() in ({"internal", "red"} if lost else {"blue"})
    if not lost:
        assert node.world.media["blue"].images >= {"pause", "app"}
    ended = any(fault.startswith(word) for word in ("cut", "crash"))
    for known in node.world.registry.sticks:
        if not ended:
            assert known.delisted == before.get(known.name, False), f"{known.name} stays delisted"


# -- one at a time, beside the loop -----------------------------------------------------------


def test_two_errands_that_are_asked_for_at_once_do_not_both_run(make: Make) -> None:
    node = on_blue(make)
    for name in ("red", "green"):
        node.world.media[name].manifest = manifest(node="elsewhere", id=name)
        plug(node, name)
        enroll(node, name, no_switch=True)
    unit = node.reconciler.ports.services.unit
    begun: list[object] = []

    async def slow_unit(name: str) -> object:
        await asyncio.sleep(0)
        return await unit(name)

    async def both() -> None:
        asked = (desk.begin(node.reconciler, "adopt", {"stick": n}) for n in ("red", "green"))
        begun.extend(await asyncio.gather(*asked, return_exceptions=True))
        await node.reconciler.errands.cancel()

    slow = replace(node.reconciler.ports)
    slow.services.unit = slow_unit  # type: ignore[method-assign]
    node._drive(both())
    assert sum(isinstance(each, RefusedError) for each in begun) == 1, begun


def errands(node: SimNode) -> tuple[Errands, list[object]]:
    shown: list[object] = []
    made = Errands(ports(node.world), "containerd", shown.append)
    return made, shown


async def ended() -> None:
    """No errand runs any more."""
    for task in asyncio.all_tasks():
        if task.get_name().startswith("errand "):
            await asyncio.wait({task})


def test_an_errand_is_told_of_step_by_step_and_is_in_the_history_once_it_is_over(
    make: Make,
) -> None:
    node = make()
    made, shown = errands(node)

    async def work(errand: Errand) -> str:
        async with errand.step("one"):
            errand.progress(CopyProgress(stage=CopyPass.WARM, bytes_done=5))
            errand.copied(7)
        with pytest.raises(StepError):
            async with errand.step("two"):
                raise StepError("NoSpace", "full")
        return "well"

    async def whole() -> None:
        operation = made.begin(
            OperationKind.ADOPT, INTERNAL_ROOT, await node.reconciler.observe(), work
        )
        assert made.running == operation
        assert not made.abort("999")
        await ended()

    node._drive(whole())
    (closed,) = node.world.closed
    assert (closed.result, closed.message, closed.copied_bytes) == ("done", "well", 7)
    assert [(step.step, step.error) for step in closed.steps] == [("one", None), ("two", "full")]
    assert shown[-1] == closed
    assert not made.abort(closed.id)


def test_an_errand_that_was_aborted_ends_between_two_steps(make: Make) -> None:
    node = make()
    made, _ = errands(node)
    done: list[str] = []

    async def work(errand: Errand) -> str:
        for words in ("one", "two"):
            async with errand.step(words):
                await asyncio.sleep(0)
                done.append(words)
        return "well"

    async def whole() -> None:
        operation = made.begin(
            OperationKind.ADOPT, INTERNAL_ROOT, await node.reconciler.observe(), work
        )
        await asyncio.sleep(0)
        assert made.abort(operation.id)
        await ended()

    node._drive(whole())
    assert (node.world.closed[-1].result, done) == ("aborted", ["one"])


def test_a_move_ends_an_errand(make: Make) -> None:
    node = make()
    made, _ = errands(node)

    async def work(_errand: Errand) -> str:
        await asyncio.sleep(3600)
        return "never"

    async def whole() -> None:
        made.begin(OperationKind.ADOPT, INTERNAL_ROOT, await node.reconciler.observe(), work)
        await asyncio.sleep(0)
        await made.cancel()
        assert made.running is None
        await made.cancel()

    node._drive(whole())
    assert (node.world.closed[-1].result, node.world.closed[-1].reason) == ("aborted", "Aborted")


def test_a_journal_that_cannot_be_written_does_not_keep_an_errand_from_ending(make: Make) -> None:
    node = make()
    made, shown = errands(node)

    def full(_operation: object) -> None:
        raise StepError("JournalFailed", "full")

    made._ports.journal.write = full  # type: ignore[method-assign]

    async def work(_errand: Errand) -> str:
        return "well"

    async def whole() -> None:
        made.begin(OperationKind.ADOPT, INTERNAL_ROOT, await node.reconciler.observe(), work)
        await ended()

    node._drive(whole())
    assert shown
    assert made.running is None


def test_a_removal_is_not_delayed_by_the_clean_up_of_an_errand(make: Make) -> None:
    """The active stick is gone: what ran from it is stopped before another is written out."""
    node = on_blue(make)
    foreign(node)
    node.world.trace.clear()
    at: list[float] = []
    disks = node.reconciler.ports.disks
    settle = disks.settle_writes

    async def slow(path: str, *, deadline_seconds: float) -> None:
        if "bench" in path:
            node.world.now += deadline_seconds
        await settle(path, deadline_seconds=deadline_seconds)

    disks.settle_writes = slow  # type: ignore[method-assign]

    async def whole() -> None:
        node.reconciler.ports.roots.keep_images_only = forever  # type: ignore[method-assign]
        await desk.begin(node.reconciler, "adopt", {"stick": "red", "imagesOnly": True})
        for _ in range(20):
            await asyncio.sleep(0)
        node.world.pull("blue")
        at.append(node.world.now)
        await node.reconciler.tick()

    async def forever(_root: str, *, deadline_seconds: float) -> None:
        await asyncio.sleep(deadline_seconds)

    node._drive(whole())
    assert node.world.closed[-1].kind == "adopt"
    began = next(o for o in node.world.open.values())
    assert began.stopped_at is not None
    assert began.stopped_at - at[0] < 5


@pytest.mark.parametrize("way", ["a stranger", "delisted"])
def test_half_a_copy_is_not_adopted_though_nobody_has_read_it_yet(make: Make, way: str) -> None:
    node = on_blue(make)
    red = node.world.media["red"]
    red.manifest, red.torn = manifest(complete=False), True
    plug(node, "red")
    stick = node.device("red").devnode
    if way == "delisted":
        node.world.pull("red")
        node.settle()
        told, red.manifest = red.manifest, None
        plug(node, "red")
        enroll(node, "red", no_switch=True)
        node.ask("delist", stick="red")
        node.world.pull("red")
        node.settle()
        red.manifest = told
        plug(node, "red")
        stick = "red"
    with suppress(RefusedError):
        node.errand("adopt", stick=stick)
    assert red.manifest is not None
    assert not red.manifest.complete


def test_where_nobody_is_trusted_a_delisted_stick_is_not_touched_either(make: Make) -> None:
    node = make(trust=Trust.NONE)
    plug(node, "red")
    enroll(node, "red")
    node.ask("delist", stick="red")
    with pytest.raises(RefusedError) as refused:
        node.errand("adopt", stick="red")
    assert refused.value.reason == "TrustNone"


def test_a_clean_up_is_not_itself_cancelled(make: Make) -> None:
    """A loss tells an errand to end and does not wait; the next move tells it again."""
    node = make()
    made, _ = errands(node)
    cleaned: list[str] = []

    async def work(_errand: Errand) -> str:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.02)
            cleaned.append("aside")
        return "never"

    async def whole() -> None:
        made.begin(OperationKind.ADOPT, INTERNAL_ROOT, await node.reconciler.observe(), work)
        await asyncio.sleep(0)
        await made.cancel(wait=False)
        await asyncio.sleep(0)
        await made.cancel()

    node._drive(whole())
    assert cleaned == ["aside"]
