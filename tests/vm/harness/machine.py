"""A test machine: boots an overlay of an image, takes sticks, loses power, is saved and resumed.

Owns one QEMU process at a time and its directory. Knows nothing of the daemon under test.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.vm.harness.console import Console
from tests.vm.harness.errors import HarnessError
from tests.vm.harness.guest import Guest, Result
from tests.vm.harness.image import Image
from tests.vm.harness.migration import Saved, read_state, write_state
from tests.vm.harness.qemu import Cache, QemuOptions, QemuProcess, create_overlay, free_port
from tests.vm.harness.sockets import Sockets
from tests.vm.harness.stick import Stick

BOOT_SECONDS: Final = 180.0
_HANG_SECONDS: Final = 3600
_POWEROFF_SECONDS: Final = 120.0


class Machine:
    """A virtual machine with a root disk of its own; use it as a context manager, or `close` it.

    Made of an `Image` it is off until `boot`; made of a `Saved` it is off until `resume`.
    Of the sticks those that were plugged stay plugged over `power_cut`, `reset` and `boot`.
    """

    def __init__(
        self,
        origin: Image | Saved,
        *,
        cache: Cache = "unsafe",
        memory_mib: int = 2048,
        cpus: int = 2,
        max_minutes: float = 30,
        kernel_arguments: Sequence[str] = (),
    ) -> None:
        image = origin if isinstance(origin, Image) else origin.image
        self._saved = origin if isinstance(origin, Saved) else None
        self.directory = Path(tempfile.mkdtemp(prefix="nodestoraged-vm-"))
        self._options = QemuOptions(
            kernel=image.kernel,
            initrd=image.initrd,
            memory_mib=self._saved.memory_mib if self._saved else memory_mib,
            cpus=self._saved.cpus if self._saved else cpus,
            cache=cache,
            max_minutes=max_minutes,
            kernel_arguments=tuple(kernel_arguments),
        )
        self.image = image
        self._overlay = self.directory / "overlay.qcow2"
        create_overlay(self._overlay, self._saved.disk if self._saved else image.root_image)
        self._port = free_port()
        self._guest = Guest(directory=self.directory, port=self._port, key=image.ssh_key)
        self._qemu: QemuProcess | None = None
        self._sockets = Sockets()
        self._console = Console(self.directory / "console.log")
        self._timers: list[threading.Timer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the machine is switched on."""
        return self._qemu is not None and self._qemu.running

    @property
    def pid(self) -> int:
        """The process id of QEMU. Raises HarnessError when the machine is off."""
        return self._process.pid

    # --- power ---------------------------------------------------------------------------------

    def boot(self, *, sticks: Sequence[Stick] | None = None, wait: bool = True) -> float:
        """Switch the machine on with these sticks (None: those that are plugged), wait for ssh.

        Returns the seconds until ssh answered, 0.0 without `wait`.
        """
        start = time.monotonic()
        self._console.expect_boot()
        self._start(incoming=None)
        if sticks is None:
            self._sockets.replug(self._process.qmp)
        for stick in sticks or ():
            self.plug(stick)
        self._process.qmp.command("cont")
        if not wait:
            return 0.0
        self.wait_for_ssh()
        return time.monotonic() - start

    def resume(self) -> float:
        """Go on from the saved moment, wait for ssh; returns the seconds that it took."""
        if self._saved is None:
            raise HarnessError("this machine was not made of a saved one")
        start = time.monotonic()
        self._console.expect_boot(expected=False)
        self._start(incoming=self._saved.state)
        read_state(self._process.qmp)
        self.wait_for_ssh()
        # The guest's clock stood still since then; certificates and logs like the right time.
        self.ssh(f"date -s @{time.time():.3f} >/dev/null")
        return time.monotonic() - start

    def save(self, directory: Path) -> Saved:
        """Freeze the machine into `directory` (created) and end it; it cannot be used any more.

        Sticks must be unplugged: their content is not part of the saved state.
        """
        if self._sockets.plugged:
            raise HarnessError("unplug the sticks before saving")
        directory.mkdir(parents=True)
        saved = Saved(
            image=self.image,
            directory=directory,
            memory_mib=self._options.memory_mib,
            cpus=self._options.cpus,
        )
        self._guest.disconnect()
        write_state(self._process.qmp, saved.state)
        self._process.wait(20)
        self._qemu = None
        shutil.move(self._overlay, saved.disk)
        saved.disk.chmod(0o444)
        self.close()
        return saved

    def power_cut(self) -> None:
        """Take the power away: SIGKILL. `boot` starts from what had reached the disk.

        Raises HarnessError for cache "unsafe", under which QEMU's own image would be damaged.
        """
        if self._options.cache == "unsafe":
            raise HarnessError('a power cut needs cache="writeback" or "writethrough"')
        self._process.kill()
        self._off()

    def reset(self, *, wait: bool = True) -> None:
        """Press the reset button: a reboot without a shutdown, sticks stay plugged."""
        self._guest.disconnect()
        self._console.expect_boot()
        self._process.qmp.command("system_reset")
        if wait:
            self.wait_for_ssh()

    def reboot(self, *, wait: bool = True) -> None:
        """Reboot the guest in an orderly way; with `wait` until ssh answers again."""
        before = self.ssh("cat /proc/sys/kernel/random/boot_id").stdout
        self._console.expect_boot()
        self._process.qmp.forget_events("RESET")
        self.ssh("(sleep 0.2; reboot) >/dev/null 2>&1 &")
        self._process.qmp.wait_event("RESET", _POWEROFF_SECONDS)
        self._guest.disconnect()
        if wait:
            self.wait_for_ssh()
            if self.ssh("cat /proc/sys/kernel/random/boot_id").stdout == before:
                raise HarnessError("the guest did not reboot")

    def shutdown(self, *, timeout: float = _POWEROFF_SECONDS) -> float:
        """Power the guest off in an orderly way and wait; returns the seconds that it took."""
        start = time.monotonic()
        self.ssh("(sleep 0.2; poweroff) >/dev/null 2>&1 &")
        self._process.wait(timeout)
        self._off()
        return time.monotonic() - start

    def close(self) -> None:
        """End the machine and remove its directory; may be called twice."""
        for timer in self._timers:
            timer.cancel()
        if self._qemu is not None:
            self._qemu.kill()
            self._off()
        self._guest.disconnect()
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- the guest -----------------------------------------------------------------------------

    def wait_for_ssh(self, timeout: float = BOOT_SECONDS) -> None:
        """Wait until commands can be run. Raises HarnessError with the console's end if not."""
        deadline = time.monotonic() + timeout
        try:
            self._console.wait_ready(deadline, lambda: self.running)
            self._guest.connect(max(deadline - time.monotonic(), 1))
        except HarnessError as error:
            tail = self.console()[-3000:]
            raise HarnessError(f"{error}; the console ends with:\n{tail}") from error

    def ssh(
        self, command: str, *, check: bool = True, timeout: float = 60, data: bytes | None = None
    ) -> Result:
        """Run a shell command as root in the guest; see `Guest.run`."""
        return self._guest.run(command, check=check, timeout=timeout, data=data)

    def forward(self, remote: str) -> Path:
        """A unix socket here that leads to the guest's; see `Guest.forward`."""
        return self._guest.forward(remote)

    def wait_until(self, command: str, *, timeout: float = 60, interval: float = 1.0) -> Result:
        """Repeat a command until it ends with 0 and return that result.

        Raises HarnessError with the last output after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while (result := self.ssh(command, check=False)).code != 0:
            if time.monotonic() > deadline:
                raise HarnessError(
                    f"not within {timeout} s: {command}\n{result.stdout}{result.stderr}"
                )
            time.sleep(interval)
        return result

    def put(self, local: Path, remote: str) -> None:
        """Copy a file (its mode too) to the path `remote`; its directory is made."""
        mode = local.stat().st_mode & 0o7777
        self.put_text(local.read_bytes(), remote, mode=mode)

    def put_text(self, content: str | bytes, remote: str, *, mode: int = 0o644) -> None:
        """Write a file in the guest; its directory is made."""
        data = content.encode() if isinstance(content, str) else content
        command = f'mkdir -p "$(dirname {remote})" && cat > {remote} && chmod {mode:o} {remote}'
        self.ssh(command, data=data)

    def console(self) -> str:
        """Everything that the guest wrote to its serial console since the machine was made."""
        return self._console.text()

    # --- sticks --------------------------------------------------------------------------------

    def plug(self, stick: Stick, *, port: int | None = None, read_only: bool = False) -> None:
        """Put a stick into the xHCI port (1-8; None: the first free one)."""
        self._sockets.plug(self._process.qmp, stick, port=port, read_only=read_only)

    def plug_later(self, stick: Stick, seconds: float, *, port: int | None = None) -> None:
        """Plug a stick in `seconds` of the host's time, also while a boot is awaited."""
        timer = threading.Timer(seconds, self.plug, args=(stick,), kwargs={"port": port})
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def yank(self, stick: Stick) -> None:
        """Pull a stick out by surprise; returns once QEMU has let its file go."""
        self._sockets.yank(self._process.qmp, stick)

    def hang(self, stick: Stick) -> None:
        """Make the stick answer nothing any more, though it stays plugged; undone by `unhang`.

        The guest's SCSI timeout is raised first: on its 30 s follows a reset, and QEMU would stand
        still until the request that it cancels has ended.
        """
        self.ssh(f"for t in /sys/block/sd*/device/timeout; do echo {_HANG_SECONDS} >$t; done")
        self._sockets.limit(self._process.qmp, stick, hung=True)

    def unhang(self, stick: Stick) -> None:
        """Make a hung stick answer again."""
        self._sockets.limit(self._process.qmp, stick, hung=False)

    def writes(self, stick: Stick) -> int:
        """How many write requests the guest sent to the plugged stick since it was plugged."""
        return self._sockets.writes(self._process.qmp, stick)

    # --- own -----------------------------------------------------------------------------------

    @property
    def _process(self) -> QemuProcess:
        if self._qemu is None:
            raise HarnessError("the machine is off")
        return self._qemu

    def _start(self, incoming: Path | None) -> None:
        if self._qemu is not None:
            raise HarnessError("the machine is on already")
        self._qemu = QemuProcess(
            self._options,
            overlay=self._overlay,
            directory=self.directory,
            ssh_port=self._port,
            incoming=incoming,
        )

    def _off(self) -> None:
        self._guest.disconnect()
        self._sockets.power_lost()
        self._qemu = None
