"""What `doctor` looks at and what it says: facts of a machine, facts of a role, findings.

Owns: the shapes that gathering fills and checks read.  May not know: where a fact comes from, or
what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nodestoraged.cli.fields import Json
from nodestoraged.model.config import RoleConfig, Services
from nodestoraged.model.mount import MountTable
from nodestoraged.model.runtime import RuntimeProfile

__all__ = [
    "CheckResult", "DaemonFacts", "Facts", "Finding", "FstabLine", "KubeletFacts", "Level",
    "Library", "Machine", "RoleFacts", "Rooted", "Sight", "UnitFile",
]  # fmt: skip


class Level(StrEnum):
    """How a check ended; only FAIL changes the exit code."""

    PASS = "PASS"  # noqa: S105 - a word of a screen
    INFO = "INFO"  # nothing is wrong, but a person wants to know it
    WARN = "WARN"  # works now, and will surprise somebody
    FAIL = "FAIL"  # does not work, or will not at the next boot or loss
    SKIP = "SKIP"  # could not be looked at: neither good nor bad


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check says; `remedy` is a command to paste, or what to do in words."""

    level: Level
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """A finding with the name of its check, and the role that it is about."""

    check: str
    role: str | None
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A library that was imported on trial; `problem` is empty if that worked."""

    name: str
    version: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FstabLine:
    """One line of /etc/fstab (fstab(5)), unescaped; `number` counts from 1."""

    number: int
    source: str
    target: str
    fstype: str
    options: tuple[str, ...]

    @property
    def bind(self) -> bool:
        """True if it binds a directory."""
        return "bind" in self.options or "rbind" in self.options

    @property
    def ignored(self) -> bool:
        """True if no boot mounts it."""
        return "noauto" in self.options

    @property
    def stops_boot(self) -> bool:
        """True if a boot waits for it, and goes no further without it."""
        return not self.ignored and not self.bind and "nofail" not in self.options


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFile:
    """A service or a socket as its files have it; names without `.service`.

    `fenced` and `ordered` say that it does not start while the fence is up, and not before us;
    `secluded` is what in it gives its processes a mount namespace of their own.
    """

    name: str
    fenced: bool = False
    ordered: bool = False
    secluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the main process of a service sees of the root, compared with process 1.

    `shared`: both are in one mount namespace.  `alike`: both see the same disk there now.
    `receives`: what is mounted there later comes through.
    """

    unit: str
    shared: bool
    alike: bool
    receives: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletFacts:
    """What kubelet's files say; `joined` is None where they cannot be read."""

    joined: bool | None = None
    endpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooted:
    """Where the internal directory lies; all None or empty where it cannot be told."""

    configured: str = ""  # the root's path as the runtime was told it
    link: str = ""  # where the root itself leads, if it is a link
    above: tuple[tuple[str, str], ...] = ()  # components above it that are links, and where to
    capacity_bytes: int | None = None
    available_bytes: int | None = None
    inodes: int | None = None
    inodes_free: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine, without any role.  None stands for what could not be read."""

    distribution: tuple[str, ...] = ()  # ID and ID_LIKE of os-release(5)
    bundled: bool = False  # the bundle is installed
    python: str = ""  # of whom runs this; "" where that is not this machine
    libraries: tuple[Library, ...] = ()
    kernel: str = ""
    init: str = ""  # "systemd", "openrc" or ""
    udev_runs: bool = True
    udev_rule: bool = True
    group: bool = True
    cgroup: int = 2  # 0: none is mounted
    mounts: MountTable | None = None
    tools: tuple[tuple[str, str], ...] = ()  # program and path; "" where it is not found
    fstab: tuple[FstabLine, ...] | None = ()
    mount_units: tuple[tuple[str, str], ...] = ()  # file and what it mounts
    automounters: tuple[str, ...] = ()
    killers: tuple[str, ...] = ()  # scripts that unmount or delete runtime roots
    docker_sockets: tuple[str, ...] = ()  # containerd sockets that dockerd was told of
    longhorn: bool = False
    openrc_gate: bool = False  # OpenRC's part of the fence, and it hears `nodestoraged_role`


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonFacts:
    """Our daemon: its files, and what it answers.  `status` is None without an answer."""

    installed: bool = False
    enabled: bool = False
    status: Json | None = None
    denied: bool = False
    silence: str = ""
    namespace_shared: bool | None = None
    services: Services = Services.AUTO
    config_problem: str = ""
    config_hint: str = ""
    config_denied: bool = False
    asked: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleFacts:
    """One role: its configuration, the runtime in force, and what lies around its root."""

    config: RoleConfig
    profile: RuntimeProfile | None = None
    profile_problem: str = ""
    profile_hint: str = ""
    sources: tuple[str, ...] = ()
    units: tuple[UnitFile, ...] = ()  # those of the profile that are installed
    kubelet_units: tuple[UnitFile, ...] = ()
    kubelet: KubeletFacts = KubeletFacts()
    sights: tuple[Sight, ...] = ()  # of those of its services that run
    rooted: Rooted = Rooted()
    ctr: str = ""  # where containerd's client lies; "" where it is not found
    snapshotters: tuple[str, ...] = ()  # those that files of the runtime name
    archived: int | None = None  # images; None where the archive cannot be read
    status: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that one run looks at."""

    machine: Machine
    daemon: DaemonFacts
    roles: tuple[RoleFacts, ...] = ()
