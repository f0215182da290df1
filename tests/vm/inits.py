"""The service managers of the test machines, asked as an operator asks them.

Owns how each is told and what it says. Knows nothing of the daemon under test but its name.
"""

from __future__ import annotations

from typing import Final, Protocol

from tests.vm.harness.machine import Machine

_CONTROL_SECONDS: Final = 120.0
_DAEMON: Final = "nodestoraged"


class Init(Protocol):
    """One init system. Units are named without suffix."""

    #: The command that starts the daemon under test, now and at each boot.
    enable: str
    #: The command that does the contrary.
    disable: str

    def pid(self, unit: str) -> int:
        """The main process of a unit, 0 if it does not run."""

    def active(self, unit: str) -> str:
        """`active`, or another word."""

    def control(self, verb: str, unit: str) -> int:
        """start, stop, restart or reload, by hand; the exit code."""

    def log(self, unit: str) -> str:
        """What the unit wrote in this boot."""

    def forget_logs(self) -> None:
        """Logs begin anew with the next boot."""

    def failed(self) -> str:
        """The units that failed, empty if none."""


class Systemd:
    """systemd."""

    enable = f"systemctl enable --now {_DAEMON}"
    disable = f"systemctl disable --now {_DAEMON}"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def pid(self, unit: str) -> int:
        """MainPID."""
        return int(self._machine.ssh(f"systemctl show -P MainPID {unit}").stdout)

    def active(self, unit: str) -> str:
        """systemctl is-active."""
        return self._machine.ssh(f"systemctl is-active {unit}", check=False).stdout.strip()

    def control(self, verb: str, unit: str) -> int:
        """systemctl VERB UNIT."""
        return self._machine.ssh(
            f"systemctl {verb} {unit}", check=False, timeout=_CONTROL_SECONDS
        ).code

    def log(self, unit: str) -> str:
        """The journal."""
        return self._machine.ssh(f"journalctl -b -u {unit} -o cat --no-pager").stdout

    def forget_logs(self) -> None:
        """Nothing to do: the journal tells boots apart."""

    def failed(self) -> str:
        """systemctl --failed."""
        return self._machine.ssh("systemctl --failed --no-legend").stdout


class OpenRC:
    """OpenRC, its services under supervise-daemon, each with a log of its own."""

    enable = f"rc-update add {_DAEMON} && rc-service {_DAEMON} start"
    disable = f"rc-update del {_DAEMON} && rc-service {_DAEMON} stop"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def pid(self, unit: str) -> int:
        """The child of supervise-daemon, as that has noted it, if it lives."""
        noted = f"/run/openrc/options/{unit}/child_pid"
        found = self._machine.ssh(
            f'p=$(cat {noted}) && test -d "/proc/${{p:-none}}" && echo "$p"', check=False
        )
        return int(found.stdout) if found.code == 0 else 0

    def active(self, unit: str) -> str:
        """`active` where rc-service says started, else its word."""
        found = self._machine.ssh(f"rc-service {unit} status", check=False)
        return "active" if found.code == 0 else found.stdout.rpartition(":")[2].strip()

    def control(self, verb: str, unit: str) -> int:
        """rc-service UNIT VERB."""
        return self._machine.ssh(
            f"rc-service {unit} {verb}", check=False, timeout=_CONTROL_SECONDS
        ).code

    def log(self, unit: str) -> str:
        """Its file below /var/log."""
        file = f"{_DAEMON}/{_DAEMON}" if unit == _DAEMON else unit
        return self._machine.ssh(f"cat /var/log/{file}.log").stdout

    def forget_logs(self) -> None:
        """Empty the files: they outlive a boot."""
        self._machine.ssh("for f in /var/log/*.log /var/log/*/*.log; do : >$f; done")

    def failed(self) -> str:
        """Crashed services."""
        return self._machine.ssh("rc-status --crashed", check=False).stdout.strip()


def init_of(machine: Machine, name: str) -> Init:
    """The init system of that name (`Recipe.init`) on this machine."""
    return OpenRC(machine) if name == "openrc" else Systemd(machine)
