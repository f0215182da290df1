"""A few threads that do the jobs of one list.

Owns: the threads, the order, and that the first failure ends all.  May not know: what a job is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["work_off"]

_Item = TypeVar("_Item")
#: Jobs taken at once: neighbours stay with one thread, which keeps their directories open.
_BATCH = 32


def work_off(
    items: Sequence[_Item], worker: Callable[[Callable[[], Sequence[_Item]]], None], threads: int
) -> None:
    """Every item was given to a `worker`, which asks for the next batch until it is empty.

    Raises the first exception of a worker; the others then get no further batch.
    """
    lock = threading.Lock()
    taken = 0
    failures: list[BaseException] = []

    def next_batch() -> Sequence[_Item]:
        nonlocal taken
        with lock:
            if failures:
                return ()
            begin, taken = taken, taken + _BATCH
        return items[begin : begin + _BATCH]

    def run() -> None:
        try:
            worker(next_batch)
        except BaseException as failure:  # raised again below, by the caller's thread
            with lock:
                failures.append(failure)

    # Few jobs are done here: starting threads would take longer than they do.
    if len(items) <= _BATCH:
        run()
    else:
        crew = [threading.Thread(target=run, name=f"copy-{one}") for one in range(threads)]
        for one in crew:
            one.start()
        for one in crew:
            one.join()
    if failures:
        raise failures[0]
