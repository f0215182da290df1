"""Which disk `prepare` means, and whether it may be overwritten.

Knows the disks and the mount table only.  A disk is refused by the first of the rules that speaks
against it, the most dangerous first; what is on it matters only when nothing else does.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from nodestoraged.core.resolve import PREFIX_MIN
from nodestoraged.core.select import SYSTEM_TARGETS
from nodestoraged.core.sizes import gibibytes, size
from nodestoraged.model.disk import Disk, Part, PrepareRequest
from nodestoraged.model.errors import NotFoundError, RefusedError, RequestError
from nodestoraged.model.mount import Mount, MountTable
from nodestoraged.model.reason import Reason
from nodestoraged.model.registry import Registry

__all__ = ["Surroundings", "find", "refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a disk is judged by beside itself.

    `root` is the runtime's root.  Disks below LVM or RAID have holders; of swap only the kernel
    knows, and refuses whoever opens such a disk to write a new table.
    """

    mounts: MountTable
    root: str
    minimum_size_bytes: int


def find(word: str, disks: tuple[Disk, ...], registry: Registry | None = None) -> Disk:
    """The one disk that `word` names: itself, or the only partition that it has.

    By devnode, serial, the UUID of a file system on it or its beginning, or the name of an
    enrolled stick.  Raises `NotFoundError`; `RefusedError` `OnePartOnly` for one of several
    partitions: the others would be lost with it.
    """
    found = _named(word, disks, registry or Registry())
    if not found:
        raise NotFoundError("NoSuchStick", f"no disk is called {word!r}", "see /dev/disk/by-id")
    listed = sorted({disk.devnode for disk, _ in found})
    if len(listed) > 1:
        raise NotFoundError(
            "Ambiguous", f"{word!r} names {', '.join(listed)}", "use a devnode instead"
        )
    disk, part = found[0]
    if part in disk.parts and len(disk.parts) > 1:
        raise RefusedError(
            "OnePartOnly",
            f"{part.devnode} is one of {len(disk.parts)} partitions; "
            f"prepare takes the whole of {disk.devnode}",
            f"nodestoragectl prepare {disk.devnode}",
        )
    return disk


def refusal(disk: Disk, request: PrepareRequest, around: Surroundings) -> RequestError | None:
    """Why the disk must not be overwritten; None if it may be."""
    for rule in (_system, _active, _mounted, _held, _protected, _small, _occupied, _unconfirmed):
        refused = rule(disk, request, around)
        if refused is not None:
            return refused
    return None


#: Disks that a word names, each with the part of it that the word meant.
_Named = list[tuple[Disk, Part]]


def _named(word: str, disks: tuple[Disk, ...], registry: Registry) -> _Named:
    """Every disk, or partition of one, that the word names in the most specific way."""
    devnode = word if word.startswith("/dev/") else f"/dev/{word}"
    stick = registry.named(word)
    parts = [(disk, part) for disk in disks for part in (disk.whole, *disk.parts)]
    tests: tuple[Callable[[], _Named], ...] = (
        lambda: [(d, p) for d, p in parts if p.devnode == devnode],
        lambda: [(d, p) for d, p in parts if stick and p.uuid == stick.identity.uuid],
        lambda: [(d, d.whole) for d in disks if d.serial == word],
        lambda: [(d, p) for d, p in parts if p.uuid == word],
        lambda: [(d, p) for d, p in parts if _begins(p.uuid, word)],
    )
    return next((found for test in tests if (found := test())), [])


def _begins(uuid: str | None, word: str) -> bool:
    return uuid is not None and len(word) >= PREFIX_MIN and uuid.startswith(word.lower())


def _mounts(disk: Disk, around: Surroundings) -> list[Mount]:
    """Its mounts, in the order of the table; btrfs has a number of its own, and only its source."""
    return [mount for mount in around.mounts.mounts if _is_of(mount, disk)]


def _is_of(mount: Mount, disk: Disk) -> bool:
    devnodes = {disk.devnode, *(part.devnode for part in disk.parts)}
    return mount.number in disk.numbers or mount.source in devnodes


def _system(disk: Disk, _request: PrepareRequest, around: Surroundings) -> RequestError | None:
    """It carries the running system, or the runtime's own directory."""
    told = [mount.target for mount in _mounts(disk, around) if mount.target in SYSTEM_TARGETS]
    covering = around.mounts.covering(_parent(around.root))
    if covering is not None and _is_of(covering, disk):
        told.append(covering.target)
    if not told:
        return None
    where = ", ".join(dict.fromkeys(told))
    return _refused(
        Reason.SYSTEM_DISK, f"{disk.devnode} is a disk of this system: it is mounted on {where}"
    )


def _parent(path: str) -> str:
    return path.rstrip("/").rpartition("/")[0] or "/"


def _active(disk: Disk, _request: PrepareRequest, around: Surroundings) -> RequestError | None:
    for mount in _mounts(disk, around):
        if mount.target == around.root:
            return RefusedError(
                "Active", f"{disk.devnode} carries the runtime root now", "nodestoragectl eject"
            )
    return None


def _mounted(disk: Disk, _request: PrepareRequest, around: Surroundings) -> RequestError | None:
    for mount in _mounts(disk, around):
        return _refused(
            Reason.MOUNTED_ELSEWHERE,
            f"{disk.devnode} is mounted on {mount.target}",
            f"umount {shlex.quote(mount.target)}",
        )
    return None


def _held(disk: Disk, _request: PrepareRequest, _around: Surroundings) -> RequestError | None:
    if not disk.holders:
        return None
    holders = ", ".join(disk.holders)
    return _refused(Reason.HAS_HOLDERS, f"{disk.devnode} is used by {holders}")


def _protected(disk: Disk, _request: PrepareRequest, _around: Surroundings) -> RequestError | None:
    if not disk.read_only:
        return None
    return _refused(Reason.READ_ONLY, f"{disk.devnode} is write-protected")


def _small(disk: Disk, _request: PrepareRequest, around: Surroundings) -> RequestError | None:
    if disk.size_bytes >= around.minimum_size_bytes:
        return None
    least = gibibytes(around.minimum_size_bytes)
    return _refused(
        Reason.TOO_SMALL, f"{disk.devnode} has {size(disk.size_bytes)}, the role wants {least}"
    )


def _occupied(disk: Disk, request: PrepareRequest, _around: Surroundings) -> RequestError | None:
    if disk.blank or request.wipe:
        return None
    return RefusedError(
        "NotBlank",
        f"{disk.devnode} is not blank: {_contents(disk)}",
        f"to overwrite it: nodestoragectl prepare {disk.devnode} --wipe",
    )


def _unconfirmed(disk: Disk, request: PrepareRequest, _around: Surroundings) -> RequestError | None:
    """What is on it goes only when the disk was named by what is printed on it."""
    if disk.blank or request.serial == (disk.serial or disk.devnode):
        return None
    what = f"its serial, {disk.serial}" if disk.serial else f"its devnode, {disk.devnode}"
    return RefusedError(
        "SerialNeeded",
        f"{disk.devnode} ({_description(disk)}) holds {_contents(disk)}\n"
        f"to overwrite it, type {what}",
        f"nodestoragectl prepare {disk.devnode} --wipe --yes SERIAL",
    )


def _description(disk: Disk) -> str:
    return ", ".join(word for word in (disk.model, size(disk.size_bytes)) if word)


def _contents(disk: Disk) -> str:
    """What is on the disk in words: the table, and each file system with its label."""
    words = [_filesystem(disk.fstype, disk.label)] if disk.fstype else []
    if disk.table is not None or disk.parts:
        count = len(disk.parts)
        words.append(f"{disk.table or 'a'} table with {count} partition{'s' * (count != 1)}")
    words += [
        f"{part.devnode} {_filesystem(part.fstype, part.label or part.partlabel)}"
        for part in disk.parts
    ]
    return ", ".join(words)


def _filesystem(fstype: str | None, label: str | None) -> str:
    words = fstype or "unknown"
    return f"{words} {label!r}" if label else words


def _refused(reason: Reason, message: str, hint: str = "") -> RefusedError:
    return RefusedError(reason, message, hint or f"nodestoragectl explain {reason}")
