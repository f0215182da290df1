"""The keys of the configuration: which there are, how each is read, and what must fit together.

Owns: the table of keys, the did-you-mean, and the relations between values.  May not know: files;
a table comes in merged, and `origin` says which file a key came from.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from nodestoraged.adapters import configvalues as values
from nodestoraged.model import config as model
from nodestoraged.model.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Values = TypeVar("_Values", bound="DataclassInstance")
_Value = TypeVar("_Value")
#: Keys from the top, as TOML nests them.
KeyPath = tuple[str, ...]
#: Which file a key came from; empty when none said it.
Origin = Callable[[KeyPath], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """One key: the field of the model it fills, how to read it, and how to write it back."""

    field: str
    read: Callable[[object], Any]
    show: Callable[[Any], object] = lambda value: value


_Table = Mapping[str, "_Key | _Table"]


def _allowed(value: object) -> model.Allowed:
    if not isinstance(value, dict):
        raise values.WrongValueError("must hold tables", 'for example [{uuid = "…", serial = "…"}]')
    unknown = value.keys() - {"uuid", "serial"}
    if unknown or "uuid" not in value:
        raise values.WrongValueError("each entry has a uuid and perhaps a serial, nothing else")
    serial = values.text(value["serial"]) if "serial" in value else None
    return model.Allowed(uuid=values.text(value["uuid"]), serial=serial)


def _show_allowed(allowed: tuple[model.Allowed, ...]) -> object:
    return [
        {"uuid": one.uuid} | ({"serial": one.serial} if one.serial is not None else {})
        for one in allowed
    ]


def _filesystem(value: object) -> str:
    word = values.text(value)
    if word not in {"ext4", "xfs", "btrfs"}:
        raise values.WrongValueError(f"{word!r} cannot hold a runtime root", "ext4, xfs or btrfs")
    return word


def _plain(field: str, read: Callable[[object], Any]) -> _Key:
    return _Key(field=field, read=read)


_POSITIVE = values.seconds(above=0)
_PORT = values.count(1, 65535)
_ARGVS = values.several(values.argv, unique=False)
_UNITS = values.several(values.unit_name)
_NEWER_KIND = "{!r} is a kind of role that this version does not know; it needs a newer one"

_ROLE: _Table = {
    "kind": _plain("kind", values.choice(model.RoleKind, newer=_NEWER_KIND)),
    "labels": _plain("labels", values.several(values.label, least=1)),
    "filesystems": _plain("filesystems", values.several(_filesystem, least=1)),
    "minimum_size": _Key(field="minimum_size_bytes", read=values.size, show=values.show_size),
    "partition_types": _plain("partition_types", values.several(values.guid)),
    "runtime": _plain("runtime", values.name),
    "trust": _plain("trust", values.choice(model.Trust)),
    "allow": _Key(field="allow", read=values.several(_allowed), show=_show_allowed),
    "collision": _plain("collision", values.choice(model.Collision)),
    "priority": _plain("priority", values.several(values.text)),
    "data": _plain("data", values.choice(model.DataPolicy)),
    "reclaim_after_seconds": _plain("reclaim_after_seconds", values.seconds()),
    "swap_grace_seconds": _plain("swap_grace_seconds", values.seconds()),
    "fallback": _plain("fallback", values.several(values.choice(model.Fallback))),
    "pod_grace_seconds": _plain("pod_grace_seconds", values.seconds()),
    "floor_images": _plain("floor_images", values.several(values.text)),
    "stop_foreign": _plain("stop_foreign", values.flag),
    "switch_limit": _plain("switch_limit", values.count(1, 1000)),
    "switch_window_seconds": _plain("switch_window_seconds", _POSITIVE),
    "quarantine_seconds": _plain("quarantine_seconds", _POSITIVE),
    "probe_seconds": _plain("probe_seconds", _POSITIVE),
    "write_probe_seconds": _plain("write_probe_seconds", _POSITIVE),
    "boot_wait_seconds": _plain("boot_wait_seconds", values.seconds()),
    "hooks": {
        "before_switch": _plain("before_switch", _ARGVS),
        "after_switch": _plain("after_switch", _ARGVS),
    },
    "profile": {
        "root": _plain("root", values.path),
        "state": _plain("state", values.path),
        "socket": _plain("socket", values.path),
        "runtime_units": _plain("runtime_units", values.several(values.unit_name, least=1)),
        "kubelet_units": _plain("kubelet_units", _UNITS),
        "healthz_port": _plain("healthz_port", _PORT),
        "stats_port": _plain("stats_port", _PORT),
    },
}

_DAEMON: _Table = {
    "settle_seconds": _plain("settle_seconds", values.seconds()),
    "rescan_seconds": _plain("rescan_seconds", values.seconds(least=1)),
    "mount_namespace": _plain("mount_namespace", values.choice(model.MountNamespace)),
    "services": _plain("services", values.choice(model.Services)),
    "commands": {
        "start": _plain("start", values.argv),
        "stop": _plain("stop", values.argv),
        "status": _plain("status", values.argv),
    },
}


def dotted(key: KeyPath) -> str:
    """The key as a person writes it: `role.containerd.trust`."""
    return ".".join(key)


def wrong(origin: str, key: KeyPath, problem: str, hint: str = "") -> ConfigError:
    """The error of one key: file, dotted key and problem in one sentence."""
    where = ": ".join(part for part in (origin, dotted(key)) if part)
    return ConfigError(f"{where}: {problem}", key=dotted(key), path=origin, hint=hint)


def build(merged: Mapping[str, object], origin: Origin) -> model.Config:
    """The configuration of a merged TOML document; the first wrong key raises ConfigError."""
    _refuse_unknown(merged, {"schema": None, "role": None, "daemon": None}, (), origin)
    schema = merged.get("schema", model.SCHEMA)
    if isinstance(schema, bool) or schema != model.SCHEMA:
        raise wrong(
            origin(("schema",)),
            ("schema",),
            f"this version reads schema {model.SCHEMA} only",
            "a file of a newer version needs a newer nodestoraged",
        )
    daemon = _fill(model.DaemonConfig(), merged.get("daemon", {}), _DAEMON, ("daemon",), origin)
    tables = _table(merged.get("role", {}), ("role",), origin)
    # No role named anywhere means the one that everybody has.
    roles = [_role(name, tables[name], origin) for name in sorted(tables)]
    config = model.Config(daemon=daemon)
    if roles:
        config = dataclasses.replace(config, roles=tuple(roles))
    _check_relations(config, origin)
    return config


def read_one(key: KeyPath, value: object) -> None:
    """Nothing, if `value` alone is one that `key` takes; else ConfigError."""
    _find(key, value, _locate(key))


def flatten(config: model.Config) -> Iterator[tuple[KeyPath, object]]:
    """Every key with the TOML value in force, in the order of the shipped file; unset ones not."""
    yield ("schema",), model.SCHEMA
    for role in config.roles:
        yield from _flatten(role, _ROLE, ("role", role.name))
    yield from _flatten(config.daemon, _DAEMON, ("daemon",))


def _role(name: str, table: object, origin: Origin) -> model.RoleConfig:
    key = ("role", name)
    _read(values.name, name, key, origin)
    return _fill(model.RoleConfig(name=name), table, _ROLE, key, origin)


def _fill(start: _Values, table: object, keys: _Table, at: KeyPath, origin: Origin) -> _Values:
    """`start` with the fields that `table` sets."""
    given = _table(table, at, origin)
    _refuse_unknown(given, keys, at, origin)
    changes: dict[str, Any] = {}
    for name, value in given.items():
        key = keys[name]
        if isinstance(key, _Key):
            changes[key.field] = _read(key.read, value, (*at, name), origin)
        else:
            changes[name] = _fill(getattr(start, name), value, key, (*at, name), origin)
    return dataclasses.replace(start, **changes)


def _read(read: Callable[[object], _Value], value: object, at: KeyPath, origin: Origin) -> _Value:
    try:
        return read(value)
    except values.WrongValueError as error:
        raise wrong(origin(at), at, error.problem, error.hint) from None


def _table(value: object, at: KeyPath, origin: Origin) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise wrong(origin(at), at, f"must be a table, not {values.kind_of(value)}")
    return value


def _refuse_unknown(
    table: Mapping[str, object], known: Mapping[str, object], at: KeyPath, origin: Origin
) -> None:
    for name in table:
        if name not in known:
            key = (*at, name)
            raise wrong(origin(key), key, "unknown key", _did_you_mean(name, known, at))


def _did_you_mean(name: str, known: Mapping[str, object], at: KeyPath) -> str:
    """The same key in another table, else a similar one here, else what there is."""
    role = at[:2] if at[:1] == ("role",) and len(at) > 1 else ("role", "containerd")
    everywhere: tuple[tuple[KeyPath, _Table], ...] = ((role, _ROLE), (("daemon",), _DAEMON))
    for prefix, keys in everywhere:
        for path in _paths(keys):
            if path[-1] == name:
                return f"did you mean {dotted((*prefix, *path))}?"
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {dotted((*at, close[0]))}?"
    return f"known here: {', '.join(known)}"


def _paths(keys: _Table) -> Iterator[KeyPath]:
    for name, key in keys.items():
        if isinstance(key, _Key):
            yield (name,)
        else:
            yield from ((name, *path) for path in _paths(key))


def _locate(key: KeyPath) -> tuple[_Table, KeyPath, KeyPath]:
    """The table that a key belongs to, the path to that table, and the path within it."""
    if key[:1] == ("role",) and len(key) > 2:
        return _ROLE, key[:2], key[2:]
    return {"daemon": _DAEMON, "schema": _plain("schema", values.count(1, 1))}, (), key


def _find(key: KeyPath, value: object, place: tuple[_Table, KeyPath, KeyPath]) -> None:
    here: _Key | _Table
    here, at, rest = place
    for name in rest:
        if isinstance(here, _Key):
            raise wrong("", key, "unknown key", f"{dotted(at)} holds a value, not a table")
        _refuse_unknown({name: None}, here, at, lambda _: "")
        here, at = here[name], (*at, name)
    if not isinstance(here, _Key):
        raise wrong("", key, "is a table", f"name one of its keys: {', '.join(here)}")
    _read(here.read, value, key, lambda _: "")


def _flatten(config: object, keys: _Table, at: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    for name, key in keys.items():
        if not isinstance(key, _Key):
            yield from _flatten(getattr(config, name), key, (*at, name))
            continue
        value = getattr(config, key.field)
        if value is not None:
            yield (*at, name), key.show(value)


def _check_relations(config: model.Config, origin: Origin) -> None:
    """Values that are right one by one and wrong together."""
    owner: dict[str, str] = {}
    for role in config.roles:
        at = ("role", role.name)
        for label in role.labels:
            if label in owner:
                raise wrong(
                    origin((*at, "labels")),
                    (*at, "labels"),
                    f"{label!r} already belongs to role {owner[label]}",
                    "one label belongs to one role",
                )
            owner[label] = role.name
        if role.collision in {model.Collision.PRIORITY, model.Collision.PINNED}:
            _need(role.priority, (*at, "priority"), f'collision = "{role.collision}"', origin)
        if role.write_probe_seconds < role.probe_seconds:
            raise wrong(
                origin((*at, "write_probe_seconds")) or origin((*at, "probe_seconds")),
                (*at, "write_probe_seconds"),
                "must be at least probe_seconds",
                "the write probe is the rarer one: it wears the stick",
            )
    if config.daemon.services is model.Services.COMMAND:
        commands = config.daemon.commands
        for name, argv in (
            ("start", commands.start),
            ("stop", commands.stop),
            ("status", commands.status),
        ):
            _need(argv, ("daemon", "commands", name), 'services = "command"', origin)


def _need(value: tuple[str, ...], key: KeyPath, because: str, origin: Origin) -> None:
    if not value:
        raise wrong(origin(key) or origin(key[:-1]), key, f"must not be empty with {because}")
