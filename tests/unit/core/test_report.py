"""The published JSON says what the simulated node is, in the contract's names and shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from nodestoraged.core import conditions, report, words
from nodestoraged.core.sizes import gibibytes
from nodestoraged.model.config import Collision, Fallback, RoleConfig, Trust
from nodestoraged.model.decision import Attention, Keep
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.phase import Phase
from nodestoraged.model.proof import KubeletReading, Link, LinkResult
from nodestoraged.model.reason import MEANINGS, Reason
from nodestoraged.model.view import View
from nodestoraged.sim.node import SimNode

MakeNode = Callable[..., SimNode]


@pytest.fixture
def make() -> Iterator[MakeNode]:
    """Makes simulated nodes and closes them."""
    made: list[SimNode] = []

    def build(**role: Any) -> SimNode:
        made.append(SimNode(RoleConfig(name="containerd", **role)))
        return made[-1]

    yield build
    for node in made:
        node.close()


def bound(node: SimNode, name: str = "blue") -> SimNode:
    node.world.make(name)
    device = node.world.plug(name)
    node.settle()
    node.ask("enroll", stick=device.devnode, name=name)
    return node


def shown(node: SimNode) -> dict[str, Any]:
    return report.role(node.view, {})


def status_of(view: View, kind: str) -> conditions.Condition:
    return next(c for c in conditions.of(view) if c.type == kind)


def test_every_key_of_the_contract_is_there_whatever_the_state(make: MakeNode) -> None:
    keys = {
        "name", "kind", "phase", "since", "reason", "message", "automation", "availability",
        "attention", "hint", "root", "serving", "runtime", "active", "lastActive", "imagefs",
        "candidates", "conditions",
    }  # fmt: skip
    assert keys <= shown(make()).keys()
    assert keys <= shown(bound(make())).keys()


def test_internal_without_a_stick(make: MakeNode) -> None:
    found = shown(make())
    assert (found["phase"], found["reason"]) == ("INTERNAL", "NoStick")
    assert found["serving"]["source"] == "internal"
    assert (found["active"], found["lastActive"], found["lost"]) == (None, None, None)
    assert found["imagefs"]["verified"] is True
    assert found["ifLost"] == ["internal (vda1, 32.0 GiB free)"]


def test_bound_names_the_stick_and_its_proof(make: MakeNode) -> None:
    found = shown(bound(make()))
    assert (found["phase"], found["reason"]) == ("BOUND", "SlotProven")
    assert found["active"]["name"] == "blue"
    assert found["serving"]["uuid"] == "blue-uuid"
    assert [link["link"] for link in found["imagefs"]["proof"]] == [link.value for link in Link]
    assert found["imagefs"]["kubeletProof"] == "process-newer-than-mount"
    assert found["hint"] == {"text": "Before pulling blue", "command": "nodestoragectl eject"}


def test_an_unknown_stick_is_shown_with_the_verb_that_trusts_it(make: MakeNode) -> None:
    node = make()
    node.world.make("blue")
    device = node.world.plug("blue")
    node.settle()
    found = shown(node)
    (candidate,) = found["candidates"]
    assert (candidate["verdict"], candidate["reasons"]) == ("waiting", ["NotEnrolled"])
    assert candidate["message"] == MEANINGS[Reason.NOT_ENROLLED]
    devnode = device.devnode.removeprefix("/dev/")
    assert found["hint"]["command"] == f"nodestoragectl enroll {devnode}"


def test_a_standby_says_what_it_is_for(make: MakeNode) -> None:
    node = bound(make())
    bound(node, "green")
    found = shown(node)
    green = next(c for c in found["candidates"] if c["name"] == "green")
    assert green["message"] == "takes over if blue is lost"
    assert found["ifLost"] == ["green", "internal (vda1, 32.0 GiB free)"]


def test_a_lost_stick_is_named_with_the_end_of_its_grace(make: MakeNode) -> None:
    node = bound(make(swap_grace_seconds=30))
    node.world.pull("blue")
    node._drive(node.reconciler.tick())
    found = shown(node)
    assert (found["phase"], found["reason"]) == ("LOST", "StickLost")
    assert (found["active"], found["lastActive"]["name"]) == (None, "blue")
    assert found["serving"]["source"] == "internal"
    assert found["graceUntil"].endswith("Z")
    assert found["lost"]["name"] == "blue"
    assert found["hint"]["command"] is None
    node.settle()
    found = shown(node)
    assert (found["phase"], found["reason"]) == ("INTERNAL", "StickLost")
    assert "blue" in found["hint"]["text"]


def test_a_dead_mount_counts_as_none(make: MakeNode) -> None:
    node = bound(make())
    node.world.pull("blue")
    observation = node._drive(node.reconciler.observe())
    view = replace(node.view, observation=observation)
    found = report.role(view, {})
    assert found["serving"] == {
        "source": "none", "uuid": None, "devnode": None, "path": "/var/lib/containerd",
    }  # fmt: skip
    assert status_of(view, "SlotHealthy").status == "False"


def test_a_dying_stick_is_unhealthy_for_its_own_reason(make: MakeNode) -> None:
    node = bound(make())
    node.world.media["blue"].dead = True
    node.reconciler.memory.hold_against(conditions_setback(node))
    view = replace(node.view, observation=node._drive(node.reconciler.observe()))
    assert status_of(view, "SlotHealthy").reason == "ProbeFailed"


def conditions_setback(node: SimNode) -> Any:
    from nodestoraged.model.observation import Setback

    device = node.world.plugged["blue"]
    return Setback(incarnation=device.incarnation, reason=Reason.PROBE_FAILED)


def test_without_a_runtime_nothing_is_claimed(make: MakeNode) -> None:
    node = make()
    node.world.units.clear()
    view = replace(node.view, observation=node._drive(node.reconciler.observe()), proof=None)
    found = report.role(view, {})
    assert found["reason"] == "RuntimeNotInstalled"
    assert (found["imagefs"], found["runtime"]["version"]) == (None, None)
    assert status_of(view, "RuntimeAnswering").reason == "RuntimeNotInstalled"


def test_a_runtime_that_somebody_stopped_is_said_and_not_proven(make: MakeNode) -> None:
    node = bound(make())
    node.world.stop_unit("containerd.service")
    node.settle()
    found = shown(node)
    assert (found["phase"], found["reason"]) == ("BOUND", "RuntimeStopped")
    assert found["imagefs"]["verified"] is False
    assert status_of(node.view, "RuntimeAnswering").reason == "RuntimeStopped"


def test_a_mount_by_somebody_else_is_named(make: MakeNode) -> None:
    node = bound(make())
    intent = replace(node.view.observation.intent, bound_at=None)
    view = replace(node.view, observation=replace(node.view.observation, intent=intent))
    assert words.headline(view)[0] is Reason.MOUNTED_BY_OTHERS


def test_a_broken_link_is_named_with_its_cause(make: MakeNode) -> None:
    node = bound(make())
    proof = node.view.proof
    assert proof is not None
    broken = LinkResult(link=Link.DATABASE_LOCK, holds=False, detail="on 254:1")
    view = replace(node.view, proof=replace(proof, links=(broken, *proof.links[2:])))
    reason, message = words.headline(view)
    assert (reason, message) == (Reason.SLOT_UNPROVEN, "DatabaseLock: on 254:1")
    assert status_of(view, "ImageFsProven").reason == "ProofBroken"
    assert status_of(view, "HiddenDirUnused").status == "False"
    silent = replace(node.view, proof=None, proof_failure="nothing answers")
    assert words.headline(silent)[1] == "nothing answers"
    assert status_of(silent, "ImageFsProven").status == "False"
    unread = replace(node.view, proof=None, proof_failure=None)
    assert words.headline(unread)[1] == MEANINGS[Reason.SLOT_UNPROVEN]
    assert status_of(unread, "ImageFsProven").status == "Unknown"
    assert status_of(unread, "RuntimeAnswering").status == "Unknown"


@pytest.mark.parametrize(
    ("kubelet", "status", "reason"),
    [
        (KubeletReading(installed=True, running=False), "Unknown", "KubeletNotRunning"),
        (
            KubeletReading(installed=True, running=True, capacity_bytes=1),
            "False",
            "KubeletMismatch",
        ),
        (KubeletReading(installed=True, running=True, capacity_bytes=16 << 30), "True", "Shown"),
        (KubeletReading(installed=True, running=True), "Unknown", "NotShown"),
    ],
)
def test_kubelet_is_believed_as_far_as_it_goes(
    make: MakeNode, kubelet: KubeletReading, status: str, reason: str
) -> None:
    view = replace(bound(make()).view, kubelet=kubelet)
    found = status_of(view, "KubeletAgrees")
    assert (found.status, found.reason) == (status, reason)


def test_a_missing_sandbox_image_wants_a_person(make: MakeNode) -> None:
    node = bound(make())
    proof = node.view.proof
    assert proof is not None
    view = replace(node.view, proof=replace(proof, sandbox_image_present=False))
    assert report.role(view, {})["attention"]["reason"] == "SandboxImageMissing"
    assert status_of(view, "SandboxImagePresent").status == "False"
    unknown = replace(node.view, proof=replace(proof, sandbox_image_present=None))
    assert status_of(unknown, "SandboxImagePresent").status == "Unknown"


def test_what_only_a_person_can_mend_is_shown_worst_first(make: MakeNode) -> None:
    node = bound(make())
    observation = node.view.observation
    failed = replace(observation, intent=replace(observation.intent, failed=True, failure="both"))
    view = replace(node.view, observation=failed, phase=Phase.FAILED)
    found = report.role(view, {})
    assert (found["reason"], found["message"]) == ("RollbackFailed", "both")
    assert found["attention"]["hint"]["command"] == "nodestoragectl resume --clear"
    assert found["hint"]["command"] == "nodestoragectl resume --clear"
    stuck = replace(node.view, observation=replace(observation, stuck_children=4))
    assert report.role(stuck, {})["attention"]["reason"] == "TooManyStuckChildren"


def test_a_clone_beside_the_active_stick_wants_a_person(make: MakeNode) -> None:
    node = bound(make())
    node.world.make("copy", uuid="blue-uuid", serial="SER-copy")
    node.world.plug("copy")
    node.settle()
    found = shown(node)
    assert found["phase"] == "BOUND"
    assert found["attention"]["reason"] == "Clone"


def test_a_collision_that_asks_heads_the_screen(make: MakeNode) -> None:
    node = make(collision=Collision.ASK, trust=Trust.LABEL)
    node.world.make("one")
    node.world.make("two")
    node.world.plug("one")
    node.world.plug("two")
    node.settle()
    found = shown(node)
    assert (found["phase"], found["reason"]) == ("INTERNAL", "Collision")
    assert found["hint"]["command"].startswith("nodestoragectl switch ")
    assert found["attention"]["reason"] == "Collision"


def test_trust_by_label_is_shown_as_what_it_is(make: MakeNode) -> None:
    assert status_of(make(trust=Trust.LABEL).view, "Trusted").reason == "TrustLabel"


def test_an_active_stick_that_was_forgotten_is_untrusted(make: MakeNode) -> None:
    node = bound(make())
    candidate = replace(node.view.candidates[0], trusted=False)
    view = replace(node.view, candidates=(candidate,))
    assert status_of(view, "Trusted").status == "False"


def test_stopped_without_a_permitted_root(make: MakeNode) -> None:
    node = bound(make(fallback=()))
    node.world.pull("blue")
    node.settle()
    found = shown(node)
    assert (found["phase"], found["reason"]) == ("STOPPED", "NoPermittedRoot")
    assert found["ifLost"] == ["the runtime is kept stopped"]


def test_switching_names_the_step_and_starting_says_so(make: MakeNode) -> None:
    node = bound(make(fallback=(Fallback.INTERNAL,)))
    operation = replace(node.world.closed[-1], result=None)
    view = replace(node.view, phase=Phase.SWITCHING, operation=operation)
    reason, message = words.headline(view)
    assert reason is Reason.OPERATION_RUNNING
    assert "internal -> blue" in message
    begun = replace(view, operation=replace(operation, steps=()))
    assert words.headline(begun)[1].endswith("begins")
    starting = replace(node.view, phase=Phase.SWITCHING, operation=None)
    assert words.headline(starting)[0] is Reason.STARTING


def test_lost_before_anything_is_known_of_the_operation(make: MakeNode) -> None:
    view = replace(make().view, phase=Phase.LOST, operation=None)
    assert words.headline(view)[1].startswith("the stick was lost")


def test_the_headline_falls_back_to_no_stick(make: MakeNode) -> None:
    node = make()
    device = bound(make()).view.candidates[0]
    contain = replace(node.view, decision=Keep(reason=Reason.WISH_INTERNAL))
    assert words.headline(contain)[0] is Reason.WISH_INTERNAL
    asking = replace(
        node.view,
        decision=Attention(reason=Reason.CLONE, message="two", hint="pull"),
        candidates=(device,),
    )
    assert words.hint(asking) == {"text": "To go on", "command": "pull"}


def test_a_stick_that_waits_for_the_runtime_offers_the_switch(make: MakeNode) -> None:
    node = make(trust=Trust.LABEL)
    node.world.make("blue")
    node.world.plug("blue")
    node.world.plugged["blue"] = replace(node.world.plugged["blue"], inserted=0)
    node.settle()
    found = shown(node)
    assert found["candidates"][0]["reasons"] == ["RuntimeRunning"]
    assert found["hint"]["command"].startswith("nodestoragectl switch ")


def test_an_operation_tells_its_steps_and_a_running_one_its_seconds(make: MakeNode) -> None:
    node = bound(make())
    done = report.operation(node.world.closed[-1])
    assert (done["kind"], done["result"], done["step"]) == ("bind", "done", None)
    assert done["downtimeSeconds"] == node.world.closed[-1].downtime_seconds
    last = node.world.closed[-1]
    open_step = replace(last.steps[-1], seconds=None)
    running = replace(last, result=None, steps=(*last.steps[:-1], open_step))
    told = report.operation(running, now=open_step.started_at + 2.0)
    assert told["step"] == open_step.step
    steps = told["steps"]
    assert isinstance(steps, list)
    assert steps[-1]["seconds"] == 2.0
    silent = report.operation(running)["steps"]
    assert isinstance(silent, list)
    assert silent[-1]["seconds"] is None


def test_sizes_are_in_gibibytes() -> None:
    assert gibibytes(3 << 29) == "1.5 GiB"


def test_a_moment_is_added_to_without_losing_its_zone() -> None:
    assert conditions.later("2026-01-01T00:00:00.250Z", 90) == "2026-01-01T00:01:30Z"


def test_a_kubelet_that_cannot_know_the_file_system_is_not_contradicted(make: MakeNode) -> None:
    view = make().view
    assert view.proof is not None
    kubelet = KubeletReading(installed=True, running=True, healthy=True, capacity_bytes=1)
    view = replace(view, kubelet=kubelet)
    assert status_of(view, "KubeletAgrees").reason == "KubeletMismatch"
    overlaid = replace(view, proof=replace(view.proof, number=DeviceNumber(0, 41)))
    assert status_of(overlaid, "KubeletAgrees").reason == "NotComparable"
