"""The child as a process: its lines, its end, and what it costs when idle."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.services import lives
from nodestoraged.adapters.runtimes.child import child_environment
from tests.fakes.fake_cri import Behaviour, FakeCri

Process = subprocess.Popen[bytes]


def launch(socket_path: Path) -> Process:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "nodestoraged.worker.grpc", str(socket_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
        cwd="/",
        bufsize=0,  # or a second line would wait in a buffer that select() cannot see
    )


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Process]:
    process = launch(tmp_path / "fake.sock")
    assert set(read(process)["ready"]) == {"grpc", "protobuf"}
    with process:
        yield process
        process.kill()


def send(process: Process, *lines: object) -> None:
    assert process.stdin is not None
    data = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )
    process.stdin.write(data)
    process.stdin.flush()


def read(process: Process) -> dict:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], 20)
    assert readable, "the child says nothing"
    return json.loads(process.stdout.readline())


def threads(process: Process) -> int:
    return len(list(Path(f"/proc/{process.pid}/task").iterdir()))


def test_an_unknown_method_is_refused(child: Process) -> None:
    send(child, {"id": 7, "method": "format_disk"})

    reply = read(child)

    assert reply["id"] == 7
    assert (reply["error"]["code"], reply["error"]["retriable"]) == ("INVALID_ARGUMENT", False)


@pytest.mark.parametrize(
    "line", [b"no json", b"[]", b'{"method": "version"}', b'{"id": "x", "method": "version"}']
)
def test_a_malformed_line_is_answered_and_the_child_goes_on(child: Process, line: bytes) -> None:
    send(child, line, {"id": 1, "method": "socket_pid"})

    replies = [read(child), read(child)]

    assert [reply["id"] for reply in replies] == [None, 1]
    assert replies[0]["error"]["reason"] == "BadRequest"
    assert replies[1]["error"]["reason"] == "SocketMissing"


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("stop_pods", {}),
        ("stop_pods", {"grace_seconds": -1}),
        ("stop_pods", {"grace_seconds": "5"}),
        ("ensure_namespace", {"name": ""}),
        ("snapshots", {"snapshotter": "overlayfs"}),
    ],
)
def test_wrong_arguments_are_refused_before_any_call(
    child: Process, method: str, args: dict[str, object]
) -> None:
    send(child, {"id": 1, "method": method, "args": args})

    assert read(child)["error"]["reason"] == "BadRequest"


def test_the_child_ends_when_its_input_does(child: Process) -> None:
    assert child.stdin is not None
    child.stdin.close()

    assert child.wait(5) == 0


def test_the_child_ends_with_its_input_though_a_call_hangs(tmp_path: Path) -> None:
    path = tmp_path / "fake.sock"
    with (
        FakeCri(path, Behaviour(hanging=frozenset({"Status"}))) as fake,
        launch(path) as process,
    ):
        read(process)
        send(process, {"id": 1, "method": "status", "deadline_seconds": 60})
        until = time.monotonic() + 10
        while not fake.called("Status") and time.monotonic() < until:
            time.sleep(0.01)
        assert process.stdin is not None
        process.stdin.close()
        started = time.monotonic()
        process.wait(5)
        fake.released.set()

    assert fake.called("Status") == 1
    assert time.monotonic() - started < 3


def test_the_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    # The parent hands its end of the pipe to somebody else, so that only the signal can tell.
    program = """if True:
        import os, subprocess, sys, time
        reader, writer = os.pipe()
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "nodestoraged.worker.grpc", "/nonexistent"],
            stdin=reader, stdout=subprocess.PIPE)
        child.stdout.readline()
        keeper = subprocess.Popen(["sleep", "20"], pass_fds=[writer], stdout=subprocess.DEVNULL)
        print(child.pid, keeper.pid, flush=True)
        time.sleep(20)
    """
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=child_environment()
    ) as parent:
        assert parent.stdout is not None
        child_pid, keeper_pid = map(int, parent.stdout.readline().split())
        parent.kill()
        parent.wait(5)
    try:
        until = time.monotonic() + 5
        while lives(child_pid):
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        os.kill(keeper_pid, signal.SIGKILL)


def test_an_idle_channel_is_closed_with_its_threads(tmp_path: Path) -> None:
    path = tmp_path / "fake.sock"
    with FakeCri(path), launch(path) as process:
        read(process)
        before = threads(process)
        send(process, {"id": 1, "method": "version"})
        assert "result" in read(process)
        open_channel = threads(process)
        until = time.monotonic() + 10
        while threads(process) > before + 1 and time.monotonic() < until:
            time.sleep(0.1)
        idle = threads(process)
        send(process, {"id": 2, "method": "version"})
        assert "result" in read(process)
        process.kill()

    assert open_channel > idle
    # grpc 1.85 keeps one or two of its threads for the next channel.
    assert idle <= before + 1


def test_the_socket_is_the_only_argument() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nodestoraged.worker.grpc"],
        capture_output=True,
        env=child_environment(),
        cwd="/",
        timeout=20,
        check=False,
    )

    assert done.returncode == 2
    assert b"usage" in done.stderr
