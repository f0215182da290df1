"""What status says of each stick: what it is, what is held against it, what it says of itself."""

from __future__ import annotations

from nodestoraged.core.words import standby_message
from nodestoraged.model.candidate import Candidate, Verdict
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.reason import MEANINGS
from nodestoraged.model.view import View

Json = dict[str, object]


def candidate(judged: Candidate, view: View) -> Json:
    """One of `candidates`: its verdict, the reasons, and what it says of itself."""
    name = judged.stick.name if judged.stick else None
    return {
        "name": name,
        "verdict": judged.verdict.value,
        "reasons": [reason.value for reason in judged.reasons],
        "message": _message(judged, view),
        "delisted": judged.verdict is Verdict.DELISTED,
        **_device(judged.device),
        **_told(judged.device, view),
    }


def _message(candidate: Candidate, view: View) -> str:
    if candidate.reasons:
        return MEANINGS[candidate.reasons[0]]
    if candidate.verdict is Verdict.STANDBY:
        return standby_message(view)
    return ""


def active(view: View) -> Json | None:
    """The stick that serves, by the mount table; None for the internal directory."""
    serving = view.observation.serving()
    if serving.device is None or serving.dead:
        return None
    name = view.observation.registry.name_of(serving.device)
    proof = view.proof
    told = _told(serving.device, view)
    if proof is not None:
        # What serves is measured now; what it said of itself is as old as its insertion.
        told["capacityBytes"] = proof.capacity_bytes
        told["availableBytes"] = proof.available_bytes
    return {"name": name, **_device(serving.device), **told}


def _told(device: BlockDevice, view: View) -> Json:
    """What a stick says of itself; nulls where it was not asked or has no manifest."""
    inspection = view.observation.inspection(device.incarnation)
    manifest = inspection.manifest if inspection else None
    quality = manifest.quality if manifest else None
    return {
        "generation": manifest.generation if manifest else None,
        "origin": manifest.origin if manifest else None,
        "complete": manifest.complete if manifest else None,
        "capacityBytes": inspection.capacity_bytes if inspection else None,
        "availableBytes": inspection.available_bytes if inspection else None,
        "quality": {
            "checkedAt": quality.checked_at,
            "capacityBytes": quality.capacity_bytes,
            "writeRate": quality.write_rate,
            "readRate": quality.read_rate,
            "smallWritesPerSecond": quality.small_writes_per_second,
            "fsyncSeconds": quality.fsync_seconds,
            "slow": quality.slow,
        }
        if quality is not None
        else None,
        "path": device.directory,
    }


def _device(device: BlockDevice) -> Json:
    return {
        "uuid": device.uuid,
        "devnode": device.devnode,
        "label": device.label,
        "partlabel": device.partlabel,
        "fstype": device.fstype,
        "sizeBytes": device.size_bytes,
        "serial": device.serial,
        "model": device.model,
        "bus": device.bus,
        "port": device.port,
    }
