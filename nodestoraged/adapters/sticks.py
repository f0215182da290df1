"""What is written on sticks beside the runtime's data, asked of the worker's children.

Owns: the arguments and answers of those operations, manifests as values, and this node's id.
May not know: what follows from a manifest, or why a disk is formatted.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from nodestoraged.adapters import records
from nodestoraged.adapters.children import Children
from nodestoraged.linux import mountinfo
from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.disk import PARTITION_TYPE, Disk, Formatted
from nodestoraged.model.errors import ObservationError, StepError, StepTimeout
from nodestoraged.model.manifest import Inspection, Manifest, Quality

__all__ = ["MACHINE_ID", "WorkerSticks", "kept_node_id", "node_id"]

#: machine-id(5).
MACHINE_ID = Path("/etc/machine-id")
#: What names the machine itself: the firmware's UUID of a PC, the serial of a board.
HARDWARE_IDS = (
    Path("/sys/class/dmi/id/product_uuid"),
    Path("/sys/firmware/devicetree/base/serial-number"),
)
#: What firmware says that was never told who it is: many machines have these.
_NOBODYS = frozenset(
    {"03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009"}
)
#: What is written there may be gone after the next boot; the upper layer of an overlay mostly is.
_IN_MEMORY = frozenset({"overlay", "tmpfs", "ramfs", "rootfs"})
#: What our ids are derived for, so that no other program's ids are equal to them.
_APPLICATION = bytes.fromhex("6c3ad9a2f1b14b0fa1c0b4d80c4b5f77")
#: Said of the worker's own processes, not of the stick: nobody may judge a stick by it.
_OUR_FAULT = frozenset({"WorkerDied", "TooManyStuckChildren", "ChildDied", "BadArguments"})
# Below any of these a node is noticeably slow: pods start late and databases time out.
SLOW_WRITE_RATE = 5_000_000
SLOW_SMALL_WRITES_PER_SECOND = 20.0
SLOW_FSYNC_SECONDS = 0.1


class WorkerSticks:
    """The `Sticks` port over `Children`; `node` is this node's id."""

    def __init__(self, children: Children, node: str) -> None:
        self._children = children
        self._node = node

    @property
    def node(self) -> str:
        """This node's id as manifests bear it."""
        return self._node

    def new_id(self) -> str:
        """A new random id for data, as a UUID."""
        return str(uuid.uuid4())

    async def inspect(self, device: BlockDevice, *, deadline_seconds: float) -> Inspection:
        """What an unmounted stick says of itself; what is wrong with it is `failure`."""
        return await self._inspected("inspect", _filesystem(device), deadline_seconds)

    async def inspect_mounted(self, path: str, *, deadline_seconds: float) -> Inspection:
        """What the stick or directory at `path` says of itself."""
        return await self._inspected("inspect_path", {"path": path}, deadline_seconds)

    async def stamp(
        self, path: str, number: DeviceNumber, manifest: Manifest, *, deadline_seconds: float
    ) -> None:
        """The manifest below `path` on device `number` is this one, and on the medium."""
        arguments: dict[str, object] = {
            "path": path,
            "major": number.major,
            "minor": number.minor,
            "manifest": records.dump(manifest),
        }
        await self._call("stamp", arguments, deadline_seconds)

    async def renew_uuid(self, device: BlockDevice, *, deadline_seconds: float) -> str:
        """The unmounted file system has a new random UUID."""
        found = await self._call("renew_uuid", _filesystem(device), deadline_seconds)
        return str(found.get("uuid"))

    async def format(
        self,
        disk: Disk,
        *,
        label: str,
        fstype: str,
        whole_disk: bool,
        deadline_seconds: float,
    ) -> Formatted:
        """The disk carries one new file system of that label and nothing else."""
        arguments: dict[str, object] = {
            **_pin(disk),
            "label": label,
            "fstype": fstype,
            "whole_disk": whole_disk,
            "partition_type": PARTITION_TYPE,
            "blank": disk.blank,
        }
        found = await self._call("format", arguments, deadline_seconds)
        return _formatted(found)

    async def measure(
        self, disk: Disk, *, report: Callable[[str], None], deadline_seconds: float
    ) -> Quality:
        """The disk's real capacity and its speed; what is on it is overwritten in places."""
        report(f"{disk.devnode}: samples over its whole capacity, then its speed")
        found = await self._call("measure", _pin(disk), deadline_seconds)
        known = {field.name for field in fields(Quality)}
        data = {k: v for k, v in found.items() if k in known}
        now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
        return records.load(Quality, {**data, "checked_at": now, "slow": _slow(found)})

    async def _inspected(
        self, operation: str, arguments: Mapping[str, object], deadline_seconds: float
    ) -> Inspection:
        try:
            found = await self._call(operation, arguments, deadline_seconds)
            return _inspection(found)
        except StepTimeout:
            raise
        except StepError as error:
            if error.reason in _OUR_FAULT:
                raise
            return Inspection(failure=error.reason)
        except (ValueError, TypeError, KeyError):
            return Inspection(failure="ManifestBroken")

    async def _call(
        self, operation: str, arguments: Mapping[str, object], deadline_seconds: float
    ) -> Mapping[str, object]:
        return await self._children.call(operation, arguments, deadline_seconds=deadline_seconds)


def node_id(machine_id_path: Path = MACHINE_ID) -> str:
    """32 hex digits that name this machine and do not tell its machine-id.

    Made as systemd makes ids for one application (sd_id128_get_machine_app_specific(3)): a
    machine-id is confidential, and a stick goes from hand to hand.  Raises ObservationError
    `MachineIdUnreadable`.
    """
    try:
        text = machine_id_path.read_text(encoding="ascii").strip()
        secret = bytes.fromhex(text)
    except (OSError, ValueError) as error:
        raise ObservationError(
            "MachineIdUnreadable", f"cannot read {machine_id_path}: {error}"
        ) from error
    if len(secret) != 16:
        raise ObservationError("MachineIdUnreadable", f"{machine_id_path} holds no machine-id")
    return _derived(secret)


def kept_node_id(
    directory: Path,
    machine_id_path: Path = MACHINE_ID,
    hardware_ids: Iterable[Path] = HARDWARE_IDS,
) -> str:
    """The node's id, the same at every boot; one that is not the machine-id's is kept.

    OpenRC needs no machine-id, so Alpine has none.  Where /etc cannot be written, or lies in
    memory, the machine-id may be another at the next boot (machine-id(5)); the hardware's serves
    then, for a node that boots from the network may not even keep `directory`.  What was kept
    stays valid: systemd may write the machine-id to the disk later in the same boot.
    """
    kept = directory / "node-id"
    with contextlib.suppress(OSError, ValueError):
        known = kept.read_text(encoding="ascii").strip()
        if len(bytes.fromhex(known)) == 16:
            return known
    given = None
    with contextlib.suppress(ObservationError):
        given = node_id(machine_id_path)
    if given is not None and not _may_change(machine_id_path):
        return given
    made = _hardware_id(hardware_ids) or given or uuid.uuid4().hex
    try:
        kept.write_text(made + "\n", encoding="ascii")
    except OSError as error:
        raise ObservationError("MachineIdUnreadable", f"{kept}: {error.strerror}") from error
    return made


def _may_change(path: Path) -> bool:
    """The file is mounted over, or nobody can tell whether it lies on a disk."""
    place = str(path.resolve())
    row = mountinfo.covering(mountinfo.read(), place)
    return row is None or row.target == place or row.fstype in _IN_MEMORY


def _hardware_id(paths: Iterable[Path]) -> str | None:
    """An id made of the first of `paths` that says something of this one machine."""
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            told = path.read_text(encoding="ascii").strip("\0 \n").lower()
            if len(set(told) - {"-"}) > 1 and told not in _NOBODYS:
                return _derived(told.encode())
    return None


def _derived(secret: bytes) -> str:
    return hmac.new(secret, _APPLICATION, hashlib.sha256).digest()[:16].hex()


def _pin(device: BlockDevice | Disk) -> dict[str, object]:
    return {
        "devnode": device.devnode,
        "major": device.number.major,
        "minor": device.number.minor,
        "diskseq": device.diskseq,
    }


def _filesystem(device: BlockDevice) -> dict[str, object]:
    return {**_pin(device), "uuid": device.uuid or "none", "fstype": device.fstype or "none"}


def _inspection(found: Mapping[str, object]) -> Inspection:
    told = found.get("manifest")
    return Inspection(
        manifest=None if told is None else records.load(Manifest, told),
        capacity_bytes=records.load(int, found.get("capacity_bytes")),
        available_bytes=records.load(int, found.get("available_bytes")),
    )


def _formatted(found: Mapping[str, object]) -> Formatted:
    diskseq = found.get("diskseq")
    return Formatted(
        devnode=records.load(str, found.get("devnode")),
        number=DeviceNumber(
            records.load(int, found.get("major")), records.load(int, found.get("minor"))
        ),
        diskseq=None if diskseq is None else records.load(int, diskseq),
        uuid=records.load(str, found.get("uuid")),
        label=records.load(str, found.get("label")),
        fstype=records.load(str, found.get("fstype")),
    )


def _slow(speed: Mapping[str, object]) -> bool:
    write, small = speed.get("write_rate"), speed.get("small_writes_per_second")
    fsync = speed.get("fsync_seconds")
    return (
        (isinstance(write, int) and write < SLOW_WRITE_RATE)
        or (isinstance(small, (int, float)) and small < SLOW_SMALL_WRITES_PER_SECOND)
        or (isinstance(fsync, (int, float)) and fsync > SLOW_FSYNC_SECONDS)
    )
