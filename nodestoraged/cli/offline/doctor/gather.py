"""Gathers the facts that `doctor` judges: from files below a root, and from the daemon.

Owns: every look at the machine, each with a time limit.  May not know: what is good or bad.
With a root other than `/` only files are read: libraries, kernel and daemon are this machine's.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from nodestoraged.adapters import configfile
from nodestoraged.adapters.mounts import table_of
from nodestoraged.api.client import CallFailed, Client, Denied, Unreachable
from nodestoraged.api.interface import SOCKET_PATH
from nodestoraged.cli.fields import Json, entries, number, obj
from nodestoraged.cli.offline.doctor import files, neighbours, services
from nodestoraged.cli.offline.doctor.around import role_facts
from nodestoraged.cli.offline.doctor.facts import (
    DaemonFacts,
    Facts,
    FstabLine,
    Library,
    Machine,
)
from nodestoraged.cli.offline.doctor.limit import within
from nodestoraged.linux import mountinfo
from nodestoraged.model.config import Config
from nodestoraged.model.errors import ConfigError
from nodestoraged.model.mount import MountTable
from nodestoraged.worker import helper

__all__ = ["HELPERS", "LIMIT_SECONDS", "gather", "machine_facts", "mount_table", "role_facts"]

#: For each part; a machine that is well needs a tenth, most of it for importing grpc.
LIMIT_SECONDS = 10.0
_DAEMON_SECONDS = 3.0
#: The daemon's status; that it may not be asked; why it is silent.
_Answer = tuple[Json | None, bool, str]
#: Module, and the name of its distribution.
_LIBRARIES = (
    ("pyudev", "pyudev"), ("grpc", "grpcio"), ("google.protobuf", "protobuf"),
    ("structlog", "structlog"), ("tomli_w", "tomli-w"), ("dbus_next", "dbus-next"),
)  # fmt: skip
#: udev(7); the second is where `make install` with its own prefix puts a rule.
_UDEV_RULES = (
    "usr/lib/udev/rules.d", "usr/local/lib/udev/rules.d", "lib/udev/rules.d", "etc/udev/rules.d",
)  # fmt: skip
#: The programs that the worker runs.
HELPERS = ("e2fsck", "mkfs.ext4", "tune2fs", "mkfs.xfs", "xfs_db")


def gather(root: Path, socket_path: str, role: str | None) -> tuple[Facts | None, str]:
    """The facts below `root`, and what could not be read in time ("" if all could).

    A role whose files hang is left out; without the machine's own files there are no facts.
    """
    live = root == Path("/")
    asked = live or socket_path != SOCKET_PATH
    answer = _ask(socket_path) if asked else None
    ours = within(LIMIT_SECONDS, partial(_ours, root, answer))
    if ours is None:
        return None, "the configuration"
    daemon, config = ours
    machine = within(LIMIT_SECONDS, partial(machine_facts, root))
    if machine is None:
        return None, "the machine's own files"
    roles, missing = [], ""
    for one in config.roles:
        if role not in (None, one.name):
            continue
        status = next(
            (each for each in entries(daemon.status, "roles") if each.get("name") == one.name), None
        )
        facts = within(LIMIT_SECONDS, partial(role_facts, root, one, machine, status))
        if facts is None:
            missing = f"the files around the root of {one.name}"
            continue
        roles.append(facts)
    return Facts(machine=machine, daemon=daemon, roles=tuple(roles)), missing


# ------------------------------------------------------------------------------ machine


def machine_facts(root: Path) -> Machine:
    """What is true of the machine, whatever the roles."""
    live = root == Path("/")
    groups = "\n".join(files.text(root, path) for path in ("etc/group", "usr/lib/group"))
    try:
        fstab: tuple[FstabLine, ...] | None = files.fstab(root)
    except PermissionError:
        fstab = None
    return Machine(
        distribution=_distribution(root),
        bundled=files.exists(root, "opt/nodestoraged/uninstall.sh"),
        python=platform.python_version() if live else "",
        libraries=tuple(_libraries()) if live else (),
        kernel=files.text(root, "proc/sys/kernel/osrelease").strip(),
        init=_init(root),
        udev_runs=files.exists(root, "run/udev/control"),
        udev_rule=any(
            files.exists(root, f"{directory}/61-nodestoraged.rules") for directory in _UDEV_RULES
        ),
        group=re.search(r"(?m)^nodestorage:", groups) is not None or (live and _known_group()),
        cgroup=_cgroup(root),
        mounts=mount_table(root, "self"),
        tools=tuple((name, files.program(root, name, helper.PATH)) for name in HELPERS),
        fstab=fstab,
        mount_units=services.mount_units(root),
        automounters=neighbours.automounters(root),
        killers=neighbours.killers(root),
        docker_sockets=neighbours.docker_sockets(root),
        longhorn=files.exists(root, "var/lib/longhorn"),
        openrc_gate=services.has_gate(root),
    )


def _distribution(root: Path) -> tuple[str, ...]:
    """os-release(5) below `root`: the distribution, and those that it is like."""
    texts = (files.text(root, path) for path in ("etc/os-release", "usr/lib/os-release"))
    text = next((one for one in texts if one), "")
    said = dict(re.findall(r"(?m)^(ID|ID_LIKE)=[\"']?([^\"'\n]*)", text))
    return tuple(f"{said.get('ID', '')} {said.get('ID_LIKE', '')}".split())


def _libraries() -> Iterator[Library]:
    """Each is imported: one that was built for another Python is found by nothing else."""
    for module, distribution in _LIBRARIES:
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever a foreign library raises
            yield Library(name=distribution, problem=f"{type(error).__name__}: {error}")
            continue
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        yield Library(name=distribution, version=version)


def _init(root: Path) -> str:
    """sd_booted(3), and the directory that OpenRC makes at boot; of a system at rest, its init."""
    if files.exists(root, "run/systemd/system"):
        return "systemd"
    if files.exists(root, "run/openrc"):
        return "openrc"
    if mount_table(root, "self") is not None:
        return ""
    with suppress(OSError):
        if (root / "sbin/init").readlink().name == "systemd":
            return "systemd"
    known = ("sbin/openrc-run", "usr/sbin/openrc-run")
    return "openrc" if any(files.exists(root, one) for one in known) else ""


def _cgroup(root: Path) -> int:
    if files.exists(root, "sys/fs/cgroup/cgroup.controllers"):
        return 2
    one = ("memory", "cpu", "cpu,cpuacct", "unified")
    return 1 if any(files.exists(root, f"sys/fs/cgroup/{name}") for name in one) else 0


def _known_group() -> bool:
    import grp

    try:
        grp.getgrnam("nodestorage")
    except KeyError:
        return False
    return True


def mount_table(root: Path, process: str) -> MountTable | None:
    """What that process sees mounted, by the /proc below `root`; None if it may not be read."""
    try:
        data = (root / "proc" / process / "mountinfo").read_bytes()
    except OSError:
        return None
    return table_of(mountinfo.parse(data))


# ------------------------------------------------------------------------------ daemon


def _ours(root: Path, answer: _Answer | None) -> tuple[DaemonFacts, Config]:
    """Our files, our configuration, and what the daemon answered (None: it was not asked)."""
    init = _init(root)
    problem, hint, config_denied, config = "", "", False, Config()
    try:
        config = configfile.load(root).config
    except ConfigError as error:
        problem, hint = error.message, error.hint
        config_denied = isinstance(error.__cause__, PermissionError)
        if config_denied:  # which roles there are is not known, and the default one may not be
            config = Config(roles=())
    status, denied, silence = answer or (None, False, "")
    return DaemonFacts(
        installed=services.unit_exists(root, init, "nodestoraged"),
        enabled=services.unit_enabled(root, init, "nodestoraged"),
        status=status,
        denied=denied,
        silence=silence,
        namespace_shared=_namespace_shared(root, status),
        services=config.daemon.services,
        config_problem=problem,
        config_hint=hint,
        config_denied=config_denied,
        asked=answer is not None,
    ), config


def _ask(socket_path: str) -> _Answer:
    try:
        with Client(socket_path, timeout_seconds=_DAEMON_SECONDS) as client:
            return obj(client.call("GetStatus"), "status"), False, ""
    except Denied as error:
        return None, True, str(error)
    except (Unreachable, CallFailed) as error:
        return None, False, str(error)


def _namespace_shared(root: Path, status: Json | None) -> bool | None:
    """True if the daemon sees PID 1's `/`: one mount has one id in one namespace only."""
    pid = number(obj(status, "daemon"), "pid")
    if pid is None:
        return None
    tables = [mount_table(root, str(int(pid))), mount_table(root, "1")]
    tops = [table.at("/") for table in tables if table is not None]
    if len(tops) < 2 or tops[0] is None or tops[1] is None:
        return None
    return tops[0].id == tops[1].id
