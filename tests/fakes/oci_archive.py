"""Container images without a registry: OCI archives made from Debian's static busybox.

Owns the two images that the tests and the demo run: the sandbox ("pause") image and the application
image. Uses the standard library only, needs no compiler, and gives the same bytes for the same
busybox. Knows nothing of a runtime: `ctr -n k8s.io images import FILE` reads the result.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import platform
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

PAUSE_REFERENCE = "localhost/nodestorage/pause:1"
APP_REFERENCE = "localhost/nodestorage/app:1"

# PID 1 of a container ignores signals without a handler: a bare `sleep` would eat the whole grace
# period at each stop. The shell's trap is a handler, and `wait` returns at once on a signal.
_IDLE = "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait; done"
_APPLETS = ("sh", "sleep", "cat", "ls", "mkdir", "touch", "dd", "echo", "date", "rm", "stat")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """One image to make: its full reference, and extra bytes that enlarge its layer (0: none)."""

    reference: str
    padding_bytes: int = 0


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def _layer(busybox: Path, padding_bytes: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for directory in ("bin", "etc", "tmp", "proc", "sys", "dev"):
            info = tarfile.TarInfo(directory)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        _add(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        if padding_bytes:
            block = hashlib.sha256(b"padding").digest() * 2048
            data = (block * (padding_bytes // len(block) + 1))[:padding_bytes]
            _add(tar, "etc/padding", data)
    return buffer.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    return {"mediaType": media_type, "digest": digest, "size": len(blob)}


def write_archive(target: Path, spec: ImageSpec, busybox: Path = Path("/bin/busybox")) -> None:
    """Write the OCI archive of `spec` to `target` (layout: OCI image-spec v1, image-layout.md).

    The entry point idles and ends at once on SIGTERM. `busybox` must be statically linked, and of
    this machine's architecture. Raises OSError when it cannot be read or `target` not be written.
    """
    layer = _layer(busybox, spec.padding_bytes)
    layer_descriptor = _descriptor(_LAYER_TYPE, layer)
    config = _json(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Entrypoint": ["/bin/busybox", "sh", "-c", _IDLE], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [layer_descriptor["digest"]]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_TYPE,
            "config": _descriptor(_CONFIG_TYPE, config),
            "layers": [layer_descriptor],
        }
    )
    entry = _descriptor(_MANIFEST_TYPE, manifest)
    # containerd takes the image's name from its own annotation first, others from the OCI one.
    entry["annotations"] = {
        "io.containerd.image.name": spec.reference,
        "org.opencontainers.image.ref.name": spec.reference.rpartition(":")[2],
    }
    index = _json({"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": [entry]})
    with tarfile.open(target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", index)
        for blob in (config, layer, manifest):
            _add(tar, "blobs/sha256/" + hashlib.sha256(blob).hexdigest(), blob)


def write_default_archives(directory: Path) -> tuple[Path, Path]:
    """Write `pause.tar` and `app.tar` into `directory` and return their paths in this order."""
    pause, app = directory / "pause.tar", directory / "app.tar"
    write_archive(pause, ImageSpec(reference=PAUSE_REFERENCE))
    # One more byte, so that the two images do not share their layer's digest.
    write_archive(app, ImageSpec(reference=APP_REFERENCE, padding_bytes=1))
    return pause, app


def main() -> None:
    """Write both archives into the directory that is named on the command line."""
    parser = argparse.ArgumentParser(description="Make the pause and the app image archives.")
    parser.add_argument("directory", type=Path)
    for path in write_default_archives(parser.parse_args().directory):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
