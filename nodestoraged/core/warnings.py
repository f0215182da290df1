"""What goes well now and may not go well later: shown, and never acted upon."""

from __future__ import annotations

from nodestoraged.core.sizes import size
from nodestoraged.model.config import Fallback
from nodestoraged.model.reason import Reason
from nodestoraged.model.view import View

#: What has to stay free on the internal disk for the node to go on working.
INTERNAL_RESERVE_BYTES = 1 << 30

Warning_ = dict[str, str]


def of(view: View) -> list[Warning_]:
    """Each as reason, message and hint, the worst first."""
    found = [_fallback_full(view), _slow(view)]
    return [warning for warning in found if warning is not None]


def _fallback_full(view: View) -> Warning_ | None:
    """The images of the stick that serves would not fit where the node falls back to."""
    proof, space = view.proof, view.internal_space
    serving = view.observation.serving()
    if serving.device is None or serving.dead or proof is None or space is None:
        return None
    if Fallback.INTERNAL not in view.role.fallback:
        return None
    if proof.capacity_bytes is None or proof.available_bytes is None:
        return None
    used = proof.capacity_bytes - proof.available_bytes
    if used + INTERNAL_RESERVE_BYTES <= space[1]:
        return None
    return {
        "reason": Reason.FALLBACK_FULL.value,
        "message": f"a fallback to internal has {size(space[1])} for {size(used)} of images",
        "hint": "nodestoragectl reclaim --dry-run",
    }


def _slow(view: View) -> Warning_ | None:
    device = view.observation.serving().device
    manifest = view.observation.manifest(device.incarnation) if device else None
    if manifest is None or manifest.quality is None or not manifest.quality.slow:
        return None
    return {
        "reason": Reason.SLOW_STICK.value,
        "message": "the stick that serves was measured as slow",
        "hint": "nodestoragectl list -o wide",
    }
