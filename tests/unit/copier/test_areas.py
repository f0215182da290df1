"""Which paths are databases."""

from __future__ import annotations

import pytest

from nodestoraged.copier import areas
from nodestoraged.model.copy import DATABASES

PATTERNS = tuple(tuple(one.split("/")) for one in DATABASES)


def is_database(path: str) -> bool:
    """Whether a walk from the top would stop somewhere on the way to `path`."""
    patterns: areas.Patterns = PATTERNS
    for name in path.split("/"):
        hit, patterns = areas.below(patterns, name)
        if hit:
            return True
    return False


@pytest.mark.parametrize(
    "path",
    [
        "io.containerd.metadata.v1.bolt/meta.db",
        "io.containerd.metadata.v1.bolt/deep/below",
        "io.containerd.snapshotter.v1.overlayfs/metadata.db",
        "io.containerd.snapshotter.v1.native/metadata.db",
        "io.containerd.content.v1.content/ingest/abc/data",
        "tmpmounts/one",
    ],
)
def test_databases_and_all_below_them_are_found(path):
    assert is_database(path)


@pytest.mark.parametrize(
    "path",
    [
        "io.containerd.metadata.v1.bolt",
        "io.containerd.snapshotter.v1.overlayfs",
        "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/metadata.db",
        "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/tmpmounts/one",
        "io.containerd.content.v1.content/blobs/sha256/abc",
        "io.containerd.content.v1.content/ingest",
    ],
)
def test_what_a_container_calls_so_is_none(path):
    assert not is_database(path)
