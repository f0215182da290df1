"""The drain example of docs/hooks.md works: its script is run, its units are verified."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"
KUBECTL = """#!/bin/sh
shift 2
echo "$@" >> "$LOG"
case "$2" in
get) cat "$CORDONED" ;;
cordon) echo true > "$CORDONED" ;;
drain) exit "${DRAIN_EXIT:-0}" ;;
uncordon) : > "$CORDONED" ;;
esac
"""


def block(language: str, word: str) -> str:
    """The fenced block of that language that has the word in it."""
    found = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PAGE.read_text())
    (one,) = [text for text in found if word in text]
    return one


class Cluster:
    """A node with the script, a kubectl that notes what it is asked, and a nodestoragectl."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self._program("drain", block("sh", "recover"))
        self._program("kubectl", KUBECTL)
        self.moving(operation="null")
        (top / "cordoned").write_text("")
        (top / "log").write_text("")

    def _program(self, name: str, text: str) -> None:
        path = self.top / name
        path.write_text(text)
        path.chmod(0o755)

    def moving(self, *, operation: str) -> None:
        text = f'{{\n  "generation": 1,\n  "operation": {operation}\n}}'
        self._program("nodestoragectl", f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")

    def run(self, verb: str, **more: str) -> int:
        env = {
            "PATH": f"{self.top}:/usr/bin:/bin", "NODE_NAME": "edge-1",
            "DRAIN_MARK": str(self.top / "mark"), "LOG": str(self.top / "log"),
            "CORDONED": str(self.top / "cordoned"), **more,
        }  # fmt: skip
        return subprocess.run([str(self.top / "drain"), verb], env=env, check=False).returncode

    @property
    def cordoned(self) -> bool:
        return (self.top / "cordoned").read_text() != ""

    @property
    def asked(self) -> list[str]:
        """The verbs that kubectl was given."""
        return [line.split()[1] for line in (self.top / "log").read_text().splitlines()]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_a_move_drains_the_node_and_gives_it_back(cluster):
    assert cluster.run("drain") == 0
    assert cluster.cordoned
    assert cluster.asked == ["get", "cordon", "drain"]
    assert cluster.run("uncordon") == 0
    assert not cluster.cordoned


def test_a_drain_that_fails_fails_the_hook(cluster):
    assert cluster.run("drain", DRAIN_EXIT="1") == 1
    assert cluster.cordoned


def test_after_a_failed_move_the_timer_gives_the_node_back_once_nothing_moves(cluster):
    cluster.run("drain")
    cluster.moving(operation="{")
    assert cluster.run("recover") == 0
    assert cluster.cordoned
    cluster.moving(operation="null")
    assert cluster.run("recover") == 0
    assert not cluster.cordoned


def test_what_a_person_cordoned_stays_cordoned(cluster):
    (cluster.top / "cordoned").write_text("true")
    assert cluster.run("drain") == 0
    for verb in ("uncordon", "recover"):
        assert cluster.run(verb) == 0
        assert cluster.cordoned
    assert "uncordon" not in cluster.asked


def test_the_script_is_plain_and_clean(cluster):
    subprocess.run(["shellcheck", str(cluster.top / "drain")], check=True)


def test_systemd_takes_the_units(tmp_path):
    script = tmp_path / "nodestorage-drain"
    script.write_text(block("sh", "recover"))
    script.chmod(0o755)
    service = block("ini", "oneshot").replace("/usr/local/sbin/nodestorage-drain", str(script))
    (tmp_path / "nodestorage-drain@.service").write_text(service)
    (tmp_path / "nodestorage-recover.timer").write_text(block("ini", "[Timer]"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "nodestorage-recover.timer"),
         str(tmp_path / "nodestorage-drain@drain.service")],
        capture_output=True, text=True, check=False,
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:/usr/lib/systemd/system"},
    )  # fmt: skip
    assert [line for line in done.stderr.splitlines() if "nodestorage" in line] == []
