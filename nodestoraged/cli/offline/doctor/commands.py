"""What to type on this machine: what a package is called there, and how a service is told.

Owns: the names that differ between distributions and init systems, and the quoting of words.  May
not know: what is missing, or why.  Where no command is known it is said in plain words.
"""

from __future__ import annotations

import shlex

from nodestoraged.cli.offline.doctor.facts import Machine
from nodestoraged.cli.text import safe

__all__ = ["chain", "family", "libraries", "our_package", "programs", "service", "word"]

#: By os-release(5)'s ID, or the first word of ID_LIKE that is known.
_INSTALL = {
    "debian": "apt install", "alpine": "apk add", "fedora": "dnf install", "suse": "zypper install",
}  # fmt: skip
#: `{}` is the name on PyPI; RPM knows what a package provides.
_LIBRARY = {
    "debian": "python3-{}", "alpine": "py3-{}", "fedora": "'python3dist({})'",
    "suse": "'python3dist({})'",
}  # fmt: skip
_PROGRAM = {
    "e2fsck": "e2fsprogs", "mkfs.ext4": "e2fsprogs", "tune2fs": "e2fsprogs",
    "mkfs.xfs": "xfsprogs", "xfs_db": "xfsprogs",
}  # fmt: skip
#: What is not as the tables above say.  `ctr` stands here only: where it comes with containerd,
#: that package may be another's (containerd.io), and installing it would replace a runtime.
_ODD = {
    ("alpine", "pyudev"): "py3-udev",
    ("alpine", "tune2fs"): "e2fsprogs-extra",
    ("alpine", "xfs_db"): "xfsprogs-extra",
    ("alpine", "ctr"): "containerd-ctr",
    ("suse", "ctr"): "containerd-ctr",
}


def family(machine: Machine) -> str:
    """Whose packages the machine takes; "" where that is not known."""
    names = ("suse" if name == "opensuse" else name for name in machine.distribution)
    return next((name for name in names if name in _INSTALL), "")


def libraries(machine: Machine, names: list[str]) -> str:
    """The command that installs these libraries, by their names on PyPI."""
    if machine.bundled:
        return our_package(machine)
    known = family(machine)
    plain = _LIBRARY.get(known, "{}")
    return _install(machine, [_ODD.get((known, name)) or plain.format(name) for name in names])


def programs(machine: Machine, names: list[str]) -> str:
    """The command that installs these programs; "" where no package is known to bring one."""
    known = family(machine)
    packages = [_ODD.get((known, name)) or _PROGRAM.get(name, "") for name in names]
    return _install(machine, packages) if all(packages) else ""


def our_package(machine: Machine, verb: str = "reinstall") -> str:
    """How what we bring comes back."""
    if machine.bundled:
        return "unpack the bundle again and run its install.sh"
    return f"{verb} the package nodestoraged"


def service(machine: Machine, verb: str) -> str:
    """The command that tells the init system of our service: start, restart, enable."""
    if machine.init == "systemd":
        return f"systemctl {verb} nodestoraged"
    if machine.init == "openrc":
        enable = verb == "enable"
        return "rc-update add nodestoraged default" if enable else f"rc-service nodestoraged {verb}"
    return f"{verb} nodestoraged by the means of this machine"


def chain(machine: Machine, *commands: str) -> str:
    """One command after the other; in words where our service can be told in words only."""
    return (" && " if machine.init else ", then: ").join(commands)


def word(text: str) -> str:
    """The text as one word of a command that is pasted: a name on a stick must not become code."""
    return shlex.quote(safe(text))


def _install(machine: Machine, packages: list[str]) -> str:
    names = " ".join(dict.fromkeys(packages))
    usr = machine.mounts.covering("/usr") if machine.mounts is not None else None
    known = family(machine)
    if not known or (usr is not None and usr.read_only):
        return f"install {names} by the means of this distribution"
    return f"{_INSTALL[known]} {names}"
