"""The warm process: `python -I -S …/worker/__main__.py FD`, or `-m nodestoraged.worker FD`.

Owns: the command line.  May not know: operations.
Started by path it needs no `site` (less memory, quicker), hence the line that makes us findable.
"""

from __future__ import annotations

import sys

if not __package__:
    sys.path.append(__file__.rpartition("/nodestoraged/")[0])

from nodestoraged.worker.operations import OPERATIONS
from nodestoraged.worker.server import serve


def main() -> int:
    """Serve on the SOCK_SEQPACKET socket whose fd number is the first argument."""
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.stderr.write("usage: nodestoraged.worker FD (started by nodestoraged)\n")
        return 2
    serve(int(sys.argv[1]), OPERATIONS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
