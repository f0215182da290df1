"""`make demo`: the main job on this machine, in a private mount namespace, and nothing left behind.

No stick → INTERNAL; stick A → waiting, enroll → BOUND with its proof; stick B → standby, switch.
Ends non-zero if anything was not as promised.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from demo.node import DemoNode  # noqa: E402 - the path has to be set first
from tests.fakes.loopdev import LoopDevice  # noqa: E402

_MARK = "NODESTORAGED_DEMO_NAMESPACE"


class Broken(Exception):  # noqa: N818 - it is a verdict
    """Something was not as promised."""


def main() -> int:
    """The demonstration; 0 only if every promise held."""
    if os.geteuid() != 0:
        sys.stderr.write("make demo needs root: it makes loop devices and mounts\n")
        return 1
    if _MARK not in os.environ:
        os.environ[_MARK] = "1"
        words = ["unshare", "-m", "--propagation", "private", sys.executable, __file__]
        return subprocess.run(words, check=False, timeout=300).returncode
    begun = time.monotonic()
    base = Path(tempfile.mkdtemp(prefix="nsd-", dir="/tmp"))
    try:
        with DemoNode(base) as node:
            show(node)
    except (Broken, TimeoutError) as error:
        sys.stderr.write(f"\nNOT AS PROMISED: {error}\n")
        log = base / "daemon.log"
        sys.stderr.write(log.read_text()[-4000:] if log.exists() else "")
        return 1
    finally:
        shutil.rmtree(base, ignore_errors=True)
    left = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(base) in line
    ]
    if left or base.exists():
        sys.stderr.write(f"left behind: {left or base}\n")
        return 1
    sys.stdout.write(f"\nEverything was as promised, in {time.monotonic() - begun:.0f} s;")
    sys.stdout.write(" no process, mount, loop device or file is left.\n")
    return 0


def show(node: DemoNode) -> None:
    """The stages, each with its promise."""
    node.until(node.pod_runs, 60)
    node.start_daemon()
    stage(node, "No stick", "INTERNAL", "internal")
    blue = node.plug("blue")
    node.until(lambda: candidate(node, blue) is not None)
    stage(
        node, f"A stick comes in ({blue.devnode}): it is seen, not touched", "INTERNAL", "internal"
    )
    expect("NotEnrolled" in (candidate(node, blue) or ""), "it waits for trust")
    say(f"$ nodestoragectl enroll {blue.devnode} --name blue")
    node.ctl("enroll", blue.devnode, "--name", "blue")
    node.until(lambda: node.role()["phase"] == "BOUND", 60)
    node.until(node.pod_runs, 60)
    stage(node, "Trusted: the runtime works from it", "BOUND", "slot")
    say("$ nodestoragectl status -o wide")
    say(node.ctl("status", "-o", "wide").stdout)
    imagefs = node.role()["imagefs"]
    assert isinstance(imagefs, dict)
    expect(imagefs["verified"] is True, "every link of the proof holds")
    green = node.plug("green")
    node.until(lambda: candidate(node, green) is not None)
    say(f"$ nodestoragectl enroll {green.devnode} --name green")
    node.ctl("enroll", green.devnode, "--name", "green")
    node.until(lambda: "standby" in (candidate(node, green) or ""))
    stage(node, "A second stick stands by", "BOUND", "slot")
    say("$ nodestoragectl switch green")
    switched = node.ctl("switch", "green", check=False)
    say(switched.stderr + switched.stdout)
    expect(switched.returncode == 0, "the switch ended well")
    node.until(node.pod_runs, 60)
    stage(node, "The node works from the second stick", "BOUND", "slot")
    expect(active(node) == "green", "green serves")
    operations = node.ctl("operations", "-o", "json").stdout
    say("Measured, in seconds (the runtime's stop until the image file system is proven):")
    for operation in reversed(_load(operations)):
        say(f"  {operation['kind']} to {operation['target']}: {operation['downtimeSeconds']}")


def stage(node: DemoNode, title: str, phase: str, source: str) -> None:
    """One screen, and whether it shows what was promised."""
    node.until(lambda: node.role()["phase"] == phase, 60)
    say(f"\n== {title}\n$ nodestoragectl status\n{node.ctl('status').stdout}")
    role = node.role()
    serving = role["serving"]
    assert isinstance(serving, dict)
    expect(role["phase"] == phase, f"phase {phase}, found {role['phase']}")
    expect(serving["source"] == source, f"serving {source}, found {serving['source']}")


def candidate(node: DemoNode, stick: LoopDevice) -> str | None:
    """Verdict and reasons of one candidate, or None if it is not listed.

    The UUID has to be its own: until the daemon has heard of the change, it lists under the same
    device node what was there before.
    """
    candidates = node.role()["candidates"]
    assert isinstance(candidates, list)
    for each in candidates:
        if (each["devnode"], each["uuid"]) == (stick.devnode, stick.uuid):
            return " ".join([each["verdict"], *each["reasons"]])
    return None


def active(node: DemoNode) -> str | None:
    """The name of the stick that serves."""
    found = node.role()["active"]
    return str(found["name"]) if isinstance(found, dict) else None


def expect(holds: bool, promise: str) -> None:
    """A promise that is checked."""
    if not holds:
        raise Broken(promise)


def say(text: str) -> None:
    """To whoever watches."""
    sys.stdout.write(f"{text.rstrip()}\n")
    sys.stdout.flush()


def _load(text: str) -> list[dict[str, object]]:
    import json

    found = json.loads(text)
    return list(found["operations"] if isinstance(found, dict) else found)


if __name__ == "__main__":
    sys.exit(main())
