"""A program that answers like `systemctl` for a `UnitWorld` in a file (WORLD, first argument).

Run by a two-line shell script that names the file; prints what systemd 252's systemctl prints.
"""

# ruff: noqa: T201 - it is a program that prints

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fakes.unit_world import UnitWorld, WorldUnit


def show(world: UnitWorld, names: list[str]) -> int:
    print("\n\n".join(_block(number, world.unit(name)) for number, name in enumerate(names, 1)))
    return 0


def _block(number: int, unit: WorldUnit) -> str:
    facts = {
        "MainPID": str(unit.main_pid),
        "Result": unit.result,
        "RequiredBy": " ".join(unit.required_by),
        "BoundBy": " ".join(unit.bound_by),
        "ConsistsOf": " ".join(unit.consists_of),
        "LoadState": unit.load,
        "ActiveState": unit.active,
        "SubState": unit.sub,
        "ConditionTimestampMonotonic": str(1_000_000 * unit.condition_checked),
        "ConditionResult": "yes" if unit.condition_result else "no",
    }
    if unit.job_type:
        facts["Job"] = str(number)
    return "\n".join(f"{key}={value}" for key, value in facts.items())


def list_jobs(world: UnitWorld, names: list[str]) -> int:
    for number, name in enumerate(names, 1):
        unit = world.unit(name)
        if unit.job_type:
            print(f"{number} {name} {unit.job_type} {unit.job_state}")
    return 0


def job(world: UnitWorld, path: Path, verb: str, name: str, *, block: bool) -> int:
    refusal = world.refusal(verb, name)
    if refusal is not None:
        print(f"Failed to {verb} {name}: {refusal[1]}", file=sys.stderr)
        print(f"See system logs and 'systemctl status {name}' for details.", file=sys.stderr)
        return 5 if refusal[0] == "NoSuchUnit" else 1
    world.begin(verb, name)
    world.save(path)
    unit = world.units[name]
    if not block:
        return 0
    never = unit.start_never_ends if verb == "start" else unit.stop_never_ends
    time.sleep(60 if never else unit.start_seconds if verb == "start" else unit.stop_seconds)
    result = world.end(verb, name)
    world.save(path)
    sentences = {
        "failed": f"Job for {name} failed because the control process exited with error code.",
        "dependency": f"A dependency job for {name} failed. See 'journalctl -xe' for details.",
    }
    if result in sentences:
        print(sentences[result], file=sys.stderr)
        print(f'See "systemctl status {name}" for details.', file=sys.stderr)
        return 1
    return 0


def main() -> int:
    path = Path(sys.argv[1])
    world = UnitWorld.load(path)
    words = [word for word in sys.argv[2:] if not word.startswith("--") or word == "--"]
    verb, *names = [word for word in words if word != "--"]
    world.calls.append((verb, names[0] if names else ""))
    world.save(path)
    match verb:
        case "show":
            return show(world, names)
        case "list-jobs":
            return list_jobs(world, names)
        case "reset-failed":
            world.reset_failed(names[0])
            world.save(path)
            return 0
        case "start" | "stop":
            return job(world, path, verb, names[0], block="--no-block" not in sys.argv)
        case "is-system-running":
            print(world.system_state)
            return 0 if world.system_state == "running" else 1
    return 2


if __name__ == "__main__":
    sys.exit(main())
