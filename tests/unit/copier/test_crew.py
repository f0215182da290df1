"""Several threads over one list."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from nodestoraged.copier.crew import work_off


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 1000])
def test_every_item_is_done_once(count: int):
    done: list[int] = []

    def worker(next_batch: Callable[[], Sequence[int]]) -> None:
        while batch := next_batch():
            done.extend(batch)

    work_off(range(count), worker, 4)
    assert sorted(done) == list(range(count))


def test_the_first_failure_ends_all_and_is_raised():
    done: list[int] = []

    def worker(next_batch: Callable[[], Sequence[int]]) -> None:
        while batch := next_batch():
            if 0 in batch:
                raise OSError(5, "broken")
            done.extend(batch)
            failed.wait(0.2)

    failed = threading.Event()
    with pytest.raises(OSError, match="broken"):
        work_off(range(10_000), worker, 4)
    assert len(done) < 1000
    assert threading.active_count() == 1
