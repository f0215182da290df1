"""STICK, the one argument form everywhere: a name, a devnode, a serial, a UUID or `internal`."""

from __future__ import annotations

from dataclasses import dataclass

from nodestoraged.model.candidate import Candidate
from nodestoraged.model.errors import NotFoundError
from nodestoraged.model.registry import Registry, Stick

#: The word that names the node's own directory.
INTERNAL = "internal"
#: A UUID prefix shorter than this names nobody.
PREFIX_MIN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A present candidate, an enrolled stick, or both."""

    candidate: Candidate | None
    stick: Stick | None

    @property
    def name(self) -> str:
        """What to call it."""
        if self.stick is not None:
            return self.stick.name
        assert self.candidate is not None
        return self.candidate.name


def resolve(text: str, candidates: tuple[Candidate, ...], registry: Registry) -> Resolved:
    """The one stick that `text` names.

    The forms are tried from the most to the least specific, and the first that names anybody
    decides, so that a stick called `sdb1` never hides a devnode from somebody who writes
    `/dev/sdb1`.  Raises `NotFoundError` if nobody or more than one is named.
    """
    text = plain_path(text)
    found = _present(text, candidates)
    if len(found) > 1:
        listed = ", ".join(sorted(c.device.devnode for c in found))
        raise NotFoundError(
            "Ambiguous", f"{text!r} names {listed}", "use a devnode or a serial instead"
        )
    if found:
        return Resolved(candidate=found[0], stick=found[0].stick)
    absent = [stick for stick in registry.sticks if _names_stick(text, stick)]
    if len(absent) > 1:
        listed = ", ".join(stick.name for stick in absent)
        raise NotFoundError("Ambiguous", f"{text!r} names {listed}", "use a name instead")
    if absent:
        return Resolved(candidate=None, stick=absent[0])
    raise NotFoundError(
        "NoSuchStick", f"no stick is called {text!r}", "nodestoragectl list shows those known"
    )


def plain_path(text: str) -> str:
    """A path as mountinfo would write it, without doubled slashes and dots; other words as is.

    Raises `NotFoundError` for one that climbs: where it leads depends on what is mounted.
    """
    if not text.startswith("/"):
        return text
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise NotFoundError("NoSuchDirectory", f"{text} climbs with ..", "name the directory")
    return "/" + "/".join(parts)


def _present(text: str, candidates: tuple[Candidate, ...]) -> list[Candidate]:
    devnode = text if text.startswith("/dev/") else f"/dev/{text}"
    whole = [c for c in candidates if c.device.directory is None]
    tests = (
        [c for c in candidates if c.stick is not None and c.stick.name == text],
        [c for c in candidates if c.device.directory == text],
        [c for c in whole if c.device.devnode == devnode],
        [c for c in whole if text in {c.device.serial, c.device.hardware}],
        [c for c in whole if c.device.uuid == text],
        [c for c in whole if _prefix(text, c.device.uuid)],
    )
    return next((found for found in tests if found), [])


def _names_stick(text: str, stick: Stick) -> bool:
    identity, serial = stick.identity, stick.identity.serial
    bare = serial.rpartition(":")[2] if serial else None
    names = {stick.name, identity.directory}
    if identity.directory is None:
        names |= {identity.uuid, serial, bare}
    prefix = identity.directory is None and _prefix(text, identity.uuid)
    return bool(text) and (text in names or prefix)


def _prefix(text: str, uuid: str | None) -> bool:
    return uuid is not None and len(text) >= PREFIX_MIN and uuid.startswith(text.lower())
