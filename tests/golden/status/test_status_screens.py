"""The status screen of each phase and oddity, as a person sees it.

Each JSON file here is a status as the daemon could give it; beside it lies the screen.
Write them anew with: pytest tests/golden --update-golden
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.cli import health, screen, times, wide

_HERE = Path(__file__).parent
_CASES = sorted(path.stem for path in _HERE.glob("*.json"))
_NOW = "2026-11-20T12:45:30Z"

#: What `status --exit-code` says to each.
_CODES = {
    "bound": 0, "bound-many-sticks": 0, "bound-mounted-by-others": 0, "bound-with-data": 0,
    "bound-preparing": 0, "bound-directory": 0, "switching-copy": 3,
    "bound-paused-label-trust": 0, "internal-after-loss": 3, "internal-by-wish": 3,
    "internal-no-stick": 3, "internal-not-enrolled": 3, "no-containerd": 3, "lost": 3,
    "switching": 3, "switching-starting": 3, "two-roles": 3, "bound-kubelet-mismatch": 8,
    "bound-no-sandbox-image": 8, "bound-proof-broken": 8, "bound-runtime-stopped": 8,
    "failed": 8, "stopped": 8, "internal-clones": 8, "hostile": 8, "sparse": 8,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _status(case: str) -> dict[str, object]:
    loaded = json.loads((_HERE / f"{case}.json").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def _compare(path: Path, lines: list[str], update_golden: bool) -> None:
    seen = "\n".join(lines) + "\n"
    if update_golden:
        path.write_text(seen, encoding="utf-8")
    assert seen == path.read_text(encoding="utf-8")


def _now() -> float:
    now = times.epoch(_NOW)
    assert now is not None
    return now


@pytest.mark.parametrize("case", _CASES)
def test_screen(case: str, update_golden: bool) -> None:
    status = _status(case)
    lines = screen.of_status(status, status["roles"], _now())  # type: ignore[arg-type]
    _compare(_HERE / f"{case}.txt", lines, update_golden)


@pytest.mark.parametrize(
    "case", ["bound", "bound-proof-broken", "bound-with-data", "internal-after-loss", "hostile"]
)
def test_wide_screen(case: str, update_golden: bool) -> None:
    status = _status(case)
    lines = wide.of_status(status, status["roles"], _now())  # type: ignore[arg-type]
    _compare(_HERE / f"{case}.wide.txt", lines, update_golden)


@pytest.mark.parametrize("case", _CASES)
def test_exit_code(case: str) -> None:
    assert health.exit_code(_status(case)["roles"]) == _CODES[case]  # type: ignore[arg-type]


@pytest.mark.parametrize("case", _CASES)
def test_a_screen_fits_and_holds_nothing_that_acts_on_a_terminal(case: str) -> None:
    status = _status(case)
    for role in status["roles"]:  # type: ignore[attr-defined]
        lines = screen.of_role(status, role, _now())
        assert len(lines) <= 16
        for line in lines:
            assert line.isprintable()
        # A command is to be pasted, so it alone is never cut.
        assert all(len(line) <= 80 for line in lines[:-1])
