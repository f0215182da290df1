"""What a topic hands its numbers to while it runs, and what it says beside them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.rows import Row, Target, figure, summary


class Report:
    """The rows and notes of one topic, in the order in which they came."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.notes: list[str] = []

    def row(
        self,
        target: Target,
        ours: Sequence[float],
        anchor: Sequence[float] = (),
        *,
        missing: str = "",
    ) -> Row:
        """The target is measured: one value per run of ours and of the anchor.

        `missing` says why one of them has no values (`anchor not installed: package rsync`).
        """
        if not missing and not (ours and anchor):
            raise ValueError(f"{target.name}: no values, and no word why")
        row = Row(target=target, ours=tuple(ours), anchor=tuple(anchor), missing=missing)
        self.rows.append(row)
        ratio = "-" if row.ratio is None else f"{figure(row.ratio)}x"
        self.progress(
            f"{target.name}: {summary(row.ours)} {target.unit}, "
            f"anchor {summary(row.anchor)}, {ratio} {missing}".rstrip()
        )
        return row

    def note(self, text: str) -> None:
        """A sentence that stands below the table of this topic."""
        self.notes.append(text)
        self.progress(text)

    def progress(self, text: str) -> None:
        """A line for the person who waits; it is in no file."""
        sys.stderr.write(f"  {text}\n")
        sys.stderr.flush()
