"""The messages on the wire, built at run time from a FileDescriptorSet.

Owns the protobuf descriptor pool.  No generated code: that would tie us to one protobuf
release, while Debian 12 has 3.21 and PyPI is at 7.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

#: A message or a message class: its fields are known only at run time, to nobody's type checker.
#: It goes no further than the modules that turn it into JSON values.
Message: TypeAlias = Any


def descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    """The shipped set, as `make proto` compiled it."""
    packaged = resources.files(__package__).joinpath("proto", "wire.binpb")
    return descriptor_pb2.FileDescriptorSet.FromString(packaged.read_bytes())


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    # A pool of our own: nothing else in the process can collide with our file names.
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_set().file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def message(full_name: str) -> Message:
    """The class of one message, e.g. `nodestorage.cri.VersionRequest`; KeyError if unknown."""
    descriptor = _pool().FindMessageTypeByName(full_name)
    factory: Message = message_factory  # its type stubs know only the newest protobuf
    if hasattr(factory, "GetMessageClass"):  # protobuf >= 4.22
        return factory.GetMessageClass(descriptor)
    return factory.MessageFactory(_pool()).GetPrototype(descriptor)


def cri(name: str) -> Message:
    """A message of cri.proto by its short name."""
    return message(f"nodestorage.cri.{name}")


def containerd(name: str) -> Message:
    """A message of containerd.proto by its short name."""
    return message(f"nodestorage.containerd.{name}")
