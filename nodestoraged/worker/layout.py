"""An OCI image layout made of the blobs that lie in a content store.

Owns: which blobs an image consists of (OCI image-spec v1: image-index.md, manifest.md,
image-layout.md), and the tar stream.  May not know: who reads the stream.

The blobs are foreign data: sizes are bounded, digests are checked before they become names.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping

from nodestoraged.worker.blobs import is_blob_name
from nodestoraged.worker.failure import OperationFailed

__all__ = ["Layout"]

_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_NAME = "io.containerd.image.name"  # containerd's own annotation, which it trusts first
_DOCUMENT_BYTES = 8 << 20  # containerd's own limit for an index or a manifest
_DEPTH = 4  # an index may name an index
_CHUNK_BYTES = 1 << 20
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: uname's machine -> GOARCH; on another machine any platform counts
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}


class Layout:
    """The images that are whole, as one archive.  `directory` is the open `blobs/sha256`."""

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._blobs: dict[str, int] = {}  # name -> size, in the order of the archive
        self._manifests: list[Mapping[str, object]] = []
        self._architecture = _ARCHITECTURES.get(os.uname().machine)

    def __len__(self) -> int:
        """How many names will be in the archive."""
        return len(self._manifests)

    def add(self, name: str, digest: str) -> bool:
        """The image will be in the archive under `name`, or False: its blobs are not all there.

        An index is whole with one whole image for this machine; what is missing of others is
        left out, as it is after a pull.
        """
        found: dict[str, int] = {}
        document = self._document(digest, found)
        if document is None or not self._collect(document, found, _DEPTH):
            return False
        self._blobs.update(found)
        kind = document.get("mediaType")
        fallback = _INDEX_TYPE if "manifests" in document else _MANIFEST_TYPE
        self._manifests.append(
            {
                "mediaType": kind if isinstance(kind, str) else fallback,
                "digest": digest,
                "size": found[_blob_name(digest)],
                "annotations": {_NAME: name},
            }
        )
        return True

    def write(self, pipe: int) -> None:
        """The archive went into `pipe`; never more than a chunk of it is in memory."""
        index = {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": self._manifests}
        _write_entry(pipe, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        _write_entry(pipe, "index.json", json.dumps(index).encode())
        for name, size in self._blobs.items():
            self._write_blob(pipe, name, size)
        _write_all(pipe, bytes(1024))  # two empty records end an archive

    def _collect(self, document: Mapping[str, object], found: dict[str, int], depth: int) -> bool:
        """What the document refers to is in `found`; False if something that is needed is not."""
        children = document.get("manifests")
        if children is None:
            layers = document.get("layers")
            parts = [document.get("config"), *(layers if isinstance(layers, list) else [None])]
            return all(self._note(_digest(part), found) for part in parts)
        if not isinstance(children, list) or not depth:
            return False
        whole = False
        for child in children:
            beside: dict[str, int] = {}
            below = self._document(_digest(child), beside)
            if below is not None and self._collect(below, beside, depth - 1):
                found.update(beside)
                whole = whole or self._is_for_this_machine(child)
        return whole

    def _is_for_this_machine(self, descriptor: Mapping[str, object]) -> bool:
        platform = descriptor.get("platform")
        if self._architecture is None or not isinstance(platform, dict):
            return True
        return platform.get("architecture") == self._architecture

    def _document(self, digest: str, found: dict[str, int]) -> dict[str, object] | None:
        """The index or manifest of that digest, noted in `found`; None if it cannot be used."""
        if not self._note(digest, found):
            return None
        if found[_blob_name(digest)] > _DOCUMENT_BYTES:
            return None
        opened = os.open(_blob_name(digest), _FILE, dir_fd=self._directory)
        try:
            parsed = json.loads(os.read(opened, _DOCUMENT_BYTES))
        except (ValueError, RecursionError):
            return None
        finally:
            os.close(opened)
        return parsed if isinstance(parsed, dict) else None

    def _note(self, digest: str, found: dict[str, int]) -> bool:
        name = _blob_name(digest)
        if not is_blob_name(name):
            return False
        try:
            blob = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(blob.st_mode):
            return False
        found[name] = blob.st_size
        return True

    def _write_blob(self, pipe: int, name: str, size: int) -> None:
        opened = os.open(name, _FILE, dir_fd=self._directory)
        try:
            _write_all(pipe, _header(f"blobs/sha256/{name}", size))
            left = size
            while left:
                sent = os.sendfile(pipe, opened, None, min(left, _CHUNK_BYTES))
                if not sent:
                    raise OperationFailed("IoError", f"blob {name} ended {left} bytes too early")
                left -= sent
        finally:
            os.close(opened)
        _write_all(pipe, bytes(-size % 512))


def _digest(descriptor: object) -> str:
    found = descriptor.get("digest") if isinstance(descriptor, dict) else None
    return found if isinstance(found, str) else ""


def _blob_name(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _header(name: str, size: int) -> bytes:
    """A tar header; the size of more than 8 GiB takes GNU's binary form."""
    import tarfile  # would cost the warm process a mebibyte

    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o444
    return entry.tobuf(tarfile.GNU_FORMAT)


def _write_entry(pipe: int, name: str, data: bytes) -> None:
    _write_all(pipe, _header(name, len(data)) + data + bytes(-len(data) % 512))


def _write_all(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]
