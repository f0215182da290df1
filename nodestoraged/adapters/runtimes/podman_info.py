"""`podman info --format json` as a value, of podman 4 and 5.

Owns: the names in that answer.  May not know: what they prove.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PodmanInfo"]

#: Where libpod keeps its database below the graph root; podman 4.3 knows but the first.
_DATABASES = {"boltdb": "libpod/bolt_state.db", "sqlite": "db.sql"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodmanInfo:
    """One reading.  `database` is a path below `graph_root`; counts are of this root alone."""

    version: str
    graph_root: str
    driver: str
    database: str
    images: int
    containers: int
    running: int

    @classmethod
    def of(cls, answer: Mapping[str, object]) -> PodmanInfo:
        """The answer as a value; KeyError, TypeError or ValueError when it is not podman's."""
        store, version = _table(answer, "store"), _table(answer, "version")
        containers = _table(store, "containerStore")
        backend = _table(answer, "host").get("databaseBackend", "boltdb")
        return cls(
            version=_text(version, "Version"),
            graph_root=_text(store, "graphRoot"),
            driver=_text(store, "graphDriverName"),
            database=_DATABASES[str(backend)],
            images=_count(_table(store, "imageStore"), "number"),
            containers=_count(containers, "number"),
            running=_count(containers, "running"),
        )


def _table(value: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = value[name]
    if not isinstance(found, Mapping):
        raise TypeError(name)
    return found


def _text(value: Mapping[str, object], name: str) -> str:
    found = value[name]
    if not isinstance(found, str) or not found:
        raise TypeError(name)
    return found


def _count(value: Mapping[str, object], name: str) -> int:
    found = value[name]
    if not isinstance(found, int):
        raise TypeError(name)
    return found
