"""What is said of a pod that was not ended: the runtime's words, not that the time was over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from nodestoraged.worker.grpc.cri import Cri
from nodestoraged.worker.grpc.deadline import Deadline
from nodestoraged.worker.grpc.failure import CallFailure
from nodestoraged.worker.grpc.stop_pods import stop_pods

REFUSED = CallFailure("UNKNOWN", "RuntimeRefused", "failed to destroy network", False)
CUT_OFF = CallFailure("DEADLINE_EXCEEDED", "RuntimeTimeout", "Deadline Exceeded", True)


class OnePod:
    """The calls of `Cri` on a node with one sandbox, whose stop fails with each of `answers`."""

    def __init__(self, deadline: Deadline, answers: list[CallFailure]) -> None:
        self._deadline = deadline
        self._answers: Iterator[CallFailure] = iter(answers)
        self._left = len(answers)

    def containers(self, _deadline: Deadline) -> list[dict[str, str]]:
        return []

    def sandboxes(self, _deadline: Deadline) -> list[dict[str, str]]:
        return [{"id": "s", "name": "pod", "namespace": "default"}]

    def stop_sandbox(self, _sandbox_id: str, _deadline: Deadline) -> None:
        self._left -= 1
        if self._left == 0:
            self._deadline.cancel()  # the time is over with the last answer
        raise next(self._answers)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([CUT_OFF], CUT_OFF),
        ([REFUSED], REFUSED),
        ([REFUSED, CUT_OFF], REFUSED),
        ([CUT_OFF, REFUSED], REFUSED),
        ([CUT_OFF, REFUSED, CUT_OFF], REFUSED),
    ],
)
def test_the_deadline_does_not_hide_what_the_runtime_said(
    answers: list[CallFailure], said: CallFailure
) -> None:
    deadline = Deadline(60.0)

    result = stop_pods(cast("Cri", OnePod(deadline, answers)), 0, deadline)

    assert result["sandboxes_removed"] == 0
    assert result["left"] == [
        {"id": "s", "name": "pod", "namespace": "default", "cause": str(said)}
    ]
