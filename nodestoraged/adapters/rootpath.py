"""The path of a runtime root as the mount table writes it.

Owns: which links are followed, and which one is refused.  May not know: what the root is for.

mountinfo knows no links: a mount on /var/lib/containerd stands there as /mnt/var/lib/containerd
where /var is a link to /mnt/var, and whoever looks for the path as it was configured finds
nothing mounted and mounts once more.  So links above the root are followed, once.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from nodestoraged.linux import mountinfo
from nodestoraged.model.errors import ObservationError
from nodestoraged.model.runtime import RuntimeProfile

__all__ = ["followed", "resolved"]


def followed(profile: RuntimeProfile) -> RuntimeProfile:
    """The row with the paths of its root and state as the mount table has them.

    Raises ObservationError `SymlinkedRoot`.
    """
    mounted = frozenset(row.target for row in mountinfo.read())
    return replace(
        profile,
        root=resolved(profile.root, mounted),
        state=str(Path(profile.state).resolve()),
    )


def resolved(root: str, mounted: Collection[str] = ()) -> str:
    """`root` with the links above it followed; itself it may not be a link.

    What is `mounted` there already is not looked at: it may be a stick that hangs.  Raises
    ObservationError `SymlinkedRoot`: who made the root a link moved it by hand, mostly onto a
    disk that comes and goes.  To mount a stick where the link leads would hide that disk's
    directory, and would be hidden itself when the disk is mounted later.
    """
    configured = Path(root)
    place = configured.parent.resolve() / configured.name
    if str(place) in mounted or not place.is_symlink():
        return str(place)
    target = os.path.normpath(place.parent / place.readlink())
    raise ObservationError(
        "SymlinkedRoot",
        f"{place} is a link to {target}, and a link cannot be mounted on",
        f"stop kubelet, remove the pods, stop the runtime, make {place} a directory, and use "
        f"nodestoragectl switch {target} to go on from there",
    )
