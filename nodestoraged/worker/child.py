"""One operation in a forked child: do it, write the answer to a pipe, end.

Owns: what a child undoes of its parent (fds, signals, group).  May not know: the wire protocol.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping

from nodestoraged.linux import libc
from nodestoraged.worker.failure import describe

__all__ = ["run"]


def run(
    job_id: int,
    operation: Callable[[Mapping[str, object]], Mapping[str, object]],
    args: Mapping[str, object],
    answer_fd: int,
) -> None:
    """Run `operation(args)` and end the process; the answer is one line of JSON in `answer_fd`."""
    try:
        _become_child(answer_fd)
        answer = _answer(job_id, operation, args)
        _write_all(answer_fd, answer)
    except BaseException:
        # Nothing may return into the parent's loop, not even a KeyboardInterrupt.
        import traceback  # would cost the warm process half a mebibyte

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _become_child(answer_fd: int) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setpgid(0, 0)
    libc.set_parent_death_signal(signal.SIGKILL)
    # The control socket and other children's pipes are not ours: an end of file must be seen
    # when the daemon goes, however long we hang.
    os.closerange(3, answer_fd)
    os.closerange(answer_fd + 1, 65536)


def _answer(
    job_id: int,
    operation: Callable[[Mapping[str, object]], Mapping[str, object]],
    args: Mapping[str, object],
) -> bytes:
    message: dict[str, object] = {"id": job_id}
    try:
        message["result"] = operation(args)
    except Exception as error:
        # The boundary: whatever went wrong becomes data.
        message["error"] = describe(error)
    return json.dumps(message).encode() + b"\n"


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
