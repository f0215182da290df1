"""Gathers what lies around one role's runtime and root.

Owns: kubelet's files, the service files of the profile, links, space and archive.  May not know:
what is good or bad; what running services see (`doctor.sights`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nodestoraged.cli.fields import Json
from nodestoraged.cli.offline.doctor import files, services
from nodestoraged.cli.offline.doctor.facts import (
    KubeletFacts,
    Machine,
    RoleFacts,
    Rooted,
    UnitFile,
)
from nodestoraged.cli.offline.doctor.runtime import in_force
from nodestoraged.cli.offline.doctor.sights import sights
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.errors import ConfigError
from nodestoraged.model.mount import MountTable
from nodestoraged.worker import helper

__all__ = ["role_facts"]

_RUNTIME_FILES = (
    "etc/containerd/config.toml", "etc/rancher/k3s/config.yaml", "etc/systemd/system/k3s.service",
    "etc/systemd/system/k3s-agent.service", "etc/init.d/k3s", "etc/init.d/k3s-agent",
)  # fmt: skip
_SNAPSHOTTER = re.compile(r"(?m)^[^#\n]*\bsnapshotter[\"']?\s*[=: ]\s*[\"']?([a-z][\w-]*)")
_ENDPOINT = re.compile(
    r"(?:--container-runtime-endpoint[= ]|containerRuntimeEndpoint:\s*)[\"']?([^\s\"']+)"
)
_KUBELET_FILES = (
    "var/lib/kubelet/kubeadm-flags.env", "var/lib/kubelet/instance-config.yaml",
    "var/lib/kubelet/config.yaml", "etc/default/kubelet", "etc/sysconfig/kubelet",
    "etc/conf.d/kubelet", "etc/systemd/system/kubelet.service",
    "usr/lib/systemd/system/kubelet.service",
)  # fmt: skip


def role_facts(root: Path, config: RoleConfig, machine: Machine, status: Json | None) -> RoleFacts:
    """What lies around one role's runtime and root."""
    try:
        profile, sources = in_force(config, root)
    except ConfigError as error:
        return RoleFacts(
            config=config, profile_problem=error.message, profile_hint=error.hint, status=status
        )
    configured = profile.root
    profile = replace(profile, root=_followed(root, configured))
    units, kubelet_units = (
        tuple(_units(root, machine.init, names, config.name))
        for names in (profile.runtime_units, profile.kubelet_units)
    )
    return RoleFacts(
        config=config,
        profile=profile,
        sources=sources,
        units=units,
        kubelet_units=kubelet_units,
        kubelet=_kubelet(root),
        sights=sights(root, (*profile.runtime_units, *profile.kubelet_units), profile.root),
        rooted=_rooted(root, configured, machine.mounts),
        ctr=files.program(root, profile.ctr[0], helper.PATH) if profile.ctr else "",
        snapshotters=_snapshotters(root),
        archived=_archived(root),
        status=status,
    )


def _units(root: Path, init: str, names: tuple[str, ...], role: str) -> Iterator[UnitFile]:
    for name in names:
        found = services.unit(root, init, name.removesuffix(".service"), role)
        if found is not None:
            yield found


def _kubelet(root: Path) -> KubeletFacts:
    try:
        joined = files.read(root, "var/lib/kubelet/config.yaml") is not None
    except PermissionError:
        return KubeletFacts()
    endpoints: list[str] = []
    for path in _KUBELET_FILES:
        endpoints += _ENDPOINT.findall(files.text(root, path))
    return KubeletFacts(joined=joined, endpoint=endpoints[0] if endpoints else "")


def _followed(root: Path, path: str) -> str:
    """The path as the mount table writes it: links above the last component are followed."""
    parent = (root / Path(path).parent.relative_to("/")).resolve()
    top = root.resolve()
    place = Path("/") / parent.relative_to(top) if parent.is_relative_to(top) else parent
    return str(place / Path(path).name)


def _rooted(root: Path, path: str, mounts: MountTable | None) -> Rooted:
    targets = frozenset(mount.target for mount in mounts.mounts) if mounts else frozenset()
    # A mount point is no link, by whatever path it is reached.
    mounted = {path} if _followed(root, path) in targets else set[str]()
    found = files.links(root, path, stop_at=targets | mounted)
    above = tuple(each for each in found if each[0] != path)
    link = next((target for at, target in found if at == path), "")
    # What is mounted on the root is not asked: it may be a disk that hangs.
    parent = root / Path(path).parent.relative_to("/")
    while not parent.exists() and parent != root:
        parent = parent.parent
    try:
        space = os.statvfs(parent)
    except OSError:
        return Rooted(configured=path, link=link, above=above)
    return Rooted(
        configured=path,
        link=link,
        above=above,
        capacity_bytes=space.f_blocks * space.f_frsize,
        available_bytes=space.f_bavail * space.f_frsize,
        inodes=space.f_files,
        inodes_free=space.f_favail,
    )


def _snapshotters(root: Path) -> tuple[str, ...]:
    """The snapshotters that somebody chose; nobody has to, overlayfs is the default."""
    texts = (files.text(root, path) for path in _RUNTIME_FILES)
    return tuple(sorted({name for text in texts for name in _SNAPSHOTTER.findall(text)}))


def _archived(root: Path) -> int | None:
    try:
        text = files.read(root, "var/lib/nodestoraged/images/index.json")
    except PermissionError:
        return None
    try:
        images = json.loads(text or "{}").get("images", [])
    except (ValueError, AttributeError):
        return 0
    return len(images) if isinstance(images, list) else 0
