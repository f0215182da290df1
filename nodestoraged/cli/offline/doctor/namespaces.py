"""The check of mount namespaces: whether the runtime and kubelet see what is mounted on the root.

Owns: what a namespace of its own means for each of the two.  May not know: how mount tables are
compared (`doctor.sights`); the daemon's own namespace (`doctor.ours`).
"""

from __future__ import annotations

from collections.abc import Iterator

from nodestoraged.cli.offline.doctor.facts import Facts, Finding, Level, RoleFacts, Sight, UnitFile
from nodestoraged.model.runtime import RuntimeProfile

__all__ = ["namespaces"]


def namespaces(facts: Facts, role: RoleFacts) -> Iterator[Finding]:
    """The runtime has to share process 1's namespace; kubelet has to see what is mounted there."""
    profile = role.profile
    # A daemon that is in another namespace than process 1 says nothing about process 1's.
    if profile is None or profile.daemonless or facts.daemon.namespace_shared is False:
        return
    seen = {one.unit.removesuffix(".service"): one for one in role.sights}
    findings = [
        *(_runtime(unit, seen.get(unit.name)) for unit in role.units),
        *(_kubelet(unit, seen.get(unit.name), profile) for unit in role.kubelet_units),
    ]
    files = {unit.name: unit for unit in (*role.units, *role.kubelet_units)}
    for one in findings:
        if one is not None:
            name, level, message = one
            needed = level is not Level.INFO
            remedy = _remedy(facts.machine.init, files[name]) if needed else ""
            yield Finding(level=level, message=f"{name} {message}", remedy=remedy)
    if seen and not any(findings):
        yield Finding(level=Level.PASS, message=f"{', '.join(seen)}: in PID 1's mount namespace")


_Said = tuple[str, Level, str] | None


def _runtime(unit: UnitFile, sight: Sight | None) -> _Said:
    """The proof asks for one namespace, whatever comes through (`core.verify`)."""
    said = "a mount namespace of its own: no move can be proven (MountNamespace)"
    if sight is None and unit.secluded:
        return unit.name, Level.WARN, f"will start in {said}"
    if sight is not None and not sight.shared:
        return unit.name, Level.FAIL, f"has {said}"
    return None


def _kubelet(unit: UnitFile, sight: Sight | None, profile: RuntimeProfile) -> _Said:
    if sight is None or sight.shared:
        return None
    apart = "has a mount namespace of its own"
    if not sight.alike:
        return (
            unit.name, Level.FAIL,
            f"{apart}, and sees another disk at {profile.root} than PID 1 does: it reports the size"
            " of that one",
        )  # fmt: skip
    if not sight.receives:
        return (
            unit.name, Level.WARN,
            f"{apart}, which no later mount reaches: it goes on seeing {profile.root} as it was"
            " when it started",
        )  # fmt: skip
    return unit.name, Level.INFO, f"{apart}; what is mounted at {profile.root} reaches it"


def _remedy(init: str, unit: UnitFile) -> str:
    if init == "systemd" and unit.secluded:
        names = ", ".join(unit.secluded)
        return f"take {names} out of what `systemctl cat {unit.name}` shows, and restart it"
    if init == "systemd":
        return f"systemctl cat {unit.name}"
    if init == "openrc":
        return f"see in /etc/init.d/{unit.name} what starts it so (unshare), and restart it"
    return f"see what starts {unit.name} so (unshare), and restart it"
