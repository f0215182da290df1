"""What runtime and kubelet say about themselves, and the words of failures."""

from __future__ import annotations

import pytest

from nodestoraged.model.failure import FAILURES
from nodestoraged.model.imagefs import (
    ImageFsUsage,
    PluginInfo,
    RuntimeCondition,
    RuntimeStatus,
)
from nodestoraged.model.reason import Reason

ROOT = "/var/lib/containerd"


@pytest.mark.parametrize(
    ("mountpoint", "snapshotter"),
    [
        (f"{ROOT}/io.containerd.snapshotter.v1.overlayfs", "overlayfs"),
        (f"{ROOT}/io.containerd.snapshotter.v1.overlayfs/deeper", None),
        (f"{ROOT}/io.containerd.snapshotter.v1.", None),
        ("/var/lib/containers/storage/overlay-images", None),
    ],
)
def test_the_snapshotter_is_read_off_the_directory(mountpoint, snapshotter):
    usage = ImageFsUsage(mountpoint=mountpoint, used_bytes=0, inodes_used=0, taken_at_ns=0)
    assert usage.snapshotter == snapshotter


def test_conditions_and_exports_are_looked_up_by_name():
    ready = RuntimeCondition(type="RuntimeReady", holds=True, reason="", message="")
    status = RuntimeStatus(
        conditions=(ready,), root=ROOT, state=None, snapshotter=None, sandbox_image=None
    )
    assert status.condition("RuntimeReady") == ready
    assert status.condition("NetworkReady") is None
    plugin = PluginInfo(type="t", id="i", exports=(("root", ROOT),), init_error=None)
    assert (plugin.export("root"), plugin.export("path")) == (ROOT, None)


def test_a_word_is_a_reason_that_lasts_or_a_failure_that_is_said_once():
    assert not set(FAILURES) & {reason.value for reason in Reason}
    assert all(meaning.endswith(".") for meaning in FAILURES.values())
