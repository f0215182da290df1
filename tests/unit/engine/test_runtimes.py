"""Runtimes that differ from a unit and a kubelet: one unit for both, and none at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodestoraged.core import report
from nodestoraged.core.verify import verify
from nodestoraged.model.config import Trust
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.errors import RefusedError
from nodestoraged.model.hidden import Wash
from nodestoraged.model.runtime import Dialect, Unit, UnitState
from nodestoraged.sim.world import KUBELET, PROFILE, RUNTIME
from tests.unit.engine.conftest import Make
from tests.unit.engine.scenes import enroll, last, plug, pull, running, stops

K3S = replace(PROFILE, name="k3s", embedded=True, kubelet_units=())
PODMAN = replace(PROFILE, name="podman", dialect=Dialect.PODMAN, kubelet_units=())


def test_pods_of_an_embedded_runtime_are_emptied_before_its_unit_goes(make: Make) -> None:
    node = make(profile=K3S)
    plug(node, "blue")
    enroll(node, "blue")
    assert (node.serving(), node.phase, node.world.pods) == ("blue", "BOUND", 1)
    trace = node.world.trace
    order = [trace.index(each) for each in ("stop-pods", f"stop {RUNTIME}", "kill-shims", "mount")]
    assert order == sorted(order)
    assert f"stop {KUBELET}" not in trace


def test_what_an_embedded_kubelet_made_anew_is_killed_before_the_swap(make: Make) -> None:
    node = make(profile=K3S)
    plug(node, "blue")
    pods: dict[str, int] = {}
    node.world.on_effect = lambda what: pods.setdefault(what, node.world.pods)
    enroll(node, "blue")
    assert pods["kill-shims"] == 1
    assert pods["mount"] == 0


def test_an_embedded_runtime_is_proven_long_before_its_unit_is_active(make: Make) -> None:
    node = make(profile=K3S, before=("blue",), trust=Trust.LABEL, running=False)
    node.power_cycle()
    assert (node.serving(), node.phase) == ("blue", "BOUND")
    assert node.view.proof is not None
    assert node.view.proof.holds


def test_an_embedded_runtime_fails_over_and_comes_back(make: Make) -> None:
    node = make(profile=K3S)
    plug(node, "blue")
    enroll(node, "blue")
    pull(node, "blue")
    assert (node.serving(), node.phase, node.world.pods) == ("internal", "INTERNAL", 1)
    plug(node, "blue")
    assert (node.serving(), node.phase) == ("blue", "BOUND")


def test_a_runtime_without_a_daemon_moves_and_is_proven(make: Make) -> None:
    node = make(profile=PODMAN)
    plug(node, "blue")
    enroll(node, "blue")
    assert last(node) == ("bind", "internal", "blue", "done")
    assert node.view.proof is not None
    assert node.view.proof.holds
    assert "stop-pods" in node.world.trace
    pull(node, "blue")
    assert (node.serving(), node.phase) == ("internal", "INTERNAL")


def test_a_runtime_without_a_daemon_and_without_units_moves_all_the_same(make: Make) -> None:
    node = make(profile=PODMAN, running=False)
    assert node.world.units[RUNTIME].state is UnitState.INACTIVE
    plug(node, "blue")
    enroll(node, "blue")
    assert (node.serving(), node.phase) == ("blue", "BOUND")
    assert f"start {RUNTIME}" not in node.world.trace


def test_a_boot_puts_the_stick_in_place_though_podman_never_counts_as_stopped(make: Make) -> None:
    node = make(profile=PODMAN)
    plug(node, "blue")
    enroll(node, "blue")
    node.world.trace.clear()
    node.power_cycle()
    assert (node.serving(), node.phase) == ("blue", "BOUND")
    assert "stop-pods" not in node.world.trace


def test_a_daemon_that_comes_up_beside_running_containers_stops_none(make: Make) -> None:
    node = make(profile=PODMAN, before=("blue",), trust=Trust.LABEL)
    assert node.world.pods == 0
    node.world.pods = 2
    node.power_cycle()
    node.world.pods = 2
    node.world.trace.clear()
    node.restart_daemon()
    assert node.world.pods == 2
    assert "stop-pods" not in node.world.trace


def test_a_root_that_is_split_by_configuration_is_not_moved(make: Make) -> None:
    node = make(profile=replace(PROFILE, elsewhere=("/data/snapshots",)))
    plug(node, "blue")
    with pytest.raises(RefusedError) as refused:
        node.say("switch", stick="blue")
    assert refused.value.reason == "SplitRoot"
    enroll(node, "blue")
    assert node.serving() == "internal"
    assert "stop-pods" not in node.world.trace


def test_a_boot_below_a_root_that_the_runtime_does_not_use_stops_nothing_and_says_so(
    make: Make,
) -> None:
    """Before READY nobody can be asked where it works: the proof after the mount finds out."""
    node = make()
    plug(node, "blue")
    enroll(node, "blue", no_switch=True)
    node.world.image_directory = "/elsewhere/x"
    node.world.trace.clear()
    node.power_cycle()
    assert (node.serving(), node.phase, running(node)) == ("blue", "BOUND", (True, True))
    boot = node.world.closed[-1]
    assert (boot.reason, last(node)[3]) == ("ProofBroken", "done")
    assert boot.message.startswith("ImageFsPath: /elsewhere/x lies on")
    node.run_for(1800)
    assert (stops(node), node.world.closed[-1]) == ([], boot)
    seen = report.role(node.view, {})
    proven = next(one for one in seen["conditions"] if one["type"] == "ImageFsProven")
    assert (seen["imagefs"]["verified"], proven["status"]) == (False, "False")
    node.ask("eject")
    assert (node.serving(), node.phase, running(node)) == ("internal", "INTERNAL", (True, True))


@pytest.mark.parametrize(
    ("dialect", "absent"),
    [
        (Dialect.CONTAINERD, set()),
        (Dialect.CRI, {"DatabaseLock", "Snapshotter", "Namespace"}),
        (Dialect.PODMAN, {"Namespace"}),
    ],
)
def test_what_a_dialect_cannot_know_does_not_apply(
    make: Make, dialect: Dialect, absent: set[str]
) -> None:
    node = make()
    reading = node._drive(node.reconciler.ports.runtime.prove(PROFILE, deadline_seconds=1))
    links = verify(reading, node.world.root_number, own_namespace=False, dialect=dialect)
    assert {each.link for each in links if "does not apply" in each.detail} == absent
    assert all(each.holds for each in links)
    elsewhere = DeviceNumber(254, 99)
    broken = verify(reading, elsewhere, own_namespace=False, dialect=dialect)
    assert "ImageFsPath" in {each.link for each in broken if not each.holds}
    assert ("DatabaseLock" in {each.link for each in broken if not each.holds}) == (
        dialect is not Dialect.CRI
    )


def test_pods_that_a_stopped_k3s_left_are_emptied_without_starting_it(make: Make) -> None:
    node = make(profile=K3S)
    node.world.stop_unit(RUNTIME)
    node.settle()
    assert node.world.pods == 1
    plug(node, "blue")
    node.ask("switch", stick="blue")
    trace = node.world.trace
    order = [trace.index(each) for each in ("empty-alone", "kill-shims", "mount")]
    assert order == sorted(order)
    assert (node.serving(), node.phase, node.world.pods) == ("blue", "BOUND", 0)
    assert node.world.units[RUNTIME].state is UnitState.INACTIVE
    assert f"start {RUNTIME}" not in trace


def test_pods_of_a_stopped_containerd_are_still_a_reason_to_refuse(make: Make) -> None:
    node = make()
    node.world.stop_unit(KUBELET)
    node.world.stop_unit(RUNTIME)
    node.settle()
    plug(node, "blue")
    node.ask("switch", stick="blue")
    assert node.serving() == "internal"
    assert last(node)[3] == "failed"
    assert "empty-alone" not in node.world.trace


def test_a_layout_that_is_not_containerds_is_not_washed(make: Make) -> None:
    node = make(profile=PODMAN)
    with pytest.raises(RefusedError) as refused:
        node.say("powerwash", tier=Wash.ALL)
    assert refused.value.reason == "WashUnknown"


def test_an_embedded_unit_that_is_still_starting_is_asked_all_the_same(make: Make) -> None:
    node = make(profile=K3S)
    asked, services = node.reconciler.ports.services.unit, node.reconciler.ports.services

    async def starting(name: str) -> Unit:
        unit = await asked(name)
        return replace(unit, state=UnitState.STARTING) if name == RUNTIME else unit

    services.unit = starting  # type: ignore[method-assign]
    node.reconciler.health.expire()
    node.run_for(5)
    assert node.view.proof is not None
    assert node.view.proof.holds
    assert node.view.kubelet.running


def test_a_unit_that_is_still_starting_is_not_asked_where_kubelet_has_its_own(make: Make) -> None:
    node = make()
    asked, services = node.reconciler.ports.services.unit, node.reconciler.ports.services

    async def starting(name: str) -> Unit:
        unit = await asked(name)
        return replace(unit, state=UnitState.STARTING) if name == RUNTIME else unit

    services.unit = starting  # type: ignore[method-assign]
    node.reconciler.health.expire()
    node.run_for(5)
    assert node.view.proof is None


@pytest.mark.parametrize(
    ("ends", "result"), [(UnitState.INACTIVE, "done"), (UnitState.STARTING, "rolled-back")]
)
def test_a_start_that_the_fence_ends_is_waited_for(
    make: Make, ends: UnitState, result: str
) -> None:
    """OpenRC shows it as begun before it asks the script; a real one is not moved over."""
    node = make()
    plug(node, "blue")
    runtime = node.world.units[RUNTIME]

    def begin(what: str) -> None:
        if what == "kill-shims":
            runtime.state = UnitState.STARTING
            node.world.on_effect = None

    def end() -> None:
        if runtime.state is UnitState.STARTING:
            runtime.state = ends

    node.world.on_effect, node.world.on_sleep = begin, end
    enroll(node, "blue")
    assert node.world.closed[-1].result == result
    assert node.serving() == ("blue" if result == "done" else "internal")
