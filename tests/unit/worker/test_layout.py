"""Which blobs make an image, and the archive that is made of them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import threading
from pathlib import Path

import pytest

from nodestoraged.worker.layout import Layout

HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "amd64")


class Store:
    """A directory of blobs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.layout = Layout(os.open(path, os.O_RDONLY))

    def add(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        (self.path / name).write_bytes(data)
        return f"sha256:{name}"

    def document(self, value: object) -> str:
        return self.add(json.dumps(value).encode())

    def image(self, word: bytes) -> str:
        layers = [{"digest": self.add(word + b"-layer" * 1000)}, {"digest": self.add(word)}]
        config = {"digest": self.add(word + b"-config")}
        return self.document({"schemaVersion": 2, "config": config, "layers": layers})

    def remove(self, digest: str) -> None:
        (self.path / digest.removeprefix("sha256:")).unlink()

    def archive(self) -> dict[str, bytes]:
        read_end, write_end = os.pipe()
        found = io.BytesIO()

        def read() -> None:
            with os.fdopen(read_end, "rb") as stream:
                found.write(stream.read())

        reader = threading.Thread(target=read)
        reader.start()
        self.layout.write(write_end)
        os.close(write_end)
        reader.join()
        found.seek(0)
        with tarfile.open(fileobj=found) as tar:
            members = {member.name: tar.extractfile(member) for member in tar}
            return {name: file.read() for name, file in members.items() if file is not None}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_the_archive_holds_each_blob_once_under_its_digest(store: Store) -> None:
    digest = store.image(b"one")
    assert store.layout.add("registry/one:1", digest)
    assert store.layout.add("registry/other-name:1", digest)

    files = store.archive()

    blobs = {name for name in files if name.startswith("blobs/")}
    assert blobs == {f"blobs/sha256/{path.name}" for path in store.path.iterdir()}
    for name in blobs:
        assert hashlib.sha256(files[name]).hexdigest() == name.rpartition("/")[2]
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    manifests = json.loads(files["index.json"])["manifests"]
    names = [each["annotations"]["io.containerd.image.name"] for each in manifests]
    assert names == ["registry/one:1", "registry/other-name:1"]
    assert {each["digest"] for each in manifests} == {digest}
    assert manifests[0]["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifests[0]["size"] == len(files["blobs/sha256/" + digest.removeprefix("sha256:")])


def test_the_media_type_of_a_docker_image_is_its_own(store: Store) -> None:
    config = {"digest": store.add(b"config")}
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    digest = store.document({"mediaType": kind, "config": config, "layers": []})
    assert store.layout.add("x", digest)
    assert json.loads(store.archive()["index.json"])["manifests"][0]["mediaType"] == kind


@pytest.mark.parametrize("absent", [b"one-config", b"one", b"one-layer"])
def test_an_image_of_which_one_blob_is_absent_is_left_out(store: Store, absent: bytes) -> None:
    digest = store.image(b"one")
    data = b"one" + b"-layer" * 1000 if absent == b"one-layer" else absent
    store.remove("sha256:" + hashlib.sha256(data).hexdigest())

    assert not store.layout.add("x", digest)
    assert len(store.layout) == 0


def index(*children: tuple[str, str]) -> dict[str, object]:
    return {
        "manifests": [
            {"digest": digest, "platform": {"architecture": machine, "os": "linux"}}
            for digest, machine in children
        ]
    }


def test_an_index_needs_the_image_for_this_machine_only(store: Store) -> None:
    ours, theirs = store.image(b"ours"), store.image(b"theirs")
    store.remove(theirs)
    digest = store.document(index((theirs, "s390x"), (ours, HERE)))

    assert store.layout.add("x", digest)
    names = store.archive()
    assert f"blobs/sha256/{ours.removeprefix('sha256:')}" in names
    assert f"blobs/sha256/{theirs.removeprefix('sha256:')}" not in names


def test_an_index_for_other_machines_alone_is_left_out(store: Store) -> None:
    digest = store.document(index((store.image(b"theirs"), "s390x")))
    assert not store.layout.add("x", digest)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no json",
        b"[]",
        b'"text"',
        b"{}",
        b'{"config": 1, "layers": 2}',
        b'{"config": {"digest": "sha256:../../../etc/passwd"}, "layers": []}',
        b'{"config": {"digest": ["x"]}, "layers": []}',
        b'{"manifests": {}}',
        b'{"manifests": [1, null, {}]}',
        b'{"config": {}, "layers": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_a_manifest_that_makes_no_sense_is_left_out(store: Store, data: bytes) -> None:
    assert not store.layout.add("x", store.add(data))


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:..", "sha512:" + "a" * 128, "a/b"])
def test_a_digest_that_is_none_never_becomes_a_path(store: Store, digest: str) -> None:
    assert not store.layout.add("x", digest)


def test_a_link_is_no_blob(store: Store, tmp_path: Path) -> None:
    digest = store.image(b"one")
    config = hashlib.sha256(b"one-config").hexdigest()
    (tmp_path / config).rename(tmp_path / "aside")
    (tmp_path / config).symlink_to(tmp_path / "aside")
    assert not store.layout.add("x", digest)


def test_an_index_that_names_itself_ends(store: Store, tmp_path: Path) -> None:
    name = "a" * 64
    (tmp_path / name).write_text(json.dumps(index((f"sha256:{name}", HERE))))
    assert not store.layout.add("x", f"sha256:{name}")
