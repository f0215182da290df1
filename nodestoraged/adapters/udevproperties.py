"""What udev's database and sysfs say of one device, as values.

Owns: the encodings of udev and the files of sysfs.  May not know: which devices matter.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from nodestoraged.model.device import DeviceNumber

_SECTOR_BYTES = 512
_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")
#: `…-usb-BUS:PORT:CONFIGURATION.INTERFACE…` of an ID_PATH.
_USB_PORT = re.compile(r"-usb-[0-9]+:([0-9.]+):")


class Found(Protocol):
    """A device as the library for udev hands it out."""

    @property
    def device_node(self) -> str | None:
        """The path in /dev."""
        ...

    @property
    def device_number(self) -> int:
        """As stat(2) has it."""
        ...

    @property
    def device_type(self) -> str | None:
        """`disk` or `partition`."""
        ...

    @property
    def sys_path(self) -> str:
        """Its directory in sysfs."""
        ...

    @property
    def is_initialized(self) -> bool:
        """udev has looked at it."""
        ...

    @property
    def properties(self) -> Mapping[str, str]:
        """Reading one that is not text raises UnicodeDecodeError."""
        ...


def told(found: Found, name: str) -> str | None:
    """The property; None if it is absent, empty, or not text in this locale."""
    try:
        value = found.properties.get(name)
    except UnicodeDecodeError:
        return None
    return value or None


def number(found: Found) -> DeviceNumber:
    """The kernel's device number."""
    raw = found.device_number
    return DeviceNumber(os.major(raw), os.minor(raw))


def label(found: Found) -> str | None:
    """The file system's label."""
    return _decoded(told(found, "ID_FS_LABEL_ENC"))


def partlabel(found: Found) -> str | None:
    """The partition's name in the table."""
    return _decoded(told(found, "ID_PART_ENTRY_NAME"))


def model(found: Found) -> str | None:
    """Vendor and model, as far as the disk tells."""
    words = (_decoded(told(found, name)) for name in ("ID_VENDOR_ENC", "ID_MODEL_ENC"))
    return " ".join(word.strip() for word in words if word and word.strip()) or None


def usb_id(found: Found) -> str | None:
    """`vid:pid` of a USB device."""
    vendor, product = told(found, "ID_USB_VENDOR_ID"), told(found, "ID_USB_MODEL_ID")
    return f"{vendor}:{product}" if vendor and product else None


def port(path: str | None) -> str | None:
    """The USB port of an ID_PATH (`…-usb-0:1.2:1.0-scsi-…` gives `1.2`), else the path itself."""
    if path is None:
        return None
    found = _USB_PORT.search(path)
    return found[1] if found else path


def diskseq(found: Found) -> int | None:
    """The kernel's count of the whole disk's insertions."""
    value = told(found, "DISKSEQ")
    return int(value) if value else sysfs_diskseq(Path(found.sys_path))


def sysfs_diskseq(directory: Path) -> int | None:
    """The same from sysfs, which has it on the whole disk only."""
    for place in (directory, directory.resolve().parent):
        value = _text(place / "diskseq")
        if value:
            return int(value)
    return None


def size_bytes(directory: Path) -> int:
    """0 without a medium, and for what just went."""
    value = _text(directory / "size")
    return int(value) * _SECTOR_BYTES if value else 0


def read_only(directory: Path) -> bool:
    """True if the kernel refuses writes."""
    return _text(directory / "ro") == "1"


def holders(directory: Path) -> tuple[str, ...]:
    """The kernel's names of the devices that are made of this one."""
    return _names(directory / "holders")


def slaves(directory: Path) -> tuple[str, ...]:
    """The kernel's names of the devices that this one is made of."""
    return _names(directory / "slaves")


def _decoded(encoded: str | None) -> str | None:
    r"""A label from its `_ENC` form: udev writes every doubtful byte as \xNN."""
    if not encoded:
        return None
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), encoded.encode())
    return codecs.decode(raw, "utf-8", "backslashreplace").rstrip(" ")


def _names(directory: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in directory.iterdir()))
    except OSError:
        return ()


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
