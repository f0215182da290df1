"""What a request must be."""

from __future__ import annotations

import pytest

from nodestoraged.copier.failure import CopyFailed
from nodestoraged.copier.request import Request
from nodestoraged.model.copy import DATABASES, NOT_DATA

GOOD = {
    "source": "/a",
    "target": "/b",
    "stage": "warm",
    "source_number": "8:1",
    "target_number": "8:17",
    "databases": list(DATABASES),
    "not_data": list(NOT_DATA),
}


def test_a_whole_request_is_taken():
    request = Request(GOOD | {"bytes_per_second": 5})
    assert (request.source_number, request.target_number) == ((8, 1), (8, 17))
    assert not request.final
    assert request.bytes_per_second == 5
    assert Request(GOOD | {"stage": "final"}).final
    assert Request(GOOD).bytes_per_second is None


@pytest.mark.parametrize(
    "spoilt",
    [
        {"stage": "hot"},
        {"source": "relative"},
        {"source": "/a\0b"},
        {"target": ""},
        {"target_number": "x"},
        {"source_number": "8"},
        {"bytes_per_second": 0},
        {"bytes_per_second": True},
        {"databases": "all"},
        {"not_data": [1]},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(spoilt):
    with pytest.raises(CopyFailed) as caught:
        Request(GOOD | spoilt)
    assert caught.value.reason == "BadArguments"


@pytest.mark.parametrize("fields", [None, [], "warm", 7])
def test_what_is_no_object_is_refused(fields):
    with pytest.raises(CopyFailed):
        Request(fields)
