"""The table of operations: the names that the daemon may call.

Owns: the names.  May not know: how any of them works.
"""

from __future__ import annotations

from collections.abc import Mapping

from nodestoraged.worker import (
    operations_bind,
    operations_conmon,
    operations_database,
    operations_device,
    operations_files,
    operations_format,
    operations_hidden,
    operations_images,
    operations_manifest,
    operations_measure,
    operations_mount,
    operations_process,
    operations_runtime,
    operations_unmount,
    operations_usage,
    operations_wash,
)
from nodestoraged.worker.server import Operation

__all__ = ["OPERATIONS"]

OPERATIONS: Mapping[str, Operation] = {
    "identify": operations_device.identify,
    "fsck": operations_device.fsck,
    "probe_read": operations_device.probe_read,
    "released": operations_device.released,
    "inspect": operations_manifest.inspect,
    "inspect_path": operations_manifest.inspect_path,
    "stamp": operations_manifest.stamp,
    "renew_uuid": operations_manifest.renew_uuid,
    "format": operations_format.format_disk,
    "measure": operations_measure.measure,
    "mount": operations_mount.mount,
    "bind": operations_bind.bind,
    "usage": operations_usage.usage,
    "unmount": operations_unmount.unmount,
    "unmount_below": operations_unmount.unmount_below,
    "clean_state": operations_files.clean_state,
    "probe_write": operations_files.probe_write,
    "stat_fs": operations_files.stat_fs,
    "syncfs": operations_files.syncfs,
    "shims": operations_process.shims,
    "kill_shims": operations_process.kill_shims,
    "conmons": operations_conmon.conmons,
    "kill_conmons": operations_conmon.kill_conmons,
    "forget_podman": operations_conmon.forget_podman,
    "kill_users": operations_process.kill_users,
    "runtime_view": operations_runtime.runtime_view,
    "process_start": operations_runtime.process_start,
    "hidden": operations_hidden.hidden,
    "reclaim": operations_hidden.reclaim,
    "wash": operations_wash.wash,
    "keep_images_only": operations_wash.keep_images_only,
    "check_database": operations_database.check_database,
    "recall_images": operations_images.recall_images,
}
