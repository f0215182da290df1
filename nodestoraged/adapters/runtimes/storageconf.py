"""Where containers/storage keeps what, for cri-o and podman.

Owns: storage.conf, crio.conf and its drop-ins.  May not know: which runtime is in force.
Sources: containers-storage.conf(5), crio.conf(5).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nodestoraged.adapters.runtimes import files

__all__ = ["StorageConfig", "crio", "podman"]

#: The administrator's file replaces the vendor's.
_STORAGE = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
_CRIO = "/etc/crio/crio.conf"
_CRIO_PARTS = "/etc/crio/crio.conf.d/*"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """What was read; None is the default.  `image_store`: images lie beside the containers."""

    root: str | None = None
    state: str | None = None
    socket: str | None = None
    image_store: str | None = None
    files: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def podman(root: Path) -> StorageConfig:
    """storage.conf of root's podman; never one of a user."""
    name = next((each for each in _STORAGE if files.below(root, each).is_file()), None)
    if name is None:
        return StorageConfig()
    text = files.read_text(files.below(root, name))
    document = None if text is None else files.toml(text)
    if document is None:
        return StorageConfig(problems=(f"{name} cannot be read as TOML",))
    storage = files.table(document, "storage")
    return StorageConfig(
        root=files.text_at(storage, "graphroot"),
        state=files.text_at(storage, "runroot"),
        image_store=files.text_at(storage, "imagestore"),
        files=(name,),
    )


def crio(root: Path) -> StorageConfig:
    """crio.conf and its drop-ins over storage.conf."""
    base = podman(root)
    found: dict[str, str] = {}
    names, problems = list(base.files), list(base.problems)
    for path in (files.below(root, _CRIO), *files.matching(root, _CRIO_PARTS)):
        text = files.read_text(path)
        if text is None:
            continue
        name = f"/{path.relative_to(root)}"
        document = files.toml(text)
        if document is None:
            problems.append(f"{name} cannot be read as TOML")
            continue
        names.append(name)
        table = files.table(document, "crio")
        places = {key: files.text_at(table, key) for key in ("root", "runroot", "imagestore")}
        places["listen"] = files.text_at(files.table(table, "api"), "listen")
        found.update({key: value for key, value in places.items() if value is not None})
    return StorageConfig(
        root=found.get("root", base.root),
        state=found.get("runroot", base.state),
        socket=found.get("listen", base.socket),
        image_store=found.get("imagestore", base.image_store),
        files=tuple(names),
        problems=tuple(problems),
    )
