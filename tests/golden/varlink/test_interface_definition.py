"""The shipped interface definition is what the table says."""

from __future__ import annotations

from pathlib import Path

from varlink.scanner import Interface

import nodestoraged.api
from nodestoraged.api import calls, interface

_SHIPPED = Path(nodestoraged.api.__file__).with_name("io.nodestorage.varlink")


def test_the_shipped_definition_is_made_from_the_table(update_golden: bool) -> None:
    if update_golden:
        _SHIPPED.write_text(interface.describe(), encoding="utf-8")
    assert _SHIPPED.read_text(encoding="utf-8") == interface.describe()


def test_an_independent_parser_reads_the_same_methods_and_fields() -> None:
    parsed = Interface(interface.describe())
    assert parsed.name == interface.INTERFACE
    for method in interface.METHODS.values():
        known = parsed.get_method(method.name)
        assert list(known.in_type.fields) == [name for name, _ in method.parameters]
        assert list(known.out_type.fields) == [name for name, _ in method.results]
    members = {*interface.METHODS, *(name for name, _, _ in interface.ERRORS)}
    assert set(parsed.members) == members


def test_an_independent_parser_reads_the_service_interface() -> None:
    parsed = Interface(calls.SERVICE_DESCRIPTION)
    assert {"GetInfo", "GetInterfaceDescription", "ExpectedMore"} <= set(parsed.members)
