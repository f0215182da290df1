"""A published view as the JSON of the contract, `apiVersion` nodestorage/v1.

Names, units and the set of values are the contract with users' scripts: absent objects are
null and never omitted, times are RFC 3339 UTC, sizes are bytes, reasons are strings.
"""

from __future__ import annotations

from collections.abc import Mapping

from nodestoraged.core import conditions, stickreport, warnings
from nodestoraged.core.verify import kubelet_proof
from nodestoraged.core.words import headline, hint, lost_order
from nodestoraged.model.copy import CopyProgress
from nodestoraged.model.decision import Attention
from nodestoraged.model.device import Identity
from nodestoraged.model.operation import Operation, RootRef, Stage
from nodestoraged.model.phase import Phase
from nodestoraged.model.proof import Proof
from nodestoraged.model.reason import MEANINGS, Reason
from nodestoraged.model.view import View

API_VERSION = "nodestorage/v1"

Json = dict[str, object]

MEND = "To mend it"


def role(view: View, since: Mapping[str, str]) -> Json:
    """One element of `roles`; `since` maps a condition's type to its last transition."""
    observation, intent = view.observation, view.observation.intent
    serving = observation.serving()
    reason, message = headline(view)
    return {
        "name": view.role.name,
        "kind": view.role.kind.value,
        "phase": view.phase.value,
        "since": view.since,
        "reason": reason.value,
        "message": message,
        "automation": _automation(intent.paused_since),
        "availability": "NO_CHANGES" if intent.failed else "FULL",
        "attention": _attention(view),
        "hint": hint(view),
        "root": observation.profile.root,
        "serving": {
            "source": serving.source,
            "uuid": serving.device.uuid if serving.device and not serving.dead else None,
            "devnode": _serving_devnode(view),
            "path": observation.profile.root,
        },
        "runtime": {
            "profile": observation.profile.name,
            "version": view.version if observation.runtime_installed else None,
            "answering": view.proof is not None,
        },
        "active": stickreport.active(view),
        "lastActive": _last_active(view),
        "imagefs": _imagefs(view),
        "candidates": [stickreport.candidate(candidate, view) for candidate in view.candidates],
        "conditions": [
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
                "lastTransitionTime": since.get(condition.type, view.since),
            }
            for condition in conditions.of(view)
        ],
        "trust": view.role.trust.value,
        "collision": view.role.collision.value,
        "ifLost": lost_order(view),
        "graceUntil": _grace_until(view),
        "lost": _lost(view),
        "pods": view.proof.pods if view.proof else None,
        "proofAt": view.proof.time if view.proof else None,
        "proofFailure": view.proof_failure,
        "kubelet": _kubelet(view),
        "internal": _internal(view),
        "warnings": warnings.of(view),
    }


def operation(value: Operation, now: float | None = None) -> Json:
    """An operation in the contract's shape; `now` (boot-time) gives a running step its seconds."""
    running = value.steps[-1] if value.steps and value.result is None else None
    return {
        "id": value.id,
        "role": value.role,
        "kind": value.kind.value,
        "result": value.result.value if value.result else None,
        "source": value.source.name,
        "target": value.target.name,
        "reason": value.reason,
        "message": value.message,
        "hint": value.hint,
        "automatic": value.automatic,
        "downtimeSeconds": value.downtime_seconds,
        "podsDownSeconds": value.pods_down_seconds,
        "podsStopped": value.pods_stopped,
        "noticedSeconds": value.noticed_seconds,
        "startedAt": value.started_time,
        "data": value.data.value,
        "progress": _progress(value.progress),
        "copiedBytes": value.copied_bytes,
        "copiedStoppedBytes": value.copied_stopped_bytes,
        "predictedDowntimeSeconds": value.predicted_seconds,
        "predictedBytes": value.predicted_bytes,
        "step": running.step if running else None,
        "steps": [
            {
                "step": record.step,
                "seconds": record.seconds
                if record.seconds is not None
                else (round(now - record.started_at, 3) if now is not None else None),
                "error": record.error,
            }
            for record in value.steps
        ],
    }


def _progress(progress: CopyProgress | None) -> Json | None:
    if progress is None:
        return None
    return {
        "pass": progress.stage.value,
        "bytesDone": progress.bytes_done,
        "bytesTotal": progress.bytes_total,
        "filesDone": progress.files_done,
        "filesTotal": progress.files_total,
        "bytesPerSecond": round(progress.bytes_per_second),
        "etaSeconds": None if progress.eta_seconds is None else round(progress.eta_seconds, 1),
    }


def _automation(paused_since: str | None) -> Json:
    return {
        "state": "paused" if paused_since else "on",
        "by": "operator" if paused_since else None,
        "since": paused_since,
    }


def _kubelet(view: View) -> Json:
    kubelet = view.kubelet
    return {
        "installed": kubelet.installed,
        "running": kubelet.running,
        "healthy": kubelet.healthy,
    }


def _attention(view: View) -> Json | None:
    found = attention(view)
    if found is None:
        return None
    return {
        "reason": found.reason.value,
        "message": found.message,
        "hint": {"text": MEND, "command": found.hint},
    }


def attention(view: View) -> Attention | None:
    """What only a person can mend, the worst first; None if nothing is."""
    observation = view.observation
    if observation.intent.failed:
        return Attention(
            reason=Reason.ROLLBACK_FAILED,
            message=observation.intent.failure,
            hint="nodestoragectl resume --clear",
        )
    if observation.stuck_children >= conditions.STUCK_CHILDREN_MAX:
        return Attention(
            reason=Reason.TOO_MANY_STUCK_CHILDREN,
            message=MEANINGS[Reason.TOO_MANY_STUCK_CHILDREN],
            hint="dmesg | tail",
        )
    if isinstance(view.decision, Attention):
        return view.decision
    doubted = [c for c in view.candidates if c.trusted and Reason.CLONE in c.reasons]
    if doubted:
        return Attention(
            reason=Reason.CLONE,
            message=f"{doubted[0].device.devnode} carries the UUID of another stick",
            hint="nodestoragectl list",
        )
    if view.database_failure is not None:
        return Attention(
            reason=Reason.DATABASE_CORRUPT,
            message=view.database_failure,
            hint="nodestoragectl powerwash --containers",
        )
    if view.proof is not None and view.proof.sandbox_image_present is False:
        ctr = view.observation.profile.ctr
        return Attention(
            reason=Reason.SANDBOX_IMAGE_MISSING,
            message=MEANINGS[Reason.SANDBOX_IMAGE_MISSING],
            hint=f"{' '.join(ctr)} -n k8s.io images import FILE" if ctr else "crictl pull IMAGE",
        )
    return None


def _serving_devnode(view: View) -> str | None:
    serving = view.observation.serving()
    if serving.dead:
        return None
    if serving.device is not None:
        return serving.device.devnode
    covering = view.observation.mounts.covering(view.observation.profile.root)
    return covering.source if covering else None


def _last_active(view: View) -> Json | None:
    intent, serving = view.observation.intent, view.observation.serving()
    if intent.last_active is None or (serving.device is not None and not serving.dead):
        return None
    return {
        "name": intent.last_active_name,
        "uuid": intent.last_active.uuid,
        "serial": _serial(intent.last_active),
    }


def _serial(identity: Identity) -> str | None:
    """The serial as udev tells it, without the USB ids before it."""
    return identity.serial.rpartition(":")[2] if identity.serial else None


def _imagefs(view: View) -> Json | None:
    if not view.observation.runtime_installed:
        return None
    proof = view.proof
    capacity = proof.capacity_bytes if proof else None
    return {
        "mountpoint": proof.mountpoint if proof else None,
        "devnode": _serving_devnode(view),
        "capacityBytes": capacity,
        "availableBytes": proof.available_bytes if proof else None,
        "verified": proof is not None and proof.holds,
        "proof": _links(proof),
        "kubeletProof": kubelet_proof(view.kubelet, view.mounted_at, capacity).value,
        "kubeletCapacityBytes": view.kubelet.capacity_bytes,
    }


def _links(proof: Proof | None) -> list[Json]:
    if proof is None:
        return []
    return [
        {"link": result.link.value, "holds": result.holds, "detail": result.detail}
        for result in proof.links
    ]


def _grace_until(view: View) -> str | None:
    """The grace's end, as a moment relative to the reading (times of day are for people)."""
    entry = view.operation
    if entry is None or entry.stage is not Stage.GRACE or entry.grace_until is None:
        return None
    return conditions.later(view.observation.time, entry.grace_until - view.observation.now)


def _lost(view: View) -> Json | None:
    lost = view.lost
    if lost is None or view.phase is Phase.BOUND:
        return None
    source: RootRef = lost.source
    identity = source.identity
    return {
        "name": source.name,
        "uuid": identity.uuid if identity else None,
        "serial": _serial(identity) if identity else None,
        "at": lost.started_time,
        "noticedSeconds": lost.noticed_seconds,
        "podsStopped": lost.pods_stopped,
        "model": None,
        "port": None,
        "usedBytes": lost.used_bytes,
    }


def _internal(view: View) -> Json:
    covering = view.observation.mounts.covering(view.observation.profile.root.rpartition("/")[0])
    space = view.internal_space
    return {
        "devnode": covering.source if covering else None,
        "capacityBytes": space[0] if space else None,
        "availableBytes": space[1] if space else None,
    }
