"""A program that does to a directory what `rc-service` does to /run/openrc: ROOT NAME VERB.

How a service behaves stands in ROOT/world.json, sentences are those of OpenRC 0.45 and 0.56.
"""

# ruff: noqa: T201 - it is a program that prints

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fakes.openrc_tree import SUPERVISOR_PID, OpenRcTree
from tests.fakes.unit_world import NO_SUCH_PID, UnitWorld, WorldUnit


def start(tree: OpenRcTree, unit: WorldUnit, name: str) -> int:
    if tree.marked(name, "started"):
        print(f" * WARNING: {name} has already been started", file=sys.stderr)
        return 0
    tree.mark(name, "starting")
    if unit.dependency_fails:
        tree.mark(name, "")
        print(f" * ERROR: cannot start {name} as net would not start", file=sys.stderr)
        return 1
    time.sleep(60 if unit.start_never_ends else unit.start_seconds)
    if not unit.condition_holds or unit.start_fails:
        tree.mark(name, "")
        if not unit.condition_holds:
            print(f" * {name}: not started, its storage is between two disks")
            print(" * (/run/nodestorage-fence/containerd; nodestoragectl status tells more)")
        print(f" * ERROR: {name} failed to start", file=sys.stderr)
        return 1
    if unit.ends_at_once:
        tree.pidfile(name, NO_SUCH_PID)
    else:
        tree.process(name, child=NO_SUCH_PID, supervisor=SUPERVISOR_PID)
    if unit.crash_loops or unit.ends_at_once:
        tree.die(NO_SUCH_PID)
    tree.mark(name, "started", age_seconds=0)
    return 0


def stop(tree: OpenRcTree, world: UnitWorld, name: str) -> int:
    unit = world.unit(f"{name}.service")
    if not tree.marked(name, "started"):
        print(f" * WARNING: {name} is already stopped", file=sys.stderr)
        return 0
    if tree.dead(name):
        print(f" * ERROR: {name} failed to stop", file=sys.stderr)
        return 1
    tree.mark(name, "stopping")
    for dependent in unit.required_by:
        if stop(tree, world, dependent.removesuffix(".service")):
            tree.mark(name, "started")
            print(f" * ERROR: cannot stop {name} as {dependent} is still up", file=sys.stderr)
            return 1
    time.sleep(60 if unit.stop_never_ends else unit.stop_seconds)
    tree.mark(name, "")
    return 0


def main() -> int:
    root, name, verb = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    tree = OpenRcTree(root)
    world = UnitWorld.load(root / "world.json")
    world.calls.append((verb, name))
    world.save(root / "world.json")
    match verb:
        case "start":
            return start(tree, world.unit(f"{name}.service"), name)
        case "stop":
            return stop(tree, world, name)
        case "zap":
            tree.mark(name, "")
            return 0
    return 2


if __name__ == "__main__":
    sys.exit(main())
