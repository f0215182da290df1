"""The server with a real socket: calls, streams, rights, and clients that behave badly."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodestoraged.api.client import CallFailed, Client, Unreachable
from nodestoraged.api.connection import Limits
from tests.unit.api.fake_service import ERRORS, RunningServer, running

_NOBODY = 65534
_QUICK = Limits(half_frame_seconds=0.3, idle_seconds=0.6, write_seconds=0.5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running(tmp_path / "socket") as one:
        yield one


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[RunningServer]:
    """A server with short deadlines."""
    with running(tmp_path / "socket", _QUICK) as one:
        yield one


def _raw(server: RunningServer) -> socket.socket:
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(server.path)
    raw.settimeout(5)
    return raw


def _all(raw: socket.socket) -> bytes:
    """Everything until the server closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := raw.recv(65536):
            data += piece
    return data


def _eventually(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.01)


def test_a_call_is_answered_and_the_connection_goes_on(server: RunningServer) -> None:
    with Client(server.path) as client:
        for _ in range(3):
            assert client.call("GetStatus") == {"status": server.service.status()}


def test_requests_sent_ahead_are_answered_in_order(server: RunningServer) -> None:
    with _raw(server) as raw:
        asked = [{"method": f"io.nodestorage.{name}"} for name in ("GetStatus", "No", "Plan")]
        raw.sendall(b"".join(json.dumps(one).encode() + b"\0" for one in asked))
        raw.shutdown(socket.SHUT_WR)
        replies = [json.loads(frame) for frame in _all(raw).split(b"\0")[:-1]]
    assert "status" in replies[0]["parameters"]
    assert replies[1]["error"] == "org.varlink.service.MethodNotFound"
    assert "plan" in replies[2]["parameters"]


def test_a_verb_reaches_the_service_with_its_arguments(server: RunningServer) -> None:
    with Client(server.path) as client:
        client.call("Eject", role="containerd", stick="blue", waitSeconds=3.5)
        client.call("Reload")
    assert server.service.acts == [
        ("eject", "containerd", {"stick": "blue", "waitSeconds": 3.5}),
        ("reload", None, {}),
    ]


@pytest.mark.parametrize("case", ERRORS)
def test_each_error_of_the_service_has_its_name_and_exit_code(
    server: RunningServer, case: str
) -> None:
    error, name, code = ERRORS[case]
    server.service.act_error = error
    with Client(server.path) as client:
        with pytest.raises(CallFailed) as caught:
            client.call("Rollback")
        assert client.call("GetStatus"), "the connection is still of use"
    assert (caught.value.name, caught.value.parameters["exitCode"]) == (name, code)
    assert bool(server.reports[1:]) == (case == "our mistake"), "only a mistake is logged"
    assert "bug" not in str(caught.value.parameters), "details stay in the log"


def test_a_oneway_call_is_carried_out_without_a_reply(server: RunningServer) -> None:
    with _raw(server) as raw:
        raw.sendall(b'{"method":"io.nodestorage.Reload","oneway":true}\0')
        raw.sendall(b'{"method":"io.nodestorage.Nonsense","oneway":true}\0')
        raw.sendall(b'{"method":"io.nodestorage.GetStatus"}\0')
        raw.shutdown(socket.SHUT_WR)
        frames = _all(raw).split(b"\0")[:-1]
    assert len(frames) == 1
    assert [verb for verb, _, _ in server.service.acts] == ["reload"]


def test_the_status_streams_each_change_until_the_client_hangs_up(server: RunningServer) -> None:
    with Client(server.path) as client:
        replies = client.stream("GetStatus")
        assert next(replies)["status"]["generation"] == 1  # type: ignore[index]
        server.bump()
        assert next(replies)["status"]["generation"] == 2  # type: ignore[index]
        _eventually(lambda: server.service.waiting == 1)
    _eventually(lambda: server.service.waiting == 0)


def test_a_known_generation_is_not_sent_again(server: RunningServer) -> None:
    with Client(server.path) as client:
        replies = client.stream("GetStatus", generation=1)
        server.bump()
        assert next(replies)["status"]["generation"] == 2  # type: ignore[index]


def test_an_operation_streams_until_it_has_a_result(server: RunningServer) -> None:
    operation: dict[str, object] = {"id": "7", "result": None, "step": "stop kubelet"}
    server.service.history = [operation]
    with Client(server.path) as client:
        replies = client.stream("GetOperation", id="7")
        assert next(replies) == {"operation": operation}
        server.bump()  # something else changed: no reply for that
        server.service.history = [{**operation, "result": "done", "step": None}]
        server.bump()
        assert [one["operation"]["result"] for one in replies] == ["done"]  # type: ignore[index]
        assert client.call("GetStatus"), "the connection is free again"


def test_operations_stream_only_those_that_changed(server: RunningServer) -> None:
    server.service.history = [{"id": "2", "result": None}, {"id": "1", "result": "done"}]
    with Client(server.path) as client:
        replies = client.stream("ListOperations")
        assert [one["id"] for one in next(replies)["operations"]] == ["2", "1"]  # type: ignore[attr-defined]
        server.service.history = [{"id": "2", "result": "failed"}, {"id": "1", "result": "done"}]
        server.bump()
        assert next(replies) == {"operations": [{"id": "2", "result": "failed"}]}


def test_events_are_listed_and_then_watched_without_a_gap(server: RunningServer) -> None:
    server.happen("inserted")
    with Client(server.path) as client:
        assert [one["kind"] for one in client.call("ListEvents")["events"]] == ["inserted"]  # type: ignore[attr-defined]
        server.happen("bound")
        replies = client.stream("WatchEvents", cursor=1)
        assert [one["kind"] for one in next(replies)["events"]] == ["bound"]  # type: ignore[attr-defined]
        server.happen("lost")
        assert [one["kind"] for one in next(replies)["events"]] == ["lost"]  # type: ignore[attr-defined]


@contextlib.contextmanager
def _as_somebody_else() -> Iterator[None]:
    """Connect as another user than the one who runs the server, if we can be one."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.integration
def test_another_user_reads_and_is_denied_changes(tmp_path: Path) -> None:
    assert os.geteuid() == 0
    with running(tmp_path / "socket") as server:
        raw = Path(server.path)
        for place in (tmp_path, *list(tmp_path.parents)[:3]):
            place.chmod(place.stat().st_mode | 0o011)
        raw.chmod(0o666)
        with _as_somebody_else():
            client = Client(server.path)
        with client:
            assert client.call("GetStatus")
            with pytest.raises(CallFailed) as caught:
                client.call("Switch", stick="blue")
        assert caught.value.name == "io.nodestorage.PermissionDenied"
        assert not server.service.acts


def test_the_socket_is_for_its_owner_only_where_the_group_is_missing(server: RunningServer) -> None:
    mode = Path(server.path).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert "no group" in server.reports[0]


def test_a_left_socket_is_replaced_another_file_is_not(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "socket"))
    left.close()
    with running(tmp_path / "socket") as server, Client(server.path) as client:
        assert client.call("GetStatus")
    assert not (tmp_path / "socket").exists(), "it is gone when the server is"


@pytest.mark.parametrize(
    "garbage",
    [b"\0", b"GET / HTTP/1.0\r\n\r\n\0", b"\xff\xfe\0", b"[]\0", b'{"method":NaN}\0', b"{}}\0"],
)
def test_garbage_gets_one_error_and_the_connection_is_closed(
    server: RunningServer, garbage: bytes
) -> None:
    with _raw(server) as raw:
        raw.sendall(garbage)
        reply = json.loads(_all(raw).rstrip(b"\0"))
    assert reply["error"] == "io.nodestorage.Error"
    assert reply["parameters"]["reason"] == "BadFrame"


def test_a_ten_megabyte_frame_is_refused_early(server: RunningServer) -> None:
    sent = 0
    with _raw(server) as raw:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(160):
                raw.sendall(b"x" * 65536)
                sent += 65536
        reply = json.loads(_all(raw).rstrip(b"\0"))
    assert reply["parameters"]["reason"] == "BadFrame"
    assert sent < 1 << 20, "the kernel's buffers and our limit, not the whole frame"


def test_half_a_frame_is_given_one_deadline_however_it_trickles(quick: RunningServer) -> None:
    begun = time.monotonic()
    with _raw(quick) as raw, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(100):
            raw.sendall(b"{")
            time.sleep(0.05)
    assert 0.2 < time.monotonic() - begun < 2.0


def test_a_silent_client_is_let_go_a_listening_one_is_not(quick: RunningServer) -> None:
    with _raw(quick) as raw, Client(quick.path) as listener:
        replies = listener.stream("GetStatus")
        next(replies)
        assert _all(raw) == b""
        time.sleep(0.5)
        quick.bump()
        assert next(replies)["status"]["generation"] == 2  # type: ignore[index]


def test_a_reader_that_does_not_read_is_dropped_and_others_are_served(tmp_path: Path) -> None:
    limits = Limits(write_seconds=2.0)
    with (
        running(tmp_path / "socket", limits) as server,
        _raw(server) as slow,
        Client(server.path) as other,
    ):
        server.service.state["roles"] = ["x" * 200_000]
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(b'{"method":"io.nodestorage.GetStatus","more":true}\0')
        assert slow.recv(1, socket.MSG_PEEK), "the stream has begun"
        for _ in range(6):
            begun = time.monotonic()
            assert other.call("GetStatus")
            assert time.monotonic() - begun < 1.5, "somebody else's write was waited for"
            server.bump()
            time.sleep(0.2)
        _eventually(lambda: _hung_up(slow), 20)


def _hung_up(raw: socket.socket) -> bool:
    """True once the server has closed, whatever still lies there to be read."""
    poll = select.poll()
    poll.register(raw, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def test_more_clients_than_allowed_are_told_so_and_places_come_free(tmp_path: Path) -> None:
    with running(tmp_path / "socket", Limits(clients=3)) as server:
        crowd = [Client(server.path) for _ in range(3)]
        for one in crowd:
            one.call("GetStatus")
        with Client(server.path) as late, pytest.raises(CallFailed) as caught:
            late.call("GetStatus")
        assert caught.value.parameters["reason"] == "TooManyClients"
        assert caught.value.parameters["exitCode"] == 5
        crowd.pop().close()

        def free() -> bool:
            with Client(server.path) as next_one:
                try:
                    return bool(next_one.call("GetStatus"))
                except CallFailed:
                    return False

        _eventually(free)
        for one in crowd:
            one.close()


def test_a_flood_of_256_clients_leaves_the_server_working(quick: RunningServer) -> None:
    payloads = (b"", b"{", b"garbage\0", b"x" * 70_000, b'{"method":"io.nodestorage.GetStatus"}\0')
    crowd = []
    for number in range(256):
        raw = _raw(quick)
        raw.setblocking(False)
        with contextlib.suppress(OSError):
            raw.send(payloads[number % len(payloads)])
        crowd.append(raw)

    def served() -> bool:
        with Client(quick.path) as client:
            try:
                return bool(client.call("GetStatus"))
            except (CallFailed, Unreachable):
                return False

    _eventually(served)
    for raw in crowd:
        raw.close()
    assert quick.reports == quick.reports[:1], "none of it is our mistake"


def test_closing_the_server_ends_every_stream(tmp_path: Path) -> None:
    with running(tmp_path / "socket") as server:
        client = Client(server.path)
        replies = client.stream("GetStatus")
        next(replies)
    with client, pytest.raises(Unreachable):
        next(replies)
