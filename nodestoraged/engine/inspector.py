"""Asks sticks what they say of themselves, once each insertion and only those that are trusted."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from nodestoraged.core.select import in_vain
from nodestoraged.engine.observer import Memory
from nodestoraged.model.candidate import Candidate, Verdict
from nodestoraged.model.device import BlockDevice, Incarnation
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.model.manifest import Inspection
from nodestoraged.model.observation import Observation, Setback
from nodestoraged.model.reason import Reason
from nodestoraged.ports import Ports

#: A read-only mount, one small file; a stick that takes longer is not fit to serve.
INSPECT_SECONDS = 15.0
#: Of a file system that the kernel would not mount.
CHECK_SECONDS = 120.0
#: A stick that could not be read is asked again so much later.
AGAIN_SECONDS = 30.0
#: What a failed reading says of the stick itself, for as long as it is in.
_FAULTS = {"IoError": Reason.IO_ERROR, "FsckFailed": Reason.FSCK_FAILED}


class Inspector:
    """Fills the memory of what trusted sticks said."""

    def __init__(self, ports: Ports, memory: Memory) -> None:
        self._ports = ports
        self._memory = memory
        self._lock = asyncio.Lock()

    async def look(self, observation: Observation, candidates: tuple[Candidate, ...]) -> bool:
        """One stick that was not asked yet has been; True if there was one.

        A stick that is mounted by somebody else, or unusable, is left alone.
        """
        for candidate in candidates:
            if not candidate.trusted or self._lately(candidate.device.incarnation):
                continue
            if candidate.verdict in {Verdict.UNUSABLE, Verdict.DELISTED}:
                continue
            if Reason.EJECTED in candidate.reasons:
                continue  # it may be pulled out at any moment
            active = candidate.verdict is Verdict.ACTIVE
            whole = candidate.device.directory is None
            if not active and whole and observation.mounts.of(candidate.device.number):
                continue
            await self.ask(candidate, observation.profile.root if active else None)
            return True
        return False

    async def ask(self, candidate: Candidate, mounted_at: str | None = None) -> Inspection:
        """What this stick says is known; what was asked in vain before is asked again.

        One stick at a time, whoever asks: a device that is being read is busy for everybody
        else, and that must not be taken for what it says.
        """
        incarnation = candidate.device.incarnation
        async with self._lock:
            known = self._memory.inspections.get(incarnation)
            if known is None or in_vain(known):
                found = await self._inspect(candidate, mounted_at)
                now = self._ports.clock.boottime()
                known = replace(found, asked_at=now)
                self._memory.inspections[incarnation] = known
            return known

    def forget(self) -> None:
        """What an idle stick said is asked anew: an operation may have written it."""
        table = self._ports.mounts.read()
        # What still lies aside cannot be asked, and what was written to it last is known.
        mounted = (table.at(self._memory.profile.root), table.at(self._memory.aside))
        kept = {mount.number for mount in mounted if mount is not None}
        for incarnation in list(self._memory.inspections):
            if incarnation.number not in kept:
                del self._memory.inspections[incarnation]

    def _lately(self, incarnation: Incarnation) -> bool:
        """True if it is known what it says, or was tried in vain a moment ago."""
        known = self._memory.inspections.get(incarnation)
        if known is None:
            return False
        return not in_vain(known) or self._ports.clock.boottime() - known.asked_at < AGAIN_SECONDS

    async def _inspect(self, candidate: Candidate, mounted_at: str | None) -> Inspection:
        """What this stick says; a failure that is the stick's own is held against it."""
        device, sticks = candidate.device, self._ports.sticks
        path = device.directory or mounted_at
        try:
            if path is not None:
                found = await sticks.inspect_mounted(path, deadline_seconds=INSPECT_SECONDS)
            else:
                found = await sticks.inspect(device, deadline_seconds=INSPECT_SECONDS)
            if found.failure == Reason.FSCK_FAILED and path is None:
                found = await self._mended(device)
        except StepTimeout as error:
            found = Inspection(failure=error.reason)
            fault: Reason | None = Reason.HUNG
        except StepError as error:
            found = Inspection(failure=error.reason)
            fault = _FAULTS.get(error.reason)
        else:
            fault = _FAULTS.get(found.failure or "")
        if fault is not None and mounted_at is None:
            self._memory.hold_against(Setback(incarnation=device.incarnation, reason=fault))
        if in_vain(found):
            self._ports.log.event(
                "inspection", f"{candidate.name} could not be read: {found.failure}"
            )
        return found

    async def _mended(self, device: BlockDevice) -> Inspection:
        """What the kernel would not mount may be mended: it is checked, and read once more.

        A check that takes too long leaves the stick unread, and nothing is held against it.
        """
        try:
            await self._ports.disks.check(device, deadline_seconds=CHECK_SECONDS)
        except StepTimeout:
            return Inspection(failure="NotChecked")
        except StepError as error:
            return Inspection(failure=error.reason)
        return await self._ports.sticks.inspect(device, deadline_seconds=INSPECT_SECONDS)
