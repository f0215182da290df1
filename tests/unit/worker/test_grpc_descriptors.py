"""The shipped descriptor set is what protoc makes of the .proto files, and can be used."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from nodestoraged.worker.grpc import descriptors

PROTO = Path(descriptors.__file__).parent / "proto"


def test_the_shipped_set_equals_what_protoc_makes(tmp_path: Path) -> None:
    made = tmp_path / "wire.binpb"
    subprocess.run(
        [
            "protoc",
            f"--proto_path={PROTO}",
            "--include_imports",
            f"--descriptor_set_out={made}",
            "cri.proto",
            "containerd.proto",
        ],
        check=True,
        timeout=30,
    )
    compiled = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes())
    shipped = descriptors.descriptor_set()

    # As messages, file by file: releases of protoc differ in order and in json_name only.
    assert [by_name(file) for file in files(shipped)] == [by_name(file) for file in files(compiled)]


def files(them: descriptor_pb2.FileDescriptorSet) -> list[descriptor_pb2.FileDescriptorProto]:
    return sorted(them.file, key=lambda file: file.name)


def by_name(file: descriptor_pb2.FileDescriptorProto) -> str:
    plain = descriptor_pb2.FileDescriptorProto()
    plain.CopyFrom(file)
    pending = list(plain.message_type)
    while pending:
        message = pending.pop()
        pending.extend(message.nested_type)
        for field in message.field:
            field.ClearField("json_name")
    return str(plain)


def test_every_message_can_be_made_and_read_back() -> None:
    names = [
        f"{file.package}.{message.name}"
        for file in descriptors.descriptor_set().file
        for message in file.message_type
    ]

    assert len(names) > 40
    for name in names:
        message = descriptors.message(name)
        assert message.FromString(message().SerializeToString()) == message()


def test_an_unknown_message_is_an_error() -> None:
    with pytest.raises(KeyError):
        descriptors.cri("NoSuchRequest")


def test_the_wire_format_is_cri_s_own() -> None:
    # Bytes as a containerd 1.6.20 sent them: mountpoint /r, a timestamp, an empty used_bytes.
    answer = bytes.fromhex("0a0a08011204" + "0a022f72" + "1a00")
    read = descriptors.cri("ImageFsInfoResponse").FromString(answer)

    (usage,) = read.image_filesystems
    assert (usage.timestamp, usage.fs_id.mountpoint) == (1, "/r")
    assert usage.HasField("used_bytes")
    assert usage.used_bytes.value == 0


def test_fields_of_a_newer_cri_are_passed_over() -> None:
    # StatusResponse with runtime_handlers (3) and features (4), which we do not declare.
    answer = bytes.fromhex("0a020a00" + "1a00" + "2200")
    read = descriptors.cri("StatusResponse").FromString(answer)

    assert len(read.status.conditions) == 1
