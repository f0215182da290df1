"""Carrying out calls: from a checked method call to what `NodeService` says.

Owns: permission, parameter checks, org.varlink.service, streams.  May not know: sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from nodestoraged import __version__
from nodestoraged.api import interface
from nodestoraged.api.faults import denied, standard
from nodestoraged.api.interface import METHODS, Method
from nodestoraged.api.service import JsonObject, NodeService
from nodestoraged.model.errors import NotFoundError

__all__ = ["Call", "Reply", "answer", "parse", "stream"]

DEFAULT_OPERATIONS = 50
MAX_OPERATIONS = 1000

#: Parameters of one reply, and whether more replies follow.
Reply = tuple[JsonObject, bool]

SERVICE_INTERFACE = "org.varlink.service"
#: From https://varlink.org/Service, with the two errors that systemd added.
SERVICE_DESCRIPTION = """\
# The Varlink Service Interface is provided by every varlink service.
interface org.varlink.service

# Get a list of all the interfaces a service provides and information
# about the implementation.
method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

# Get the description of an interface that is implemented by this service.
method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)

error MethodNotFound (method: string)

error MethodNotImplemented (method: string)

error InvalidParameter (parameter: string)

error PermissionDenied ()

error ExpectedMore ()
"""
_SERVICE_METHODS = {
    "GetInfo": Method("GetInfo", (), (), doc=""),
    "GetInterfaceDescription": Method(
        "GetInterfaceDescription", (("interface", "string"),), (), doc=""
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One checked request.  `ours` is False for org.varlink.service's methods."""

    method: Method
    parameters: JsonObject
    ours: bool
    more: bool
    oneway: bool

    @property
    def streams(self) -> bool:
        """True when several replies are due."""
        return self.more and not self.oneway and self.method.stream != interface.NEVER


def parse(message: JsonObject, *, may_change: bool) -> Call:
    """Check one request; raises Fault.  Everyone who could connect may read."""
    name = message.get("method")
    if not isinstance(name, str):
        raise standard("InvalidParameter", parameter="method")
    for flag in ("more", "oneway", "upgrade"):
        if message.get(flag) not in (None, True, False):
            raise standard("InvalidParameter", parameter=flag)
    owner, method = _find(name)
    if message.get("upgrade"):
        raise standard("MethodNotImplemented", method=name)
    if method.changes and not may_change:
        raise denied(method.verb)
    parameters = message.get("parameters")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise standard("InvalidParameter", parameter="parameters")
    wrong = interface.wrong_parameter(method, parameters)
    if wrong is not None:
        raise standard("InvalidParameter", parameter=wrong)
    more = bool(message.get("more"))
    if method.stream == interface.MUST and not more:
        raise standard("ExpectedMore")
    return Call(
        method=method,
        parameters=parameters,
        ours=owner == interface.INTERFACE,
        more=more,
        oneway=bool(message.get("oneway")),
    )


def _find(name: str) -> tuple[str, Method]:
    owner, _, word = name.rpartition(".")
    tables = {interface.INTERFACE: METHODS, SERVICE_INTERFACE: _SERVICE_METHODS}
    if owner not in tables:
        raise standard("InterfaceNotFound", interface=owner)
    method = tables[owner].get(word)
    if method is None:
        raise standard("MethodNotFound", method=name)
    return owner, method


async def answer(service: NodeService, call: Call) -> JsonObject:
    """The one reply of a call that does not stream."""
    if not call.ours:
        return _about_us(call)
    if call.method.changes:
        given = call.parameters
        arguments = {
            name: value for name, value in given.items() if name != "role" and value is not None
        }
        return await service.act(call.method.verb, _text(given.get("role")), arguments)
    look = _LOOKS.get(call.method.name)
    if look is not None:
        return await look(service, call)
    return _READS[call.method.name](service, call)


def stream(service: NodeService, call: Call) -> AsyncGenerator[Reply, None]:
    """The replies of a call with `more`, until the caller stops listening or there is an end."""
    return _STREAMS[call.method.name](service, call)


async def _statuses(service: NodeService, call: Call) -> AsyncGenerator[Reply, None]:
    async with aclosing(_generations(service, call.parameters.get("generation"))) as news:
        async for generation in news:
            status = service.status()
            if status.get("generation") == generation:
                yield {"status": status}, True


async def _changed_operations(service: NodeService, call: Call) -> AsyncGenerator[Reply, None]:
    told: dict[object, JsonObject] = {}
    first = True
    async with aclosing(_generations(service, None)) as news:
        async for _ in news:
            changed = [one for one in _operations(service, call) if told.get(one.get("id")) != one]
            if changed or first:
                yield {"operations": changed}, True
            first = False
            told |= {one.get("id"): one for one in changed}


async def _progress(service: NodeService, call: Call) -> AsyncGenerator[Reply, None]:
    last: JsonObject | None = None
    async with aclosing(_generations(service, None)) as news:
        async for _ in news:
            operation = _operation(service, call)
            ended = operation.get("result") is not None
            if operation != last or ended:
                yield {"operation": operation}, not ended
            if ended:
                return
            last = operation


async def _new_events(service: NodeService, call: Call) -> AsyncGenerator[Reply, None]:
    cursor = call.parameters["cursor"]
    while isinstance(cursor, int):
        events = await service.next_events(cursor)
        yield {"events": events}, True
        cursor = max([cursor, *_cursors(events)])


async def _generations(service: NodeService, known: object) -> AsyncGenerator[int, None]:
    """Each new generation of the status; slow listeners skip those that are past."""
    while True:
        generation = service.status().get("generation")
        if not isinstance(generation, int):
            raise TypeError("a status without generation")
        if generation != known:
            yield generation
        known = generation
        await service.changed(generation)
        await asyncio.sleep(0)


def _about_us(call: Call) -> JsonObject:
    if call.method.name == "GetInfo":
        return {
            "vendor": "nodestoraged",
            "product": "nodestoraged",
            "version": __version__,
            "url": "",
            "interfaces": [SERVICE_INTERFACE, interface.INTERFACE],
        }
    wanted = call.parameters["interface"]
    if wanted == interface.INTERFACE:
        return {"description": interface.describe()}
    if wanted == SERVICE_INTERFACE:
        return {"description": SERVICE_DESCRIPTION}
    raise standard("InterfaceNotFound", interface=wanted)


def _operations(service: NodeService, call: Call) -> list[JsonObject]:
    limit = call.parameters.get("limit")
    count = limit if isinstance(limit, int) else DEFAULT_OPERATIONS
    return service.operations(
        _text(call.parameters.get("role")), max(1, min(count, MAX_OPERATIONS))
    )


def _operation(service: NodeService, call: Call) -> JsonObject:
    wanted = str(call.parameters["id"])
    operation = service.operation(wanted)
    if operation is None:
        raise NotFoundError(
            "NoSuchOperation", f"there is no operation {wanted}", "nodestoragectl operations"
        )
    return operation


def _cursors(events: list[JsonObject]) -> list[int]:
    return [one for event in events if isinstance(one := event.get("cursor"), int)]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


async def _plan(service: NodeService, call: Call) -> JsonObject:
    words = ("role", "to", "device", "data")
    role, to, device, data = (_text(call.parameters.get(key)) for key in words)
    return {"plan": await service.plan(role, to, device, data)}


async def _hidden(service: NodeService, call: Call) -> JsonObject:
    return {"hidden": await service.hidden(_text(call.parameters.get("role")))}


_READS: dict[str, Callable[[NodeService, Call], JsonObject]] = {
    "GetStatus": lambda service, _: {"status": service.status()},
    "ListOperations": lambda service, call: {"operations": _operations(service, call)},
    "GetOperation": lambda service, call: {"operation": _operation(service, call)},
    "ListEvents": lambda service, call: {
        "events": service.events(_text(call.parameters.get("since")))
    },
}

#: Reads that have to look at a disk first.
_LOOKS: dict[str, Callable[[NodeService, Call], Awaitable[JsonObject]]] = {
    "Plan": _plan,
    "GetHidden": _hidden,
}

_STREAMS: dict[str, Callable[[NodeService, Call], AsyncGenerator[Reply, None]]] = {
    "GetStatus": _statuses,
    "ListOperations": _changed_operations,
    "GetOperation": _progress,
    "WatchEvents": _new_events,
}
