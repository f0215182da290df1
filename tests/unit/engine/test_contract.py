"""What the contract promises of the verbs and of the daemon's own doing, on a simulated node."""

from __future__ import annotations

import pytest

from nodestoraged.core.words import headline
from nodestoraged.model.config import Collision, Fallback, Trust
from nodestoraged.model.decision import Attention
from nodestoraged.model.errors import NotFoundError, RefusedError
from nodestoraged.model.operation import Stage
from nodestoraged.model.phase import Phase
from nodestoraged.model.reason import Reason
from nodestoraged.sim.world import KUBELET, RUNTIME
from tests.unit.engine.scenes import (
    bound,
    enroll,
    intent,
    judged,
    last,
    plug,
    pull,
    running,
    seen,
    stops,
)

STANDBY = (Fallback.STANDBY,)


# -- enroll -----------------------------------------------------------------------------


def test_enroll_on_the_internal_directory_binds_the_stick(make):
    node = make()
    plug(node, "blue")
    assert judged(node, "blue") == "waiting NotEnrolled"
    enroll(node, "blue")
    assert (node.phase, node.serving()) == (Phase.BOUND, "blue")
    assert running(node) == (True, True)


def test_enroll_of_a_stick_that_was_there_before_us_binds_it_too(make):
    node = make(before=("blue",))
    enroll(node, "blue")
    assert node.serving() == "blue"


def test_enroll_while_bound_stands_by_under_prefer_active(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    assert (node.serving(), judged(node, "green")) == ("blue", "standby")
    assert not stops(node)


def test_enroll_under_newest_moves_to_a_stick_inserted_later(make):
    node = bound(make(collision=Collision.NEWEST), "blue")
    plug(node, "green")
    enroll(node, "green")
    assert node.serving() == "green"


def test_enroll_under_newest_does_not_move_to_a_stick_inserted_earlier(make):
    node = make(collision=Collision.NEWEST)
    plug(node, "green")
    bound(node, "blue")
    enroll(node, "green")
    assert (node.serving(), judged(node, "green")) == ("blue", "standby")


def test_enroll_stands_by_when_an_operator_wants_the_internal_directory(make):
    node = make(before=("blue",))
    node.ask("switch", stick="internal")
    enroll(node, "blue")
    assert (node.serving(), judged(node, "blue")) == ("internal", "standby")
    node.restart_daemon()
    assert judged(node, "blue") == "standby"


@pytest.mark.parametrize("before", [(), ("blue",)], ids=["inserted", "present at start"])
def test_no_switch_waits_until_somebody_says_switch(make, before):
    node = make(before=before)
    if not before:
        plug(node, "blue")
    enroll(node, "blue", no_switch=True)
    assert (node.serving(), judged(node, "blue")) == ("internal", "waiting RuntimeRunning")
    node.restart_daemon()
    assert judged(node, "blue") == "waiting RuntimeRunning"
    node.ask("switch", stick="blue")
    assert node.serving() == "blue"


def test_no_switch_ends_with_an_insertion(make):
    node = make()
    plug(node, "blue")
    enroll(node, "blue", no_switch=True)
    pull(node, "blue")
    plug(node, "blue")
    assert node.serving() == "blue"


def test_no_switch_ends_with_a_boot(make):
    node = make()
    plug(node, "blue")
    enroll(node, "blue", no_switch=True)
    node.power_cycle()
    assert node.serving() == "blue"


def test_an_enrolment_said_long_ago_does_not_cut_the_grace_short(make):
    """A standby that was present takes over when the grace ends, not before."""
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.world.pull("blue")
    node.run_for(5)
    assert node.phase is Phase.LOST
    node.settle()
    assert node.serving() == "green"
    assert last(node) == ("failover", "blue", "green", "done")


# -- the wish -----------------------------------------------------------------------------


def test_switch_outranks_the_policy_and_survives_a_restart_and_a_boot(make):
    node = bound(make(collision=Collision.PRIORITY, priority=("blue",)), "blue")
    plug(node, "green")
    node.ask("switch", stick=node.device("green").devnode)
    assert node.serving() == "green"
    node.restart_daemon()
    assert node.serving() == "green"
    node.power_cycle()
    assert node.serving() == "green"


def test_switch_enrols_the_stick(make):
    node = make()
    plug(node, "blue")
    node.ask("switch", stick=node.device("blue").devnode)
    assert node.serving() == "blue"
    assert node.world.registry.sticks


def test_switch_auto_drops_the_wish_and_the_policy_decides_again(make):
    node = bound(make(collision=Collision.PRIORITY, priority=("blue",)), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.ask("switch", stick="green")
    node.restart_daemon()
    node.ask("switch", stick="auto")
    assert (node.serving(), intent(node).wish) == ("blue", None)


def test_switch_follows_a_stick_into_another_card_reader(make):
    """The serial is the reader's; the enrolment is the stick's."""
    node = bound(make(), "blue")
    node.ask("switch", stick="internal")
    pull(node, "blue")
    node.world.relabel("blue", serial="ANOTHER-READER")
    plug(node, "blue")
    node.ask("switch", stick="blue")
    assert node.serving() == "blue"


def test_the_wish_is_dropped_when_its_operation_rolls_back(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.inject({9: "fail"})
    node.ask("switch", stick="green")
    assert node.world.faults.fired
    assert (node.serving(), intent(node).wish) == ("blue", None)
    assert last(node) == ("switchover", "blue", "green", "rolled-back")


def test_the_wish_is_dropped_when_the_daemon_crashes_in_its_operation(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.inject({9: "crash-before"})
    node.ask("switch", stick="green")
    assert node.ends == ["crash"]
    assert (node.serving(), intent(node).wish) == ("blue", None)


@pytest.mark.parametrize("fallback", [(Fallback.STANDBY, Fallback.INTERNAL), ()])
def test_the_wish_is_dropped_when_its_slots_grace_ends(make, fallback):
    node = bound(make(fallback=fallback), "blue")
    node.ask("switch", stick="blue")
    assert intent(node).wish
    pull(node, "blue")
    assert intent(node).wish is None


def test_the_wish_lives_on_when_its_slot_comes_back_within_the_grace(make):
    node = bound(make(), "blue")
    node.ask("switch", stick="blue")
    node.world.pull("blue")
    node.run_for(4)
    plug(node, "blue")
    assert intent(node).wish
    assert last(node) == ("swap", "blue", "blue", "done")


def test_switch_internal_in_the_grace_ends_it(make):
    node = bound(make(fallback=()), "blue")
    node.world.pull("blue")
    node.run_for(3)
    assert node.phase is Phase.LOST
    node.ask("switch", stick="internal")
    assert (node.phase, running(node)) == (Phase.INTERNAL, (True, True))


def test_switch_to_a_standby_in_the_grace_ends_it(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.world.pull("blue")
    node.run_for(3)
    began = node.world.now
    node.ask("switch", stick="green")
    assert node.serving() == "green"
    assert node.world.closed[-1].steps[-1].started_at - began < 3


# -- eject, rollback ------------------------------------------------------------------------


def test_eject_with_a_standby_moves_to_it_and_the_ejected_one_waits(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.ask("eject")
    assert (node.serving(), judged(node, "blue")) == ("green", "waiting Ejected")
    assert last(node) == ("eject", "blue", "green", "done")


def test_ejected_ends_with_removal(make):
    node = bound(make(), "blue")
    node.ask("eject")
    assert (node.serving(), judged(node, "blue")) == ("internal", "waiting Ejected")
    pull(node, "blue")
    plug(node, "blue")
    assert node.serving() == "blue"


def test_ejected_ends_with_a_boot(make):
    node = bound(make(), "blue")
    node.ask("eject")
    node.power_cycle()
    assert node.serving() == "blue"


@pytest.mark.parametrize("verb", ["switch", "enroll"])
def test_ejected_ends_with_a_verb_that_names_the_stick(make, verb):
    node = bound(make(), "blue")
    node.ask("eject")
    node.ask(verb, stick="blue")
    assert node.serving() == "blue"


def test_eject_to_an_ejected_stick_takes_it_back(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.ask("eject", stick="green")
    assert judged(node, "green") == "waiting Ejected"
    node.ask("eject", to="green")
    assert node.serving() == "green"


def test_an_ejection_that_fails_is_over(make):
    node = bound(make(), "blue")
    node.inject({9: "fail"})
    node.ask("eject")
    assert node.world.faults.fired
    assert (node.serving(), judged(node, "blue"), intent(node).ejected) == ("blue", "active", ())


def test_eject_without_any_permitted_root_is_refused(make):
    node = bound(make(fallback=STANDBY), "blue")
    with pytest.raises(RefusedError) as refused:
        node.ask("eject")
    assert refused.value.reason == "NoFallback"
    node.ask("eject", to="internal")
    assert node.serving() == "internal"


def test_an_ejection_whose_standby_vanishes_first_does_not_leave_for_a_forbidden_root(make):
    node = bound(make(fallback=STANDBY), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.say("eject")
    node.world.pull("green")
    node.settle()
    assert node.serving() == "blue"


def test_rollback_goes_to_what_served_before_and_back(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.ask("switch", stick="green")
    node.ask("rollback")
    assert node.serving() == "blue"
    node.ask("rollback")
    assert node.serving() == "green"


def test_a_boot_is_no_move_that_rollback_would_undo(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.ask("switch", stick="green")
    node.power_cycle()
    node.ask("rollback")
    assert node.serving() == "blue"


# -- loss -----------------------------------------------------------------------------------


def test_a_standby_that_fails_too_gives_way_to_the_next_fallback(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.world.media["green"].broken_filesystem = True
    pull(node, "blue")
    assert node.serving() == "internal"
    assert judged(node, "green") == "unusable FsckFailed"
    assert running(node) == (True, True)


def test_without_a_fallback_the_runtime_is_kept_stopped_until_a_stick_comes_back(make):
    node = bound(make(fallback=()), "blue")
    pull(node, "blue")
    assert (node.phase, running(node)) == (Phase.STOPPED, (False, False))
    assert not node.world.start_unit(RUNTIME)
    node.restart_daemon()
    assert node.phase is Phase.STOPPED
    plug(node, "blue")
    assert (node.phase, node.serving(), running(node)) == (Phase.BOUND, "blue", (True, True))


def test_a_stick_that_comes_back_while_the_daemon_is_away_starts_what_is_owed(make):
    node = bound(make(fallback=()), "blue")
    pull(node, "blue")
    node.world.insert_before_start("blue")
    node.restart_daemon()
    assert (node.phase, running(node)) == (Phase.BOUND, (True, True))


def test_a_stick_that_fails_in_stopped_leaves_the_node_stopped(make):
    node = bound(make(fallback=()), "blue")
    pull(node, "blue")
    node.world.media["blue"].broken_filesystem = True
    plug(node, "blue")
    assert (node.phase, running(node)) == (Phase.STOPPED, (False, False))


def test_a_boot_without_a_permitted_root_starts_nothing_until_a_stick_comes(make):
    node = bound(make(fallback=()), "blue")
    node.world.pull("blue")
    node.power_cycle()
    assert (node.phase, running(node)) == (Phase.STOPPED, (False, False))
    plug(node, "blue")
    assert (node.phase, running(node)) == (Phase.BOUND, (True, True))


def test_a_boot_by_wish_on_the_internal_directory_needs_no_fallback(make):
    node = bound(make(fallback=()), "blue")
    node.ask("switch", stick="internal")
    node.power_cycle()
    assert (node.phase, running(node)) == (Phase.INTERNAL, (True, True))


def test_a_dead_stick_that_is_still_in_counts_as_lost_and_does_not_end_the_grace(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.world.media["blue"].dead = True
    node.run_for(15)
    assert node.phase is Phase.LOST
    assert judged(node, "blue") == "unusable ProbeFailed"
    node.settle()
    assert node.serving() == "green"
    assert node.world.closed[-1].reason == Reason.PROBE_FAILED


def test_a_condemned_stick_stays_condemned_when_the_daemon_restarts_in_the_grace(make):
    node = bound(make(), "blue")
    node.inject({1: "fail"})
    node.run_for(15)
    assert node.world.faults.fired
    assert node.phase is Phase.LOST
    node.restart_daemon()
    assert (node.serving(), judged(node, "blue")) == ("internal", "unusable ProbeFailed")


def test_a_write_that_fails_counts_as_loss_too(make):
    node = bound(make(write_probe_seconds=5.0, probe_seconds=1000.0), "blue")
    node.world.media["blue"].dead = True
    node.run_for(40)
    node.settle()
    assert node.serving() == "internal"


def test_source_and_target_that_vanish_in_the_middle_of_a_switch_end_on_the_fallback(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.inject({8: "yank blue", 11: "yank green"})
    node.ask("switch", stick="green")
    assert len(node.world.faults.fired) == 2
    assert (node.serving(), running(node)) == ("internal", (True, True))


def test_a_stick_that_flaps_rests_and_is_released_by_itself(make):
    node = bound(make(), "blue")
    for _ in range(4):
        node.world.pull("blue")
        node.run_for(2)
        plug(node, "blue")
    assert (node.serving(), judged(node, "blue")) == ("internal", "waiting Quarantined")
    node.run_for(node.role.quarantine_seconds + 60)
    node.settle()
    assert node.serving() == "blue"


def test_what_an_operator_asks_for_never_counts_against_the_budget(make):
    node = bound(make(), "blue")
    for stick in ("internal", "blue") * 4:
        node.ask("switch", stick=stick)
    assert node.serving() == "blue"
    assert judged(node, "blue") == "active"


def test_flapping_within_a_longer_window_than_configured_is_no_flapping(make):
    node = bound(make(switch_window_seconds=60.0), "blue")
    for _ in range(6):
        node.world.pull("blue")
        node.run_for(2)
        plug(node, "blue")
        node.run_for(100)
    assert node.serving() == "blue"


# -- clones, trust, somebody else -----------------------------------------------------------


def test_a_clone_of_the_active_stick_waits_and_disturbs_nobody(make):
    node = bound(make(), "blue")
    node.world.make("twin", uuid="blue-uuid", serial="SER-twin")
    plug(node, "twin")
    assert (node.serving(), judged(node, "twin")) == ("blue", "waiting Clone")
    assert not stops(node)


def test_clones_that_nothing_tells_apart_need_a_person(make):
    node = bound(make(), "blue")
    node.ask("eject")
    pull(node, "blue")
    node.world.make("shade", uuid="blue-uuid", serial="SER-blue")
    node.world.plug("shade")
    node.world.plug("blue")
    node.settle()
    assert node.serving() == "internal"
    assert isinstance(node.view.decision, Attention)
    assert node.view.decision.reason is Reason.CLONE
    with pytest.raises(RefusedError, match="same file system UUID"):
        node.ask("switch", stick=node.device("blue").devnode)
    pull(node, "shade")
    assert node.serving() == "blue"


def test_trust_none_leaves_an_active_stick_alone_and_takes_no_other(make):
    node = bound(make(), "blue")
    node.role = make(trust=Trust.NONE).role
    node.reconciler.configure(node.role, node.daemon, node.reconciler.memory.profile)
    plug(node, "green")
    assert (node.serving(), judged(node, "blue")) == ("blue", "active TrustNone")
    assert judged(node, "green") == "waiting TrustNone"
    with pytest.raises(RefusedError):
        node.ask("switch", stick=node.device("green").devnode)


def test_floor_images_of_a_reload_are_kept_at_once_and_are_on_the_next_stick(make):
    node = make()
    node.world.internal_images.add("app")
    node.settle()
    assert node.world.archive == {"pause"}
    node.role = make(floor_images=("app",)).role
    node.reconciler.configure(node.role, node.daemon, node.reconciler.memory.profile)
    node.settle()
    assert node.world.archive == {"pause", "app"}
    bound(node, "blue")
    assert node.world.images() >= {"pause", "app"}


def test_a_runtime_that_somebody_stopped_is_never_started_by_a_plug(make):
    node = make()
    node.world.registry = bound(make(), "blue").world.registry
    node.world.stop_unit(KUBELET)
    node.world.stop_unit(RUNTIME)
    node.world.pods = 0
    node.settle()
    plug(node, "blue")
    assert (node.phase, running(node)) == (Phase.BOUND, (False, False))
    assert headline(node.view)[0] is Reason.RUNTIME_STOPPED


def test_leftover_shims_refuse_the_move(make):
    node = make()
    node.world.registry = bound(make(), "blue").world.registry
    node.world.stop_unit(KUBELET)
    node.world.stop_unit(RUNTIME)
    node.settle()
    plug(node, "blue")
    assert (node.serving(), judged(node, "blue")) == ("internal", "waiting PodsWithoutRuntime")
    assert node.world.pods
    node.restart_daemon()
    assert (node.serving(), node.world.pods) == ("internal", 1)


def test_foreign_containers_refuse_the_move_before_anything_is_stopped(make):
    node = make()
    node.world.foreign = ("moby/1",)
    plug(node, "blue")
    enroll(node, "blue")
    node.world.trace.clear()
    node.run_for(1800)
    assert (node.serving(), stops(node)) == ("internal", [])
    assert "stop-pods" not in node.world.trace
    assert len(node.world.closed) <= 10
    node.world.foreign = ()
    node.run_for(700)
    assert node.serving() == "blue"


def test_a_root_that_the_runtime_does_not_work_from_is_told_before_anything_is_stopped(make):
    node = make()
    node.world.image_directory = "/mnt/containerd/io.containerd.snapshotter.v1.overlayfs"
    plug(node, "blue")
    enroll(node, "blue")
    node.world.trace.clear()
    node.run_for(10)
    assert judged(node, "blue") == "waiting RootElsewhere"
    node.run_for(1800)
    assert (node.serving(), stops(node)) == ("internal", [])
    assert "stop-pods" not in node.world.trace
    assert "outside of /var/lib/containerd" in node.world.closed[-1].message
    node.world.image_directory = None
    node.run_for(700)
    assert node.serving() == "blue"


def test_foreign_containers_may_be_stopped_if_the_configuration_says_so(make):
    node = make(stop_foreign=True)
    node.world.foreign = ("moby/1",)
    bound(node, "blue")


def test_pause_keeps_moves_towards_a_stick_from_happening_but_not_failover_or_boot(make):
    node = bound(make(collision=Collision.NEWEST), "blue")
    node.ask("pause")
    plug(node, "green")
    enroll(node, "green", no_switch=True)
    assert node.serving() == "blue"
    node.restart_daemon()
    assert intent(node).paused_since
    pull(node, "blue")
    assert node.serving() == "green"
    node.power_cycle()
    assert node.serving() == "green"
    node.ask("resume")
    assert intent(node).paused_since is None


def test_pause_keeps_a_plugged_stick_waiting_until_resume(make):
    node = make()
    node.world.registry = bound(make(), "blue").world.registry
    node.ask("pause")
    plug(node, "blue")
    assert node.serving() == "internal"
    node.ask("resume")
    assert node.serving() == "blue"


def test_what_an_operator_names_moves_under_pause(make):
    node = bound(make(), "blue")
    node.ask("pause")
    plug(node, "green")
    node.ask("switch", stick=node.device("green").devnode)
    assert node.serving() == "green"


# -- boot and first contact ----------------------------------------------------------------


def test_first_contact_stops_nothing(make):
    node = make(before=("blue",), trust=Trust.LABEL)
    assert (node.serving(), judged(node, "blue")) == ("internal", "waiting RuntimeRunning")
    assert not stops(node)
    node.power_cycle()
    assert node.serving() == "blue"


def test_a_restart_under_another_policy_stops_nothing(make):
    node = bound(make(collision=Collision.LARGEST), "blue")
    node.world.relabel("green", size_bytes=1 << 40)
    node.world.registry = node.world.registry.with_stick(
        bound(make(), "green").world.registry.sticks[0]
    )
    node.world.insert_before_start("green")
    node.world.trace.clear()
    node.restart_daemon()
    assert (node.serving(), stops(node)) == ("blue", [])


@pytest.mark.parametrize("after", [0.5, 20.0])
def test_a_boot_waits_for_the_stick_that_was_active_last(make, after):
    node = bound(make(), "blue")
    node.world.pull("blue")
    due = node.world.now + 30 + after

    def enumerate_late() -> None:
        if node.world.now >= due and "blue" not in node.world.plugged:
            node.world.plug("blue")

    node.world.on_sleep = enumerate_late
    node.world.trace.clear()
    node.power_cycle()
    assert (node.serving(), stops(node)) == ("blue", [])


def test_a_stick_that_comes_after_the_boots_patience_is_an_insertion(make):
    node = bound(make(), "blue")
    node.world.pull("blue")
    began = node.world.now
    node.power_cycle()
    assert node.serving() == "internal"
    assert node.world.now - began >= node.role.boot_wait_seconds
    plug(node, "blue")
    assert node.serving() == "blue"


def test_a_boot_does_not_wait_for_a_stick_that_was_forgotten(make):
    node = bound(make(), "blue")
    node.ask("eject")
    pull(node, "blue")
    node.ask("forget", stick="blue")
    began = node.world.now
    node.power_cycle()
    assert node.world.now - began < node.role.boot_wait_seconds + 10


def test_a_boot_tries_the_next_stick_when_the_first_is_broken(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.world.media["blue"].broken_filesystem = True
    node.power_cycle()
    assert (node.serving(), running(node)) == ("green", (True, True))


def test_a_stick_pulled_between_mount_and_proof_of_a_boot_is_a_loss(make):
    node = bound(make(fallback=()), "blue")
    node.inject({3: "yank blue"})
    node.power_cycle()
    assert node.world.faults.fired
    assert (node.phase, running(node)) == (Phase.STOPPED, (False, False))
    plug(node, "blue")
    assert (node.serving(), running(node)) == ("blue", (True, True))


def test_kubelet_that_requires_the_runtime_comes_back(make):
    node = bound(make(requires=True), "blue")
    assert running(node) == (True, True)
    pull(node, "blue")
    assert running(node) == (True, True)


# -- failure ---------------------------------------------------------------------------------


def failed(node):
    """A switch fails, and so does every attempt at the way back."""
    plug(node, "green")
    enroll(node, "green")
    original = node.world.start_unit
    node.world.start_unit = lambda name: False if name == RUNTIME else original(name)
    node.ask("switch", stick="green")
    node.world.start_unit = original
    return node


def test_a_rollback_that_fails_changes_nothing_more_until_it_is_cleared(make):
    node = failed(bound(make(), "blue"))
    assert node.phase is Phase.FAILED
    assert intent(node).failure
    with pytest.raises(RefusedError):
        node.ask("switch", stick="internal")
    with pytest.raises(RefusedError):
        node.ask("resume")
    node.restart_daemon()
    assert node.phase is Phase.FAILED
    node.ask("resume", clear=True)
    assert (node.phase, running(node)) == (Phase.BOUND, (True, True))
    assert not node.world.fences


def test_a_boot_after_a_failure_works_without_help_and_says_what_happened(make):
    node = failed(bound(make(), "blue"))
    node.power_cycle()
    assert (node.phase, running(node)) == (Phase.FAILED, (True, True))
    node.world.trace.clear()
    node.ask("resume", clear=True)
    assert node.phase in {Phase.BOUND, Phase.INTERNAL}
    assert running(node) == (True, True)


def test_clearing_what_is_not_mended_fails_again(make):
    node = failed(bound(make(), "blue"))
    original = node.world.start_unit
    node.world.start_unit = lambda name: False if name == RUNTIME else original(name)
    node.ask("resume", clear=True)
    assert node.phase is Phase.FAILED


def test_the_fence_holds_against_a_start_in_the_middle_of_a_switch(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    refused = []
    node.world.on_effect = lambda what: (
        refused.append(node.world.start_unit(RUNTIME)) if what in {"unmount", "mount"} else None
    )
    node.ask("switch", stick="green")
    assert refused == [False, False]
    assert node.serving() == "green"


def test_an_abort_ends_after_the_current_step_and_goes_back(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")

    def abort(what: str) -> None:
        if what == "unmount":
            node.reconciler.executor.aborting = True

    node.world.on_effect = abort
    node.ask("switch", stick="green")
    assert last(node) == ("switchover", "blue", "green", "aborted")
    assert (node.serving(), running(node)) == ("blue", (True, True))


def test_sigterm_in_the_grace_puts_the_fallback_in_place_and_the_next_start_proves_it(make):
    node = bound(make(), "blue")
    node.world.pull("blue")
    node.run_for(3)
    node.terminate_daemon()
    assert node.world.open["containerd"].stage is Stage.LEFT
    assert running(node) == (True, True)
    node.restart_daemon()
    assert last(node) == ("failover", "blue", "internal", "done")


def test_sigterm_in_the_grace_without_a_permitted_root_leaves_everything_stopped(make):
    node = bound(make(fallback=()), "blue")
    node.world.pull("blue")
    node.run_for(3)
    node.terminate_daemon()
    assert running(node) == (False, False)
    node.restart_daemon()
    assert node.phase is Phase.STOPPED


def test_a_node_without_a_runtime_mounts_nothing(make):
    node = make(running=False)
    del node.world.units[RUNTIME]
    plug(node, "blue")
    with pytest.raises(NotFoundError):
        node.ask("switch", stick="green")
    enroll(node, "blue")
    assert judged(node, "blue") == "waiting RuntimeNotInstalled"
    assert node.serving() == "internal"


def test_somebody_mounts_a_stick_by_hand_while_the_runtime_is_kept_stopped(make):
    node = bound(make(fallback=()), "blue")
    pull(node, "blue")
    node.world.registry = bound(make(), "green").world.registry
    node.world.plug("green")
    node.world.root_mounts.append(node.device("green").number)
    node.settle()
    assert (node.phase, running(node)) == (Phase.BOUND, (True, True))
    assert seen(node, "green").verdict == "active"


def test_a_step_back_that_fails_once_is_tried_again(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.inject({9: "fail", 12: "fail"})
    node.ask("switch", stick="green")
    assert len(node.world.faults.fired) == 2
    assert last(node) == ("switchover", "blue", "green", "rolled-back")
    assert (node.serving(), running(node)) == ("blue", (True, True))


def test_a_shutdown_in_the_middle_of_a_switch_is_nobodys_verdict(make):
    """A start fails while the system goes down; the stick and the wish are not to blame."""
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")
    node.say("switch", stick="green")
    node.world.on_effect = lambda what: (
        setattr(node.world, "stopping", True) if what == f"start {RUNTIME}" else None
    )
    node.settle()
    assert node.ends == ["down"]
    assert node.world.closed[-2].result == "interrupted"
    assert node.serving() == "green"


def test_a_fence_that_nobody_needs_any_more_is_lowered(make):
    node = bound(make(), "blue")
    node.world.fences.add("containerd")
    node.settle()
    assert not node.world.fences


def test_sigterm_while_the_runtime_runs_from_a_dead_stick_moves_nothing_under_it(make):
    node = bound(make(), "blue")
    plug(node, "green")
    enroll(node, "green")

    def end(what: str) -> None:
        if what == "check" and "blue" in node.world.plugged:
            node.world.pull("blue")
            node.world.on_term()

    node.world.on_effect = end
    node.say("switch", stick="green")
    node.settle()
    assert node.ends == ["term"]
    assert (node.serving(), running(node)) == ("green", (True, True))


def stopped_and_failed(make):
    """Nothing is permitted, and the way to the internal directory by hand failed."""
    node = bound(make(fallback=()), "blue")
    pull(node, "blue")
    node.inject({5: "fail"})
    node.ask("switch", stick="internal")
    assert node.world.faults.fired
    assert node.phase is Phase.FAILED
    return node


def test_a_failure_that_is_cleared_without_a_permitted_root_is_fenced_again(make):
    node = stopped_and_failed(make)
    node.ask("resume", clear=True)
    assert (node.phase, running(node)) == (Phase.STOPPED, (False, False))
    assert node.world.fences


def test_a_runtime_that_a_person_started_after_a_failure_is_left_alone(make):
    node = stopped_and_failed(make)
    node.world.fences.clear()
    assert node.world.start_unit(RUNTIME)
    node.ask("resume", clear=True)
    assert (node.phase, running(node)) == (Phase.INTERNAL, (True, True))


# -- the runtime's client ---------------------------------------------------------------------


def test_a_switch_and_the_reading_after_it_start_the_runtimes_client_once(make):
    node = bound(make(), "blue")
    before = node.world.client_starts
    node.ask("switch", stick="internal")
    assert (node.serving(), node.world.client_runs) == ("internal", False)
    assert node.world.client_starts == before + 1
