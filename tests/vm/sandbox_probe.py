"""Runs in the guest, inside the sandbox of the shipped unit: does what the daemon does, tells how.

Arguments: the device of a stick that comes later, a pid of another user, containerd's pid, and the
file for the report.  Each thing done is a key of the report: "ok" or the error's name.
"""

import ctypes
import errno
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from nodestoraged.linux import mount

DEVICE, FOREIGN_PID, RUNTIME_PID, REPORT = sys.argv[1:]
TARGET = Path("/mnt/probe")
SO_RCVBUFFORCE = 33
FS_IOC_SETFLAGS, FS_IMMUTABLE_FL = 0x40086602, 0x10
PROT_WRITE_EXEC, MAP_PRIVATE_ANONYMOUS = 0x6, 0x22


def root_mount_id(pid: str) -> str:
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return next(line.split()[0] for line in lines if line.split()[4] == "/")


def same_namespace() -> None:
    assert root_mount_id("self") == root_mount_id("1") == root_mount_id(RUNTIME_PID)


def stick_comes() -> None:
    deadline = time.monotonic() + 60
    while not Path(DEVICE).exists():
        assert time.monotonic() < deadline, "no stick"
        time.sleep(0.2)


def read_device() -> None:
    fd = os.open(DEVICE, os.O_RDONLY | os.O_CLOEXEC)
    assert len(os.read(fd, 4096)) == 4096
    os.close(fd)


def fsck() -> None:
    done = subprocess.run(["e2fsck", "-p", DEVICE], capture_output=True, check=False)
    assert done.returncode in {0, 1}, done.stderr


def mount_stick() -> None:
    TARGET.mkdir(exist_ok=True)
    context = mount.fsopen("ext4")
    mount.fsconfig_string(context, "source", DEVICE)
    mount.fsconfig_string(context, "errors", "remount-ro")
    mount.fsconfig_create(context)
    mount.attach(mount.fsmount(context, 0x16), os.open(TARGET, os.O_PATH))
    TARGET.joinpath("written").write_text("yes")


def give_away() -> None:
    os.chown(TARGET / "written", 12, 34)
    TARGET.joinpath("written").chmod(0o640)


def make_immutable() -> None:
    fd = os.open(TARGET / "written", os.O_RDONLY)
    for flags in (FS_IMMUTABLE_FL, 0):
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", flags))
    os.close(fd)


def signal_another_user() -> None:
    os.kill(int(FOREIGN_PID), 0)


def see_locks() -> None:
    assert any(f" {RUNTIME_PID} " in line for line in Path("/proc/locks").read_text().splitlines())


def ask_kubelet() -> None:
    with urllib.request.urlopen("http://127.0.0.1:10248/healthz", timeout=5) as answer:
        assert answer.status == 200


def ask_systemd() -> None:
    subprocess.run(["systemctl", "is-active", "containerd"], capture_output=True, check=True)


def ask_containerd() -> None:
    command = ["ctr", "--namespace", "k8s.io", "images", "list", "-q"]
    assert subprocess.run(command, capture_output=True, check=True).stdout


def import_vendors() -> None:
    import dbus_next  # noqa: F401
    import grpc  # noqa: F401
    import pyudev

    monitor = pyudev.Monitor.from_netlink(pyudev.Context())
    monitor.start()


def force_uevent_buffer() -> None:
    # Takes CAP_NET_ADMIN: the buffer ends at net.core.rmem_max, and an overrun means a rescan.
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as uevents:
        uevents.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)


def make_device_node() -> None:
    os.mknod("/run/nodestoraged/node", 0o60600, os.makedev(8, 0))


def leave_the_host() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("10.0.2.2", 9))


def speak_ipv6() -> None:
    socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()


def make_namespace() -> None:
    subprocess.run(["unshare", "--uts", "true"], capture_output=True, check=True)


def write_and_execute() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    got = libc.mmap(None, 4096, PROT_WRITE_EXEC | 1, MAP_PRIVATE_ANONYMOUS, -1, 0)
    if got == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")


NEEDED = (
    same_namespace, stick_comes, read_device, fsck, mount_stick, give_away, make_immutable,
    signal_another_user, see_locks, ask_kubelet, ask_systemd, ask_containerd, import_vendors,
)  # fmt: skip
REFUSED = (
    make_device_node, leave_the_host, speak_ipv6, make_namespace, write_and_execute,
    force_uevent_buffer,
)  # fmt: skip


def outcome(act) -> str:
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


report = {
    part: {act.__name__: outcome(act) for act in acts}
    for part, acts in (("needed", NEEDED), ("refused", REFUSED))
}
Path(REPORT).write_text(json.dumps(report))
