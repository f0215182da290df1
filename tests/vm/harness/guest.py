"""Commands in the guest over one ssh connection that all of them share.

Owns the ssh master process and its control socket. Knows nothing of QEMU. A handshake costs a
second or more on an emulated CPU, a command over the shared connection some 50 ms.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.vm.harness.errors import HarnessError

_TAIL_CHARACTERS: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command in the guest left: exit code, output, and how long it took in seconds."""

    command: str
    code: int
    stdout: str
    stderr: str
    seconds: float


class CommandFailedError(HarnessError):
    """A checked command in the guest ended with a code other than 0; `result` says more."""

    def __init__(self, result: Result) -> None:
        output = (result.stdout + result.stderr)[-_TAIL_CHARACTERS:]
        super().__init__(f"exit {result.code} of: {result.command}\n{output}")
        self.result = result


class Guest:
    """The guest's root over ssh. `connect` first; `disconnect` when the guest goes."""

    def __init__(self, *, directory: Path, port: int, key: Path) -> None:
        self._directory = directory
        self._control = directory / "ssh"
        self._log = directory / "ssh.log"
        self._port = port
        self._options = (
            *("-F", "none", "-i", str(key), "-p", str(port), "-o", "BatchMode=yes"),
            *("-o", f"ControlPath={self._control}", "-o", "LogLevel=ERROR"),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "IdentitiesOnly=yes", "-o", "GSSAPIAuthentication=no"),
            *("-o", "KexAlgorithms=curve25519-sha256", "-o", "Ciphers=aes128-ctr"),
        )
        self._master: subprocess.Popen[bytes] | None = None
        self._forwarded: dict[str, Path] = {}

    def connect(self, seconds: float) -> None:
        """Let the shared connection stand. Raises HarnessError when it does not within `seconds`.

        To be called when sshd listens: each attempt before costs the guest a process.
        """
        deadline = time.monotonic() + seconds
        while not self._start_master(deadline):
            if time.monotonic() > deadline:
                raise HarnessError(f"ssh does not let us in: {self._log.read_text()[-500:]}")
            time.sleep(0.3)

    def disconnect(self) -> None:
        """End the shared connection. Nothing happens when there is none."""
        if self._master is not None:
            self._master.kill()
            self._master.wait()
            self._master = None
        self._control.unlink(missing_ok=True)
        self._forwarded.clear()

    def forward(self, remote: str) -> Path:
        """A unix socket here whose connections reach the socket `remote` of the guest.

        Whoever connects talks to what listens there at that moment, or is hung up on.
        """
        if remote not in self._forwarded:
            local = self._directory / f"forward-{len(self._forwarded)}"
            local.unlink(missing_ok=True)  # of a connection before
            order = ("-O", "forward", "-L", f"{local}:{remote}", "root@127.0.0.1")
            subprocess.run(["ssh", *self._options, *order], check=True, capture_output=True)
            self._forwarded[remote] = local
        return self._forwarded[remote]

    def run(
        self, command: str, *, check: bool = True, timeout: float = 60, data: bytes | None = None
    ) -> Result:
        """Run a shell command as root, `data` on its stdin; return its result.

        Raises CommandFailedError for a code other than 0 when `check`; HarnessError when it takes
        longer than `timeout` seconds (it may go on in the guest) or the connection is lost.
        """
        start = time.monotonic()
        line = ["ssh", *self._options, "-o", "ControlMaster=no", "root@127.0.0.1", command]
        try:
            done = subprocess.run(
                line, input=data or b"", capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise HarnessError(f"longer than {timeout} s in the guest: {command}") from error
        result = Result(
            command=command,
            code=done.returncode,
            stdout=done.stdout.decode(errors="replace"),
            stderr=done.stderr.decode(errors="replace"),
            seconds=time.monotonic() - start,
        )
        if result.code == 255 and not self.connected:
            raise HarnessError(f"connection lost during: {command}\n{result.stderr}")
        if check and result.code != 0:
            raise CommandFailedError(result)
        return result

    @property
    def connected(self) -> bool:
        """Whether the shared connection stands."""
        return self._master is not None and self._master.poll() is None and self._control.exists()

    def _start_master(self, deadline: float) -> bool:
        self.disconnect()
        keep = ("-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=6")
        command = ["ssh", *self._options, *keep, "-o", "ControlMaster=yes", "-N", "root@127.0.0.1"]
        with self._log.open("ab") as log:
            # It ends with the machine: QEMU closes the connection when it dies.
            self._master = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while self._master.poll() is None and time.monotonic() < deadline:
            if self._control.exists():
                return True
            time.sleep(0.02)
        return False
