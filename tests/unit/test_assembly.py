"""The rights that the daemon keeps: the same under both init systems, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodestoraged.assembly import OOM_SCORE, RIGHTS
from nodestoraged.linux.privileges import CAPABILITIES, Rights

TOP = Path(__file__).parents[2]
UNIT = TOP / "init" / "systemd" / "nodestoraged.service"
MASK = sum(1 << CAPABILITIES[name] for name in RIGHTS)

#: What the daemon does before its loop, on a machine with the service manager that is named.
NARROWED = """
import sys
from contextlib import ExitStack
from pathlib import Path
from nodestoraged.assembly import narrow
from nodestoraged.model.config import Config, DaemonConfig, Services
config = Config(daemon=DaemonConfig(services=Services(sys.argv[1])))
with ExitStack() as stack:
    launcher = narrow(config, Path(sys.argv[2]), stack)
    print(launcher is not None)
    print(open("/proc/self/status").read())
"""


def narrowed(services: str, run: Path) -> tuple[bool, Rights]:
    """Whether there is a launcher, and the rights afterwards, in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", NARROWED, services, str(run)],
        cwd=TOP, env={**os.environ, "PYTHONPATH": str(TOP)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    launcher, _, status = done.stdout.partition("\n")
    return launcher == "True", Rights(status)


def in_unit(key: str) -> list[str]:
    """The values of a key of the unit, of all its lines."""
    lines = UNIT.read_text().splitlines()
    return [
        word
        for line in lines
        if line.startswith(f"{key}=")
        for word in line[len(key) + 1 :].split()
    ]


def test_there_is_one_floor_for_both_init_systems() -> None:
    """A right that one of them lacks is a step that fails there, and on no machine of the other."""
    assert sorted(in_unit("CapabilityBoundingSet")) == sorted(RIGHTS)
    assert in_unit("NoNewPrivileges") == ["yes"]
    assert in_unit("OOMScoreAdjust") == [str(OOM_SCORE)]


@pytest.mark.parametrize("services", ["systemctl", "openrc"])
def test_the_daemon_gives_up_all_other_rights(services: str, tmp_path: Path) -> None:
    before = Rights(Path("/proc/self/status").read_text())
    launcher, left = narrowed(services, tmp_path)
    assert launcher == (services == "openrc")
    assert left.no_new_privs
    assert left.permitted == left.effective == left.bounding == before.permitted & MASK


def test_root_has_more_than_the_floor_and_none_is_missing() -> None:
    """Or the test above could not fail."""
    mine = Rights(Path("/proc/self/status").read_text())
    assert mine.permitted & MASK == MASK
    assert mine.permitted & ~MASK


def test_with_commands_of_the_operator_nothing_is_given_up(tmp_path: Path) -> None:
    """What they start may be our descendant: a runtime with this floor starts no container."""
    before = Rights(Path("/proc/self/status").read_text())
    launcher, left = narrowed("command", tmp_path)
    assert not launcher
    assert (left.permitted, left.bounding) == (before.permitted, before.bounding)
    assert not left.no_new_privs
