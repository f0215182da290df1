"""The warm process with operations that misbehave on demand; an `entry` for `Children`."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from nodestoraged.worker.failure import OperationFailed
from nodestoraged.worker.operations import OPERATIONS
from nodestoraged.worker.server import serve


def sleep(args: Mapping[str, object]) -> Mapping[str, object]:
    """Return after `seconds`."""
    time.sleep(float(str(args["seconds"])))
    return {"slept": args["seconds"]}


def echo(args: Mapping[str, object]) -> Mapping[str, object]:
    """Return the arguments and what the child looks like."""
    return {
        "args": dict(args),
        "pid": os.getpid(),
        "pgid": os.getpgid(0),
        "fds": sorted(int(path.name) for path in Path("/proc/self/fd").iterdir()),
    }


def large(args: Mapping[str, object]) -> Mapping[str, object]:
    """Return `length` characters."""
    return {"text": "x" * int(str(args["length"]))}


def crash(_args: Mapping[str, object]) -> Mapping[str, object]:
    """End as by the kernel's OOM killer."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def fail(args: Mapping[str, object]) -> Mapping[str, object]:
    """Fail in the way `how` names."""
    if args["how"] == "oserror":
        raise OSError(5, "Input/output error", "/dev/bad\x1b[31m")
    if args["how"] == "bug":
        raise ZeroDivisionError("a bug")
    raise OperationFailed("DeviceChanged", "another device")


def helper_outlives(args: Mapping[str, object]) -> Mapping[str, object]:
    """Leave a helper in our process group that lives `seconds` longer than we do."""
    os.posix_spawn("/bin/sleep", ["sleep", str(args["seconds"])], {})
    return {"left": True}


EXTRA = {
    "sleep": sleep,
    "echo": echo,
    "large": large,
    "crash": crash,
    "fail": fail,
    "helper_outlives": helper_outlives,
}

if __name__ == "__main__":
    serve(int(sys.argv[1]), {**OPERATIONS, **EXTRA})
