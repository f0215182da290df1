"""Rules of the small leaf modules: peer credentials, notify, the lock file, system calls."""

import contextlib
import ctypes
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.linux import blockdev, lockfile, mount, notify, peercred


def test_the_peer_of_a_socket_pair_is_us() -> None:
    one, other = socket.socketpair()
    with one, other:
        found = peercred.peer_credentials(one)
    assert found == (os.getpid(), os.getuid(), os.getgid())


@contextlib.contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(2)
        yield manager


def test_notify_sends_to_a_path_and_to_an_abstract_name() -> None:
    with tempfile.TemporaryDirectory() as directory, listening(f"{directory}/n") as manager:
        assert notify.notify("READY=1", address=f"{directory}/n")
        assert manager.recv(100) == b"READY=1"
    name = f"nodestoraged-test-{os.getpid()}"
    with listening("\0" + name) as manager:
        assert notify.notify("STATUS=fine", address="@" + name)
        assert manager.recv(100) == b"STATUS=fine"


def test_notify_without_a_manager_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/socket")
    with pytest.raises(FileNotFoundError):
        notify.notify("READY=1")


def test_the_lock_is_held_by_one_and_not_by_what_it_starts(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    assert lockfile.holder(path) is None
    fd = lockfile.acquire(path)
    assert lockfile.holder(path) == os.getpid()
    with pytest.raises(BlockingIOError) as caught:
        lockfile.acquire(path)
    assert caught.value.filename == path
    with subprocess.Popen(["/bin/sleep", "60"], close_fds=False) as child:
        try:
            os.close(fd)
            os.close(acquire_soon(path))
        finally:
            child.kill()


def acquire_soon(path: str) -> int:
    # A started program closes the inherited fd within its exec, a moment after Popen returns.
    deadline = time.monotonic() + 5
    while True:
        try:
            return lockfile.acquire(path)
        except BlockingIOError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_lock_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        lockfile.acquire(str(tmp_path / "lock"))


def test_a_failed_call_is_an_oserror_with_errno_and_name() -> None:
    with pytest.raises(OSError, match="nosuchfs") as caught:
        mount.fsopen("nosuchfs")
    assert caught.value.errno in {1, 19}  # EPERM without rights, ENODEV with
    with pytest.raises(OSError, match="/nonexistent"):
        mount.umount("/nonexistent")


def test_without_a_wrapper_in_libc_the_raw_call_does_the_same() -> None:
    fsopen = mount._call("no_such_wrapper", 430, ctypes.c_char_p, ctypes.c_uint)
    with pytest.raises(OSError, match="nosuchfs") as caught:
        fsopen(b"nosuchfs", 1, filename="nosuchfs")
    assert caught.value.errno in {1, 19}


def test_an_open_file_knows_the_mount_that_it_lives_on() -> None:
    with Path("/proc/self/stat").open() as stream:
        assert mount.mount_id_of_fd(stream.fileno()) > 0


def test_what_is_no_block_device_is_not_pinned() -> None:
    with pytest.raises(OSError, match=r"[Bb]lock device"):
        blockdev.open_pinned("/dev/null")


def test_an_absent_device_is_not_there_and_has_no_name() -> None:
    assert blockdev.kernel_name(4095, 7) is None
    assert blockdev.sysfs_diskseq(4095, 7) is None
    assert not blockdev.present_with_diskseq(4095, 7, 1)
    assert not blockdev.present_with_diskseq(4095, 7, None)
    assert blockdev.superblock_alive("no-such-device") is None
