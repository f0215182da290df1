"""What the status means for scripts: bound or not, degraded or not.

Owns: the reading of phase, availability, attention, proof and conditions as exit codes.
"""

from __future__ import annotations

from nodestoraged.cli import exits
from nodestoraged.cli.fields import Json, entries, obj

__all__ = ["PHASES", "broken_conditions", "exit_code", "is_degraded", "proof_holds"]

PHASES = ("INTERNAL", "SWITCHING", "BOUND", "LOST", "STOPPED", "FAILED")

#: Trusted is shown, not judged.  While the root moves, the others are expected to fail.
_SHOWN_ONLY = ("Trusted",)
_SETTLED = ("INTERNAL", "BOUND")
_NEED_RUNTIME = ("ImageFsProven", "RuntimeAnswering", "KubeletAgrees", "SandboxImagePresent")


def broken_conditions(role: Json) -> list[Json]:
    """The conditions that degrade a role now."""
    if role.get("phase") not in _SETTLED:
        return []
    excused = _NEED_RUNTIME if role.get("reason") == "RuntimeNotInstalled" else ()
    return [
        one
        for one in entries(role, "conditions")
        if one.get("status") == "False" and one.get("type") not in (*_SHOWN_ONLY, *excused)
    ]


def proof_holds(role: Json) -> bool:
    """True unless the role is bound and its image file system is not proven."""
    return role.get("phase") != "BOUND" or obj(role, "imagefs").get("verified") is True


def is_degraded(role: Json) -> bool:
    """True when something is wrong that the phase alone does not say, or a person is needed."""
    return bool(
        role.get("attention")
        or role.get("availability") not in (None, "FULL")
        or role.get("phase") in ("FAILED", "STOPPED")
        or not proof_holds(role)
        or broken_conditions(role)
    )


def exit_code(roles: list[Json]) -> int:
    """8 when any role is degraded, else 3 when any is not bound, else 0."""
    if any(is_degraded(role) for role in roles):
        return exits.DEGRADED
    if any(role.get("phase") != "BOUND" for role in roles):
        return exits.NOT_BOUND
    return exits.OK
