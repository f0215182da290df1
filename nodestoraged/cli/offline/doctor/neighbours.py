"""Programs of others that mount, unmount or share what is ours: found by their files.

Owns: how udiskie, autofs, usbmount, udev rules, k3s's scripts and Docker are recognised.  May not
know: whether that is bad.
"""

from __future__ import annotations

import re
from pathlib import Path

from nodestoraged.cli.offline.doctor import files, services
from nodestoraged.worker import helper

__all__ = ["automounters", "docker_sockets", "killers"]

_KILLERS = (
    "k3s-killall.sh", "k3s-uninstall.sh", "k3s-agent-uninstall.sh",
    "rke2-killall.sh", "rke2-uninstall.sh",
)  # fmt: skip
#: Where they lie beside the usual directories.
_ELSEWHERE = ("/opt/bin", "/opt/rke2/bin", "/var/lib/rancher/rke2/bin")
_RULES = ("etc/udev/rules.d", "usr/local/lib/udev/rules.d", "run/udev/rules.d")
_MOUNTS_BY_RULE = re.compile(
    r"RUN\S*=\s*\"[^\"]*(systemd-mount|udisksctl|/mount\b|pmount|usbmount)"
)
_AUTOFS_DISK = re.compile(r":/dev/|\bLABEL=|\bUUID=|fstype=(ext[234]|xfs|btrfs|vfat)")


def automounters(root: Path) -> tuple[str, ...]:
    """Programs and files of this machine that mount disks by themselves."""
    found = []
    if files.program(root, "udiskie", helper.PATH):
        found.append("udiskie")
    if files.exists(root, "etc/usbmount/usbmount.conf"):
        found.append("usbmount")
    for path in files.listed(root, "etc"):
        if path.startswith("etc/auto.") and _AUTOFS_DISK.search(files.text(root, path)):
            found += [f"/{path}"]
    rules = [path for one in _RULES for path in files.listed(root, one) if path.endswith(".rules")]
    found += [f"/{path}" for path in rules if _MOUNTS_BY_RULE.search(files.text(root, path))]
    return tuple(found)


def killers(root: Path) -> tuple[str, ...]:
    """Scripts of k3s and RKE2 that unmount, or delete, what lies below their directories."""
    found = (files.program(root, name, (*helper.PATH, *_ELSEWHERE)) for name in _KILLERS)
    return tuple(path for path in found if path)


def docker_sockets(root: Path) -> tuple[str, ...]:
    """The containerd sockets that dockerd uses, if it is installed."""
    if not files.program(root, "dockerd", helper.PATH):
        return ()
    said_by_units = "\n".join(
        [*services.texts(root, "systemd", "docker"), *services.texts(root, "openrc", "docker")]
    )
    said = re.findall(r"--containerd[= ](/\S+)", said_by_units)
    said += re.findall(r'"containerd"\s*:\s*"([^"]+)"', files.text(root, "etc/docker/daemon.json"))
    # Told of none, dockerd takes the system's containerd where that runs.
    return tuple(said) or ("/run/containerd/containerd.sock",)
