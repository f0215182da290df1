"""Which refusals may be tried again, and what is read out of the runtime's words."""

from __future__ import annotations

import json
import time

import grpc
import pytest

from nodestoraged.worker.grpc.containerd import task_status
from nodestoraged.worker.grpc.cri import container_state, effective_configuration
from nodestoraged.worker.grpc.deadline import Deadline
from nodestoraged.worker.grpc.failure import CallFailure, from_grpc
from nodestoraged.worker.grpc.stop_pods import affordable_grace

CODE = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "details", "reason", "retriable"),
    [
        (CODE.UNAVAILABLE, "connection refused", "RuntimeNotReady", True),
        (CODE.UNAVAILABLE, "server is not initialized yet", "RuntimeNotReady", True),
        (CODE.UNKNOWN, "server is not initialized yet", "RuntimeNotReady", True),
        (CODE.DEADLINE_EXCEEDED, "Deadline Exceeded", "RuntimeTimeout", True),
        (CODE.UNIMPLEMENTED, "unknown service runtime.v1.ImageService", "NotSupported", False),
        (CODE.UNKNOWN, "write /r/meta.db: input/output error", "RuntimeIoError", False),
        (CODE.UNKNOWN, "mkdir /r/x: read-only file system", "RuntimeIoError", False),
        (CODE.UNKNOWN, "Prefix can't be empty", "RuntimeRefused", False),
        (CODE.NOT_FOUND, "no such sandbox", "RuntimeRefused", False),
        (CODE.CANCELLED, "Channel closed!", "Cancelled", False),
        (None, None, "RuntimeRefused", False),
    ],
)
def test_only_what_a_start_passes_through_is_retriable(
    code: grpc.StatusCode | None, details: str | None, reason: str, retriable: bool
) -> None:
    failure = from_grpc(code, details)

    assert (failure.reason, failure.retriable) == (reason, retriable)


def test_the_effective_configuration_of_containerd_1() -> None:
    config = {
        "containerdRootDir": "/r",
        "stateDir": "/s",
        "sandboxImage": "pause:1",
        "containerd": {"snapshotter": "overlayfs"},
    }

    assert effective_configuration({"config": json.dumps(config)}) == {
        "root": "/r",
        "state": "/s",
        "snapshotter": "overlayfs",
        "sandbox_image": "pause:1",
    }


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"config": "no json"},
        {"config": "[1]"},
        {"config": "{}"},
        {"config": '{"sandboxImage": 7, "containerd": "x", "stateDir": ""}'},
    ],
)
def test_a_configuration_that_is_not_understood_is_unknown(info: dict[str, str]) -> None:
    assert set(effective_configuration(info).values()) == {None}


def test_states_of_a_later_api_are_unknown() -> None:
    assert [container_state(number) for number in (0, 1, 3, 9)] == [
        "created",
        "running",
        "unknown",
        "unknown",
    ]
    assert [task_status(number) for number in (2, 3, 17)] == ["running", "stopped", "unknown"]


@pytest.mark.parametrize(
    ("wanted", "remaining", "given"), [(20, 60.0, 20), (20, 10.0, 6), (20, 0.5, 0), (0, 60.0, 0)]
)
def test_the_grace_leaves_time_for_the_teardown(wanted: int, remaining: float, given: int) -> None:
    assert affordable_grace(wanted, remaining) == given


def test_a_passed_deadline_allows_no_further_call() -> None:
    deadline = Deadline(0.0)

    assert deadline.expired
    with pytest.raises(CallFailure) as failure:
        deadline.require()
    assert (failure.value.code, failure.value.retriable) == ("DEADLINE_EXCEEDED", True)


def test_a_cancel_ends_a_sleep_and_the_request() -> None:
    deadline = Deadline(60.0)
    deadline.cancel()
    started = time.monotonic()
    deadline.sleep(30)

    assert time.monotonic() - started < 1
    with pytest.raises(CallFailure) as failure:
        deadline.require()
    assert failure.value.reason == "Cancelled"
