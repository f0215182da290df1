"""A copy by a daemon that gave its rights up: faithful through the launcher, and only so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fakes import nasty_tree

TOP = Path(__file__).parents[2]

#: As `nodestoraged.assembly` does where OpenRC runs.
DAEMON = """
import asyncio, sys
from pathlib import Path
from nodestoraged.adapters.copier import TransientCopier
from nodestoraged.adapters.launcher import Launcher
from nodestoraged.assembly import RIGHTS
from nodestoraged.linux import privileges
from nodestoraged.model.errors import StepError
from tests.fakes.copies import request
here, how = Path(sys.argv[1]), sys.argv[2]
launcher = Launcher(here / "launcher", rc_service="/bin/false")
privileges.give_up(keep=RIGHTS)
more = {} if how == "child" else {"python": launcher.copier_python}
copier = TransientCopier(systemd=False, **more)
wish = request(here / "source", here / "target", "final")
try:
    aborted = how == "aborted"
    asyncio.run(copier.copy(wish, report=lambda seen: None, cancelled=lambda: aborted))
except StepError as error:
    print(error.reason)
finally:
    launcher.close()
"""


def copy(here: Path, how: str) -> str:
    nasty_tree.build(here / "source")
    (here / "target").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DAEMON, str(here), how],
        cwd=TOP, env={**os.environ, "PYTHONPATH": str(TOP)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_through_the_launcher_a_copy_is_faithful(tmp_path: Path) -> None:
    """Device nodes, set-user-id bits and file capabilities are there."""
    assert copy(tmp_path, "launcher") == ""
    assert nasty_tree.differences(tmp_path / "source", tmp_path / "target") == ""


def test_as_the_daemons_own_child_it_is_not(tmp_path: Path) -> None:
    """Which is why there is a launcher; the day this passes it may go."""
    assert copy(tmp_path, "child") in {"NotPermitted", "CopyFailed", "OsError"}


def test_an_abort_goes_through_it(tmp_path: Path) -> None:
    assert copy(tmp_path, "aborted") == "Aborted"
