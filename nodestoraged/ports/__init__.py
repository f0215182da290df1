"""The Protocols between the engine and the outside: what it may ask, and nothing more.

Each is implemented twice, by an adapter and by `sim`; one contract suite runs over both.
All calls with a deadline raise `StepTimeout` when it passes, and `StepError` when the
wished fact did not come true.  No exception of a vendor library passes this line.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodestoraged.ports.devices import Clock, DeviceSource, Mounts
from nodestoraged.ports.disks import Copier, Disks, Roots, Sticks
from nodestoraged.ports.memory import EventLog, Journal, Notifier, Store
from nodestoraged.ports.services import Fence, HookRunner, Kubelet, Runtime, ServiceManager

__all__ = [
    "Clock",
    "Copier",
    "DeviceSource",
    "Disks",
    "EventLog",
    "Fence",
    "HookRunner",
    "Journal",
    "Kubelet",
    "Mounts",
    "Notifier",
    "Ports",
    "Roots",
    "Runtime",
    "ServiceManager",
    "Sticks",
    "Store",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything outside that one engine talks to."""

    clock: Clock
    devices: DeviceSource
    mounts: Mounts
    disks: Disks
    sticks: Sticks
    roots: Roots
    copier: Copier
    services: ServiceManager
    fence: Fence
    runtime: Runtime
    kubelet: Kubelet
    hooks: HookRunner
    journal: Journal
    store: Store
    notifier: Notifier
    log: EventLog
