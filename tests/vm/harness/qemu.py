"""One QEMU process: its command line, its bounded life, its monitor, its disk overlays.

Owns the process. Knows nothing of ssh, sticks or what runs in the guest.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tests.vm.harness.errors import HarnessError
from tests.vm.harness.qmp import Qmp

Cache = Literal["unsafe", "writeback", "writethrough"]
PROGRAM: Final = "qemu-system-x86_64"
_START_SECONDS: Final = 30.0
# Modules for hardware and sockets that nothing here uses; each costs time on an emulated CPU.
_UNUSED_MODULES: Final = (
    "aesni_intel,ghash_clmulni_intel,sha512_ssse3,sha256_ssse3,sha1_ssse3,crct10dif_pclmul",
    "crc32_pclmul,polyval_clmulni,psmouse,i2c_piix4,parport_pc,ppdev,pcspkr,floppy,evdev,joydev",
    "serio_raw,ata_piix,ata_generic,libata,qemu_fw_cfg,kvm,kvm_amd,kvm_intel,ccp,cfg80211,vsock",
)
# net.ifnames=0: the one network card is eth0 whatever its slot. The rest saves boot time: a third
# of the CPU seconds, measured.
_KERNEL_ARGUMENTS: Final = (
    "console=ttyS0",
    "net.ifnames=0",
    "panic=10",
    "mitigations=off",
    "apparmor=0",
    "selinux=0",
    "audit=0",
    "random.trust_cpu=on",
    "loglevel=4",
    "systemd.show_status=auto",
    "rcupdate.rcu_expedited=1",
    "tsc=reliable",
    "no_timer_check",
    "cryptomgr.notests",
    "nokaslr",
    # Equal addresses in all processes: code that is translated once serves them all, and a process
    # starts in a third of the time.
    "norandmaps",
    "init_on_alloc=0",
    f"modprobe.blacklist={','.join(_UNUSED_MODULES)}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QemuOptions:
    """What a machine is made of. The same options are needed to restore a saved state.

    `cache` is how the root disk is written: "unsafe" ignores the guest's flushes (fast; the disk
    is not consistent after a power cut), "writeback" honours them like a disk with a cache,
    "writethrough" completes no write before it is on the host. `max_minutes` is the longest life
    of one QEMU process; it is killed then.
    """

    kernel: Path
    initrd: Path
    memory_mib: int
    cpus: int
    cache: Cache
    max_minutes: float
    kernel_arguments: tuple[str, ...]


class QemuProcess:
    """A started QEMU, paused until `qmp.command("cont")`.

    It dies with the thread that started it (parent-death signal) and after `max_minutes` (the
    `timeout` around it, which dies with that thread as well).
    """

    def __init__(
        self,
        options: QemuOptions,
        *,
        overlay: Path,
        directory: Path,
        ssh_port: int,
        incoming: Path | None = None,
    ) -> None:
        self._pid_file = directory / "qemu.pid"
        monitor = directory / "qmp"
        for path in (self._pid_file, monitor):
            path.unlink(missing_ok=True)
        command = _command_line(options, overlay, directory, ssh_port)
        if incoming is not None:
            command += ["-incoming", f"exec:cat {incoming}"]
        self._log = directory / "qemu.log"
        with self._log.open("ab") as log:
            self._wrapper = subprocess.Popen(
                [*_bounded(options.max_minutes), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self.qmp = self._connect(monitor)
            self.pid = int(self._pid_file.read_text())
        except BaseException:
            self._wrapper.kill()
            self._wrapper.wait()
            raise

    def _connect(self, monitor: Path) -> Qmp:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                return Qmp(monitor)
            except OSError as error:
                if self._wrapper.poll() is not None or time.monotonic() > deadline:
                    output = self._log.read_text(errors="replace")[-2000:]
                    raise HarnessError(f"QEMU did not start: {output}") from error
            time.sleep(0.02)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._wrapper.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone. Nothing happens when it is gone already."""
        if self.running:
            # It may have ended between the question and the signal.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.wait(10)

    def wait(self, seconds: float) -> None:
        """Wait until the process has ended by itself. Raises HarnessError after `seconds`."""
        try:
            self._wrapper.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise HarnessError(f"QEMU still runs after {seconds} s") from error
        self.qmp.close()


def create_overlay(overlay: Path, backing: Path) -> None:
    """Create the qcow2 file `overlay` over `backing`: raw, or qcow2 by its suffix."""
    kind = "qcow2" if backing.suffix == ".qcow2" else "raw"
    arguments = ["-q", "-f", "qcow2", "-F", kind, "-b", str(backing.resolve()), str(overlay)]
    subprocess.run(["qemu-img", "create", *arguments], check=True, stdout=subprocess.DEVNULL)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _bounded(minutes: float) -> list[str]:
    dies_with_parent = ["setpriv", "--pdeathsig", "KILL"]
    limit = ["timeout", "--foreground", "--signal=KILL", str(int(minutes * 60))]
    return [*dies_with_parent, *limit, *dies_with_parent]


def _command_line(options: QemuOptions, overlay: Path, directory: Path, ssh_port: int) -> list[str]:
    arguments = " ".join((*_KERNEL_ARGUMENTS, *options.kernel_arguments))
    disk = f"file={overlay},if=none,id=root,format=qcow2,cache={options.cache}"
    parts: Sequence[Sequence[str]] = (
        (PROGRAM, "-S", "-nodefaults", "-no-user-config", "-display", "none"),
        ("-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "max"),
        ("-smp", str(options.cpus), "-m", str(options.memory_mib)),
        ("-kernel", str(options.kernel), "-initrd", str(options.initrd), "-append", arguments),
        ("-drive", disk, "-device", "virtio-blk-pci,drive=root"),
        ("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{ssh_port}-:22,ipv6=off"),
        ("-device", "virtio-net-pci,netdev=net,romfile="),
        ("-device", "virtio-rng-pci"),
        ("-device", "qemu-xhci,id=xhci,p2=8,p3=8"),
        ("-chardev", f"file,id=console,path={directory / 'console.log'},append=on"),
        ("-serial", "chardev:console"),
        ("-qmp", f"unix:{directory / 'qmp'},server=on,wait=off"),
        ("-pidfile", str(directory / "qemu.pid")),
    )
    return [word for part in parts for word in part]
