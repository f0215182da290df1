"""The table of operations: the names that the daemon may call.

Owns: the names.  May not know: how any of them works.
"""

from __future__ import annotations

from collections.abc import Mapping

from nodestoraged.worker import (
    operations_device,
    operations_files,
    operations_mount,
    operations_process,
    operations_runtime,
    operations_unmount,
)
from nodestoraged.worker.server import Operation

__all__ = ["OPERATIONS"]

OPERATIONS: Mapping[str, Operation] = {
    "identify": operations_device.identify,
    "fsck": operations_device.fsck,
    "probe_read": operations_device.probe_read,
    "released": operations_device.released,
    "mount": operations_mount.mount,
    "unmount": operations_unmount.unmount,
    "unmount_below": operations_unmount.unmount_below,
    "clean_state": operations_files.clean_state,
    "probe_write": operations_files.probe_write,
    "stat_fs": operations_files.stat_fs,
    "syncfs": operations_files.syncfs,
    "shims": operations_process.shims,
    "kill_shims": operations_process.kill_shims,
    "kill_users": operations_process.kill_users,
    "runtime_view": operations_runtime.runtime_view,
    "process_start": operations_runtime.process_start,
}
