"""The table of methods: parameters are checked, readers and changers are told apart."""

from __future__ import annotations

import pytest

from nodestoraged.api import calls, faults, interface
from nodestoraged.api.interface import METHODS

_SAMPLES: dict[str, object] = {"string": "x", "int": 1, "float": 1.5, "bool": True}
_CHANGERS = {
    "Switch", "Eject", "Rollback", "Enroll", "Forget", "Rename", "Delist", "Relist", "Pause",
    "Resume", "Abort", "Reload", "Adopt", "Prepare", "Reclaim", "Powerwash",
}  # fmt: skip


def test_exactly_these_methods_change_something() -> None:
    assert {name for name, method in METHODS.items() if method.changes} == _CHANGERS


@pytest.mark.parametrize("name", METHODS)
def test_full_and_minimal_parameters_are_taken_others_are_named(name: str) -> None:
    method = METHODS[name]
    full = {key: _SAMPLES[kind.lstrip("?")] for key, kind in method.parameters}
    minimal = {key: full[key] for key, kind in method.parameters if kind[0] != "?"}
    assert interface.wrong_parameter(method, dict(full)) is None
    assert interface.wrong_parameter(method, dict(minimal)) is None
    assert interface.wrong_parameter(method, {**full, "shell": "x"}) == "shell"
    for key in minimal:
        assert interface.wrong_parameter(method, {**full, key: None}) == key
    for key in full:
        assert interface.wrong_parameter(method, {**full, key: [1]}) == key


def test_a_bool_is_no_number_and_a_number_no_bool() -> None:
    assert interface.wrong_parameter(METHODS["GetStatus"], {"generation": True}) == "generation"
    assert interface.wrong_parameter(METHODS["Switch"], {"stick": "a", "noWait": 1}) == "noWait"
    assert interface.wrong_parameter(METHODS["Eject"], {"waitSeconds": 3}) is None


@pytest.mark.parametrize("name", sorted(_CHANGERS))
def test_a_reader_is_denied_before_its_parameters_are_looked_at(name: str) -> None:
    with pytest.raises(faults.Fault) as caught:
        calls.parse({"method": f"io.nodestorage.{name}"}, may_change=False)
    assert caught.value.name == "io.nodestorage.PermissionDenied"
    assert caught.value.parameters["group"] == "nodestorage"
    assert caught.value.parameters["exitCode"] == 6
    assert "nodestorage" in str(caught.value.parameters["message"])


@pytest.mark.parametrize(
    ("message", "error", "parameters"),
    [
        ({}, "InvalidParameter", {"parameter": "method"}),
        ({"method": 1}, "InvalidParameter", {"parameter": "method"}),
        ({"method": "GetInfo"}, "InterfaceNotFound", {"interface": ""}),
        ({"method": "io.other.Get"}, "InterfaceNotFound", {"interface": "io.other"}),
        ({"method": "io.nodestorage.Get"}, "MethodNotFound", {"method": "io.nodestorage.Get"}),
        ({"method": "io.nodestorage.GetStatus", "parameters": []},
         "InvalidParameter", {"parameter": "parameters"}),
        ({"method": "io.nodestorage.GetStatus", "more": "yes"},
         "InvalidParameter", {"parameter": "more"}),
        ({"method": "io.nodestorage.GetStatus", "upgrade": True},
         "MethodNotImplemented", {"method": "io.nodestorage.GetStatus"}),
        ({"method": "io.nodestorage.WatchEvents", "parameters": {"cursor": 0}},
         "ExpectedMore", {}),
    ],
)  # fmt: skip
def test_wrong_requests_get_the_standard_errors(
    message: dict[str, object], error: str, parameters: dict[str, object]
) -> None:
    with pytest.raises(faults.Fault) as caught:
        calls.parse(message, may_change=True)
    assert caught.value.name == f"org.varlink.service.{error}"
    assert caught.value.parameters == parameters


def test_oneway_never_streams() -> None:
    call = calls.parse(
        {"method": "io.nodestorage.GetStatus", "more": True, "oneway": True}, may_change=False
    )
    assert not call.streams
