"""A device that claims a role, judged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nodestoraged.model.device import BlockDevice
from nodestoraged.model.operation import RootRef
from nodestoraged.model.reason import Reason
from nodestoraged.model.registry import Stick


class Verdict(StrEnum):
    """What may become of a candidate."""

    ACTIVE = "active"
    STANDBY = "standby"
    WAITING = "waiting"
    DELISTED = "delisted"
    UNUSABLE = "unusable"


#: Reasons that make a stick unusable, whatever anybody wishes.
UNUSABLE = frozenset(
    {
        Reason.WRONG_FILESYSTEM,
        Reason.TOO_SMALL,
        Reason.READ_ONLY,
        Reason.AMBIVALENT,
        Reason.SYSTEM_DISK,
        Reason.HAS_HOLDERS,
        Reason.MOUNTED_ELSEWHERE,
        Reason.FSCK_FAILED,
        Reason.IO_ERROR,
        Reason.PROBE_FAILED,
        Reason.HUNG,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One device with the reasons for and against it, strongest first.

    `stick` is its enrolment, if it has one.  `trusted` says that it may be mounted at all;
    it is true of an active stick that nobody enrolled only under `trust = "label"`.
    """

    device: BlockDevice
    stick: Stick | None
    verdict: Verdict
    reasons: tuple[Reason, ...]
    trusted: bool

    @property
    def admitted(self) -> bool:
        """True if it serves or may serve."""
        return self.verdict in {Verdict.ACTIVE, Verdict.STANDBY}

    @property
    def name(self) -> str:
        """What people call it: its enrolled name, else the kernel's."""
        return self.stick.name if self.stick else self.device.name

    def ref(self) -> RootRef:
        """The root that this candidate would be; it carries a UUID."""
        identity = self.stick.identity if self.stick else self.device.identity()
        return RootRef(identity=identity, name=self.name, incarnation=self.device.incarnation)
