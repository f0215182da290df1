"""The configuration as frozen values, with its defaults and the meaning of each key.

Reading files, checking types and naming the faulty key belongs to
`adapters.configfile`; here a value is already well-formed.  Keys keep one meaning in
every later kind of role: *what* (labels, filesystems, minimum_size), *whether* (trust,
allow, collision), *if gone* (swap_grace_seconds, fallback).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

GIB = 1024**3

#: The only value of `schema` that this version reads.
SCHEMA = 1


class RoleKind(StrEnum):
    """What a role does with its stick."""

    RUNTIME_ROOT = "runtime-root"


class Trust(StrEnum):
    """Which sticks may be used."""

    ENROLLED = "enrolled"
    LABEL = "label"
    NONE = "none"


class Collision(StrEnum):
    """Who serves when several sticks could."""

    PREFER_ACTIVE = "prefer-active"
    NEWEST = "newest"
    LARGEST = "largest"
    PRIORITY = "priority"
    PINNED = "pinned"
    ASK = "ask"


class DataPolicy(StrEnum):
    """What becomes of the images at a planned move to a stick."""

    KEEP = "keep"  # the stick serves with what is on it
    COPY = "copy"  # the root that serves is carried over
    PINNED = "pinned"  # only the sandbox image, pinned and localhost/ images are


class Fallback(StrEnum):
    """Where the root goes when the active stick is lost for good."""

    STANDBY = "standby"
    INTERNAL = "internal"


class Services(StrEnum):
    """Which service manager starts and stops the units."""

    AUTO = "auto"
    SYSTEMD = "systemd"
    SYSTEMCTL = "systemctl"
    OPENRC = "openrc"
    COMMAND = "command"


class MountNamespace(StrEnum):
    """Whose mount namespace the daemon has to share: PID 1's, or only the runtime's."""

    HOST = "host"
    OWN = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A stick trusted by configuration; `serial` narrows it where given."""

    uuid: str
    serial: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Programs run around a move, as argument vectors, 60 s each."""

    before_switch: tuple[tuple[str, ...], ...] = ()
    after_switch: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOverride:
    """Facts of the runtime that differ from its row in the profile table; None keeps the row's."""

    root: str | None = None
    state: str | None = None
    socket: str | None = None
    runtime_units: tuple[str, ...] | None = None
    kubelet_units: tuple[str, ...] | None = None
    healthz_port: int | None = None
    stats_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleConfig:
    """One `[role.NAME]` table."""

    name: str
    kind: RoleKind = RoleKind.RUNTIME_ROOT
    labels: tuple[str, ...] = ("containerd-opt", "ctrd-opt")
    filesystems: tuple[str, ...] = ("ext4", "xfs")
    minimum_size_bytes: int = 4 * GIB
    runtime: str = "auto"
    trust: Trust = Trust.ENROLLED
    allow: tuple[Allowed, ...] = ()
    partition_types: tuple[str, ...] = ()
    collision: Collision = Collision.PREFER_ACTIVE
    priority: tuple[str, ...] = ()
    swap_grace_seconds: float = 10
    fallback: tuple[Fallback, ...] = (Fallback.STANDBY, Fallback.INTERNAL)
    data: DataPolicy = DataPolicy.KEEP
    reclaim_after_seconds: float = 600
    pod_grace_seconds: float = 20
    floor_images: tuple[str, ...] = ()
    stop_foreign: bool = False
    switch_limit: int = 3
    switch_window_seconds: float = 600
    quarantine_seconds: float = 600
    probe_seconds: float = 10
    write_probe_seconds: float = 300
    boot_wait_seconds: float = 30
    hooks: Hooks = field(default_factory=Hooks)
    profile: ProfileOverride = field(default_factory=ProfileOverride)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandServices:
    """Argument vectors of the `command` service manager; `{unit}` stands for the unit's name.

    `status` answers by exit code as in the LSB: 0 runs, 3 stopped, 4 unknown unit.
    """

    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    status: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """The `[daemon]` table."""

    settle_seconds: float = 1.0
    rescan_seconds: float = 30
    mount_namespace: MountNamespace = MountNamespace.HOST
    services: Services = Services.AUTO
    commands: CommandServices = field(default_factory=CommandServices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that was configured; roles in the order of their names."""

    roles: tuple[RoleConfig, ...] = (RoleConfig(name="containerd"),)
    daemon: DaemonConfig = field(default_factory=DaemonConfig)

    def role(self, name: str) -> RoleConfig | None:
        """The role of that name, or None."""
        return next((role for role in self.roles if role.name == name), None)
