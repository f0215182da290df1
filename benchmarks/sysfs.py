"""A thousand labelled disks that are files only: a sysfs and a udev database of one's own.

Real ones would be attached, scanned and torn down by every udevd of the machine.  libudev reads the
same names here as on a node; only to be called in a private mount namespace.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

LABEL = "containerd-opt"
_SYS, _DATABASE = Path("/sys"), Path("/run/udev/data")
_PROPERTIES = """\
S:disk/by-label/{label}
I:1000000
E:ID_SERIAL_SHORT=SN{number:06}
E:ID_MODEL_ENC=Flash\\x20Disk
E:ID_VENDOR_ENC=Maker
E:ID_USB_VENDOR_ID=0781
E:ID_USB_MODEL_ID=5581
E:ID_BUS=usb
E:ID_PATH=pci-0000:00:14.0-usb-0:{number}:1.0-scsi-0:0:0:0
E:ID_FS_UUID=00000000-0000-4000-8000-{number:012x}
E:ID_FS_LABEL={label}
E:ID_FS_LABEL_ENC={label}
E:ID_FS_TYPE=ext4
E:ID_FS_USAGE=filesystem
G:systemd
"""


def replace(count: int) -> None:
    """/sys shows `count` disks and nothing else, and udev's database knows them."""
    # sd-device(3) asks for a real sysfs unless told otherwise (systemd's ENVIRONMENT.md).
    os.environ["SYSTEMD_DEVICE_VERIFY_SYSFS"] = "0"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(_SYS)], check=True, timeout=10)
    for directory in ("class/block", "dev/block", "devices/virtual/block", "bus", "block"):
        (_SYS / directory).mkdir(parents=True)
    _DATABASE.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        _add(number)


def _add(number: int) -> None:
    name = f"vd{number}"
    major, minor = 240 + number // 256, number % 256
    directory = _SYS / "devices/virtual/block" / name
    (directory / "holders").mkdir(parents=True)
    files = {
        "size": "8388608",
        "ro": "0",
        "diskseq": str(number + 1),
        "dev": f"{major}:{minor}",
        "uevent": f"MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\nDEVTYPE=disk\n"
        f"DISKSEQ={number + 1}",
    }
    for file, text in files.items():
        (directory / file).write_text(f"{text}\n")
    (directory / "subsystem").symlink_to("../../../../class/block")
    (_SYS / "class/block" / name).symlink_to(f"../../devices/virtual/block/{name}")
    (_SYS / "dev/block" / f"{major}:{minor}").symlink_to(f"../../devices/virtual/block/{name}")
    properties = _PROPERTIES.format(label=LABEL, number=number)
    (_DATABASE / f"b{major}:{minor}").write_text(properties)
