"""The machines of a test: made on demand, one alive at a time, logs kept on request, all closed.

Owns the lifetime of machines in a test run. Knows nothing of pytest.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.vm.harness.errors import HarnessError
from tests.vm.harness.image import Image
from tests.vm.harness.machine import Machine
from tests.vm.harness.migration import Saved
from tests.vm.harness.qemu import Cache

# What a person wants to see after a failure: file name and command.
_LOGS: Final = "tail -n +1 /var/log/*.log /var/log/nodestoraged/*.log"
_UNITS: Final = "systemctl --no-pager --all list-units; systemctl --no-pager list-jobs"
_REPORTS: Final = (
    (
        "journal.log",
        f"if command -v journalctl; then journalctl -o short-precise; else {_LOGS}; fi",
    ),
    ("dmesg.log", "dmesg"),
    ("mountinfo.log", "cat /proc/1/mountinfo"),
    ("processes.log", "ps -eo pid,ppid,stat,etimes,unit,args --no-headers"),
    ("units.log", f"if command -v systemctl; then {_UNITS}; else rc-status --all; fi"),
    ("state.log", "ls -lR /run/nodestoraged /var/lib/nodestoraged /run/nodestorage-fence"),
)
_REPORT_SECONDS: Final = 20.0


class MachinePool:
    """Call it to make a machine (off; `boot` or `resume` it). The one before must be closed."""

    def __init__(self) -> None:
        self._machines: list[Machine] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __call__(
        self, origin: Image | Saved, *, cache: Cache = "unsafe", max_minutes: float = 20
    ) -> Machine:
        """Make a machine of `origin`. Raises HarnessError while another one is switched on."""
        if any(machine.running for machine in self._machines):
            raise HarnessError("close the other machine first: the tests run one at a time")
        machine = Machine(origin, cache=cache, max_minutes=max_minutes)
        self._machines.append(machine)
        return machine

    def keep_logs(self, directory: Path) -> None:
        """Write what can be had of the living machine's state into `directory` (made)."""
        for number, machine in enumerate(self._machines):
            target = directory / str(number) if number else directory
            target.mkdir(parents=True, exist_ok=True)
            (target / "console.log").write_text(machine.console())
            if machine.running:
                _write_reports(machine, target)

    def close(self) -> None:
        """Close all machines."""
        for machine in self._machines:
            machine.close()
        self._machines.clear()


def _write_reports(machine: Machine, directory: Path) -> None:
    for name, command in _REPORTS:
        try:
            result = machine.ssh(command, check=False, timeout=_REPORT_SECONDS)
        except HarnessError as error:
            # A hung guest must not hide the test's own failure, nor hold it up once per report.
            (directory / name).write_text(f"{error}\n")
            return
        (directory / name).write_text(result.stdout + result.stderr)
