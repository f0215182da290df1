"""Which runtime is in force for a role, and how that is known.

Owns: the one call to the runtime table.  May not know: what is checked with it.
"""

from __future__ import annotations

from pathlib import Path

from nodestoraged.adapters.runtimes.discovery import discover
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.runtime import RuntimeProfile

__all__ = ["in_force"]


def in_force(role: RoleConfig, root: Path) -> tuple[RuntimeProfile, tuple[str, ...]]:
    """The profile of `role` on the machine below `root`, and where each part of it came from.

    Raises ConfigError for a runtime that is not known.
    """
    found = discover(role, root=root)
    return found.profile, found.sources
