"""A measurement in namespaces of its own: mounts, processes, network, /run/udev.

`run(function, …)` calls a function of a benchmark in a child with a udevd and an empty directory
of its own, and hands its JSON-able result back.  When the child ends, or its time does, the kernel
takes every process, mount and loop device of it away.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from demo.node import PROJECT, remove_cgroups
from tests.fakes.node_bench import own_udevd

#: What else runs on the machine shall disturb little; ours and the anchors have the same.
NICENESS = -10
#: The shell stays as process 1: it adopts and reaps what loses its parent.
_PREPARE = (
    "mkdir -p /run/udev /run/containerd /run/dbus && mount -t tmpfs tmpfs /run/udev"
    " && mount -t tmpfs tmpfs /run/containerd && mount -t tmpfs tmpfs /run/dbus"
    ' && ip link set lo up && "$@"; exit $?'
)
_IN_NAMESPACES = (
    "unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork",
    "--kill-child", "--mount-proc", "sh", "-c", _PREPARE, "sh",
)  # fmt: skip


def run(function: Callable[..., object], *, seconds: float, **arguments: object) -> object:
    """What `function(base, **arguments)` returned; RuntimeError with its words if it did not."""
    base = Path(tempfile.mkdtemp(prefix="nsd-", dir="/tmp"))
    words = [
        *_IN_NAMESPACES, sys.executable, "-m", "benchmarks.private",
        function.__module__, function.__name__, str(base), json.dumps(arguments),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            words, cwd=PROJECT, capture_output=True, text=True, timeout=seconds, check=False,
            start_new_session=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{done.stdout[-2000:]}{done.stderr[-4000:]}{_log(base)}")
        return json.loads((base / "result.json").read_text())
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not over within {seconds:g} s{_log(base)}") from None
    finally:
        shutil.rmtree(base, ignore_errors=True)
        remove_cgroups(base.name)


def _log(base: Path) -> str:
    log = base / "daemon.log"
    return f"\n--- daemon.log\n{log.read_text()[-3000:]}" if log.exists() else ""


def main() -> int:
    """Inside."""
    module, name, base, arguments = sys.argv[1:]
    assert os.getpid() != 1
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
        # sched(7): where it exists, niceness only counts within a session; this is the session's.
        Path("/proc/self/autogroup").write_text(str(NICENESS))
    function: Callable[..., object] = getattr(importlib.import_module(module), name)
    with own_udevd(Path(base)):
        result = function(Path(base), **json.loads(arguments))
    (Path(base) / "result.json").write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
