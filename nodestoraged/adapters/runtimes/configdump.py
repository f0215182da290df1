"""What containerd's configuration says about places, at each of its schemas.

Owns: the schemas 1 to 4, their imports, and the order in which they override one another.  May not
know: what was given on a command line, and which of the places are ours.

The file is read, and containerd is not asked (`config dump`): a start of the daemon must not depend
on a program of others, and a test holds both to the same answer.  Sources: containerd's
docs/PLUGINS.md and cmd/containerd/server/config; where a schema keeps what:

    root, state               top level, in each
    address                   [grpc]; from 4 on plugins."io.containerd.server.v1.grpc"
    snapshotter of CRI        1 plugins.cri.containerd, from 3 on
                              plugins."io.containerd.cri.v1.images", between them
                              plugins."io.containerd.grpc.v1.cri".containerd
    root_path                 1 plugins.NAME, from 2 on plugins."io.containerd.snapshotter.v1.NAME"
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nodestoraged.adapters.runtimes import files

__all__ = ["ContainerdConfig", "inside", "parse", "read"]

_SNAPSHOTTER = "io.containerd.snapshotter.v1."
_GRPC_PLUGIN = "io.containerd.server.v1.grpc"
#: CRI in each schema, and the key under which it names its snapshotter.
_CRI_PLUGINS = (
    ("cri", ("containerd",)),
    ("io.containerd.grpc.v1.cri", ("containerd",)),
    ("io.containerd.cri.v1.images", ()),
)
_CRI_NAMES = frozenset(
    {"cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"}
    | {"io.containerd.cri.v1.runtime"}
)
_MOST_FILES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerdConfig:
    """What was read; None is containerd's default.

    `snapshot_roots` are (snapshotter, path) where one has a place of its own.  `cri` is False where
    the plugin is switched off.  `files` were read, `problems` are sentences about those that could
    not be.
    """

    version: int = 1
    root: str | None = None
    state: str | None = None
    address: str | None = None
    snapshotter: str | None = None
    snapshot_roots: tuple[tuple[str, str], ...] = ()
    cri: bool = True
    files: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def elsewhere(self, root: str) -> tuple[str, ...]:
        """Paths of snapshotters that do not lie below `root`."""
        beside = (path for _, path in self.snapshot_roots if not inside(path, root))
        return tuple(dict.fromkeys(beside))


def read(path: str, root: Path) -> ContainerdConfig | None:
    """The configuration in the file `path` below `root`, with its imports; None without the file.

    A file that is no TOML is left out and named in `problems`: containerd itself would not start.
    """
    first = files.below(root, path)
    if files.read_text(first) is None:
        return None
    merged: dict[str, object] = {}
    seen: list[str] = []
    problems: list[str] = []
    waiting = [path]
    # As containerd: breadth first, each file once, the later one over the earlier.
    while waiting and len(seen) < _MOST_FILES:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.append(name)
        text = files.read_text(files.below(root, name))
        document = None if text is None else files.toml(text)
        if document is None:
            problems.append(f"{name} cannot be read as TOML")
            continue
        waiting += _imports(document, name, root)
        _merge(merged, document)
    return _places(merged, tuple(seen), tuple(problems))


def parse(text: str) -> ContainerdConfig | None:
    """The same of one text, such as the answer of `containerd config dump`; None if it is none."""
    document = files.toml(text)
    return None if document is None else _places(document, (), ())


def _imports(document: Mapping[str, object], name: str, root: Path) -> list[str]:
    listed = document.get("imports")
    patterns = (
        [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    )
    found: list[str] = []
    for pattern in patterns:
        absolute = posixpath.normpath(posixpath.join(posixpath.dirname(name), pattern))
        found += [f"/{path.relative_to(root)}" for path in files.matching(root, absolute)]
    return found


def _merge(into: dict[str, object], document: Mapping[str, object]) -> None:
    for key, value in document.items():
        before = into.get(key)
        if isinstance(value, Mapping):
            inner = dict(before) if isinstance(before, Mapping) else {}
            _merge(inner, value)
            into[key] = inner
        elif isinstance(value, list) and isinstance(before, list):
            into[key] = [*before, *value]  # containerd appends: an import can switch more off
        else:
            into[key] = value


def _places(
    document: Mapping[str, object], names: tuple[str, ...], problems: tuple[str, ...]
) -> ContainerdConfig:
    version = document.get("version")
    number = version if isinstance(version, int) else 1
    plugins = files.table(document, "plugins")
    off = document.get("disabled_plugins")
    disabled = {each for each in off if isinstance(each, str)} if isinstance(off, list) else set()
    grpc = files.table(document, "grpc") if number < 4 else {}
    snapshotter = _cri_snapshotter(plugins)
    return ContainerdConfig(
        version=number,
        root=files.text_at(document, "root"),
        state=files.text_at(document, "state"),
        address=files.text_at(files.table(plugins, _GRPC_PLUGIN), "address")
        or files.text_at(grpc, "address"),
        snapshotter=snapshotter,
        snapshot_roots=(
            *_snapshot_roots(plugins, disabled),
            *_proxy_roots(files.table(document, "proxy_plugins"), snapshotter),
        ),
        cri=not disabled & _CRI_NAMES,
        files=names,
        problems=problems,
    )


def _cri_snapshotter(plugins: Mapping[str, object]) -> str | None:
    named = (
        files.text_at(files.table(plugins, key, *inner), "snapshotter")
        for key, inner in _CRI_PLUGINS
    )
    return next((each for each in named if each), None)


def _snapshot_roots(plugins: Mapping[str, object], disabled: set[str]) -> list[tuple[str, str]]:
    """Every snapshotter with a `root_path`; schema 1 has them under their bare names."""
    found = []
    for key in plugins:
        bare = "." not in key
        if key in disabled or not (bare or key.startswith(_SNAPSHOTTER)):
            continue
        path = files.text_at(files.table(plugins, key), "root_path")
        if path is not None:
            found.append((key.removeprefix(_SNAPSHOTTER), path))
    return found


def _proxy_roots(proxies: Mapping[str, object], snapshotter: str | None) -> list[tuple[str, str]]:
    """A snapshotter that is a process of its own keeps its data where it says, if it says."""
    if snapshotter is None:
        return []
    path = files.text_at(files.table(proxies, snapshotter, "exports"), "root")
    return [] if path is None else [(snapshotter, path)]


def inside(path: str, root: str) -> bool:
    """True if `path` is `root` or lies below it, by their names alone."""
    path, root = posixpath.normpath(path), posixpath.normpath(root)
    return path == root or path.startswith(root.rstrip("/") + "/")
