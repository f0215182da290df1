"""The checks of the machine: facts in, findings out.

Owns: what is good and what is bad about a machine, whatever its roles.  May not know: how a fact
was found.  A check that says nothing had nothing to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nodestoraged.cli.offline.doctor.facts import Facts, Finding, Level
from nodestoraged.model.config import Services

__all__ = ["MACHINE_CHECKS"]

_Check = Callable[[Facts], Iterator[Finding]]

#: fsopen(2), fsmount(2) and move_mount(2) came with Linux 5.2.
_KERNEL = (5, 2)
_PYTHON = (3, 11)
_AT_REST = Finding(level=Level.SKIP, message="this system does not run, or shows no mount table")


def _python(facts: Facts) -> Iterator[Finding]:
    found = ".".join(map(str, facts.machine.python))
    if facts.machine.python[:2] < _PYTHON:
        yield Finding(
            level=Level.FAIL,
            message=f"Python {found}; 3.11 is the oldest that works",
            remedy="install a newer python3, or the package that brings its own",
        )
        return
    yield Finding(level=Level.PASS, message=f"Python {found}")


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
            remedy=f"apt install python3-{one.name}",
        )
    if needless and facts.machine.init == "systemd":
        yield Finding(
            level=Level.WARN,
            message="dbus-next cannot be imported: systemd is asked by systemctl, which is slower",
            remedy="apt install python3-dbus-next",
        )
    good = [f"{one.name} {one.version}".strip() for one in libraries if not one.problem]
    if good and len(bad) == len(needless):
        yield Finding(level=Level.PASS, message=", ".join(good))


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
            message=f"Linux {release} has no fsopen and move_mount; 5.2 is the oldest that works",
            remedy="install a newer kernel",
        )
    else:
        yield Finding(level=Level.PASS, message=f"Linux {release} has fsopen and move_mount")


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
        enable = "rc-update add udev sysinit && rc-service udev start"
        yield Finding(
            level=Level.FAIL,
            message="udev does not run (/run/udev/control): no stick is ever seen",
            remedy=enable if facts.machine.init == "openrc" else "systemctl start systemd-udevd",
        )
    elif not facts.machine.udev_rule:
        yield Finding(
            level=Level.WARN,
            message="our udev rule is missing: desktops and udiskie may mount a stick first",
            remedy="reinstall the package, then: udevadm control --reload",
        )
    else:
        yield Finding(level=Level.PASS, message="udev runs, with our rule")


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
            remedy="groupadd --system nodestorage || addgroup -S nodestorage",
        )


def _tools(facts: Facts) -> Iterator[Finding]:
    filesystems = {one for role in facts.roles for one in role.config.filesystems}
    missing = [name for name, path in facts.machine.tools if not path]
    xfs = [name for name in missing if "xfs" in name]
    ext4 = [name for name in missing if name not in xfs]
    if ext4:
        yield Finding(
            level=Level.FAIL,
            message=f"{', '.join(ext4)}: in no usual directory; no ext4 stick can be checked or"
            " made",
            remedy="apt install e2fsprogs, or link the program into /usr/local/sbin",
        )
    if xfs and "xfs" in filesystems:
        yield Finding(
            level=Level.WARN,
            message=f"{', '.join(xfs)}: not installed; no XFS stick can be made or adopted",
            remedy="apt install xfsprogs",
        )
    if not ext4 and not (xfs and "xfs" in filesystems):
        found = ", ".join(name for name, path in facts.machine.tools if path)
        yield Finding(level=Level.PASS, message=found)


def _killers(facts: Facts) -> Iterator[Finding]:
    for path in facts.machine.killers:
        yield Finding(
            level=Level.WARN,
            message=f"{path} unmounts or deletes what lies below the runtime's directories, a"
            " stick too. Before it runs, and before an upgrade that runs it:",
            remedy="nodestoragectl eject",
        )


def _automounters(facts: Facts) -> Iterator[Finding]:
    found = facts.machine.automounters
    for one in found:
        if one == "udiskie":
            if not facts.machine.udev_rule:
                yield Finding(
                    level=Level.WARN,
                    message="udiskie mounts sticks too, and our udev rule does not keep it off",
                    remedy="reinstall the package, then: udevadm control --reload",
                )
        else:
            yield Finding(
                level=Level.WARN,
                message=f"{one} mounts disks by itself: a stick would be MountedElsewhere",
                remedy=f"take sticks out of {one}, or remove it",
            )


MACHINE_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("python", _python),
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
