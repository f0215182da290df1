"""The checks of what others have made of the root: binds, links, automounts, Docker.

Owns: how a node that was set up by hand is recognised, and what to change on it.  May not know:
how a fact was found; how a line of fstab is judged.  docs/migration.md tells each case at length.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator

from nodestoraged.cli.fields import obj, text
from nodestoraged.cli.offline.doctor import commands
from nodestoraged.cli.offline.doctor.commands import word
from nodestoraged.cli.offline.doctor.facts import Facts, Finding, Level, RoleFacts
from nodestoraged.cli.offline.doctor.fstab import (
    K3S_CONFIG,
    comment,
    foreign,
    fstab,
    label_first,
    named,
)
from nodestoraged.cli.text import safe
from nodestoraged.model.mount import Mount, MountTable

__all__ = ["MIGRATION_CHECKS"]

_Check = Callable[[Facts, RoleFacts], Iterator[Finding]]


def _mounted(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    """What lies on the root now, and who put it there."""
    profile, mounts = role.profile, facts.machine.mounts
    if profile is None or mounts is None:
        return
    stack = [one for one in mounts.stack(profile.root) if one.fstype != "autofs"]
    if len(stack) < len(mounts.stack(profile.root)):
        yield Finding(
            level=Level.FAIL,
            message=f"an automount watches {profile.root}: it mounts again what is taken off, and"
            " to stop it would take off what serves. Take it out of the boot; it is gone with the"
            " next one:",
            remedy=_no_automount(facts, role, profile.root),
        )
    if len(stack) > 1:
        yield Finding(
            level=Level.FAIL,
            message=f"{len(stack)} mounts are stacked on {profile.root}; only the last one is seen",
            remedy=f"stop the runtime, then: umount {word(profile.root)}",
        )
    if not stack:
        return
    mount = stack[-1]
    bound = mount.root != "/" and mount.fstype != "btrfs"
    origin = _origin(mount, mounts) if bound else mount.source
    what = f"a bind of {safe(origin)}" if bound else safe(origin)
    status = role.status
    if status is None:
        yield Finding(
            level=Level.SKIP,
            message=f"{what} lies on {profile.root}; who mounted it cannot be told without the"
            " daemon",
        )
        return
    attention = text(obj(status, "attention"), "reason")
    if foreign(role):
        yield Finding(
            level=Level.WARN,
            message=f"{what} lies on {profile.root}, mounted by somebody else, and has no label of"
            " this role: it cannot be adopted as it is",
            remedy="" if bound else label_first(role, mount.source, mount.fstype),
        )
    elif "MountedByOthers" in (text(status, "reason"), attention):
        yield Finding(
            level=Level.WARN,
            message=f"{what} lies on {profile.root}, mounted by somebody else (fstab, a script)."
            " To make it ours without stopping a pod:",
            remedy=f"nodestoragectl adopt {word(origin)}",
        )
    elif text(status, "phase") == "BOUND":
        yield Finding(level=Level.PASS, message=f"{what} lies on {profile.root}")
    yield from _elsewhere_too(mount, mounts, profile.root)


def _no_automount(facts: Facts, role: RoleFacts, root: str) -> str:
    """The command that keeps the next boot from making it, by where it was said."""
    for line in facts.machine.fstab or ():
        asked = any(one.split("=")[0] == "x-systemd.automount" for one in line.options)
        if asked and line.target in (root, role.rooted.configured):
            return comment(line, facts.machine)
    for path, where in facts.machine.mount_units:
        if path.endswith(".automount") and where in (root, role.rooted.configured):
            return f"systemctl disable {word(posixpath.basename(path))}"
    return f"take {word(root)} out of what makes it: /etc/fstab, or the maps of autofs"


def _elsewhere_too(mount: Mount, mounts: MountTable, root: str) -> Iterator[Finding]:
    """The same file system in a second place; a directory slot's disk is mounted anyway."""
    if mount.root != "/":
        return
    for other in mounts.of(mount.number):
        if other.target == root or other.target.startswith(f"{root}/"):
            continue
        holder = "Longhorn" if "longhorn" in other.target else "somebody"
        yield Finding(
            level=Level.WARN,
            message=f"{holder} has {safe(mount.source)} mounted on {safe(other.target)} too: the"
            " stick cannot be released while it is",
            remedy=f"umount {word(other.target)}",
        )


def _k3s_config(facts: Facts, _: RoleFacts) -> Iterator[Finding]:
    """The slip of mounting on agent/etc/containerd, where k3s writes its configuration."""
    for line in facts.machine.fstab or ():
        if line.target.endswith(K3S_CONFIG):
            right = line.target.removesuffix(K3S_CONFIG) + "/agent/containerd"
            yield Finding(
                level=Level.FAIL,
                message=f"{named(line)} mounts on {safe(line.target)}, where k3s writes"
                f" containerd's configuration; images are in {safe(right)}",
                remedy=comment(line, facts.machine),
            )
    for mount in facts.machine.mounts.mounts if facts.machine.mounts else ():
        if mount.target.endswith(K3S_CONFIG):
            yield Finding(
                level=Level.FAIL,
                message=f"{safe(mount.source)} lies on {safe(mount.target)}, where k3s writes"
                " containerd's configuration: no image is on it",
                remedy=f"umount {word(mount.target)}",
            )


def _links(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    profile = role.profile
    if profile is None:
        return
    root, target = profile.root, role.rooted.link
    for path, leads in role.rooted.above:
        yield Finding(
            level=Level.PASS,
            message=f"{safe(path)} is a link to {safe(leads)}; it is followed, to {safe(root)}",
        )
    if not target:
        return
    where = posixpath.normpath(posixpath.join(posixpath.dirname(root), target))
    yield Finding(
        level=Level.FAIL,
        message=f"{safe(root)} is a link to {safe(target)}, and a link cannot be mounted on"
        " (SymlinkedRoot). With kubelet stopped, then the pods removed (crictl rmp --all --force),"
        " then the runtime stopped:",
        remedy=commands.chain(
            facts.machine,
            f"rm {word(root)} && mkdir -m 0711 {word(root)}",
            commands.service(facts.machine, "restart"),
            f"nodestoragectl switch {word(where)}",
        ),
    )


def _mount_units(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    profile = role.profile
    # Another init system has no use for them, whoever left them there.
    units = () if facts.machine.init == "openrc" else facts.machine.mount_units
    for path, where in units:
        if profile is None or where not in (profile.root, role.rooted.configured):
            continue
        unit = posixpath.basename(path)
        yield Finding(
            level=Level.FAIL if unit.endswith(".automount") else Level.WARN,
            message=f"{safe(path)} mounts on the runtime's root too; disabled, it leaves alone what"
            " is mounted now",
            remedy=f"systemctl disable {word(unit)}",
        )


def _docker(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    profile = role.profile
    if profile is None or profile.name == "docker":
        return
    if profile.socket not in facts.machine.docker_sockets:
        return
    if role.config.stop_foreign:
        yield Finding(
            level=Level.INFO,
            message="Docker runs its containers on the same containerd: a move stops them too",
        )
        return
    yield Finding(
        level=Level.WARN,
        message="Docker runs its containers on the same containerd: while one runs, a move is"
        " refused (ForeignContainers). To have them stopped:",
        remedy=f"nodestoragectl config set role.{role.config.name}.stop_foreign true",
    )


def _longhorn(facts: Facts, _: RoleFacts) -> Iterator[Finding]:
    if facts.machine.longhorn:
        yield Finding(
            level=Level.INFO,
            message="Longhorn is here: give it no directory on a stick, or no stick is released",
        )


def _origin(mount: Mount, mounts: MountTable) -> str:
    """The directory that was bound, by the path on which its file system is mounted."""
    for other in mounts.of(mount.number):
        inside = mount.root == other.root or mount.root.startswith(other.root.rstrip("/") + "/")
        if other.target != mount.target and inside:
            below = mount.root.removeprefix(other.root).strip("/")
            return posixpath.join(other.target, below) if below else other.target
    return mount.root


MIGRATION_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("fstab", fstab),
    ("mount", _mounted),
    ("k3s-config", _k3s_config),
    ("link", _links),
    ("mount-unit", _mount_units),
    ("docker", _docker),
    ("longhorn", _longhorn),
)
