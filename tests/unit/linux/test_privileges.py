"""Rights that are given up: what is left, and that it does not come back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nodestoraged.linux import privileges
from nodestoraged.linux.privileges import CAPABILITIES, Rights

TOP = Path(__file__).parents[3]
KEPT = ("CAP_SYS_ADMIN", "CAP_CHOWN")
MASK = sum(1 << CAPABILITIES[name] for name in KEPT)


def in_a_process(program: str) -> str:
    """What `program` prints in a process of its own, with all of our rights at its start."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=TOP, capture_output=True, text=True, check=True, timeout=20,
    ).stdout  # fmt: skip


def after_giving_up(program: str) -> str:
    return in_a_process(
        f"from nodestoraged.linux import privileges\nprivileges.give_up(keep={KEPT})\n{program}"
    )


SHOW = "print(open('/proc/self/status').read())"
SHOW_IN_CHILD = (
    "import subprocess; print(subprocess.check_output(['cat', '/proc/self/status'], text=True))"
)


@pytest.mark.parametrize("program", [SHOW, SHOW_IN_CHILD], ids=["here", "in a child"])
def test_only_what_is_kept_is_left(program: str) -> None:
    """An exec by root grants all of the bounding set otherwise."""
    before, left = Rights(in_a_process(SHOW)), Rights(after_giving_up(program))
    assert left.no_new_privs
    assert left.permitted == left.effective == before.permitted & MASK
    assert left.bounding == before.bounding & MASK


def test_root_itself_had_more_before() -> None:
    """Or the tests above could not fail."""
    before = Rights(in_a_process(SHOW))
    assert not before.no_new_privs
    assert before.permitted & ~MASK


def test_giving_up_twice_is_giving_up_once() -> None:
    again = f"privileges.give_up(keep={KEPT}); {SHOW}"
    assert Rights(after_giving_up(again)).effective == Rights(after_giving_up(SHOW)).effective


def test_what_was_given_up_does_not_come_back() -> None:
    more = f"privileges.give_up(keep=(*{KEPT}, 'CAP_KILL')); {SHOW}"
    assert Rights(after_giving_up(more)).effective & 1 << CAPABILITIES["CAP_KILL"] == 0


def test_a_kept_capability_that_was_never_there_is_no_error() -> None:
    """Root lacks some in containers."""
    program = (
        "from nodestoraged.linux import privileges\n"
        "privileges.give_up(keep=('CAP_CHOWN',))\n"
        "privileges.give_up(keep=('CAP_SYS_ADMIN', 'CAP_CHOWN'))\n" + SHOW
    )
    assert Rights(in_a_process(program)).effective == 1 << CAPABILITIES["CAP_CHOWN"]


def test_without_the_right_to_narrow_it_the_bounding_set_stays_and_grants_nothing() -> None:
    """As in a container without CAP_SETPCAP: no_new_privs is what holds there."""
    program = (
        "import ctypes, os\n"
        "from nodestoraged.linux import privileges\n"
        "from nodestoraged.linux.libc import LIBC\n"
        "narrow = privileges._narrow_bounding_set\n"
        "privileges._narrow_bounding_set = lambda wanted: None\n"
        f"privileges.give_up(keep={KEPT})\n"
        f"narrow({MASK})\n" + SHOW_IN_CHILD
    )
    left = Rights(in_a_process(program))
    assert left.bounding & ~MASK
    assert left.permitted & ~MASK == 0


def test_a_process_with_threads_is_refused() -> None:
    """A thread keeps the rights that it has."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="threads"):
            privileges.give_up(keep=KEPT)
    finally:
        done.set()
        thread.join()


def test_the_rights_of_a_process_are_read() -> None:
    mine, same = privileges.rights(), privileges.rights(os.getpid())
    assert (mine.permitted, mine.no_new_privs) == (same.permitted, same.no_new_privs)


def test_a_higher_oom_score_needs_no_right() -> None:
    program = "print(privileges.set_oom_score(300), open('/proc/self/oom_score_adj').read())"
    assert after_giving_up(program).split() == ["True", "300"]


def test_a_lower_oom_score_without_the_right_is_refused_quietly() -> None:
    program = "privileges.set_oom_score(300); print(privileges.set_oom_score(-900))"
    assert after_giving_up(program).split() == ["False"]
