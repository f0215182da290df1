"""What would be done, as `plan` shows it: the same pure line, on a world with one thing changed."""

from __future__ import annotations

from dataclasses import replace

from nodestoraged.core import devicewords, forecast, planner, requests, warnings
from nodestoraged.core.decide import decide
from nodestoraged.core.requests import Request, Situation
from nodestoraged.core.sections import goal_of, source_of
from nodestoraged.core.select import select, slot_candidates
from nodestoraged.engine.hearing import directory_named
from nodestoraged.engine.reconciler import Reconciler
from nodestoraged.model.config import DataPolicy
from nodestoraged.model.decision import Contain, Decision, Move
from nodestoraged.model.observation import Observation
from nodestoraged.model.operation import INTERNAL_ROOT, OperationKind
from nodestoraged.model.plan import Plan
from nodestoraged.model.reason import MEANINGS


async def preview(
    reconciler: Reconciler,
    observation: Observation,
    to: str | None,
    with_: str | None,
    data: DataPolicy | None = None,
) -> dict[str, object]:
    """The decision and the steps for the world as it is, after `to` or with a device more."""
    role = reconciler.role
    if with_ is not None:
        count = max((d.inserted for d in observation.devices), default=0) + 1
        extra = devicewords.parse(with_, labels=role.labels, inserted=count)
        observation = replace(
            observation, devices=(*observation.devices, extra), settling_until=0.0
        )
    if to is not None:
        slot = directory_named(reconciler, observation, to)
        situation = Situation(
            observation=observation,
            candidates=(*select(observation, role), *slot_candidates(slot, observation)),
            role=role,
            busy=reconciler.busy,
        )
        if slot is not None and slot not in observation.devices:
            observation = replace(observation, devices=(*observation.devices, slot))
        answer = requests.apply(Request(verb="switch", stick=to, data=data), situation)
        observation = replace(
            observation,
            intent=answer.intent,
            registry=answer.registry,
            permitted=observation.permitted | answer.permitted,
        )
    decision = decide(observation, select(observation, role), role)
    plan = _plan(reconciler, observation, decision)
    copied = isinstance(decision, Move) and decision.data is DataPolicy.COPY
    return {
        "role": role.name,
        "decision": _word(decision),
        "reason": decision.reason.value,
        "message": MEANINGS[decision.reason],
        "target": _target(decision),
        "steps": [
            {"step": step.describe(), "deadlineSeconds": step.deadline_seconds}
            for step in plan.steps
        ],
        "predictedDowntimeSeconds": _predicted(reconciler, decision) if plan.steps else None,
        "data": decision.data.value if isinstance(decision, Move) else None,
        "predictedBytes": await reconciler.mover.used_bytes() if copied else None,
        "warnings": _warnings(reconciler),
    }


def _warnings(reconciler: Reconciler) -> list[object]:
    view = reconciler.view
    return [each["message"] for each in warnings.of(view)] if view is not None else []


def _plan(reconciler: Reconciler, observation: Observation, decision: Decision) -> Plan:
    if isinstance(decision, Contain):
        return planner.plan_contain(observation, decision.lost)
    if not isinstance(decision, Move):
        return Plan()
    goal = goal_of(observation, decision)
    return planner.plan_move(
        observation,
        reconciler.role,
        goal,
        source_of(observation),
        ejecting=decision.kind is OperationKind.EJECT,
    )


def _word(decision: Decision) -> str:
    return decision.kind.value if isinstance(decision, Move) else type(decision).__name__.lower()


def _target(decision: Decision) -> str | None:
    if not isinstance(decision, Move):
        return None
    return decision.target.name if decision.target else INTERNAL_ROOT.name


def _predicted(reconciler: Reconciler, decision: Decision) -> float | None:
    """What the last operation of this kind took; nothing is predicted that was not measured."""
    if not isinstance(decision, Move):
        return None
    return forecast.downtime(reconciler.mover.history(), decision.kind, decision.data)
