"""Service files below a root: systemd's units and drop-ins, OpenRC's scripts and conf.d.

Owns: where they lie, and what a line in them means for the fence and for the order of a boot.
May not know: what follows from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from nodestoraged.cli.offline.doctor import files
from nodestoraged.cli.offline.doctor.facts import UnitFile

__all__ = [
    "has_gate", "mount_units", "texts", "unit", "unit_enabled", "unit_exists", "unit_file",
]  # fmt: skip

_GATE = "etc/rc.conf.d/nodestoraged.conf"

#: systemd.exec(5): each of these gives a service a mount namespace of its own.
_SECLUDING = (
    "BindPaths", "BindReadOnlyPaths", "DynamicUser", "ExecPaths", "ExtensionImages",
    "InaccessiblePaths", "MountFlags", "MountImages", "NoExecPaths", "PrivateDevices",
    "PrivateMounts", "PrivateTmp", "ProtectControlGroups", "ProtectHome", "ProtectKernelLogs",
    "ProtectKernelModules", "ProtectKernelTunables", "ProtectSystem", "ReadOnlyPaths",
    "ReadWritePaths", "RootDirectory", "RootImage", "TemporaryFileSystem",
)  # fmt: skip
#: What says that a setting is off; `shared` is what MountFlags is without a namespace.
_OFF = frozenset({"", "0", "f", "false", "n", "no", "off", "shared"})

#: systemd.unit(5), without the generators' directories: those repeat fstab.
SYSTEMD = (
    "etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system",
    "usr/lib/systemd/system", "lib/systemd/system",
)  # fmt: skip


def unit_exists(root: Path, init: str, name: str) -> bool:
    """True if the service manager knows a service of this name (without `.service`)."""
    if init == "openrc":
        return files.exists(root, f"etc/init.d/{name}")
    return any(files.exists(root, f"{directory}/{unit_file(name)}") for directory in SYSTEMD)


def unit_enabled(root: Path, init: str, name: str) -> bool:
    """True if a boot starts it."""
    if init == "openrc":
        return any(
            files.exists(root, f"{level}/{name}") for level in files.listed(root, "etc/runlevels")
        )
    return any(
        files.exists(root, f"{wants}/{unit_file(name)}")
        for directory in SYSTEMD
        for wants in files.listed(root, directory)
        if wants.endswith((".wants", ".requires"))
    )


def unit(root: Path, init: str, name: str, role: str) -> UnitFile | None:
    """What the files say of one service, seen from the fence of `role`; None if it is not there."""
    if not unit_exists(root, init, name):
        return None
    own = "\n".join(texts(root, init, name))
    ours = "\n".join(texts(root, init, "nodestoraged"))
    if init == "openrc":
        fenced = _fenced_by_openrc(root, name, role)
        after = r"(?m)^\s*(rc_)?(after|need|use|want)[= ].*\bnodestoraged\b"
        before = rf"(?m)^\s*(rc_)?before[= ].*(?<![\w-]){re.escape(name)}(?![\w-])"
    else:
        held = rf"(?m)^ConditionPathExists=!/run/nodestorage-fence/{re.escape(role)}\s*$"
        fenced = re.search(held, own) is not None
        after = r"(?m)^After=.*\bnodestoraged\.service\b"
        before = rf"(?m)^Before=.*(?<![\w-]){re.escape(name)}\.service\b"
    return UnitFile(
        name=name,
        fenced=fenced,
        ordered=bool(re.search(after, own) or re.search(before, ours)),
        secluded=() if init == "openrc" else _secluded(root, name),
    )


def _secluded(root: Path, name: str) -> tuple[str, ...]:
    """The settings that are on; of one that is said twice the last counts.

    Of the unit's files the first is in force; drop-ins come after it, by their names.
    """
    places = (f"{directory}/{unit_file(name)}" for directory in SYSTEMD)
    unit = next((place for place in places if files.exists(root, place)), "")
    drop_ins = sorted(_drop_ins(root, name), key=lambda path: path.rpartition("/")[2])
    text = "\n".join(files.text(root, path) for path in (unit, *drop_ins))
    said = dict(re.findall(rf"(?m)^[ \t]*({'|'.join(_SECLUDING)})[ \t]*=[ \t]*(.*?)[ \t]*$", text))
    return tuple(one for one in _SECLUDING if said.get(one, "").lower() not in _OFF)


def _fenced_by_openrc(root: Path, name: str, role: str) -> bool:
    """Every call of a service script reads /etc/rc.conf.d; ours has a gate for names by role.

    A service that it does not know says in its conf.d, which is read before, whose it is; the
    script is read after it.
    """
    gate = files.text(root, _GATE)
    settings = files.text(root, f"etc/conf.d/{name}")
    said = re.findall(r"(?m)^\s*nodestoraged_role=[\"']?([^\"'\s]*)", settings)
    if said and said[-1] == role and has_gate(root):
        return True
    patterns = re.findall(rf"(?m)^\s*([\w.*| -]+)\)\s*nodestoraged_gate {re.escape(role)}\b", gate)
    kept = [one.strip() for each in patterns for one in each.split("|")]
    return any(fnmatchcase(name, one) for one in kept)


def has_gate(root: Path) -> bool:
    """True if OpenRC's gate is there, and asks conf.d for the role of what it does not know."""
    return "nodestoraged_role" in files.text(root, _GATE)


def texts(root: Path, init: str, name: str) -> Iterator[str]:
    """The files that make up one service."""
    if init == "openrc":
        for directory in ("etc/init.d", "etc/conf.d"):
            yield files.text(root, f"{directory}/{name}")
        return
    for directory in SYSTEMD:
        yield files.text(root, f"{directory}/{unit_file(name)}")
    for path in _drop_ins(root, name):
        yield files.text(root, path)


def _drop_ins(root: Path, name: str) -> tuple[str, ...]:
    """The drop-ins in force: of one file name the first counts, those of a prefix come last."""
    whole = unit_file(name)
    stem, _, kind = whole.rpartition(".")
    parts = stem.split("-")
    prefixes = ("-".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    found: dict[str, str] = {}
    for each in (whole, *(f"{prefix}-.{kind}" for prefix in prefixes)):
        for directory in SYSTEMD:
            for path in files.listed(root, f"{directory}/{each}.d"):
                if path.endswith(".conf"):
                    found.setdefault(path.rpartition("/")[2], path)
    return tuple(found.values())


def unit_file(name: str) -> str:
    """The unit's file name: what is said without a kind is a service."""
    return name if name.endswith(".socket") else f"{name}.service"


def mount_units(root: Path) -> tuple[tuple[str, str], ...]:
    """The `.mount` and `.automount` units that somebody wrote, each with what it mounts on."""
    found = []
    for directory in SYSTEMD:
        for path in files.listed(root, directory):
            if not path.endswith((".mount", ".automount")):
                continue
            where = re.search(r"(?m)^Where=(.+)$", files.text(root, path))
            if where:
                found.append((f"/{path}", where[1].strip()))
    return tuple(found)
