"""The checks of what others have made of the root: fstab, binds, links, automounts, Docker.

Owns: how a node that was set up by hand is recognised, and what to change on it.  May not know:
how a fact was found.  docs/migration.md tells each case at length.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable, Iterator

from nodestoraged.cli.fields import obj, text
from nodestoraged.cli.offline.doctor.facts import Facts, Finding, FstabLine, Level, RoleFacts
from nodestoraged.cli.text import safe
from nodestoraged.model.mount import Mount, MountTable

__all__ = ["MIGRATION_CHECKS"]

_Check = Callable[[Facts, RoleFacts], Iterator[Finding]]

#: k3s keeps containerd's generated configuration here; its root is agent/containerd.
_K3S_CONFIG = "/agent/etc/containerd"


def _fstab(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    if facts.machine.fstab is None:
        yield Finding(level=Level.SKIP, message="/etc/fstab may not be read: needs root")
        return
    profile = role.profile
    for line in facts.machine.fstab:
        if line.ignored or line.fstype == "swap" or profile is None:
            continue
        if line.target in (profile.root, role.rooted.configured):
            yield _on_the_root(line, facts, role)
        elif line.target.startswith(f"{profile.root}/"):
            yield Finding(
                level=Level.FAIL,
                message=f"{_named(line)} mounts below the runtime's root: such a root cannot be"
                " moved",
                remedy=_comment(line),
            )
        elif _label(line) in role.config.labels and not line.target.endswith(_K3S_CONFIG):
            absent = ", and a boot without it stops there" if line.stops_boot else ""
            yield Finding(
                level=Level.FAIL if line.stops_boot else Level.WARN,
                message=f"{_named(line)} mounts a stick on {safe(line.target)}: it will be"
                f" MountedElsewhere, and not used{absent}",
                remedy=_comment(line),
            )


def _on_the_root(line: FstabLine, facts: Facts, role: RoleFacts) -> Finding:
    """A line of somebody's who moved the root by hand."""
    adopt = f"nodestoragectl adopt {_stick(line, facts, role)}"
    if _foreign(role):
        return Finding(
            level=Level.FAIL if line.stops_boot else Level.WARN,
            message=f"{_named(line)} mounts {safe(line.source)} on the runtime's root, and that has"
            " no label of this role: nodestoraged cannot mount it. Give it one first"
            + (", and change the line, which names it by another" if _label(line) else ""),
            remedy=""
            if _label(line)
            else _label_first(role, _mounted_source(line, facts, role), line.fstype),
        )
    if line.bind:
        return Finding(
            level=Level.WARN,
            message=f"{_named(line)} binds {safe(line.source)} on the runtime's root at each boot."
            " Let nodestoraged bind it, with the fence and the proof:",
            remedy=f"{adopt} && {_comment(line)}",
        )
    if line.stops_boot:
        return Finding(
            level=Level.FAIL,
            message=f"{_named(line)} mounts {safe(line.source)} on the runtime's root without"
            " nofail: a boot without that stick stops there. Take the line out (or add"
            " nofail,x-systemd.device-timeout=5s), and let nodestoraged mount it:",
            remedy=f"{adopt} && {_comment(line)}",
        )
    return Finding(
        level=Level.WARN,
        message=f"{_named(line)} mounts {safe(line.source)} on the runtime's root before"
        " nodestoraged can check it. Take the line out, and let nodestoraged mount it:",
        remedy=f"{adopt} && {_comment(line)}",
    )


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
            " to stop it would take off what serves. Take x-systemd.automount out of fstab, or the"
            " unit out of the boot; it is gone with the next one:",
            remedy=f"systemctl disable {_word(_unit_name(profile.root))}.automount",
        )
    if len(stack) > 1:
        yield Finding(
            level=Level.FAIL,
            message=f"{len(stack)} mounts are stacked on {profile.root}; only the last one is seen",
            remedy=f"stop the runtime, then: umount {profile.root}",
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
    if _foreign(role):
        yield Finding(
            level=Level.WARN,
            message=f"{what} lies on {profile.root}, mounted by somebody else, and has no label of"
            " this role: it cannot be adopted as it is",
            remedy="" if bound else _label_first(role, mount.source, mount.fstype),
        )
    elif "MountedByOthers" in (text(status, "reason"), attention):
        yield Finding(
            level=Level.WARN,
            message=f"{what} lies on {profile.root}, mounted by somebody else (fstab, a script)."
            " To make it ours without stopping a pod:",
            remedy=f"nodestoragectl adopt {_word(origin)}",
        )
    elif text(status, "phase") == "BOUND":
        yield Finding(level=Level.PASS, message=f"{what} lies on {profile.root}")
    yield from _elsewhere_too(mount, mounts, profile.root)


def _foreign(role: RoleFacts) -> bool:
    """True if the daemon says of what lies on the root that it is nothing that can be adopted."""
    attention = obj(role.status, "attention") if role.status is not None else {}
    way = text(obj(attention, "hint"), "command")
    return text(attention, "reason") == "MountedByOthers" and "adopt" not in (way or "adopt")


def _label_first(role: RoleFacts, source: str, fstype: str) -> str:
    """The command that gives it a label of the role; none where it would be another's."""
    label = _word(next(iter(role.config.labels), "containerd-opt"))
    if fstype == "xfs":
        return f"stop the runtime, umount it, then: xfs_admin -L {label} {_word(source)}"
    return f"e2label {_word(source)} {label}" if fstype in {"ext3", "ext4"} else ""


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
            remedy=f"umount {_word(other.target)}",
        )


def _k3s_config(facts: Facts, _: RoleFacts) -> Iterator[Finding]:
    """The slip of mounting on agent/etc/containerd, where k3s writes its configuration."""
    for line in facts.machine.fstab or ():
        if line.target.endswith(_K3S_CONFIG):
            right = line.target.removesuffix(_K3S_CONFIG) + "/agent/containerd"
            yield Finding(
                level=Level.FAIL,
                message=f"{_named(line)} mounts on {safe(line.target)}, where k3s writes"
                f" containerd's configuration; images are in {safe(right)}",
                remedy=_comment(line),
            )
    for mount in facts.machine.mounts.mounts if facts.machine.mounts else ():
        if mount.target.endswith(_K3S_CONFIG):
            yield Finding(
                level=Level.FAIL,
                message=f"{safe(mount.source)} lies on {safe(mount.target)}, where k3s writes"
                " containerd's configuration: no image is on it",
                remedy=f"umount {_word(mount.target)}",
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
    openrc = facts.machine.init == "openrc"
    restart = "rc-service nodestoraged restart" if openrc else "systemctl restart nodestoraged"
    yield Finding(
        level=Level.FAIL,
        message=f"{safe(root)} is a link to {safe(target)}, and a link cannot be mounted on"
        " (SymlinkedRoot). With kubelet stopped, then the pods removed (crictl rmp --all --force),"
        " then the runtime stopped:",
        remedy=f"rm {_word(root)} && mkdir -m 0711 {_word(root)} && {restart} &&"
        f" nodestoragectl switch {_word(where)}",
    )


def _mount_units(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    profile = role.profile
    for path, where in facts.machine.mount_units:
        if profile is None or where not in (profile.root, role.rooted.configured):
            continue
        unit = posixpath.basename(path)
        yield Finding(
            level=Level.FAIL if unit.endswith(".automount") else Level.WARN,
            message=f"{safe(path)} mounts on the runtime's root too; disabled, it leaves alone what"
            " is mounted now",
            remedy=f"systemctl disable {_word(unit)}",
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


def _named(line: FstabLine) -> str:
    return f"/etc/fstab line {line.number}"


def _label(line: FstabLine) -> str:
    kind, _, value = line.source.partition("=")
    return value.strip('"') if kind in ("LABEL", "PARTLABEL") else ""


def _comment(line: FstabLine) -> str:
    """The command that turns the line into a comment; nothing is unmounted by it."""
    return f"sed -i '{line.number}s/^/#/' /etc/fstab"


def _stick(line: FstabLine, facts: Facts, role: RoleFacts) -> str:
    """The word by which `adopt` finds what the line mounts."""
    if line.bind:
        return _word(line.source)
    kind, _, value = line.source.partition("=")
    if kind == "UUID":
        return _word(value.strip('"'))
    return _word(_mounted_source(line, facts, role))


def _mounted_source(line: FstabLine, facts: Facts, role: RoleFacts) -> str:
    """The device on the root as the kernel calls it: a line may name it by a link of udev's."""
    mounts, profile = facts.machine.mounts, role.profile
    mount = mounts.at(profile.root) if mounts is not None and profile is not None else None
    if line.source.startswith("/") and not line.source.startswith("/dev/disk/"):
        return line.source
    return mount.source if mount is not None else "STICK"


def _origin(mount: Mount, mounts: MountTable) -> str:
    """The directory that was bound, by the path on which its file system is mounted."""
    for other in mounts.of(mount.number):
        inside = mount.root == other.root or mount.root.startswith(other.root.rstrip("/") + "/")
        if other.target != mount.target and inside:
            below = mount.root.removeprefix(other.root).strip("/")
            return posixpath.join(other.target, below) if below else other.target
    return mount.root


def _word(text: str) -> str:
    """The text as one word of a command that is pasted: a name on a stick must not become code."""
    return shlex.quote(safe(text))


def _unit_name(path: str) -> str:
    r"""The path as systemd.unit(5) escapes it: `/` becomes `-`, and `-` becomes `\x2d`."""
    return "-".join(
        "".join(one if one.isalnum() or one in "_." else f"\\x{ord(one):02x}" for one in part)
        for part in path.strip("/").split("/")
    )


MIGRATION_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("fstab", _fstab),
    ("mount", _mounted),
    ("k3s-config", _k3s_config),
    ("link", _links),
    ("mount-unit", _mount_units),
    ("docker", _docker),
    ("longhorn", _longhorn),
)
