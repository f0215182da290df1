"""The machine's USB sockets: plug, yank, hang and count over QMP.

Owns which stick is in which QEMU node. Knows nothing of the guest.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Final

from tests.vm.harness.errors import HarnessError
from tests.vm.harness.qmp import Qmp, QmpError
from tests.vm.harness.stick import Stick

_RELEASE_SECONDS: Final = 15.0
# A leaky bucket: one byte per second lets the next 4 KiB pass after an hour.
_HUNG_BYTES_PER_SECOND: Final = 1
_MAX_PORT: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plugged:
    stick: Stick
    name: str
    read_only: bool
    port: int | None


class Sockets:
    """What is plugged where. The nodes of one stick: file, raw over it, throttle over that."""

    def __init__(self) -> None:
        self._plugged: dict[Stick, _Plugged] = {}
        self._remembered: tuple[_Plugged, ...] = ()
        self._hung: set[Stick] = set()
        self._counter = itertools.count(1)

    @property
    def plugged(self) -> tuple[Stick, ...]:
        """The sticks that are plugged; empty while the machine is off."""
        return tuple(self._plugged)

    def power_lost(self) -> None:
        """QEMU is gone; what was plugged is remembered for `replug`."""
        self._remembered = tuple(self._plugged.values())
        self._plugged.clear()
        self._hung.clear()

    def replug(self, qmp: Qmp) -> None:
        """Plug what was plugged when the power went, as it was."""
        for row in self._remembered:
            self.plug(qmp, row.stick, port=row.port, read_only=row.read_only)

    def plug(self, qmp: Qmp, stick: Stick, *, port: int | None, read_only: bool) -> None:
        """See `Machine.plug`."""
        if stick in self._plugged:
            raise HarnessError(f"{stick.serial} is plugged already")
        if port is not None and not 1 <= port <= _MAX_PORT:
            raise HarnessError(f"there is no port {port}")
        name = f"stick{next(self._counter)}"
        qmp.command("object-add", qom_type="throttle-group", id=f"{name}-limit")
        file_node = {"driver": "file", "filename": str(stick.path), "node-name": f"{name}-file"}
        raw_node = {"driver": "raw", "node-name": f"{name}-raw", "file": file_node}
        qmp.command(
            "blockdev-add",
            driver="throttle",
            node_name=name,
            throttle_group=f"{name}-limit",
            file={**raw_node, "read-only": read_only},
            read_only=read_only,
            cache={"direct": False, "no-flush": True},
        )
        optional = {} if port is None else {"port": str(port)}
        qmp.command(
            "device_add",
            driver="usb-storage",
            id=f"{name}-usb",
            drive=name,
            bus="xhci.0",
            serial=stick.serial,
            removable=True,
            **optional,
        )
        self._plugged[stick] = _Plugged(stick=stick, name=name, read_only=read_only, port=port)

    def yank(self, qmp: Qmp, stick: Stick) -> None:
        """See `Machine.yank`."""
        name = self._find(stick).name
        if stick in self._hung:
            self.limit(qmp, stick, hung=False)  # a waiting request would keep the node busy
        qmp.command("device_del", id=f"{name}-usb")
        qmp.wait_event("DEVICE_DELETED", _RELEASE_SECONDS, device=f"{name}-usb")
        del self._plugged[stick]
        deadline = time.monotonic() + _RELEASE_SECONDS
        while True:
            try:
                qmp.command("blockdev-del", node_name=name)
                break
            except QmpError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        qmp.command("object-del", id=f"{name}-limit")

    def limit(self, qmp: Qmp, stick: Stick, *, hung: bool) -> None:
        """See `Machine.hang` and `Machine.unhang`."""
        (self._hung.add if hung else self._hung.discard)(stick)
        limits = {"bps-total": _HUNG_BYTES_PER_SECOND if hung else 0}
        path = f"/objects/{self._find(stick).name}-limit"
        qmp.command("qom-set", path=path, property="limits", value=limits)
        if not hung:
            # A request that waits keeps its old time; stopping the guest drains the queue.
            qmp.command("stop")
            qmp.command("cont")

    def writes(self, qmp: Qmp, stick: Stick) -> int:
        """See `Machine.writes`."""
        name = self._find(stick).name
        answer = qmp.command("query-blockstats")
        rows = answer if isinstance(answer, list) else []
        for row in rows:
            if str(row.get("qdev", "")).startswith(f"/machine/peripheral/{name}-usb"):
                return int(row["stats"]["wr_operations"])
        raise HarnessError(f"no statistics of {name} in {[row.get('qdev') for row in rows]}")

    def _find(self, stick: Stick) -> _Plugged:
        try:
            return self._plugged[stick]
        except KeyError as error:
            raise HarnessError(f"{stick.serial} is not plugged") from error
