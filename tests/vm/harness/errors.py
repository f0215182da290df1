"""The one error of the harness. Knows nothing else."""

from __future__ import annotations


class HarnessError(Exception):
    """The machine, its image or a stick did not do what was asked of it."""
