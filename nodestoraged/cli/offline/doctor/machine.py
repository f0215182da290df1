"""The checks of the machine: facts in, findings out.

Owns: what is good and what is bad about a machine, whatever its roles.  May not know: how a fact
was found.  A check that says nothing had nothing to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nodestoraged.cli.offline.doctor import commands
from nodestoraged.cli.offline.doctor.facts import Facts, Finding, Level, Machine
from nodestoraged.model.config import Services

__all__ = ["MACHINE_CHECKS"]

_Check = Callable[[Facts], Iterator[Finding]]

#: fsopen(2) and its kin came with Linux 5.2, mount_setattr(2), for directories as slots, with this.
_KERNEL = (5, 12)
_AT_REST = Finding(level=Level.SKIP, message="this system does not run, or shows no mount table")


def _libraries(facts: Facts) -> Iterator[Finding]:
    libraries = facts.machine.libraries
    bad = [one for one in libraries if one.problem]
    # Without dbus-next systemd is asked by systemctl, and OpenRC has no bus at all.
    needless = [one for one in bad if one.name == "dbus-next"]
    for one in bad:
        if one in needless:
            continue
        yield Finding(
            level=Level.FAIL,
            message=f"{one.name} cannot be imported: {one.problem}",
            remedy=commands.libraries(facts.machine, [one.name]),
        )
    if needless and facts.machine.init == "systemd":
        yield Finding(
            level=Level.WARN,
            message="dbus-next cannot be imported: systemd is asked by systemctl, which is slower",
            remedy=commands.libraries(facts.machine, ["dbus-next"]),
        )
    good = [f"{one.name} {one.version}".strip() for one in libraries if not one.problem]
    if good and len(bad) == len(needless):
        python = f"Python {facts.machine.python}".strip()
        yield Finding(level=Level.PASS, message=", ".join((python, *good)))


def _kernel(facts: Facts) -> Iterator[Finding]:
    if facts.machine.mounts is None:
        yield _AT_REST
        return
    release = facts.machine.kernel
    numbers = release.split("-")[0].split(".")
    if not all(one.isdigit() for one in numbers[:2]) or len(numbers) < 2:
        yield Finding(level=Level.SKIP, message="the kernel's release cannot be read")
    elif (int(numbers[0]), int(numbers[1])) < _KERNEL:
        yield Finding(
            level=Level.FAIL,
            message=f"Linux {release} has no mount_setattr; 5.12 is the oldest that works",
            remedy="install a newer kernel",
        )
    else:
        yield Finding(level=Level.PASS, message=f"Linux {release} has fsopen and mount_setattr")


def _init(facts: Facts) -> Iterator[Finding]:
    init = facts.machine.init
    if init:
        name = {"systemd": "systemd", "openrc": "OpenRC"}[init]
        yield Finding(level=Level.PASS, message=f"{name} runs this machine")
        return
    if facts.daemon.services is Services.COMMAND:
        yield Finding(level=Level.PASS, message="commands of yours start and stop the services")
        return
    yield Finding(
        level=Level.WARN,
        message="neither systemd nor OpenRC runs this machine: services need commands of yours",
        remedy=f'set services = "{Services.COMMAND}" in [daemon]; see nodestoraged.toml(5)',
    )


def _udev(facts: Facts) -> Iterator[Finding]:
    if facts.machine.mounts is None:
        yield _AT_REST
    elif not facts.machine.udev_runs:
        yield Finding(
            level=Level.FAIL,
            message="udev does not run (/run/udev/control): no stick is ever seen",
            remedy=_start_udev(facts.machine),
        )
    elif not facts.machine.udev_rule:
        yield Finding(
            level=Level.WARN,
            message="our udev rule is missing: desktops and udiskie may mount a stick first",
            remedy=_our_rule(facts.machine),
        )
    else:
        yield Finding(level=Level.PASS, message="udev runs, with our rule")


def _start_udev(machine: Machine) -> str:
    if commands.family(machine) == "alpine":
        return "setup-devd udev"
    known = {
        "systemd": "systemctl start systemd-udevd",
        "openrc": "rc-update add udev sysinit && rc-service udev start",
    }
    return known.get(machine.init, "start udev by the means of this machine")


def _our_rule(machine: Machine) -> str:
    return f"{commands.our_package(machine)}, then: udevadm control --reload"


def _cgroup(facts: Facts) -> Iterator[Finding]:
    version = facts.machine.cgroup
    if facts.machine.mounts is None:
        yield _AT_REST
    elif version == 2:
        yield Finding(level=Level.PASS, message="cgroup v2")
    elif version == 1:
        yield Finding(
            level=Level.WARN,
            message="cgroup v1: kubelet gives it up in its newer versions",
            remedy="boot with systemd.unified_cgroup_hierarchy=1, or rc_cgroup_mode=unified",
        )
    else:
        openrc = facts.machine.init == "openrc"
        yield Finding(
            level=Level.FAIL,
            message="no cgroup hierarchy is mounted: no container can start",
            remedy="rc-update add cgroups sysinit && rc-service cgroups start" if openrc else
            "mount -t cgroup2 none /sys/fs/cgroup",
        )  # fmt: skip


def _group(facts: Facts) -> Iterator[Finding]:
    if facts.machine.group:
        yield Finding(level=Level.PASS, message="the group nodestorage exists")
    else:
        yield Finding(
            level=Level.WARN,
            message="the group nodestorage is missing: only root may look",
            # The socket is given to the group at the start.
            remedy=commands.chain(
                facts.machine,
                "{ groupadd --system nodestorage || addgroup -S nodestorage; }",
                commands.service(facts.machine, "restart"),
            ),
        )


def _tools(facts: Facts) -> Iterator[Finding]:
    filesystems = {one for role in facts.roles for one in role.config.filesystems}
    missing = [name for name, path in facts.machine.tools if not path]
    xfs = [name for name in missing if "xfs" in name]
    ext4 = [name for name in missing if name not in xfs]
    if ext4:
        yield Finding(
            level=Level.FAIL,
            message=f"{', '.join(ext4)}: in no usual directory, as /usr/local/sbin is one; no ext4"
            " stick can be checked or made",
            remedy=commands.programs(facts.machine, ext4),
        )
    if xfs and "xfs" in filesystems:
        yield Finding(
            level=Level.WARN,
            message=f"{', '.join(xfs)}: not installed; no XFS stick can be made or adopted",
            remedy=commands.programs(facts.machine, xfs),
        )
    if not ext4 and not (xfs and "xfs" in filesystems):
        found = ", ".join(name for name, path in facts.machine.tools if path)
        yield Finding(level=Level.PASS, message=found)


def _killers(facts: Facts) -> Iterator[Finding]:
    for path in facts.machine.killers:
        yield Finding(
            level=Level.WARN,
            # No remedy: nothing is to be done now, and what is pasted would move the node.
            message=f"{path} unmounts or deletes what lies below the runtime's directories, a"
            " stick too: eject it before that runs, and before an upgrade that runs it",
        )


def _automounters(facts: Facts) -> Iterator[Finding]:
    found = facts.machine.automounters
    for one in found:
        if one == "udiskie":
            if not facts.machine.udev_rule:
                yield Finding(
                    level=Level.WARN,
                    message="udiskie mounts sticks too, and our udev rule does not keep it off",
                    remedy=_our_rule(facts.machine),
                )
        else:
            yield Finding(
                level=Level.WARN,
                message=f"{one} mounts disks by itself: a stick would be MountedElsewhere",
                remedy=f"take sticks out of {one}, or remove it",
            )


MACHINE_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("libraries", _libraries),
    ("kernel", _kernel),
    ("init", _init),
    ("udev", _udev),
    ("cgroup", _cgroup),
    ("tools", _tools),
    ("group", _group),
    ("killall", _killers),
    ("automount", _automounters),
)
