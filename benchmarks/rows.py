"""A number that is promised (`Target`), and the same measured beside its anchor (`Row`).

Owns the arithmetic: medians, spreads, ratios and whether a promise holds.  Knows no benchmark.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One promised row.  Less is better, in every unit."""

    name: str
    """Unique, `topic.word`; the key in RESULTS.md and known.toml."""
    what: str
    """What is measured, in one phrase."""
    unit: str
    anchor: str
    """What it is measured against, in one phrase."""
    ratio: float | None = None
    """The promise: ours is at most this many times the anchor; None promises nothing."""
    limit: float | None = None
    """A second promise: ours is at most this many units."""

    def promises(self) -> bool:
        """True if it can be missed."""
        return self.ratio is not None or self.limit is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A target with what was measured; `ours` and `anchor` hold one value per run."""

    target: Target
    ours: tuple[float, ...]
    anchor: tuple[float, ...]
    missing: str
    """Why `ours` or `anchor` is empty: `anchor not installed: …`; "" if neither is."""

    @property
    def ratio(self) -> float | None:
        """Median to median; None without both, or with an anchor of nothing at all."""
        if not self.ours or not self.anchor:
            return None
        below = statistics.median(self.anchor)
        return statistics.median(self.ours) / below if below else None

    @property
    def holds(self) -> bool | None:
        """Whether every promise is kept; None if there is none, or one could not be judged."""
        target = self.target
        if not target.promises():
            return None
        kept: list[bool | None] = []
        if target.ratio is not None:
            kept.append(None if self.ratio is None else self.ratio <= target.ratio)
        if target.limit is not None:
            kept.append(statistics.median(self.ours) <= target.limit if self.ours else None)
        if False in kept:
            return False
        return None if None in kept else True

    @property
    def missed(self) -> bool:
        """True if a promise is broken, or could not be judged."""
        return self.target.promises() and self.holds is not True


def summary(values: Sequence[float]) -> str:
    """`median (least-most)`; `-` for no value, and no spread for a single one."""
    if not values:
        return "-"
    median = figure(statistics.median(values))
    if len(values) == 1:
        return median
    return f"{median} ({figure(min(values))}-{figure(max(values))})"


def figure(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return (
        f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
        if abs(value) >= 0.1
        else f"{value:.3f}"
    )
