"""Operations on a block device that is not, or need not be, mounted.

Owns: identify, fsck, probe_read, released.  May not know: mounts.
Arguments `devnode`, `major`, `minor`, `diskseq` are those of `device.pinned`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from nodestoraged.linux import blockdev
from nodestoraged.worker import arguments, helper
from nodestoraged.worker.device import mount_fstype, pinned, read_superblock
from nodestoraged.worker.failure import OperationFailed

__all__ = ["fsck", "identify", "probe_read", "released"]

_EBUSY = 16


def identify(args: Mapping[str, object]) -> Mapping[str, object]:
    """What the device is, read from itself: size, write protection, superblock (null if unknown).

    Nothing is written and nothing mounted.  `signatures` has more than one name when the device
    is ambivalent.  Raises Gone, DeviceChanged, IoError.
    """
    with pinned(args) as fd:
        found, signatures = read_superblock(fd)
        return {
            "size_bytes": blockdev.size_bytes(fd),
            "read_only": blockdev.is_read_only(fd),
            "signatures": list(signatures),
            "superblock": None if found is None else found._asdict(),
        }


def fsck(args: Mapping[str, object]) -> Mapping[str, object]:
    """The file system `fstype` of the device is consistent, mended where `e2fsck -p` dares to.

    XFS needs nothing here: it replays its log when mounted.  Returns exit_code, mended, output.
    Raises FsckFailed with the last lines of output, HelperMissing.  Exit codes: e2fsck(8).
    """
    kind = mount_fstype(arguments.text(args, "fstype"))
    with pinned(args):
        if kind != "ext4":
            return {"exit_code": 0, "mended": False, "output": []}
        done = helper.run("e2fsck", "-p", arguments.path(args, "devnode"))
    output = list(done.last_lines)
    # Bits: 1 mended, 2 mended and a reboot is due if it is the root (it never is), 4 not mended.
    if done.exit_code not in (0, 1, 2, 3):
        # "UNEXPECTED INCONSISTENCY" is where -p gave up; otherwise the first line says it.
        telling = [line for line in output if "UNEXPECTED" in line] + output
        message = f"e2fsck ended with {done.exit_code}: {(telling or ['no output'])[0]}"
        details = {"exit_code": done.exit_code, "output": output}
        raise OperationFailed("FsckFailed", message, details=details)
    return {"exit_code": done.exit_code, "mended": done.exit_code != 0, "output": output}


def probe_read(args: Mapping[str, object]) -> Mapping[str, object]:
    """The medium answered: seconds of one direct 4 KiB read at a place that varies.

    A fixed place would be answered by the cache within the stick.  Raises Gone, DeviceChanged,
    IoError.  It may hang: the caller's deadline judges that.
    """
    try:
        with pinned(args, direct=True) as fd:
            return _probe(fd)
    except OSError as error:
        if error.errno != 22:  # EINVAL: the driver knows no O_DIRECT
            raise
    with pinned(args) as fd:
        return _probe(fd)


def _probe(fd: int) -> Mapping[str, object]:
    pages = max(blockdev.size_bytes(fd) // 4096, 1)
    offset = int.from_bytes(os.urandom(8), "little") % pages * 4096
    return {"seconds": blockdev.timed_direct_read(fd, offset), "offset_bytes": offset}


def released(args: Mapping[str, object]) -> Mapping[str, object]:
    """Whether nothing holds the device any more: `{"released": bool, "by": what holds it | null}`.

    Proof: no superblock of its name lives anywhere, and an exclusive open succeeds.  A device
    that is gone is released once its superblock is.
    """
    devnode = arguments.path(args, "devnode")
    major, minor = arguments.integer(args, "major"), arguments.integer(args, "minor")
    name = blockdev.kernel_name(major, minor)
    alive = blockdev.superblock_alive(name or os.path.basename(devnode))
    if alive is not None:
        return {"released": False, "by": alive}
    if name is None:
        return {"released": True, "by": None}
    failed = blockdev.open_exclusive_error(devnode)
    if failed == _EBUSY:
        return {"released": False, "by": "an exclusive user (mount, swap, dm, md, fsck)"}
    return {"released": True, "by": None}
