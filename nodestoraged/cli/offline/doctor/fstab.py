"""What /etc/fstab does to a root: the check of its lines, and the commands that mend them.

Owns: how a line is judged, and what to type about it.  May not know: what is mounted by others than
fstab (`doctor.migration`).
"""

from __future__ import annotations

from collections.abc import Iterator

from nodestoraged.cli.fields import obj, text
from nodestoraged.cli.offline.doctor.commands import word
from nodestoraged.cli.offline.doctor.facts import (
    Facts,
    Finding,
    FstabLine,
    Level,
    Machine,
    RoleFacts,
)
from nodestoraged.cli.text import safe

__all__ = ["K3S_CONFIG", "comment", "foreign", "fstab", "label_first", "named"]

#: k3s keeps containerd's generated configuration here; its root is agent/containerd.
K3S_CONFIG = "/agent/etc/containerd"


def fstab(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    """The lines that mount on the root, below it, or a stick of the role elsewhere."""
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
                message=f"{named(line)} mounts below the runtime's root: such a root cannot be"
                " moved",
                remedy=comment(line, facts.machine),
            )
        elif _label(line) in role.config.labels and not line.target.endswith(K3S_CONFIG):
            absent = ", and a boot without it stops there" if line.stops_boot else ""
            yield Finding(
                level=Level.FAIL if line.stops_boot else Level.WARN,
                message=f"{named(line)} mounts a stick on {safe(line.target)}: it will be"
                f" MountedElsewhere, and not used{absent}",
                remedy=comment(line, facts.machine),
            )


def _on_the_root(line: FstabLine, facts: Facts, role: RoleFacts) -> Finding:
    """A line of somebody's who moved the root by hand."""
    adopt = f"nodestoragectl adopt {_stick(line, facts, role)}"
    if foreign(role):
        return Finding(
            level=Level.FAIL if line.stops_boot else Level.WARN,
            message=f"{named(line)} mounts {safe(line.source)} on the runtime's root, and that has"
            " no label of this role: nodestoraged cannot mount it. Give it one first"
            + (", and change the line, which names it by another" if _label(line) else ""),
            remedy=""
            if _label(line)
            else label_first(role, _mounted_source(line, facts, role), line.fstype),
        )
    if line.bind:
        return Finding(
            level=Level.WARN,
            message=f"{named(line)} binds {safe(line.source)} on the runtime's root at each boot."
            " Let nodestoraged bind it, with the fence and the proof:",
            remedy=f"{adopt} && {comment(line, facts.machine)}",
        )
    if line.stops_boot:
        return Finding(
            level=Level.FAIL,
            message=f"{named(line)} mounts {safe(line.source)} on the runtime's root without"
            " nofail: a boot without that stick stops there. Take the line out (or add"
            " nofail,x-systemd.device-timeout=5s), and let nodestoraged mount it:",
            remedy=f"{adopt} && {comment(line, facts.machine)}",
        )
    return Finding(
        level=Level.WARN,
        message=f"{named(line)} mounts {safe(line.source)} on the runtime's root before"
        " nodestoraged can check it. Take the line out, and let nodestoraged mount it:",
        remedy=f"{adopt} && {comment(line, facts.machine)}",
    )


def foreign(role: RoleFacts) -> bool:
    """True if the daemon says of what lies on the root that it is nothing that can be adopted."""
    attention = obj(role.status, "attention") if role.status is not None else {}
    way = text(obj(attention, "hint"), "command")
    return text(attention, "reason") == "MountedByOthers" and "adopt" not in (way or "adopt")


def label_first(role: RoleFacts, source: str, fstype: str) -> str:
    """The command that gives it a label of the role; none where it would be another's."""
    label = word(next(iter(role.config.labels), "containerd-opt"))
    if fstype == "xfs":
        return f"stop the runtime, umount it, then: xfs_admin -L {label} {word(source)}"
    return f"e2label {word(source)} {label}" if fstype in {"ext3", "ext4"} else ""


def named(line: FstabLine) -> str:
    """The line as a message names it."""
    return f"/etc/fstab line {line.number}"


def _label(line: FstabLine) -> str:
    kind, _, value = line.source.partition("=")
    return value.strip('"') if kind in ("LABEL", "PARTLABEL") else ""


def comment(line: FstabLine, machine: Machine) -> str:
    """The command that turns the line into a comment; nothing is unmounted by it."""
    # systemd has made units of it.
    known = " && systemctl daemon-reload" if machine.init == "systemd" else ""
    return f"sed -i '{line.number}s/^/#/' /etc/fstab{known}"


def _stick(line: FstabLine, facts: Facts, role: RoleFacts) -> str:
    """The word by which `adopt` finds what the line mounts."""
    if line.bind:
        return word(line.source)
    kind, _, value = line.source.partition("=")
    if kind == "UUID":
        return word(value.strip('"'))
    return word(_mounted_source(line, facts, role))


def _mounted_source(line: FstabLine, facts: Facts, role: RoleFacts) -> str:
    """The device on the root as the kernel calls it: a line may name it by a link of udev's."""
    mounts, profile = facts.machine.mounts, role.profile
    mount = mounts.at(profile.root) if mounts is not None and profile is not None else None
    if line.source.startswith("/") and not line.source.startswith("/dev/disk/"):
        return line.source
    return mount.source if mount is not None else "STICK"
