"""Images kept as archives on the root disk, so that an empty stick can start pods offline.

Owns `images/` in the state directory: the archives and their index.  Speaks to containerd by
`ctr` only.  An image's name never becomes part of a path; a file is named by the name's hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nodestoraged.adapters.durable import put_in_place
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.model.imagefs import KUBERNETES_NAMESPACE, KeptImage

_INDEX = "index.json"
_SCHEMA = 1
_KILL_SECONDS = 1.0


class SandboxImages:
    """The archives of one role, and the way to and from containerd.

    `ctr` is the command as the runtime has it, e.g. ("ctr",) or ("k3s", "ctr").  One caller at
    a time: exports and imports are steps of the one operation that runs.
    """

    def __init__(self, socket_path: str, directory: Path, *, ctr: Sequence[str] = ("ctr",)) -> None:
        self._directory = directory
        self._command = (*ctr, "-a", socket_path, "-n", KUBERNETES_NAMESPACE)

    def kept(self) -> tuple[KeptImage, ...]:
        """What the index lists and the directory holds in full; a damaged index is empty."""
        try:
            index = json.loads((self._directory / _INDEX).read_bytes())
            entries = [
                KeptImage(
                    name=str(each["name"]),
                    digest=str(each["digest"]),
                    file=archive_name(str(each["name"])),
                    size_bytes=int(each["size_bytes"]),
                )
                for each in index["images"]
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return ()
        return tuple(each for each in entries if self._is_whole(each))

    async def keep(self, name: str, digest: str, *, deadline_seconds: float) -> KeptImage:
        """The image is archived under this name and digest; exported only if it is not yet.

        `name` is the full name in containerd's store, `digest` that of its manifest.  The file
        appears whole or not at all.  StepError SandboxImageNotSaved, StepTimeout.
        """
        before = next((each for each in self.kept() if each.name == name), None)
        if before is not None and before.digest == digest:
            return before
        final = self._directory / archive_name(name)
        partial = final.with_suffix(".partial")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)
            await self._ctr(
                "SandboxImageNotSaved", ("export", "--", str(partial), name), deadline_seconds
            )
            await asyncio.to_thread(put_in_place, partial, final)
            size_bytes = final.stat().st_size
            image = KeptImage(name=name, digest=digest, file=final.name, size_bytes=size_bytes)
            others = [each for each in self.kept() if each.name != name]
            await asyncio.to_thread(self._write_index, [*others, image])
        except OSError as error:
            text = f"{final}: {error.strerror}"
            raise StepError("SandboxImageNotSaved", text, errno=error.errno) from None
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        return image

    async def restore(
        self, name: str, *, snapshotter: str | None = None, deadline_seconds: float
    ) -> bool:
        """The archived image is in containerd's store again; False if there is no archive.

        `name` may be the short one that stands in a configuration.
        CRI learns of it by an event, a few milliseconds after this returns.  `snapshotter`
        names the one to unpack for, where it is not containerd's default.
        """
        names = (name, full_name(name))
        image = next((each for each in self.kept() if each.name in names), None)
        if image is None:
            return False
        options = () if snapshotter is None else ("--snapshotter", snapshotter)
        arguments = ("import", *options, "--", str(self._directory / image.file))
        await self._ctr("SandboxImageNotLoaded", arguments, deadline_seconds)
        return True

    async def forget_others(self, names: Sequence[str]) -> None:
        """Only the images of these names stay in the directory."""
        staying = [each for each in self.kept() if each.name in names]
        if not self._directory.is_dir():
            return
        # The index goes first: a file without an entry is waste, an entry without a file a lie.
        await asyncio.to_thread(self._write_index, staying)
        files = {each.file for each in staying}
        for path in self._directory.iterdir():
            if path.suffix in (".tar", ".partial") and path.name not in files:
                path.unlink(missing_ok=True)

    def _is_whole(self, image: KeptImage) -> bool:
        try:
            return (self._directory / image.file).stat().st_size == image.size_bytes
        except OSError:
            return False

    def _write_index(self, images: Sequence[KeptImage]) -> None:
        entries = [
            {"name": each.name, "digest": each.digest, "size_bytes": each.size_bytes}
            for each in sorted(images, key=lambda each: each.name)
        ]
        partial = self._directory / f"{_INDEX}.partial"
        partial.write_text(json.dumps({"schema": _SCHEMA, "images": entries}, indent=1) + "\n")
        put_in_place(partial, self._directory / _INDEX)

    async def _ctr(self, reason: str, arguments: Sequence[str], deadline_seconds: float) -> None:
        """`ctr images …` ended with 0; StepError with its last word, StepTimeout."""
        argv = [*self._command, "images", *arguments]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            text = f"{argv[0]}: {error.strerror}"
            raise StepError(reason, text, errno=error.errno) from None
        try:
            async with asyncio.timeout(deadline_seconds):
                _, said = await process.communicate()
        except TimeoutError:
            text = f"ctr images {arguments[0]} did not end within {deadline_seconds:g} s"
            raise StepTimeout(reason, text) from None
        finally:
            await _end(process)
        if process.returncode != 0:
            last = said.decode(errors="replace").strip().rsplit("\n", 1)[-1]
            raise StepError(reason, f"ctr images {arguments[0]}: {last or 'no word on stderr'}")


def archive_name(image_name: str) -> str:
    """The file name for an image: a hash, so no character of the name reaches a path."""
    return hashlib.sha256(image_name.encode()).hexdigest()[:32] + ".tar"


def full_name(name: str) -> str:
    """The name under which CRI stores an image of this name: `pause` is docker.io's.

    The rules are those of Docker's reference grammar ("familiar" names).
    """
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif first != "localhost" and not {".", ":"} & set(first):
        name = f"docker.io/{name}"
    tagged = ":" in name.rpartition("/")[2] or "@" in name
    return name if tagged else f"{name}:latest"


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.kill()
    # A client that hangs in the kernel is left to init; waiting for it would hang us too.
    with suppress(TimeoutError):
        async with asyncio.timeout(_KILL_SECONDS):
            await process.wait()
