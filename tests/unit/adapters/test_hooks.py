"""The operator's programs around a move."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from demo.services import lives
from nodestoraged.adapters.hooks import ProgramHooks
from nodestoraged.model.errors import StepError, StepTimeout


def run(*argv: str, seconds: float = 10.0, **environment: str) -> None:
    asyncio.run(ProgramHooks().run(argv, environment, deadline_seconds=seconds))


def test_a_hook_finds_only_what_we_give_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    run("sh", "-c", f"env >{tmp_path}/env; pwd >{tmp_path}/cwd", NODESTORAGED_ROLE="containerd")
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        "PATH",
        "LANG",
        "LC_ALL",
        "NODESTORAGED_ROLE",
    }
    assert (tmp_path / "cwd").read_text() == "/\n"


def test_a_hook_that_reads_stdin_ends() -> None:
    run("cat", seconds=5)


def test_a_failing_hook_is_an_error_with_its_last_line() -> None:
    with pytest.raises(StepError, match="drain refused") as caught:
        run("sh", "-c", "echo begin; echo 'drain refused' >&2; exit 3")
    assert caught.value.reason == "HookFailed"
    assert not isinstance(caught.value, StepTimeout)


@pytest.mark.parametrize("argv", [(), ("/nonexistent/hook",)])
def test_a_hook_that_cannot_start_is_an_error(argv: tuple[str, ...]) -> None:
    with pytest.raises(StepError) as caught:
        run(*argv)
    assert caught.value.reason == "HookFailed"


def test_at_the_deadline_the_whole_group_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(StepTimeout) as caught:
        run("sh", "-c", f"sleep 30 & echo $! >{pid_file}; wait", seconds=1.5)
    assert caught.value.reason == "HookTimeout"
    pid = int(pid_file.read_text())
    limit = time.monotonic() + 5
    while time.monotonic() < limit and lives(pid):
        time.sleep(0.02)
    assert not lives(pid)
