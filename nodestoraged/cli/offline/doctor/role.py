"""The checks of one role: its runtime, its root, its service files, what the daemon says of it.

Owns: what is good and what is bad about a role.  May not know: how a fact was found; what others
have mounted (`doctor.migration`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator

from nodestoraged.cli.fields import obj, text
from nodestoraged.cli.health import broken_conditions, is_degraded
from nodestoraged.cli.offline.doctor import commands
from nodestoraged.cli.offline.doctor.facts import Facts, Finding, Level, RoleFacts
from nodestoraged.cli.offline.doctor.namespaces import namespaces
from nodestoraged.cli.offline.doctor.services import unit_file
from nodestoraged.cli.text import gib
from nodestoraged.model.config import Fallback, Trust
from nodestoraged.model.runtime import Dialect

__all__ = ["ROLE_CHECKS"]

_Check = Callable[[Facts, RoleFacts], Iterator[Finding]]

#: overlayfs takes no upper directory on these (Documentation/filesystems/overlayfs.rst).
_NO_UPPER = ("overlay", "nfs", "nfs4", "vfat", "exfat", "fuse.sshfs", "9p", "cifs", "squashfs")
#: kubelet evicts below these shares (imagefs.available, imagefs.inodesFree).
_BYTES_SHARE = 0.15
_INODES_SHARE = 0.05
#: What the script or somebody said before is kept.
_RC_AFTER = 'rc_after="${rc_after:-} nodestoraged"'


def _runtime(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    profile = role.profile
    if profile is None:
        yield Finding(level=Level.FAIL, message=role.profile_problem, remedy=role.profile_hint)
        return
    said = [one.removeprefix(f"runtime {profile.name}: ") for one in role.sources]
    how = f" ({'; '.join(said)})" if said else ""
    if facts.machine.init and not role.units and not profile.daemonless:
        names = ", ".join(one.removesuffix(".service") for one in profile.runtime_units)
        yield Finding(
            level=Level.WARN,
            message=f"{profile.name} is not installed: there is no service {names}{how}",
            remedy="install it, or name another: nodestoragectl config set"
            f" role.{role.config.name}.runtime NAME",
        )
    else:
        yield Finding(level=Level.PASS, message=f"{profile.name} with its root {profile.root}{how}")
    if profile.experimental:
        yield Finding(
            level=Level.WARN,
            message=f"{profile.name} is experimental: try eject and a loss before you rely on it",
        )


def _elsewhere(_: Facts, role: RoleFacts) -> Iterator[Finding]:
    profile = role.profile
    if profile is None or not profile.elsewhere:
        return
    yield Finding(
        level=Level.FAIL,
        message=f"the runtime keeps parts of its root elsewhere: {', '.join(profile.elsewhere)};"
        " such a root cannot be moved (SplitRoot)",
        remedy=f"nodestoragectl config set role.{role.config.name}.runtime NAME"
        if profile.name == "docker"
        else "take root_path out of the runtime's configuration, and pull the images again",
    )


def _fence(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    units = (*role.units, *role.kubelet_units)
    open_ones = [one.name for one in units if not one.fenced]
    if open_ones:
        yield Finding(
            level=Level.WARN,
            message=f"no fence for {', '.join(open_ones)}: an upgrade or a dependency may start it"
            " in the middle of a move",
            remedy=_fence_remedy(facts, role, open_ones),
        )
    elif units:
        names = ", ".join(one.name for one in units)
        yield Finding(level=Level.PASS, message=f"the fence keeps {names}")


def _fence_remedy(facts: Facts, role: RoleFacts, units: list[str]) -> str:
    name = role.config.name
    if facts.machine.init == "openrc":
        if not facts.machine.openrc_gate:
            # Its start installs the fence, wherever the package is.
            return commands.service(facts.machine, "restart")
        # Its gate knows the usual services; of another one conf.d says whose it is.
        return _said_to_openrc(units, _RC_AFTER, f'nodestoraged_role="{name}"')
    held = f"ConditionPathExists=!/run/nodestorage-fence/{name}"
    services = [unit for unit in units if not unit.endswith(".socket")]
    # A socket that came after an ordinary service would come after itself.
    sockets = [unit for unit in units if unit.endswith(".socket")]
    return _said_to_systemd(
        [(services, f"After=nodestoraged.service\\n{held}"), (sockets, held)], name
    )


def _said_to_openrc(units: list[str], *lines: str) -> str:
    """The command that adds lines to the settings of services."""
    places = " ".join(f"/etc/conf.d/{unit}" for unit in units)
    words = " ".join(f"'{line}'" for line in lines)
    return f"for at in {places}; do printf '%s\\n' {words} >>$at; done"


def _said_to_systemd(said: list[tuple[list[str], str]], word: str) -> str:
    """The command that writes drop-ins, by a name that does not hide those of the package."""
    written = []
    for units, lines in said:
        if units:
            places = " ".join(f"/etc/systemd/system/{unit_file(unit)}.d" for unit in units)
            put = f"printf '[Unit]\\n{lines}\\n' >$at/20-nodestoraged-{word}.conf"
            written.append(f"for at in {places}; do mkdir -p $at && {put}; done")
    return " && ".join((*written, "systemctl daemon-reload"))


def _order(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    if not facts.daemon.installed:
        return
    units = (*role.units, *role.kubelet_units)
    # A socket has to come before every ordinary service.
    early = [one.name for one in units if not one.ordered and not one.name.endswith(".socket")]
    if early:
        openrc = facts.machine.init == "openrc"
        yield Finding(
            level=Level.WARN,
            message=f"{', '.join(early)} may start at a boot before the root is decided",
            remedy=_said_to_openrc(early, _RC_AFTER)
            if openrc
            else _said_to_systemd([(early, "After=nodestoraged.service")], "after"),
        )
    elif units:
        yield Finding(level=Level.PASS, message="the services start after the root is decided")


def _trust(_: Facts, role: RoleFacts) -> Iterator[Finding]:
    name, trust = role.config.name, role.config.trust
    if trust is Trust.LABEL:
        yield Finding(
            level=Level.WARN,
            message='trust = "label": whoever can plug in a stick is root on this node',
            remedy=f"nodestoragectl config set role.{name}.trust enrolled",
        )
    elif trust is Trust.NONE:
        yield Finding(level=Level.INFO, message='trust = "none": no stick is ever used')
    else:
        yield Finding(level=Level.PASS, message="only enrolled sticks are used")


def _health(_: Facts, role: RoleFacts) -> Iterator[Finding]:
    status = role.status
    if status is None:
        return
    phase, reason = text(status, "phase", "?"), text(status, "reason")
    if not is_degraded(status):
        said = f"{phase} ({reason})" if reason else phase
        yield Finding(level=Level.PASS, message=said)
        return
    attention = obj(status, "attention")
    broken = ", ".join(text(one, "type") for one in broken_conditions(status))
    yield Finding(
        level=Level.FAIL,
        message=text(attention, "message") or f"{phase} ({reason}) {broken}".strip(),
        remedy=text(obj(attention, "hint"), "command") or "nodestoragectl status",
    )


def _kubelet(_: Facts, role: RoleFacts) -> Iterator[Finding]:
    profile, kubelet = role.profile, role.kubelet
    if profile is None or profile.embedded or not role.kubelet_units:
        return
    if kubelet.joined is None:
        yield Finding(
            level=Level.SKIP, message="kubelet's configuration may not be read: needs root",
            remedy="sudo nodestoragectl doctor",
        )  # fmt: skip
        return
    if not kubelet.joined:
        yield Finding(
            level=Level.INFO,
            message="kubelet has not joined a cluster; until then it ends at every start, which is"
            " no fault of the stick",
            remedy="nodestoragectl wait --for BOUND && kubeadm join …",
        )
    if not kubelet.endpoint:
        return
    if _socket(kubelet.endpoint) == _socket(profile.socket):
        yield Finding(level=Level.PASS, message=f"kubelet asks {profile.socket}")
    else:
        yield Finding(
            level=Level.FAIL,
            message=f"kubelet asks {kubelet.endpoint}, and not {profile.socket}: the root of"
            f" {profile.name} is not the one that its pods use",
            remedy=f"nodestoragectl config set role.{role.config.name}.runtime NAME",
        )


def _socket(endpoint: str) -> str:
    path = posixpath.normpath(endpoint.removeprefix("unix://"))
    return path.removeprefix("/var") if path.startswith("/var/run/") else path


def _sandbox(_: Facts, role: RoleFacts) -> Iterator[Finding]:
    profile = role.profile
    if profile is None or profile.dialect is not Dialect.CONTAINERD:
        return
    if role.archived is None:
        yield Finding(
            level=Level.SKIP, message="the archive of images may not be read: needs root",
            remedy="sudo nodestoragectl doctor",
        )  # fmt: skip
    elif role.archived:
        plural = "" if role.archived == 1 else "s"
        yield Finding(
            level=Level.PASS, message=f"{role.archived} image{plural} kept for a root without any"
        )
    else:
        yield Finding(
            level=Level.WARN,
            message="no sandbox image is kept: on an empty stick no pod starts without a registry."
            " It is kept by itself once the runtime has it and answers",
            remedy="nodestoragectl explain SandboxImageMissing",
        )


def _ctr(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    profile = role.profile
    if profile is None or profile.dialect is not Dialect.CONTAINERD or not role.units:
        return
    if role.ctr:
        words = " ".join((role.ctr, *profile.ctr[1:]))
        yield Finding(level=Level.PASS, message=f"images are kept at hand by {words}")
    else:
        yield Finding(
            level=Level.FAIL,
            message=f"{profile.ctr[0]} is in no usual directory: images cannot be kept at hand",
            remedy=commands.programs(facts.machine, [profile.ctr[0]])
            or f"ln -s WHERE-IT-IS {posixpath.join('/usr/local/bin', profile.ctr[0])}",
        )


def _space(_: Facts, role: RoleFacts) -> Iterator[Finding]:
    rooted = role.rooted
    if not rooted.capacity_bytes or rooted.available_bytes is None:
        yield Finding(level=Level.SKIP, message="the free space of the internal disk is unknown")
        return
    free = f"{gib(rooted.available_bytes)} of {gib(rooted.capacity_bytes)} free"
    low = rooted.available_bytes < _BYTES_SHARE * rooted.capacity_bytes
    few = bool(rooted.inodes) and (rooted.inodes_free or 0) < _INODES_SHARE * (rooted.inodes or 1)
    if low or few:
        what = "inodes are short" if few and not low else free
        yield Finding(
            level=Level.WARN,
            message=f"internal disk: {what}; without a stick kubelet would delete images and evict"
            " pods there",
            remedy="nodestoragectl reclaim --dry-run",
        )
    else:
        yield Finding(level=Level.PASS, message=f"internal disk: {free}")


def _filesystem(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    profile, mounts = role.profile, facts.machine.mounts
    if profile is None or mounts is None:
        return
    parent = mounts.covering(posixpath.dirname(profile.root))
    if parent is None or parent.fstype not in _NO_UPPER:
        return
    others = [one for one in role.snapshotters if one != "overlayfs"]
    if others:
        yield Finding(
            level=Level.INFO,
            message=f"{posixpath.dirname(profile.root)} is on {parent.fstype}, and the runtime uses"
            f" the snapshotter {others[0]} there",
        )
        return
    bound = mounts.at(profile.root) is not None
    wanted = Fallback.INTERNAL in role.config.fallback
    yield Finding(
        level=Level.WARN if bound or not wanted else Level.FAIL,
        message=f"{posixpath.dirname(profile.root)} is on {parent.fstype}, where the overlayfs"
        " snapshotter does not work: without a stick the runtime has no usable root",
        remedy=f"nodestoragectl config set role.{role.config.name}.fallback '[\"standby\"]'",
    )


ROLE_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("runtime", _runtime),
    ("elsewhere", _elsewhere),
    ("ctr", _ctr),
    ("kubelet", _kubelet),
    ("sight", namespaces),
    ("fence", _fence),
    ("order", _order),
    ("trust", _trust),
    ("health", _health),
    ("sandbox", _sandbox),
    ("space", _space),
    ("filesystem", _filesystem),
)
