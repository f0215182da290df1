"""The copier: `python -I -S …/copier/__main__.py`, or `-m nodestoraged.copier`.

Owns: stdin, stdout and the exit code.  May not know: how a copy is made.

One JSON object comes on stdin: the fields of `model.copy.CopyRequest`, and `databases` and
`not_data` beside them.  JSON lines go to stdout: `{"progress": {...}}` while something moves, and
last `{"result": {...}}` or `{"error": {"reason": ..., "message": ..., "errno": ...}}`.
"""

from __future__ import annotations

import json
import os
import signal
import sys

if not __package__:
    sys.path.append(__file__.rpartition("/nodestoraged/")[0])

from nodestoraged.copier import work
from nodestoraged.copier.failure import CopyFailed, printable
from nodestoraged.copier.progress import write_line
from nodestoraged.copier.request import Request
from nodestoraged.linux import libc

#: A warm pass leaves the processor to the pods.
_WARM_NICENESS = 10


def main() -> int:
    """Do what stdin asks for; 0 if it was done."""
    libc.set_parent_death_signal(signal.SIGKILL)
    os.umask(0)  # every mode is given as it shall be
    try:
        request = Request(json.load(sys.stdin))
        if not request.final:
            os.nice(_WARM_NICENESS)
        write_line({"result": work.run(request)})
    except CopyFailed as failure:
        write_line({"error": failure.answer()})
        return 1
    except Exception as failure:  # told as what it is: a fault of ours
        text = printable(f"{type(failure).__name__}: {failure}")
        write_line({"error": {"reason": "InternalError", "message": text, "errno": None}})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
