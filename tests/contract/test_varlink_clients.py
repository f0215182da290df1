"""The server, judged by PyPI's independent `varlink` client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import varlink

from nodestoraged import __version__
from nodestoraged.model.errors import RefusedError
from tests.unit.api.fake_service import RunningServer, running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running(tmp_path / "socket") as one:
        yield one


@pytest.fixture
def client(server: RunningServer) -> Iterator[varlink.Client]:
    with varlink.Client.new_with_address(f"unix:{server.path}") as one:
        yield one


def test_the_service_introduces_itself(client: varlink.Client) -> None:
    info = client.get_interfaces()
    assert set(info) == {"org.varlink.service", "io.nodestorage"}
    with client.open("org.varlink.service") as service:
        told = service.GetInfo()
        assert told["product"] == "nodestoraged"
        assert told["version"] == __version__
        for name in told["interfaces"]:
            assert f"interface {name}\n" in service.GetInterfaceDescription(name)["description"]


def test_an_unknown_interface_has_no_description(client: varlink.Client) -> None:
    with (
        client.open("org.varlink.service") as service,
        pytest.raises(varlink.InterfaceNotFound),
    ):
        service.GetInterfaceDescription("io.other")


def test_calls_with_positional_and_named_parameters(
    client: varlink.Client, server: RunningServer
) -> None:
    with client.open("io.nodestorage") as node:
        assert node.GetStatus()["status"]["apiVersion"] == "nodestorage/v1"
        assert node.Plan(to="green")["plan"]["decision"] == "Keep"
        assert node.Switch(stick="blue")["changed"] is True
    assert server.service.planned == [(None, "green", None, None)]
    assert server.service.acts == [("switch", None, {"stick": "blue"})]


def test_our_errors_carry_their_fields(client: varlink.Client, server: RunningServer) -> None:
    server.service.act_error = RefusedError("OperationInProgress", "7 runs", "show 7")
    with client.open("io.nodestorage") as node, pytest.raises(varlink.VarlinkError) as caught:
        node.Eject()
    assert caught.value.error() == "io.nodestorage.Refused"
    assert caught.value.parameters() == {
        "reason": "OperationInProgress", "message": "7 runs", "hint": "show 7", "exitCode": 6,
    }  # fmt: skip


def test_wrong_calls_get_the_standard_errors(client: varlink.Client) -> None:
    with client.open("io.nodestorage") as node:
        for call, error in (
            ({"method": "io.nodestorage.Nothing"}, "MethodNotFound"),
            ({"method": "io.other.Get"}, "InterfaceNotFound"),
            ({"method": "io.nodestorage.GetOperation", "parameters": {}}, "InvalidParameter"),
        ):
            node._send_message(json.dumps(call).encode())
            with pytest.raises(varlink.VarlinkError) as caught:
                node._next_varlink_message()
            assert caught.value.error() == f"org.varlink.service.{error}"


def test_a_stream_is_read_by_more(client: varlink.Client, server: RunningServer) -> None:
    with client.open("io.nodestorage") as node:
        replies = node.GetStatus(_more=True)
        assert next(replies)["status"]["generation"] == 1
        changer = threading.Timer(0.05, server.bump)
        changer.start()
        assert next(replies)["status"]["generation"] == 2
        changer.join()


def test_a_stream_with_an_end_frees_the_connection(
    client: varlink.Client, server: RunningServer
) -> None:
    server.service.history = [{"id": "7", "result": "done", "steps": []}]
    with client.open("io.nodestorage") as node:
        told = list(node.GetOperation("7", _more=True))
        assert [one["operation"]["result"] for one in told] == ["done"]
        assert node.GetOperation("7")["operation"]["id"] == "7"


def test_a_oneway_call_is_carried_out(client: varlink.Client, server: RunningServer) -> None:
    with client.open("io.nodestorage") as node:
        node.Reload(_oneway=True)
        assert node.GetStatus()["status"]["generation"] == 1
    assert server.service.acts == [("reload", None, {})]
