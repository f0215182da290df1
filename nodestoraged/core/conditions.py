"""Conditions as in Kubernetes: type, status, reason, message.

They clear when the cause is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from nodestoraged.core.verify import kubelet_proof
from nodestoraged.model.candidate import Verdict
from nodestoraged.model.config import Trust
from nodestoraged.model.proof import KubeletProof, Link
from nodestoraged.model.reason import Reason
from nodestoraged.model.view import View

#: So many calls to disks may hang before the daemon starts no more of them.
STUCK_CHILDREN_MAX = 4

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition; `status` is True, False or Unknown."""

    type: str
    status: str
    reason: Reason
    message: str


def of(view: View) -> tuple[Condition, ...]:
    """Every condition of the role, in the contract's order."""
    return (
        _image_fs(view),
        _runtime(view),
        _kubelet(view),
        _slot(view),
        _hidden(view),
        _sandbox_image(view),
        _trusted(view),
    )


def _image_fs(view: View) -> Condition:
    proof = view.proof
    if proof is None:
        message = view.proof_failure or "not read yet"
        status = FALSE if view.proof_failure else UNKNOWN
        return Condition(
            type="ImageFsProven", status=status, reason=Reason.SLOT_UNPROVEN, message=message
        )
    broken = proof.broken
    if broken is not None:
        return Condition(
            type="ImageFsProven",
            status=FALSE,
            reason=Reason.PROOF_BROKEN,
            message=f"{broken.link}: {broken.detail}",
        )
    return Condition(
        type="ImageFsProven",
        status=TRUE,
        reason=Reason.SLOT_PROVEN,
        message=f"{len(proof.links)} of {len(proof.links)} links hold",
    )


def _runtime(view: View) -> Condition:
    observation = view.observation
    kind = "RuntimeAnswering"
    if not observation.runtime_installed:
        return Condition(
            type=kind,
            status=FALSE,
            reason=Reason.RUNTIME_NOT_INSTALLED,
            message="no unit of the profile is installed",
        )
    if not observation.runtime_runs:
        return Condition(
            type=kind, status=FALSE, reason=Reason.RUNTIME_STOPPED, message="its unit is stopped"
        )
    if view.proof is None:
        return Condition(
            type=kind,
            status=UNKNOWN,
            reason=Reason.SLOT_UNPROVEN,
            message=view.proof_failure or "not asked yet",
        )
    return Condition(type=kind, status=TRUE, reason=Reason.ANSWERS, message="ImageFsInfo answers")


def _kubelet(view: View) -> Condition:
    kind, kubelet, proof = "KubeletAgrees", view.kubelet, view.proof
    if not kubelet.running:
        return Condition(
            type=kind,
            status=UNKNOWN,
            reason=Reason.KUBELET_NOT_RUNNING,
            message="kubelet does not run",
        )
    seen, ours = kubelet.capacity_bytes, proof.capacity_bytes if proof else None
    if _unknown_to_kubelet(view):
        return Condition(
            type=kind,
            status=UNKNOWN,
            reason=Reason.NOT_COMPARABLE,
            message="kubelet does not know this kind of file system (overlay, tmpfs, NFS)",
        )
    if seen is not None and ours is not None and seen != ours:
        return Condition(
            type=kind,
            status=FALSE,
            reason=Reason.KUBELET_MISMATCH,
            message=f"kubelet reports {seen} bytes, the image file system has {ours}",
        )
    shown = kubelet_proof(kubelet, view.mounted_at, ours)
    if shown is not KubeletProof.NONE:
        return Condition(type=kind, status=TRUE, reason=Reason.SHOWN, message=shown.value)
    return Condition(
        type=kind,
        status=UNKNOWN,
        reason=Reason.NOT_SHOWN,
        message="kubelet tells no capacity and its age is unknown",
    )


def _unknown_to_kubelet(view: View) -> bool:
    """cAdvisor knows mounts of devices only: over overlay, tmpfs or NFS it tells another's size."""
    number = view.proof.number if view.proof else None
    anonymous = number is not None and number.major == 0
    return anonymous and view.observation.serving().mount is None


def _slot(view: View) -> Condition:
    serving = view.observation.serving()
    if serving.dead:
        device = serving.device
        setback = view.observation.setback(device.incarnation) if device else None
        return Condition(
            type="SlotHealthy",
            status=FALSE,
            reason=setback.reason if setback else Reason.STICK_LOST,
            message="the stick is mounted but gone or dead",
        )
    if serving.device is None:
        return Condition(
            type="SlotHealthy", status=UNKNOWN, reason=Reason.NO_STICK, message="no stick serves"
        )
    return Condition(
        type="SlotHealthy", status=TRUE, reason=Reason.READS, message="present and readable"
    )


def _hidden(view: View) -> Condition:
    """What lies under the mount is used by nobody: shown by where the runtime's databases are."""
    kind = "HiddenDirUnused"
    link = next(
        (r for r in view.proof.links if r.link is Link.DATABASE_LOCK) if view.proof else iter(()),
        None,
    )
    if view.observation.serving().device is None or link is None:
        return Condition(
            type=kind, status=UNKNOWN, reason=Reason.NO_STICK, message="nothing is hidden"
        )
    return Condition(
        type=kind,
        status=TRUE if link.holds else FALSE,
        reason=Reason.DATABASES_ON_SLOT if link.holds else Reason.PROOF_BROKEN,
        message=link.detail,
    )


def _sandbox_image(view: View) -> Condition:
    present = view.proof.sandbox_image_present if view.proof else None
    if present is None:
        return Condition(
            type="SandboxImagePresent", status=UNKNOWN, reason=Reason.NOT_KNOWN, message="not known"
        )
    return Condition(
        type="SandboxImagePresent",
        status=TRUE if present else FALSE,
        reason=Reason.PRESENT if present else Reason.SANDBOX_IMAGE_MISSING,
        message="in the root in force" if present else "no pod can start without a registry",
    )


def _trusted(view: View) -> Condition:
    active = next((c for c in view.candidates if c.verdict is Verdict.ACTIVE), None)
    if view.role.trust is Trust.LABEL:
        return Condition(
            type="Trusted",
            status=FALSE,
            reason=Reason.TRUST_LABEL,
            message='trust = "label": whoever can plug in a stick is root here',
        )
    if active is None:
        return Condition(
            type="Trusted", status=UNKNOWN, reason=Reason.NO_STICK, message="no stick serves"
        )
    return Condition(
        type="Trusted",
        status=TRUE if active.trusted else FALSE,
        reason=Reason.ENROLLED if active.trusted else Reason.NOT_ENROLLED,
        message=active.name,
    )


def later(time: str, seconds: float) -> str:
    """`time` (RFC 3339) plus `seconds`, to the second."""
    moment = datetime.fromisoformat(time) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
