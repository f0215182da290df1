"""Hears a verb: its arguments as a request, and the world that it is judged in."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from nodestoraged.core import requests
from nodestoraged.core.enrolments import new_stick
from nodestoraged.core.resolve import plain_path
from nodestoraged.core.select import named_and_unread, select, slot_candidates
from nodestoraged.core.situation import Request, Situation
from nodestoraged.engine.observer import directory_slot
from nodestoraged.engine.reconciler import Reconciler
from nodestoraged.model.config import DataPolicy
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.errors import NotFoundError, RefusedError, RequestError
from nodestoraged.model.hidden import Wash
from nodestoraged.model.observation import Observation

Json = dict[str, object]
_Word = TypeVar("_Word", bound=StrEnum)


def request_of(verb: str, arguments: Json) -> Request:
    """The request that the socket's arguments make; RequestError for a word that is none."""
    return Request(
        verb=verb,
        stick=text(arguments, "stick"),
        to=text(arguments, "to"),
        name=text(arguments, "name"),
        no_switch=bool(arguments.get("noSwitch", False)),
        clear=bool(arguments.get("clear", False)),
        data=word(DataPolicy, arguments, "data"),
        bytes_per_second=rate(arguments),
        tier=word(Wash, arguments, "tier"),
        next_boot=bool(arguments.get("nextBoot", False)),
        release_seconds=_seconds(arguments, "waitSeconds"),
    )


async def situation(reconciler: Reconciler, request: Request) -> Situation:
    """The world that the request is judged in."""
    observation = await reconciler.observe()
    slot = None
    if request.verb in {"switch", "adopt"} and request.stick is not None:
        slot = directory_named(reconciler, observation, request.stick)
    listed = select(observation, reconciler.role)
    return Situation(
        observation=observation,
        candidates=(*listed, *slot_candidates(slot, observation)),
        role=reconciler.role,
        busy=reconciler.busy,
    )


async def heard(reconciler: Reconciler, request: Request) -> Situation:
    """The world that the request is judged in, after a stick that `switch` names was read.

    For the stick may speak against itself.  Naming it as root is consent, which is on the disk
    before the stick is touched, and is taken back if the request comes to nothing.
    """
    asked = await situation(reconciler, request)
    if request.verb != "switch" or request.stick is None:
        return asked
    named = named_and_unread(request.stick, asked)
    if named is None:
        return asked
    store = reconciler.ports.store
    stick = named.stick or new_stick(named, None, asked)
    if named.stick is None:
        store.save_registry(store.registry().with_stick(stick))
    try:
        await reconciler.inspector.ask(named)
        asked = await situation(reconciler, request)
        requests.apply(request, asked)
    except BaseException:
        if named.stick is None:
            store.save_registry(store.registry().without(stick.identity))
        raise
    return asked


def directory_named(
    reconciler: Reconciler, observation: Observation, named: str
) -> BlockDevice | None:
    """The slot that a path names; None for another word.

    Raises for a path that lies on no disk, is a whole file system, or overlaps the root.
    """
    if not named.startswith("/") or named.startswith("/dev/"):
        return None
    path = plain_path(named)
    slot = directory_slot(path, reconciler.ports.devices.disks(), observation.mounts)
    if slot is None:
        raise NotFoundError(
            "NoSuchDirectory", f"{path} lies on no disk of this node", f"findmnt --target {path}"
        )
    if observation.mounts.at(path) is not None:
        raise RefusedError(
            "WholeFilesystem", f"a file system is mounted on {path}", f"mkdir {path}/containerd"
        )
    root = observation.profile.root
    if path == root or path.startswith(f"{root}/") or root.startswith(f"{path}/"):
        raise RefusedError("RootOverlap", f"{path} and the root {root} overlap", "another place")
    return slot


def word(kind: type[_Word], arguments: Json, key: str) -> _Word | None:
    """The argument as one of `kind`'s words, None if it is absent."""
    value = arguments.get(key)
    if value is None:
        return None
    try:
        return kind(str(value))
    except ValueError:
        known = ", ".join(kind)
        raise RequestError("BadWord", f"{value!r} is no {key}", f"one of: {known}") from None


def rate(arguments: Json) -> int | None:
    """Bytes per second, None if nothing was said; RequestError for a rate that moves nothing."""
    value = arguments.get("rate")
    if not isinstance(value, int):
        return None
    if value <= 0:
        raise RequestError("BadRate", f"{value} bytes per second", "a rate above zero: --rate 20M")
    return value


def text(arguments: Json, key: str) -> str | None:
    """The argument as a word of any kind, None if it is absent."""
    value = arguments.get(key)
    return value if isinstance(value, str) else None


def _seconds(arguments: Json, key: str) -> float | None:
    value = arguments.get(key)
    return float(value) if isinstance(value, int | float) else None
