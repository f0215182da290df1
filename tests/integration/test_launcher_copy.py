"""A copy by a daemon that gave its rights up: faithful through the launcher, and only so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fakes import nasty_tree

TOP = Path(__file__).parents[2]

#: A daemon where OpenRC runs, up to its first copy: narrowed, with the copier of its ports.
DAEMON = """
import asyncio, sys
from contextlib import ExitStack
from pathlib import Path
from nodestoraged.adapters.copier import TransientCopier
from nodestoraged.adapters.services.select import choose
from nodestoraged.assembly import Shared, narrow, ports_of
from nodestoraged.model.config import Config, DaemonConfig, Services
from nodestoraged.model.errors import StepError
from tests.fakes.copies import request
here, how = Path(sys.argv[1]), sys.argv[2]
config = Config(daemon=DaemonConfig(services=Services.OPENRC))
aborted = how == "aborted"
with ExitStack() as stack:
    launcher = narrow(config, here, stack)
    shared = Shared(
        config=config.daemon, state=here, fence=here, launcher=launcher,
        services=choose(config.daemon, launcher),
        **dict.fromkeys(("children", "clock", "devices", "store", "notifier", "log")),
    )
    if how == "child":
        copier = TransientCopier(systemd=False)
    else:
        copier = ports_of(config.roles[0], shared, None).copier
    wish = request(here / "source", here / "target", "final")
    try:
        asyncio.run(copier.copy(wish, report=lambda seen: None, cancelled=lambda: aborted))
    except StepError as error:
        print(error.reason)
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
