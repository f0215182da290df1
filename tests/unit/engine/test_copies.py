"""Moves that carry the images over, what the stick says of itself meanwhile, and who is stale."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.model.config import Collision, DataPolicy
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.errors import RefusedError
from nodestoraged.model.manifest import Inspection, Manifest
from nodestoraged.model.operation import Operation
from nodestoraged.sim.node import SimNode
from nodestoraged.sim.world import NODE
from tests.unit.engine.conftest import Make
from tests.unit.engine.scenes import bound, enroll, intent, judged, last, plug, pull, stops

COPY = DataPolicy.COPY
MINE = {"pause", "app"}


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


def filled(node: SimNode) -> SimNode:
    """What each root holds."""
    node.world.internal_images = set(MINE)
    for name in ("blue", "green", "red"):
        node.world.media[name].images = {"pause", name}
    return node


def at_hand(make: Make, *names: str, **role: object) -> SimNode:
    """A node that runs from the internal directory, with enrolled sticks that stand by."""
    node = filled(make(before=names, **role))
    enroll(node, *names, no_switch=True)
    node.world.trace.clear()
    return node


def copies(node: SimNode) -> list[str]:
    return [what for what in node.world.trace if what.startswith("copy")]


def done(node: SimNode) -> Operation:
    return node.world.closed[-1]


# -- what a copy does -----------------------------------------------------------------------


def test_a_switch_with_copy_goes_in_two_passes_and_the_stick_says_what_it_is(make: Make) -> None:
    node = at_hand(make, "blue")
    node.ask("switch", stick="blue", data=COPY)
    assert last(node) == ("bind", "internal", "blue", "done")
    assert copies(node) == ["copy-warm", "copy-final"]
    blue = node.world.media["blue"]
    assert blue.images == MINE
    assert blue.manifest is not None
    told = blue.manifest
    assert (told.complete, told.generation, told.node) == (True, 1, NODE)
    assert (told.origin, told.role) == ("internal", "containerd")
    assert (done(node).data, done(node).copied_bytes) == (COPY, 1 << 30)
    assert node.world.status_line == "containerd: BOUND to blue"
    assert done(node).copied_stopped_bytes == 0
    assert not node.world.aside


def test_the_last_pass_is_made_while_nothing_runs_and_before_the_root_is_touched(
    make: Make,
) -> None:
    node = at_hand(make, "blue")
    node.ask("switch", stick="blue", data=COPY)
    trace = node.world.trace
    assert trace.index("copy-warm") < trace.index("raise-fence")
    assert trace.index("clear-state") < trace.index("copy-final") < trace.index("unmount")
    assert trace.index("copy-final") < trace.index("start containerd.service")


def test_of_a_stopped_runtime_one_pass_is_enough(make: Make) -> None:
    node = filled(make(before=("blue",), running=False))
    node.ask("switch", stick="internal")
    enroll(node, "blue", no_switch=True)
    node.ask("switch", stick="blue", data=COPY)
    assert copies(node) == ["copy-final"]
    assert node.world.media["blue"].images == MINE


def test_from_slot_to_slot_the_source_keeps_what_it_has(make: Make) -> None:
    node = at_hand(make, "blue", "green")
    node.ask("switch", stick="blue")
    node.ask("switch", stick="green", data=COPY)
    assert last(node) == ("switchover", "blue", "green", "done")
    assert node.world.media["green"].images == {"pause", "blue"}
    assert node.world.media["blue"].images == {"pause", "blue"}
    assert node.world.media["green"].manifest is not None
    assert node.world.media["green"].manifest.origin == "blue"


def test_newest_and_copy_are_a_pair_the_node_moves_with_its_images(make: Make) -> None:
    node = filled(make(collision=Collision.NEWEST, data=COPY))
    plug(node, "blue")
    enroll(node, "blue")
    assert node.serving() == "blue"
    plug(node, "green")
    enroll(node, "green")
    assert node.serving() == "green"
    assert node.world.media["green"].images == MINE
    assert done(node).automatic


def test_what_a_role_copies_a_verb_may_keep(make: Make) -> None:
    node = at_hand(make, "blue", data=COPY)
    node.ask("switch", stick="blue", data=DataPolicy.KEEP)
    assert copies(node) == []
    assert node.world.media["blue"].images == {"pause", "blue"}


def test_pinned_carries_what_is_pinned_and_leaves_the_rest(make: Make) -> None:
    node = at_hand(make, "blue", data=DataPolicy.PINNED)
    node.world.pinned = {"pause", "app"}
    node.world.internal_images = {"pause", "app", "cache"}
    node.ask("switch", stick="blue")
    assert copies(node) == []
    assert node.world.media["blue"].images == {"pause", "blue", "app"}


def test_to_the_internal_directory_nothing_is_carried(make: Make) -> None:
    node = at_hand(make, "blue", data=COPY)
    node.ask("switch", stick="blue")
    with pytest.raises(RefusedError) as refused:
        node.ask("switch", stick="internal", data=COPY)
    assert refused.value.reason == "CopyToInternal"
    node.ask("switch", stick="internal")
    assert node.serving() == "internal"
    assert node.world.internal_images == MINE


# -- what may go wrong ----------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["fail", "hang", "yank blue", "die blue"])
def test_a_warm_copy_that_fails_has_stopped_nothing(make: Make, fault: str) -> None:
    node = at_hand(make, "blue")
    node.inject({5: fault})
    node.ask("switch", stick="blue", data=COPY)
    assert node.world.faults.fired
    assert last(node)[3] == "failed"
    assert stops(node) == []
    assert (node.serving(), node.world.internal_images) == ("internal", MINE)
    assert not node.world.aside


def test_an_abort_ends_a_copy_in_its_middle(make: Make) -> None:
    node = at_hand(make, "blue")

    def abort(what: str) -> None:
        if what == "copy-warm":
            node.reconciler.executor.aborting = True

    node.world.on_effect = abort
    node.ask("switch", stick="blue", data=COPY)
    assert last(node)[3] == "aborted"
    assert (node.serving(), stops(node)) == ("internal", [])
    assert intent(node).wish is None


def test_a_stick_with_half_a_copy_is_refused_until_the_copy_is_finished(make: Make) -> None:
    node = at_hand(make, "blue")
    node.inject({5: "fail"})
    node.ask("switch", stick="blue", data=COPY)
    assert node.world.faults.fired
    node.run_for(700)
    assert judged(node, "blue") == "waiting Incomplete"
    with pytest.raises(RefusedError) as refused:
        node.ask("switch", stick="blue")
    assert (refused.value.reason, refused.value.hint) == (
        "Incomplete",
        "nodestoragectl switch blue --copy",
    )
    node.ask("switch", stick="blue", data=COPY)
    assert (node.serving(), node.world.media["blue"].images) == ("blue", MINE)


def test_half_a_copy_is_never_a_fallback(make: Make) -> None:
    node = at_hand(make, "blue", "green")
    node.ask("switch", stick="blue")
    node.inject({5: "fail"})
    node.ask("switch", stick="green", data=COPY)
    assert node.world.media["green"].torn
    node.run_for(700)
    pull(node, "blue")
    assert node.serving() == "internal"


def test_a_power_cut_in_a_copy_does_not_make_the_next_boot_run_from_it(make: Make) -> None:
    node = at_hand(make, "blue")
    node.inject({5: "cut-before"})
    node.ask("switch", stick="blue", data=COPY)
    node.settle()
    assert node.ends == ["cut"]
    assert node.world.internal_images == MINE
    assert node.serving() == "internal" or node.world.media["blue"].images == MINE


def test_a_power_cut_before_a_copy_does_not_make_the_next_boot_go_without_it(make: Make) -> None:
    node = at_hand(make, "blue")
    node.inject({1: "cut-before"})
    node.ask("switch", stick="blue", data=COPY)
    node.settle()
    assert node.serving() == "internal" or node.world.media["blue"].images == MINE


def test_a_runtime_that_somebody_starts_is_never_copied_as_if_it_were_at_rest(make: Make) -> None:
    node = filled(make(before=("blue",), running=False))
    node.ask("switch", stick="internal")
    enroll(node, "blue", no_switch=True)
    node.inject({3: "start containerd.service"})
    node.ask("switch", stick="blue", data=COPY)
    assert node.serving() == "internal"
    assert not node.world.media["blue"].manifest or not node.world.media["blue"].manifest.complete


def test_where_no_root_serves_there_is_nothing_to_copy(make: Make) -> None:
    """The bare directory of a node that is kept stopped is no source, least of all for a stick
    that comes back with its images."""
    node = at_hand(make, "blue", data=COPY, fallback=())
    node.ask("switch", stick="blue")
    node.world.media["blue"].images |= {"big"}
    pull(node, "blue")
    node.run_for(30)
    assert node.phase == "STOPPED"
    plug(node, "blue")
    assert node.serving() == "blue"
    assert "big" in node.world.media["blue"].images


def test_where_nothing_serves_nothing_is_carried_over(make: Make) -> None:
    node = at_hand(make, "blue", "green", data=COPY, fallback=())
    node.ask("switch", stick="blue")
    node.ask("eject", stick="green")
    pull(node, "blue")
    node.run_for(30)
    assert node.phase == "STOPPED"
    with pytest.raises(RefusedError) as refused:
        node.ask("switch", stick="green", data=COPY)
    assert refused.value.reason == "NotServing"
    node.ask("switch", stick="green")
    assert node.serving() == "green"
    assert "green" in node.world.media["green"].images


def test_an_ejection_to_a_stick_is_a_planned_move_and_carries_what_the_role_carries(
    make: Make,
) -> None:
    node = at_hand(make, "blue", "green", data=COPY)
    node.ask("switch", stick="blue")
    node.ask("eject", to="green")
    assert last(node) == ("eject", "blue", "green", "done")
    assert node.world.media["green"].images == MINE


def test_a_plug_makes_a_half_copy_whole_where_the_role_copies_anyway(make: Make) -> None:
    node = at_hand(make, "blue", "green", data=COPY, collision=Collision.NEWEST)
    node.ask("switch", stick="blue")
    node.ask("switch", stick="auto")
    pull(node, "green")
    green = node.world.media["green"]
    green.manifest, green.torn = manifest(complete=False), True
    plug(node, "green")
    assert node.serving() == "green"
    assert green.images == MINE
    assert green.manifest is not None
    assert green.manifest.complete


def test_a_half_copy_on_the_stick_that_served_last_is_left_to_a_person(make: Make) -> None:
    node = at_hand(make, "blue", data=COPY)
    node.ask("switch", stick="blue")
    node.ask("switch", stick="internal")
    pull(node, "blue")
    blue = node.world.media["blue"]
    blue.manifest, blue.torn = manifest(complete=False), True
    node.ask("switch", stick="auto")
    plug(node, "blue")
    assert node.serving() == "internal"
    assert judged(node, "blue") == "waiting Incomplete"


def test_half_a_copy_that_still_lies_aside_takes_nothing_over(make: Make) -> None:
    node = at_hand(make, "blue", "green", quarantine_seconds=0.001)
    node.ask("switch", stick="blue")
    node.inject({5: "yank blue"})
    node.ask("switch", stick="green", data=COPY)
    assert node.world.faults.fired
    assert "copy-warm" in node.world.trace
    assert node.serving() == "internal"
    assert judged(node, "green") == "waiting Incomplete"


def test_a_stick_that_could_not_be_read_is_not_used_and_is_asked_again(make: Make) -> None:
    node = at_hand(make, "blue")
    sticks = node.reconciler.ports.sticks
    told, answers = sticks.inspect, [Inspection(failure="MountedElsewhere")] * 2

    async def busy(device: BlockDevice, *, deadline_seconds: float) -> Inspection:
        return answers.pop() if answers else await told(device, deadline_seconds=deadline_seconds)

    sticks.inspect = busy  # type: ignore[method-assign]
    pull(node, "blue")
    node.world.plug("blue")
    node.run_for(5)
    assert node.serving() == "internal"
    assert judged(node, "blue") == "waiting Unread"
    with pytest.raises(RefusedError) as refused:
        node.say("switch", stick="blue")
    assert refused.value.reason == "Unread"
    assert not answers  # a person's word asked it again at once
    node.run_for(60)
    assert node.serving() == "blue"


def test_a_stick_read_in_vain_is_read_again_when_somebody_names_it(make: Make) -> None:
    node = at_hand(make)
    plug(node, "blue")
    sticks = node.reconciler.ports.sticks
    told, answers = sticks.inspect, [Inspection(failure="Gone")]

    async def late(device: BlockDevice, *, deadline_seconds: float) -> Inspection:
        return answers.pop() if answers else await told(device, deadline_seconds=deadline_seconds)

    sticks.inspect = late  # type: ignore[method-assign]
    with pytest.raises(RefusedError) as refused:
        node.say("switch", stick="blue")
    assert refused.value.reason == "Unread"
    node.ask("switch", stick="blue")
    assert node.serving() == "blue"


# -- generations ----------------------------------------------------------------------------


def test_each_activation_is_one_generation_more_and_the_registry_knows_it(make: Make) -> None:
    node = at_hand(make, "blue", "green")
    for wanted in (1, 2, 3):
        node.ask("switch", stick="blue")
        told = node.world.media["blue"].manifest
        assert told is not None
        assert told.generation == wanted
        (stick,) = (s for s in node.world.registry.sticks if s.name == "blue")
        assert (stick.data_id, stick.generation) == (told.id, wanted)
        node.ask("switch", stick="green")


def test_a_restart_of_the_daemon_is_no_activation(make: Make) -> None:
    node = at_hand(make, "blue")
    node.ask("switch", stick="blue")
    node.restart_daemon()
    told = node.world.media["blue"].manifest
    assert told is not None
    assert told.generation == 1


def test_a_boot_is_an_activation(make: Make) -> None:
    node = at_hand(make, "blue")
    node.ask("switch", stick="blue")
    node.power_cycle()
    told = node.world.media["blue"].manifest
    assert told is not None
    assert (node.serving(), told.generation) == ("blue", 2)


def test_an_older_copy_of_a_stick_is_stale(make: Make) -> None:
    node = at_hand(make, "blue", "green")
    node.ask("switch", stick="blue")
    old = node.world.media["blue"].manifest
    node.ask("switch", stick="green")
    node.ask("switch", stick="blue")
    node.ask("switch", stick="green")
    node.world.pull("blue")
    node.settle()
    node.world.media["blue"].manifest = old
    plug(node, "blue")
    assert judged(node, "blue") == "waiting Stale"
    with pytest.raises(RefusedError) as refused:
        node.ask("switch", stick="blue")
    assert (refused.value.reason, refused.value.hint) == ("Stale", "nodestoragectl adopt blue")


def test_a_stick_that_served_another_node_is_not_taken(make: Make) -> None:
    node = filled(make(collision=Collision.NEWEST))
    node.world.media["blue"].manifest = manifest(node="elsewhere")
    plug(node, "blue")
    enroll(node, "blue")
    assert (judged(node, "blue"), node.serving()) == ("waiting ForeignNode", "internal")
    node.power_cycle()
    assert node.serving() == "internal"
    with pytest.raises(RefusedError) as refused:
        node.ask("switch", stick="blue")
    assert refused.value.reason == "ForeignNode"


# -- the grace, in which decisions are quick -------------------------------------------------


@pytest.mark.parametrize(
    "traits", [{"node": "elsewhere"}, {"complete": False}], ids=["foreign", "incomplete"]
)
def test_what_comes_in_within_the_grace_is_read_before_it_serves(
    make: Make, traits: dict[str, object]
) -> None:
    node = filled(make())
    bound(node, "blue")
    plug(node, "green")
    enroll(node, "green", no_switch=True)
    pull(node, "green")
    node.world.media["green"].manifest = manifest(**traits)
    node.world.pull("blue")
    node.run_for(2)
    node.world.plug("green")
    node.settle()
    assert node.serving() == "internal"


def test_after_a_restart_within_the_grace_sticks_are_read_before_they_serve(make: Make) -> None:
    node = at_hand(make, "blue", "green")
    node.ask("switch", stick="blue")
    node.world.pull("green")
    node.settle()
    node.world.media["green"].manifest = manifest(node="elsewhere")
    plug(node, "green")
    assert judged(node, "green") == "waiting ForeignNode"
    node.world.pull("blue")
    node.run_for(2)
    node.restart_daemon()
    assert node.serving() == "internal"


def test_a_clone_of_one_that_serves_is_told_by_its_uuid_and_not_by_its_manifest(
    make: Make,
) -> None:
    node = at_hand(make, "blue")
    node.ask("switch", stick="blue")
    twin = node.world.make("twin", uuid="blue-uuid", serial="SER-twin")
    twin.manifest = node.world.media["blue"].manifest
    plug(node, "twin")
    assert judged(node, "twin").startswith("waiting")
    assert "Clone" in judged(node, "twin")
    assert node.serving() == "blue"


def test_a_manifest_that_names_another_medium_is_no_older_copy(make: Make) -> None:
    node = at_hand(make, "blue", "green")
    node.ask("switch", stick="blue")
    node.ask("switch", stick="green")
    node.world.pull("blue")
    node.settle()
    blue = node.world.media["blue"]
    assert blue.manifest is not None
    blue.manifest = replace(blue.manifest, id="made anew", generation=0)
    plug(node, "blue")
    assert judged(node, "blue") == "standby"
