"""Carries images over a loss of the runtime's metadata, or to an empty root.

Owns the list of images that a wash forgets, and the archives of the pinned ones.  Speaks to
containerd by a session and by `ctr`; what lies in a root is read in a child of the worker.

After `wash(containers)` the blobs are there and nobody knows them: `remember` before the stop,
`recall` after the start, **before any other import** (see `worker/operations_images.py`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nodestoraged.adapters.children import Children
from nodestoraged.adapters.durable import put_in_place
from nodestoraged.adapters.program import run_program
from nodestoraged.adapters.runtimes.sandbox_images import SandboxImages
from nodestoraged.adapters.runtimes.session import RuntimeSession
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.model.imagefs import KUBERNETES_NAMESPACE, KeptImage

__all__ = ["CarriedImage", "ImageCarry", "Recalled"]

#: containerd's CRI plugin, from 1.7 on: kubelet's collector spares such an image.
_PINNED = "io.cri-containerd.pinned"
_LIST = "remembered.json"
_PINNED_LIST = "pinned.json"
_PASSED_LIST = "recalling.json"
_SCHEMA = 1
#: CRI makes this name by itself, the digest of the image's configuration, for each that comes.
_ID_PREFIX = "sha256:"
_LOCAL_PREFIX = "localhost/"
_DIGEST_MARK = "@sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedImage:
    """One name in k8s.io.  `labelled`: pinned by a label, which must come back with it."""

    name: str
    digest: str
    pinned: bool
    labelled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """What a recall did: names that are known again, and names whose blobs are not whole."""

    count: int
    missing: tuple[str, ...]


class ImageCarry:
    """The images of one role's runtime.  One caller at a time: these are steps of an operation.

    `directory` is on the root disk and holds the list; `directory/pinned` the archives.
    """

    def __init__(
        self,
        children: Children,
        socket_path: str,
        directory: Path,
        *,
        ctr: Sequence[str] = ("ctr",),
    ) -> None:
        self._children = children
        self._directory = directory
        self._command = (*ctr, "-a", socket_path, "-n", KUBERNETES_NAMESPACE)
        self._archive = SandboxImages(socket_path, directory / "pinned", ctr=ctr)

    async def images(
        self, session: RuntimeSession, *, deadline_seconds: float
    ) -> tuple[CarriedImage, ...]:
        """All images of k8s.io by name; pinned by label, by CRI, or by a `localhost/` name."""
        stored = await session.images(deadline_seconds=deadline_seconds)
        by_cri = await session.pinned_images(deadline_seconds)
        with_label = ("ls", "-q", f'labels."{_PINNED}"==pinned')
        said = await self._ctr("RuntimeRefused", with_label, deadline_seconds)
        labelled = frozenset(said.splitlines())
        return tuple(
            CarriedImage(
                name=each.name,
                digest=each.digest,
                pinned=each.name in labelled
                or each.name in by_cri
                or each.name.startswith(_LOCAL_PREFIX),
                labelled=each.name in labelled,
            )
            for each in sorted(stored, key=lambda image: image.name)
            if not each.name.startswith(_ID_PREFIX)
        )

    async def remember(
        self, session: RuntimeSession, *, deadline_seconds: float
    ) -> tuple[CarriedImage, ...]:
        """The list of all images is on the root disk and outlives us; the runtime must answer."""
        found = await self.images(session, deadline_seconds=deadline_seconds)
        await self._write(self._list, found)
        return found

    async def recall(self, root: str, *, deadline_seconds: float) -> Recalled | None:
        """The runtime, started on the washed `root`, knows the remembered images; None: no list.

        Names that it has already stay what they are, so an old list does no harm.  The list is
        kept until all is done, so that it can be asked for again.  Images are unpacked when a
        container first wants them.  ImagesNotRecalled, StepTimeout.
        """
        remembered = _read(self._list)
        if remembered is None:
            return None
        before = await self._names(deadline_seconds)
        wanted = [each for each in remembered if each.name not in before]
        recalled = await self._import(root, wanted, deadline_seconds)
        came = await self._names(deadline_seconds) - before
        labelled = [each.name for each in wanted if each.labelled and each.name in came]
        await self._label(labelled, deadline_seconds)
        self.forget()
        return recalled

    def forget(self) -> None:
        """There is no remembered list any more."""
        self._list.unlink(missing_ok=True)

    async def keep_pinned(
        self, session: RuntimeSession, *, deadline_seconds: float
    ) -> tuple[KeptImage, ...]:
        """The pinned images, and no others, are archived on the root disk.

        One name of each: a name by digest is left out where a tag has the same image.
        SandboxImageNotSaved, StepTimeout.
        """
        images = await self.images(session, deadline_seconds=deadline_seconds)
        tagged = {each.digest for each in images if each.pinned and _DIGEST_MARK not in each.name}
        wanted = [
            each
            for each in images
            if each.pinned and not (_DIGEST_MARK in each.name and each.digest in tagged)
        ]
        kept = [
            await self._archive.keep(each.name, each.digest, deadline_seconds=deadline_seconds)
            for each in wanted
        ]
        await self._archive.forget_others([each.name for each in kept])
        await self._write(self._directory / _PINNED_LIST, wanted)
        return tuple(kept)

    async def restore_pinned(
        self, session: RuntimeSession, *, deadline_seconds: float
    ) -> tuple[str, ...]:
        """Every archived image is in the root in force; the names of those that had to come."""
        present = {each.name for each in await session.images(deadline_seconds=deadline_seconds)}
        came = []
        for each in self._archive.kept():
            if each.name not in present:
                await self._archive.restore(each.name, deadline_seconds=deadline_seconds)
                came.append(each.name)
        pinned = _read(self._directory / _PINNED_LIST) or ()
        labelled = [each.name for each in pinned if each.labelled]
        await self._label([name for name in came if name in labelled], deadline_seconds)
        return tuple(came)

    @property
    def _list(self) -> Path:
        return self._directory / _LIST

    async def _import(
        self, root: str, wanted: Sequence[CarriedImage], deadline_seconds: float
    ) -> Recalled:
        # Through a file: a packet to the worker holds the names of a few hundred images only.
        passed = self._directory / _PASSED_LIST
        await self._write(passed, wanted)
        arguments = {
            "root": root,
            "images": str(passed),
            "import": [*self._command, "images", "import", "--no-unpack", "-"],
        }
        found = await self._children.call(
            "recall_images", arguments, deadline_seconds=deadline_seconds
        )
        missing, count = found.get("missing"), found.get("recalled")
        assert isinstance(missing, list)
        assert isinstance(count, int)
        return Recalled(count=count, missing=tuple(map(str, missing)))

    async def _write(self, path: Path, images: Sequence[CarriedImage]) -> None:
        entries = [asdict(each) for each in images]
        text = json.dumps({"schema": _SCHEMA, "images": entries}, indent=1) + "\n"
        try:
            await asyncio.to_thread(_store, path, text)
        except OSError as error:
            raise StepError("StateNotSaved", f"{path}: {error.strerror}") from None

    async def _names(self, deadline_seconds: float) -> frozenset[str]:
        said = await self._ctr("ImagesNotRecalled", ("ls", "-q"), deadline_seconds)
        return frozenset(said.splitlines())

    async def _label(self, names: Sequence[str], deadline_seconds: float) -> None:
        for name in names:
            words = ("label", "--", name, f"{_PINNED}=pinned")
            await self._ctr("ImagesNotRecalled", words, deadline_seconds)

    async def _ctr(self, reason: str, arguments: Sequence[str], deadline_seconds: float) -> str:
        """`ctr images …` ended with 0; what it wrote."""
        argv = [*self._command, "images", *arguments]
        what = f"ctr images {arguments[0]}"
        try:
            finished = await run_program(argv, deadline_seconds=deadline_seconds)
        except TimeoutError:
            text = f"{what} did not end within {deadline_seconds:g} s"
            raise StepTimeout(reason, text) from None
        except OSError as error:
            raise StepError(reason, f"{argv[0]}: {error.strerror}") from None
        if finished.exit_code != 0:
            raise StepError(reason, f"{what}: {finished.complaint}")
        return finished.stdout


def _read(path: Path) -> tuple[CarriedImage, ...] | None:
    """The list in the file; None if there is none, or none that can be read."""
    try:
        images = json.loads(path.read_bytes())["images"]
        return tuple(
            CarriedImage(
                name=str(each["name"]),
                digest=str(each["digest"]),
                pinned=bool(each["pinned"]),
                labelled=bool(each["labelled"]),
            )
            for each in images
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _store(path: Path, text: str) -> None:
    """The file is whole and on the disk, after a power cut too."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    put_in_place(partial, path)
