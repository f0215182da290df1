"""The powerwash: which root, in which order, and what is left of a wash that fails."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from nodestoraged.model.errors import RefusedError, RequestError
from nodestoraged.model.hidden import Wash
from nodestoraged.model.registry import WashWish
from nodestoraged.sim.node import SimNode
from tests.unit.engine.conftest import Make
from tests.unit.engine.scenes import enroll, intent, last, plug, pull, running, stops


def on_blue(make: Make, **role: object) -> SimNode:
    """Blue serves, green stands by, and each root has images of its own."""
    node = make(before=("blue", "green"), **role)
    node.world.internal_images = {"pause", "site", "app"}
    node.world.media["blue"].images = {"pause", "site", "app"}
    node.world.media["green"].images = {"pause", "old"}
    node.world.pinned = {"pause", "site"}
    enroll(node, "blue", "green", no_switch=True)
    node.ask("switch", stick="blue")
    node.world.trace.clear()
    return node


@pytest.mark.parametrize(
    ("tier", "left"),
    [
        (Wash.CONTAINERS, {"pause", "site", "app"}),
        (Wash.IMAGES, {"pause", "site"}),
        (Wash.ALL, {"pause"}),
    ],
)
def test_a_tier_leaves_what_it_says_and_what_ran_runs_again(
    make: Make, tier: Wash, left: set[str]
) -> None:
    node = on_blue(make)
    node.ask("powerwash", tier=tier)
    assert last(node) == ("powerwash", "blue", "blue", "done")
    assert node.world.media["blue"].images == left
    assert running(node) == (True, True)
    assert intent(node).wash is None
    assert node.world.internal_images == {"pause", "site", "app"}


def test_a_wash_of_the_root_that_serves_is_behind_the_fence_between_stop_and_start(
    make: Make,
) -> None:
    node = on_blue(make)
    node.ask("powerwash", tier=Wash.IMAGES)
    trace = node.world.trace
    order = ["keep-images", "raise-fence", "stop containerd.service", "wash", "lower-fence"]
    order += ["start containerd.service", "prove", "bring-images", "start kubelet.service"]
    assert [what for what in trace if what in order][: len(order)] == order


def test_the_internal_directory_is_washed_while_it_serves_and_not_under_a_stick(
    make: Make,
) -> None:
    node = on_blue(make)
    with pytest.raises(RefusedError) as refused:
        node.ask("powerwash", stick="internal", tier=Wash.ALL)
    assert refused.value.reason == "NotServing"
    node.ask("switch", stick="internal")
    node.ask("powerwash", stick="internal", tier=Wash.ALL)
    assert last(node) == ("powerwash", "internal", "internal", "done")
    assert node.world.internal_images == {"pause"}


def test_a_stick_that_stands_by_is_washed_aside_and_nothing_is_stopped(make: Make) -> None:
    node = on_blue(make)
    node.ask("powerwash", stick="green", tier=Wash.ALL)
    kind, _, target, result = last(node)
    assert (kind, target, result) == ("powerwash", "green", "done")
    assert (stops(node), node.serving()) == ([], "blue")
    assert node.world.media["green"].images == set()
    assert not node.world.aside


def test_a_wash_needs_a_tier(make: Make) -> None:
    node = on_blue(make)
    with pytest.raises(RequestError) as refused:
        node.ask("powerwash")
    assert refused.value.reason == "TierMissing"


def test_a_stick_that_nobody_trusts_is_not_washed(make: Make) -> None:
    node = on_blue(make)
    plug(node, "red")
    with pytest.raises(RefusedError) as refused:
        node.ask("powerwash", stick=node.device("red").devnode, tier=Wash.ALL)
    assert refused.value.reason == "NotEnrolled"


@pytest.mark.parametrize("effect", [3, 4])
def test_a_wash_aside_that_fails_moves_no_root(make: Make, effect: int) -> None:
    node = on_blue(make)
    node.inject({effect: "fail"})
    node.ask("powerwash", stick="green", tier=Wash.ALL)
    assert node.world.faults.fired
    assert (node.serving(), stops(node)) == ("blue", [])
    assert last(node)[3] in {"failed", "rolled-back"}
    assert not node.world.aside


def test_a_crash_in_a_wash_aside_moves_no_root(make: Make) -> None:
    node = on_blue(make)
    node.inject({3: "crash-after"})
    node.ask("powerwash", stick="green", tier=Wash.ALL)
    assert node.ends == ["crash"]
    assert (node.serving(), stops(node)) == ("blue", [])
    assert not node.world.aside


@pytest.mark.parametrize("fault", ["fail", "cut-before", "crash-before", "term"])
def test_what_a_wash_was_to_leave_is_there_after_it_failed_too(make: Make, fault: str) -> None:
    node = on_blue(make)
    node.inject({11: fault})
    node.ask("powerwash", tier=Wash.IMAGES)
    assert node.world.faults.fired
    assert node.world.trace.count("wash") == 1
    node.settle()
    assert node.serving() == "blue"
    assert node.world.media["blue"].images >= {"pause", "site"}


# -- at the next boot -----------------------------------------------------------------------


def test_a_wash_for_the_next_boot_waits_for_it_and_is_done_once(make: Make) -> None:
    node = on_blue(make)
    node.ask("powerwash", tier=Wash.ALL, next_boot=True)
    assert "wash" not in node.world.trace
    node.restart_daemon()
    assert "wash" not in node.world.trace
    node.power_cycle()
    assert node.world.trace.count("wash") == 1
    assert node.world.media["blue"].images == {"pause"}
    node.world.media["blue"].images.add("new")
    node.power_cycle()
    assert "new" in node.world.media["blue"].images


def test_a_marker_file_washes_what_serves_at_the_next_boot(make: Make) -> None:
    node = on_blue(make)
    node.world.wash_marker = Wash.ALL
    node.power_cycle()
    assert node.world.media["blue"].images == {"pause"}
    assert node.world.wash_marker is None


def test_after_a_wash_at_boot_the_internal_directory_has_its_sandbox_image(make: Make) -> None:
    node = make()
    node.world.wash_marker = Wash.ALL
    node.power_cycle()
    assert "pause" in node.world.internal_images


def test_a_wash_at_boot_that_was_meant_for_another_root_is_not_made(make: Make) -> None:
    node = on_blue(make)
    node.ask("powerwash", tier=Wash.ALL, next_boot=True)
    node.ask("switch", stick="internal")
    node.power_cycle()
    assert node.world.internal_images == {"pause", "site", "app"}
    assert intent(node).wash is None


def test_a_wash_at_boot_that_fails_does_not_keep_the_node_from_booting(make: Make) -> None:
    node = on_blue(make)
    node.ask("powerwash", tier=Wash.ALL, next_boot=True)
    node.inject({4: "fail"})
    node.power_cycle()
    assert node.world.faults.fired
    assert (node.serving(), running(node)) == ("blue", (True, True))


def test_a_wash_that_was_asked_for_now_is_void_in_another_boot(make: Make) -> None:
    node = on_blue(make)
    wash = WashWish(tier=Wash.ALL, identity=node.device("blue").identity(), boot_id="boot-1")
    node.world.intents["containerd"] = replace(intent(node), wash=wash)
    node.power_cycle()
    assert "app" in node.world.media["blue"].images


def test_a_marker_and_a_wish_are_one_wash(make: Make) -> None:
    node = on_blue(make)
    node.ask("powerwash", tier=Wash.ALL, next_boot=True)
    node.world.wash_marker = Wash.CONTAINERS
    node.power_cycle()
    assert intent(node).wash is None


# -- where it cannot be done now ---------------------------------------------------------------


def test_a_wash_that_cannot_be_done_now_does_not_come_as_a_surprise_later(make: Make) -> None:
    node = on_blue(make)
    node.world.pull("blue")
    node.run_for(2)
    try:
        node.say("powerwash", tier=Wash.ALL)
    except RefusedError:
        return
    node.settle()
    node.ask("switch", stick="internal")
    assert node.world.internal_images == {"pause", "site", "app"}


def test_a_wash_starts_nothing_that_is_kept_stopped(make: Make) -> None:
    node = on_blue(make, fallback=())
    node.ask("eject", stick="green")
    pull(node, "blue")
    node.run_for(30)
    assert node.phase == "STOPPED"
    with suppress(RefusedError):
        node.ask("powerwash", tier=Wash.ALL)
    assert node.phase == "STOPPED"
    assert running(node) == (False, False)
