"""Floor images of podman, kept as archives on the root disk.

Owns one directory: `HASH.tar` as `podman save` wrote it, and beside it `HASH.json`, which is
written last and says whose it is.  An image's name never becomes part of a path.  May not know:
which images are wanted, and when.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from nodestoraged.adapters.durable import put_in_place
from nodestoraged.adapters.program import Finished
from nodestoraged.adapters.runtimes.sandbox_images import archive_name
from nodestoraged.model.errors import StepError

__all__ = ["PodmanImages"]

_QUICK_SECONDS = 15.0


class Podman(Protocol):
    """`podman WORDS` ended by itself, whatever its exit code."""

    async def __call__(self, words: Sequence[str], *, deadline_seconds: float) -> Finished:
        """Raises StepError and StepTimeout only when it could not be run to its end."""
        ...


class PodmanImages:
    """The archives of one role; one caller at a time."""

    def __init__(self, podman: Podman, directory: Path) -> None:
        self._podman = podman
        self._directory = directory

    def names(self) -> tuple[str, ...]:
        """The images that are archived whole."""
        return tuple(sorted(name for name in map(self._name_of, self._records()) if name))

    async def keep(
        self, wanted: Sequence[str], *, deadline_seconds: float
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Those present in the root are archived; returns them, and those that are not present.

        Raises StepError `SandboxImageNotSaved` for one that is present and cannot be saved.
        """
        kept, missing = [], []
        for name in wanted:
            image_id = await self._id(name)
            if image_id is None:
                missing.append(name)
                continue
            if self._kept_id(name) != image_id:
                await self._save(name, image_id, deadline_seconds)
            kept.append(name)
        return tuple(kept), tuple(missing)

    async def restore(self, wanted: Sequence[str], *, deadline_seconds: float) -> tuple[str, ...]:
        """Those of `wanted` that are in the root in force, loaded from the archive if need be."""
        present = []
        for name in wanted:
            if await self._id(name) is None:
                if self._kept_id(name) is None:
                    continue
                file = str(self._directory / archive_name(name))
                done = await self._podman(
                    ("load", "--quiet", "--input", file), deadline_seconds=deadline_seconds
                )
                if done.exit_code != 0:
                    raise StepError("SandboxImageNotLoaded", f"podman load: {done.complaint}")
            present.append(name)
        return tuple(present)

    async def _id(self, name: str) -> str | None:
        words = ("image", "inspect", "--format", "{{.Id}}", name)
        done = await self._podman(words, deadline_seconds=_QUICK_SECONDS)
        return done.stdout.strip() if done.exit_code == 0 else None

    async def _save(self, name: str, image_id: str, deadline_seconds: float) -> None:
        final = self._directory / archive_name(name)
        partial = final.with_suffix(".partial")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # podman refuses to write over a file; a record without its archive would be a lie.
            partial.unlink(missing_ok=True)
            final.with_suffix(".json").unlink(missing_ok=True)
            words = ("save", "--quiet", "--format", "oci-archive", "--output", str(partial), name)
            done = await self._podman(words, deadline_seconds=deadline_seconds)
            if done.exit_code != 0:
                raise StepError("SandboxImageNotSaved", f"podman save: {done.complaint}")
            await asyncio.to_thread(put_in_place, partial, final)
            record = {"name": name, "id": image_id, "size_bytes": final.stat().st_size}
            partial.write_text(json.dumps(record) + "\n")
            await asyncio.to_thread(put_in_place, partial, final.with_suffix(".json"))
        except OSError as error:
            text = f"{final}: {error.strerror}"
            raise StepError("SandboxImageNotSaved", text, errno=error.errno) from None
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def _records(self) -> tuple[Path, ...]:
        return tuple(self._directory.glob("*.json")) if self._directory.is_dir() else ()

    def _kept_id(self, name: str) -> str | None:
        record = (self._directory / archive_name(name)).with_suffix(".json")
        found = _read(record)
        return found[1] if found is not None and found[0] == name else None

    def _name_of(self, record: Path) -> str | None:
        found = _read(record)
        return None if found is None else found[0]


def _read(record: Path) -> tuple[str, str] | None:
    """Name and id of an archive that is there in full; None if the record is damaged."""
    try:
        found = json.loads(record.read_bytes())
        if record.with_suffix(".tar").stat().st_size != int(found["size_bytes"]):
            return None
        return str(found["name"]), str(found["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
