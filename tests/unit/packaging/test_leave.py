"""What happens before a package goes: back to internal, or a refusal that says how to go on."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

LEAVE = Path(__file__).parents[3] / "packaging" / "leave"

#: Answers `status` with a file, fails as it is told to, and notes every call.
_CTL = """#!/bin/sh
echo "$*" >>"$0.calls"
case $1 in
    status) cat "$0.status"; exit "$(cat "$0.status-code")" ;;
    switch) cp "$0.after" "$0.status"; exit "$(cat "$0.switch-code")" ;;
esac
"""


class Node:
    """An installation below a directory of its own, with a `nodestoragectl` that is played."""

    def __init__(self, top: Path) -> None:
        self.ctl = top / "bin" / "nodestoragectl"
        self.leave = top / "lib" / "nodestoraged" / "leave"
        self.socket = top / "socket"
        self.ctl.parent.mkdir(parents=True)
        self.leave.parent.mkdir(parents=True)
        shutil.copy(LEAVE, self.leave)
        self.ctl.write_text(_CTL)
        self.ctl.chmod(0o755)

    def run(self, *roles: dict, status: int = 0, switch: int = 0, after=None, **environment: str):
        """With these roles; a switch takes them to `after`, internal if not given."""
        self._put("status", json.dumps({"roles": roles}))
        internal = [{**one, "phase": "INTERNAL", "active": None} for one in roles]
        self._put("after", json.dumps({"roles": internal if after is None else after}))
        self._put("status-code", str(status))
        self._put("switch-code", str(switch))
        return subprocess.run(
            [sys.executable, "-I", self.leave],
            env={"PATH": os.environ["PATH"], "NODESTORAGE_SOCKET": str(self.socket), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def switches(self) -> list[str]:
        calls = Path(f"{self.ctl}.calls")
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [line for line in lines if line.startswith("switch")]

    def _put(self, name: str, text: str) -> None:
        Path(f"{self.ctl}.{name}").write_text(text)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def role(phase: str, name: str = "containerd", **fields: object) -> dict:
    return {"name": name, "phase": phase, "reason": "SlotProven", "attention": None, **fields}


def test_a_node_on_its_own_directory_is_let_go_without_a_word(node):
    done = node.run(role("INTERNAL"))
    assert (done.returncode, done.stderr, node.switches()) == (0, "", [])


@pytest.mark.parametrize("phase", ["BOUND", "LOST", "STOPPED", "SWITCHING", "FAILED"])
def test_whatever_is_not_internal_is_asked_to_become_so(node, phase):
    done = node.run(role(phase))
    assert done.returncode == 0
    assert node.switches() == ["switch internal --role containerd"]


def test_every_role_goes_back(node):
    done = node.run(role("BOUND"), role("INTERNAL", "other"), role("BOUND", "third"))
    assert done.returncode == 0
    assert node.switches() == [
        "switch internal --role containerd",
        "switch internal --role third",
    ]


def test_a_switch_that_fails_keeps_the_package_and_says_how_to_go_on(node):
    done = node.run(role("BOUND", active={"name": "blue"}), switch=6)
    assert done.returncode == 1
    assert "containerd is BOUND to blue and could not go back to internal" in done.stderr
    assert "set NODESTORAGED_REMOVE=leave" in done.stderr


def test_a_switch_that_was_taken_and_led_nowhere_keeps_the_package(node):
    """The runtime is not installed any more: nothing is moved, and the verb says no error."""
    bound = role("BOUND", active={"name": "blue"})
    done = node.run(bound, after=[bound])
    assert done.returncode == 1
    assert "containerd is BOUND to blue, though" in done.stderr
    assert "set NODESTORAGED_REMOVE=leave" in done.stderr
    assert "switch auto" not in done.stderr


def test_what_went_back_before_a_refusal_is_named_with_the_way_forth(node):
    stuck = role("BOUND", "podman")
    done = node.run(role("BOUND"), stuck, after=[role("INTERNAL"), stuck])
    assert done.returncode == 1
    assert "podman is BOUND, though" in done.stderr
    assert "nodestoragectl switch auto --role containerd\n" in done.stderr


def test_a_busy_daemon_is_not_taken_for_a_dead_one(node):
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(node.socket))
        daemon.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(node.socket))  # nobody accepts it: the queue is full
            done = node.run(role("BOUND"), status=5)
    assert done.returncode == 1
    assert "gave no answer, asked 10 times" in done.stderr


def test_a_stick_that_came_to_another_role_meanwhile_keeps_the_package(node):
    both = [role("INTERNAL"), role("BOUND", "podman")]
    done = node.run(role("BOUND"), role("INTERNAL", "podman"), after=both)
    assert done.returncode == 1
    assert "podman is BOUND, though" in done.stderr
    assert "nodestoragectl switch auto --role containerd\n" in done.stderr


def test_what_a_person_mounted_is_theirs(node):
    own = role("BOUND", attention={"reason": "MountedByOthers"})
    assert node.run(own).returncode == 0
    assert node.run(role("BOUND", reason="MountedByOthers")).returncode == 0
    assert node.switches() == []


def test_told_to_leave_it_nothing_is_asked(node):
    done = node.run(role("BOUND"), NODESTORAGED_REMOVE="leave")
    assert (done.returncode, node.switches()) == (0, [])
    assert "stays mounted" in done.stderr


def test_another_value_does_not_count(node):
    node.run(role("BOUND"), NODESTORAGED_REMOVE="1")
    assert node.switches() == ["switch internal --role containerd"]


def test_a_dead_daemon_does_not_keep_its_package(node):
    done = node.run(status=5)
    assert (done.returncode, node.switches()) == (0, [])
    assert "stays mounted" in done.stderr


def test_an_unreadable_status_is_no_leave_to_go(node):
    assert node.run(status=1).returncode == 1
