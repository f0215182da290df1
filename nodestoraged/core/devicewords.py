"""A device described in words, for `plan --with`: `label=containerd-opt,size=32GiB,fstype=ext4`."""

from __future__ import annotations

from nodestoraged.model.device import BlockDevice, DeviceNumber
from nodestoraged.model.errors import RequestError

_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "B": 1}
_TEXTS = frozenset({"label", "partlabel", "fstype", "uuid", "serial", "model", "devnode"})


def parse(text: str, *, labels: tuple[str, ...], inserted: int) -> BlockDevice:
    """The device that `text` describes, as if it were inserted now.

    What is not said is what a good stick would have.  `RequestError` names a word that does not
    fit.
    """
    words: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, mark, value = part.partition("=")
        if not mark or key not in _TEXTS | {"size"}:
            raise RequestError(
                "BadDescription",
                f"{part!r} describes no device",
                f"KEY=VALUE with {', '.join(sorted(_TEXTS | {'size'}))}",
            )
        words[key] = value
    return BlockDevice(
        devnode=words.get("devnode", "/dev/new"),
        number=DeviceNumber(0, 0),
        diskseq=None,
        disk=words.get("devnode", "/dev/new"),
        size_bytes=_size(words.get("size", "32GiB")),
        fstype=words.get("fstype", "ext4"),
        uuid=words.get("uuid", "00000000-0000-0000-0000-000000000000"),
        label=words.get("label", labels[0]),
        partlabel=words.get("partlabel"),
        serial=words.get("serial"),
        model=words.get("model"),
        inserted=inserted,
    )


def _size(text: str) -> int:
    for unit, factor in _UNITS.items():
        number = text.removesuffix(unit)
        if number != text and number.isdecimal():
            return int(number) * factor
    raise RequestError("BadDescription", f"{text!r} is not a size", "for example size=32GiB")
