"""Who claims the role, and what speaks for and against each.

    select            every claimant of a role, judged
      _claimants      who bears the label (a partition goes before its whole disk)
      _unusable       what no wish can overcome, from the device alone
      _waiting        what a person, a boot or time can overcome
      policy.stand_aside   who waits because of the others

A label says "candidate" and nothing more.  Nothing here reads a disk: a stick is judged by
what udev already knows, so an unknown one is never opened for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from nodestoraged.core import policy
from nodestoraged.core.resolve import resolve
from nodestoraged.core.situation import Situation
from nodestoraged.model.candidate import UNUSABLE, Candidate, Verdict
from nodestoraged.model.config import RoleConfig, Trust
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.errors import NotFoundError
from nodestoraged.model.manifest import Inspection
from nodestoraged.model.observation import Observation
from nodestoraged.model.reason import Reason
from nodestoraged.model.registry import Stick

#: A device mounted on one of these carries the running system.
SYSTEM_TARGETS = frozenset(
    {"/", "/boot", "/boot/efi", "/boot/firmware", "/usr", "/var", "/etc", "/home", "/opt"}
)

#: Failures of an inspection that speak of the manifest and not of the disk.
MANIFEST_FAILURES = frozenset({"ManifestBroken", "ManifestUnknown"})

_TRUST = frozenset({Reason.NOT_ENROLLED, Reason.TRUST_NONE})

#: Contract order: what a person has to know first comes first.
_DISPLAY_ORDER = tuple(Verdict)


def select(observation: Observation, role: RoleConfig) -> tuple[Candidate, ...]:
    """Every device that claims `role`, judged; the active one first, then by verdict and devnode.

    A device whose enrolment or label went away while it serves stays in the list: what the
    mount table says is true, whatever the configuration says now.
    """
    claimants = _claimants(observation, role)
    clones = _clones(claimants, observation)
    judged = [_judge(device, observation, role, device in clones) for device in claimants]
    settled = policy.stand_aside(judged, role, observation)
    return tuple(sorted(settled, key=lambda c: (_DISPLAY_ORDER.index(c.verdict), c.device.devnode)))


def slot_candidates(slot: BlockDevice | None, observation: Observation) -> tuple[Candidate, ...]:
    """The directory that a verb names as a candidate; nothing if it is one already."""
    if slot is None or observation.registry.matching(slot) is not None:
        return ()
    return (Candidate(device=slot, stick=None, verdict=Verdict.STANDBY, reasons=(), trusted=False),)


def named_and_unread(word: str, situation: Situation) -> Candidate | None:
    """The stick that a verb names, if it could be read and has not been yet, or in vain."""
    try:
        found = resolve(word, situation.candidates, situation.observation.registry).candidate
    except NotFoundError:
        return None
    if found is None:
        return None
    known = situation.observation.inspection(found.device.incarnation)
    if known is not None and not in_vain(known):
        return None
    refused = {Reason.TRUST_NONE, Reason.CLONE}.intersection(found.reasons)
    if refused or found.verdict in {Verdict.ACTIVE, Verdict.UNUSABLE, Verdict.DELISTED}:
        return None
    return found


def in_vain(inspection: Inspection) -> bool:
    """True if the stick could not be asked; a broken manifest is an answer."""
    return inspection.failure is not None and inspection.failure not in MANIFEST_FAILURES


def _claimants(observation: Observation, role: RoleConfig) -> list[BlockDevice]:
    labels = set(role.labels)
    named = [
        device
        for device in observation.devices
        if device.directory is None
        and (
            device.label in labels
            or device.partlabel in labels
            or device.parttype in role.partition_types
        )
    ]
    # A hybrid image shows the same file system on the disk and on its first partition.
    parents = {device.disk for device in named if device.devnode != device.disk}
    claimants = [device for device in named if device.devnode not in parents]
    claimants += [
        device for device in observation.devices if _directory_of(device, observation, role)
    ]
    active = observation.serving().device
    if active is not None and active not in claimants:
        claimants.append(active)
    return claimants


def _directory_of(device: BlockDevice, observation: Observation, role: RoleConfig) -> bool:
    """True for a directory that was enrolled for this role: it claims by name, not by label."""
    stick = observation.registry.matching(device) if device.directory else None
    return stick is not None and stick.role == role.name


def _clones(claimants: Iterable[BlockDevice], observation: Observation) -> set[BlockDevice]:
    """Those of one UUID that nothing tells apart; a stored serial that only one has does."""
    devices = list(claimants)
    devices = [device for device in devices if device.directory is None]
    count = Counter(device.uuid for device in devices if device.uuid)
    clones: set[BlockDevice] = set()
    for uuid in (uuid for uuid, times in count.items() if times > 1):
        twins = [device for device in devices if device.uuid == uuid]
        serials = {
            stick.identity.serial
            for stick in observation.registry.sticks
            if stick.identity.uuid == uuid and stick.identity.serial
        }
        known = [twin for twin in twins if twin.hardware in serials]
        clones.update(twin for twin in twins if known != [twin])
    return clones


def _judge(
    device: BlockDevice, observation: Observation, role: RoleConfig, clone: bool
) -> Candidate:
    serving = observation.serving()
    stick = observation.registry.matching(device)
    trusted = _trusted(device, stick, role)
    unusable = _unusable(device, observation, role)
    waiting = _waiting(device, stick, observation, role, clone=clone, trusted=trusted)
    active = serving.device == device and not serving.dead
    reasons: list[Reason] = []
    verdict = Verdict.STANDBY
    if active:
        verdict = Verdict.ACTIVE
        # What would only keep it from being chosen is no news about a stick that serves.
        reasons = [reason for reason in waiting if reason in _TRUST]
    elif unusable:
        verdict, reasons = Verdict.UNUSABLE, unusable
    elif stick is not None and stick.delisted:
        verdict, reasons = Verdict.DELISTED, [Reason.DELISTED]
    elif waiting:
        verdict, reasons = Verdict.WAITING, waiting
    return Candidate(
        device=device, stick=stick, verdict=verdict, reasons=tuple(reasons), trusted=trusted
    )


def _unusable(device: BlockDevice, observation: Observation, role: RoleConfig) -> list[Reason]:
    """What no wish can overcome; the cheapest and clearest first."""
    mounted = [mount.target for mount in observation.mounts.of(device.number)]
    ours = {observation.profile.root, observation.aside}
    elsewhere = [target for target in mounted if target not in ours]
    if device.directory is not None:
        # It lies on a disk that is mounted and used by others, which is no fault of its.
        mounted, elsewhere = [], []
    checks = (
        (device.ambivalent, Reason.AMBIVALENT),
        (device.fstype not in role.filesystems or device.uuid is None, Reason.WRONG_FILESYSTEM),
        (device.size_bytes < role.minimum_size_bytes, Reason.TOO_SMALL),
        (device.read_only, Reason.READ_ONLY),
        (bool(SYSTEM_TARGETS.intersection(mounted)), Reason.SYSTEM_DISK),
        (bool(device.holders), Reason.HAS_HOLDERS),
        (
            bool(elsewhere) and not SYSTEM_TARGETS.intersection(mounted),
            Reason.MOUNTED_ELSEWHERE,
        ),
    )
    reasons = [reason for holds, reason in checks if holds]
    setback = observation.setback(device.incarnation)
    if setback is not None and setback.reason in UNUSABLE:
        reasons.append(setback.reason)
    return reasons


def _waiting(
    device: BlockDevice,
    stick: Stick | None,
    observation: Observation,
    role: RoleConfig,
    *,
    clone: bool,
    trusted: bool,
) -> list[Reason]:
    """What a person, a boot or time can overcome; trust first, for nothing is done without it."""
    reasons: list[Reason] = []
    if role.trust is Trust.NONE:
        reasons.append(Reason.TRUST_NONE)
    elif not trusted:
        reasons.append(Reason.NOT_ENROLLED)
    if clone:
        reasons.append(Reason.CLONE)
    reasons += _told(device, stick, observation)
    if observation.marked(observation.intent.ejected, device.incarnation):
        reasons.append(Reason.EJECTED)
    setback = observation.setback(device.incarnation)
    if setback is not None and setback.reason not in UNUSABLE:
        reasons.append(setback.reason)
    elif policy.over_budget(device, observation, role):
        reasons.append(Reason.QUARANTINED)
    if not observation.runtime_installed:
        reasons.append(Reason.RUNTIME_NOT_INSTALLED)
    if observation.profile.elsewhere:
        reasons.append(Reason.SPLIT_ROOT)
    if not reasons and _would_interrupt(device, observation):
        reasons.append(Reason.RUNTIME_RUNNING)
    return reasons


def _told(device: BlockDevice, stick: Stick | None, observation: Observation) -> list[Reason]:
    """What the stick says of itself that keeps it from serving as it is.

    A manifest that cannot be understood is no better than a copy that was never finished.
    """
    inspection = observation.inspection(device.incarnation)
    if inspection is None:
        # Still where a copy put it, and nobody has asked it since: its copy was cut off.
        aside = observation.aside_mount
        left = aside is not None and aside.number == device.number
        return [Reason.INCOMPLETE] if left else []
    manifest = inspection.manifest
    if manifest is None:
        if inspection.failure is None:
            return []
        broken = inspection.failure in MANIFEST_FAILURES
        return [Reason.INCOMPLETE if broken else Reason.UNREAD]
    if not manifest.complete:
        return [Reason.INCOMPLETE]
    if manifest.node != observation.node:
        return [Reason.FOREIGN_NODE]
    known = stick is not None and stick.data_id == manifest.id
    if stick is not None and known and manifest.generation < stick.generation:
        return [Reason.STALE]
    return []


def _trusted(device: BlockDevice, stick: Stick | None, role: RoleConfig) -> bool:
    if role.trust is Trust.NONE:
        return False
    if role.trust is Trust.LABEL:
        return True
    allowed = any(
        entry.uuid == device.uuid and entry.serial in {None, device.serial, device.hardware}
        for entry in role.allow
    )
    return allowed or (stick is not None and stick.role == role.name)


def _would_interrupt(device: BlockDevice, observation: Observation) -> bool:
    """First contact is gentle: what was there before us stops no runtime by itself.

    Under a wish for the internal directory nothing would be interrupted: a stick stands by.
    """
    serving, wish = observation.serving(), observation.intent.wish
    return (
        observation.runtime_runs
        and not serving.dead
        and serving.device is None
        and not (wish is not None and wish.identity is None)
        and not may_interrupt(device, observation)
    )


def may_interrupt(device: BlockDevice, observation: Observation) -> bool:
    """True if a running runtime may be stopped for this stick: it came in, or a verb named it."""
    if device.incarnation in observation.permitted:
        return True
    patient = observation.marked(observation.intent.patient, device.incarnation)
    return device.inserted > 0 and not patient
