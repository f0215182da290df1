"""What the runtime's profile is on this node, and how that is known.

Owns: which source says what about root, state and socket, and which of two outranks the other.
May not know: what is done with the answer.

From the least to the most: the table's row; the data directory of a distribution that has one; the
runtime's configuration; the arguments in its unit; the arguments of the process that runs; what a
person wrote into `[role.NAME.profile]`.  Only the root disk and /proc are read, no program is
started, and the whole has a limit: a start of the daemon must not wait for a disk of others.
"""

from __future__ import annotations

import posixpath
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from nodestoraged.adapters.runtimes import configdump, files, profiles, storageconf
from nodestoraged.adapters.runtimes.choice import Machine, Presence, choose, look
from nodestoraged.adapters.runtimes.launch import Launch, option
from nodestoraged.adapters.runtimes.traces import TRACES, Trace
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.runtime import Dialect, RuntimeProfile

__all__ = ["Discovery", "discover"]

#: Some dozens of small files; a node where that takes longer has a disk that hangs.
DEADLINE_SECONDS = 5.0

_OVERRIDES = ("root", "state", "socket", "runtime_units", "kubelet_units")
_FLAGS: dict[str, tuple[str, ...]] = {
    "root": ("--root", "-r"),
    "state": ("--state", "--runroot"),
    "socket": ("-a", "--address", "--listen"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """The profile in force, and for each part that is not the row's own who said so, in words.

    `complete` is False where something that could have said more could not be read: such an answer
    must not replace one that was.
    """

    profile: RuntimeProfile
    sources: tuple[str, ...]
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One place, and who names it."""

    field: str
    value: str
    source: str


def discover(
    role: RoleConfig, *, root: Path = Path("/"), deadline_seconds: float = DEADLINE_SECONDS
) -> Discovery:
    """The profile for `role` on the machine below `root`; `ConfigError` for an unknown runtime.

    Nothing else raises: a file of others that is broken is passed over and named in the sources.
    Where reading hangs, the answer is the row and what a person said of it.
    """
    row = profiles.row_of(role)
    answers: list[Discovery] = []

    def read() -> None:
        try:
            answers.append(_discover(role, row, root))
        except Exception as error:  # whatever others keep in their files must not stop the daemon
            answers.append(_fallback(role, row, f"{type(error).__name__}: {error}"))

    # A thread, for a read from a hung disk cannot be cut short; it ends with the disk or with us.
    reader = threading.Thread(target=read, name="discovery", daemon=True)
    reader.start()
    reader.join(deadline_seconds)
    late = f"nothing could be read within {deadline_seconds:g} s"
    return answers[0] if answers else _fallback(role, row, late)


def _fallback(role: RoleConfig, row: RuntimeProfile | None, why: str) -> Discovery:
    profile = profiles.overridden(row or profiles.CONTAINERD, role.profile)
    return Discovery(profile=profile, sources=(f"the table's defaults: {why}",), complete=False)


def _discover(role: RoleConfig, row: RuntimeProfile | None, root: Path) -> Discovery:
    machine = look(root, role.profile.socket)
    if row is None:
        row, why = choose(machine, root)
        sources = [f"runtime {row.name}: {why}"]
    else:
        sources = [f"runtime {row.name}: role.{role.name}.runtime"]
    presence = machine.of(row)
    if row.dialect is Dialect.CONTAINERD:
        found, beside, problems = _containerd(presence, root)
    else:
        found, beside, problems = _storage(presence, root)
    places = {each.field: each for each in found if each.value.startswith("/")}  # the later wins
    moved = replace(
        row,
        root=_place(places, "root", row.root),
        state=_place(places, "state", row.state),
        socket=_place(places, "socket", row.socket),
    )
    moved = replace(moved, ctr=_client(presence, root))
    profile = profiles.overridden(moved, role.profile)
    by_hand = [name for name in _OVERRIDES if getattr(role.profile, name) is not None]
    said = [
        f"{each.field} {each.value}: {each.source}"
        for each in places.values()
        if each.field not in by_hand
    ]
    said += [f"{name}: role.{role.name}.profile" for name in by_hand]
    outside = tuple(path for path in beside if not configdump.inside(path, profile.root))
    profile = replace(profile, elsewhere=(*profile.elsewhere, *outside))
    apart = [f"elsewhere {path}" for path in profile.elsewhere]
    return Discovery(
        profile=profile,
        sources=(*sources, *said, *apart, *problems, *_rivals(machine, row)),
        complete=not problems,
    )


def _client(presence: Presence, root: Path) -> tuple[str, ...]:
    """containerd's client, by its path where the distribution brings one along."""
    row, trace = presence.row, TRACES[presence.row.name]
    if trace.tool:
        return (trace.tool.format(data=_data(presence, root).value),)
    if row.ctr and posixpath.basename(presence.program) == row.ctr[0]:
        return (presence.program, *row.ctr[1:])
    return row.ctr


def _place(places: dict[str, _Found], field: str, default: str) -> str:
    return posixpath.normpath(places[field].value) if field in places else default


def _containerd(
    presence: Presence, root: Path
) -> tuple[list[_Found], tuple[str, ...], tuple[str, ...]]:
    """Places by data directory, configuration, unit and process; snapshotters' own; problems."""
    trace = TRACES[presence.row.name]
    data = _data(presence, root)
    found: list[_Found] = []
    if trace.root and data.value != trace.data:
        found.append(replace(data, field="root", value=trace.root.format(data=data.value)))
    started = _arguments(presence, trace, root)
    named = [path for words, _ in started if (path := option(words, "-c", "--config"))]
    path = named[-1] if named else trace.config.format(data=data.value)
    config = configdump.read(path, root) or configdump.ContainerdConfig()
    for field, value in (
        ("root", config.root),
        ("state", config.state),
        ("socket", config.address),
    ):
        # A distribution gives these on the command line, which outranks the file.
        if value is not None and not trace.root:
            found.append(_Found(field=field, value=value, source=", ".join(config.files)))
    for words, source in started:
        found += _by_flags(words, source)
    return found, tuple(path for _, path in config.snapshot_roots), config.problems


def _storage(
    presence: Presence, root: Path
) -> tuple[list[_Found], tuple[str, ...], tuple[str, ...]]:
    """The same for containers/storage."""
    reader = storageconf.crio if presence.row.dialect is Dialect.CRI else storageconf.podman
    config = reader(root)
    source = ", ".join(config.files)
    named = (("root", config.root), ("state", config.state), ("socket", config.socket))
    found = [_Found(field=field, value=value, source=source) for field, value in named if value]
    if presence.row.dialect is Dialect.CRI:
        for words, where in _arguments(presence, TRACES[presence.row.name], root):
            found += _by_flags(words, where)
    beside = (config.image_store,) if config.image_store else ()
    return found, beside, config.problems


def _arguments(presence: Presence, trace: Trace, root: Path) -> list[tuple[tuple[str, ...], str]]:
    """Command lines of the runtime itself, the weightier later, each with its source.

    What the unit of an embedding distribution starts is not containerd, whatever it is given.
    """
    lines: list[tuple[tuple[str, ...], str]] = []
    kept = files.read_text(files.below(root, trace.arguments)) if trace.arguments else None
    if kept is not None:
        for name, value in trace.unexpanded:
            kept = kept.replace(name, value)
        lines.append((files.words(kept), trace.arguments))
    if presence.launches and not presence.row.embedded:
        first = presence.launches[0]
        lines.append((first.arguments, first.source))
    if presence.process is not None:
        process = presence.process
        lines.append((process.arguments, f"arguments of process {process.pid}"))
    return lines


def _by_flags(words: tuple[str, ...], source: str) -> list[_Found]:
    return [
        _Found(field=field, value=value.removeprefix("unix://"), source=source)
        for field, names in _FLAGS.items()
        if (value := option(words, *names)) is not None
    ]


def _data(presence: Presence, root: Path) -> _Found:
    """The data directory: its default, a settings file, the environment, the unit's arguments."""
    trace = TRACES[presence.row.name]
    found = _Found(field="data", value=trace.data, source="the default")
    launch = presence.launches[0] if presence.launches else None
    for path in _settings(trace, launch, root):
        value = _plain(files.read_text(path) or "", "data-dir")
        if value is not None:
            found = replace(found, value=value, source=f"/{path.relative_to(root)}")
    if launch is not None and trace.data:
        variable = f"{trace.prefix}_DATA_DIR"
        value = launch.variable(variable)
        if value is not None:
            found = replace(found, value=value, source=f"{variable} of {launch.unit}")
        given = option(launch.arguments, "--data-dir", "-d")
        if given is not None:
            found = replace(found, value=given, source=launch.source)
    return replace(found, value=found.value.rstrip("/") or found.value)


def _settings(trace: Trace, launch: Launch | None, root: Path) -> tuple[Path, ...]:
    if not trace.settings:
        return ()
    moved = None
    if launch is not None:
        moved = option(launch.arguments, "--config", "-c")
        moved = moved or launch.variable(f"{trace.prefix}_CONFIG_FILE")
    main = moved or trace.settings
    more = [path for end in ("yaml", "yml") for path in files.matching(root, f"{main}.d/*.{end}")]
    return (files.below(root, main), *sorted(more, key=lambda path: path.name))


def _plain(text: str, key: str) -> str | None:
    """The value of a plain `key: value` line of a YAML file; the last one given."""
    value: str | None = None
    for line in text.splitlines():
        name, mark, rest = line.partition(":")
        if mark and name.strip("\"'") == key:
            value = rest.partition(" #")[0].strip().strip("\"'")
    return value or None


def _rivals(machine: Machine, row: RuntimeProfile) -> tuple[str, ...]:
    others = [
        each.row.name
        for each in machine.presences
        if each.row is not row and (each.process is not None or each.enabled is not None)
    ]
    return (f"also here: {', '.join(others)}",) if others else ()
