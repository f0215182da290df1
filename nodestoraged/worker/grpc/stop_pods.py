"""Stopping every pod over CRI, with grace first and a deadline over all.

Owns the order: containers get their grace in parallel, then sandboxes are stopped and removed.
Knows CRI, no units and no processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from nodestoraged.worker.grpc.cri import Cri
from nodestoraged.worker.grpc.deadline import Deadline
from nodestoraged.worker.grpc.failure import RUNTIME_TIMEOUT, CallFailure

Json = dict[str, object]

#: StopContainer waits out a grace, so all of them go at once (kubelet's default is 110 pods).
_CONTAINERS_AT_ONCE = 256
#: Teardown is work (runc, CNI, fsync on a slow stick): more at once only makes each slower.
_SANDBOXES_AT_ONCE = 8
#: Of the deadline this share is kept for killing and removing after the grace.
_TEARDOWN_SHARE = 0.4
_PAUSE_BETWEEN_PASSES_SECONDS = 0.1


def stop_pods(cri: Cri, grace_seconds: int, deadline: Deadline) -> Json:
    """Stop and remove all sandboxes; returns counts, and those left with the last cause.

    Never raises for a pod that resists; raises CallFailure when the pods cannot be listed at
    the start.  kubelet must be stopped before, or it creates them anew.  The cause is the last
    that the runtime gave; that the time was over is said only where it gave none.
    """
    stopped = _stop_containers(cri, grace_seconds, deadline)
    removed: set[str] = set()
    causes: dict[str, CallFailure] = {}
    left = cri.sandboxes(deadline)
    while left and not deadline.expired:
        done, failed = _in_parallel(
            (each["id"] for each in left),
            lambda sandbox_id: _take_down(cri, sandbox_id, deadline),
            _SANDBOXES_AT_ONCE,
        )
        removed.update(done)
        _remember(causes, failed)
        try:
            # Not what we were told but what is there: a removal may have failed half-way.
            left = cri.sandboxes(deadline)
        except CallFailure as failure:
            left = [each for each in left if each["id"] not in removed]
            _remember(causes, {each["id"]: failure for each in left})
        if left:
            deadline.sleep(_PAUSE_BETWEEN_PASSES_SECONDS)
    return {
        "containers_stopped": stopped,
        "sandboxes_removed": len(removed - {each["id"] for each in left}),
        "left": [
            {
                "id": each["id"],
                "name": each["name"],
                "namespace": each["namespace"],
                "cause": str(causes.get(each["id"], f"not done within {deadline.seconds:g} s")),
            }
            for each in left
        ],
        "took_seconds": deadline.elapsed_seconds,
    }


def _remember(causes: dict[str, CallFailure], newer: dict[str, CallFailure]) -> None:
    """Add what failed now; the deadline cuts the last pass off and must not hide why it ran."""
    for one, failure in newer.items():
        if one not in causes or failure.reason != RUNTIME_TIMEOUT:
            causes[one] = failure


def affordable_grace(grace_seconds: int, remaining_seconds: float) -> int:
    """The whole seconds of grace that leave time for the teardown."""
    return max(0, min(grace_seconds, int(remaining_seconds * (1 - _TEARDOWN_SHARE))))


def _stop_containers(cri: Cri, grace_seconds: int, deadline: Deadline) -> int:
    running = [each["id"] for each in cri.containers(deadline) if each["state"] == "running"]
    grace = affordable_grace(grace_seconds, deadline.remaining_seconds)
    done, _failed = _in_parallel(
        running,
        lambda container_id: cri.stop_container(container_id, grace, deadline),
        _CONTAINERS_AT_ONCE,
    )
    # A container that resisted is killed with its sandbox; it is that failure which counts.
    return len(done)


def _take_down(cri: Cri, sandbox_id: str, deadline: Deadline) -> None:
    try:
        cri.stop_sandbox(sandbox_id, deadline)
    except CallFailure as failure:
        if failure.code != "NOT_FOUND":
            raise
    cri.remove_sandbox(sandbox_id, deadline)


def _in_parallel(
    ids: Iterable[str], act: Callable[[str], None], at_once: int
) -> tuple[set[str], dict[str, CallFailure]]:
    """Run `act` for each id; returns those that worked, and why the others did not."""
    wanted = list(ids)
    if not wanted:
        return set(), {}

    def attempt(one: str) -> CallFailure | None:
        try:
            act(one)
        except CallFailure as failure:
            return failure
        return None

    with ThreadPoolExecutor(max_workers=min(at_once, len(wanted))) as pool:
        outcomes = dict(zip(wanted, pool.map(attempt, wanted), strict=True))
    done = {one for one, failure in outcomes.items() if failure is None}
    return done, {one: failure for one, failure in outcomes.items() if failure is not None}
