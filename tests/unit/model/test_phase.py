"""The table of phases, and the picture of it in ARCHITECTURE.md."""

from __future__ import annotations

import re
from pathlib import Path

from nodestoraged.model.phase import TERMINAL, TRANSITIONS, Phase

ARCHITECTURE = Path(__file__).parents[3] / "ARCHITECTURE.md"


def diagram() -> str:
    """The table as a mermaid state diagram; paste it into ARCHITECTURE.md when it differs."""
    moves = (
        f"    {before} --> {after} : {trigger}" for (before, trigger), after in TRANSITIONS.items()
    )
    return "\n".join(["stateDiagram-v2", f"    [*] --> {Phase.SWITCHING}", *moves])


def test_the_picture_in_architecture_md_is_the_table():
    fenced = re.compile(r"^```mermaid\n(stateDiagram-v2.*?)\n```$", re.DOTALL | re.MULTILINE)
    found = fenced.findall(ARCHITECTURE.read_text())
    assert found == [diagram()]


def test_the_contract_names_every_phase_and_where_a_node_may_rest():
    assert [phase.value for phase in Phase] == [
        "INTERNAL",
        "SWITCHING",
        "BOUND",
        "LOST",
        "STOPPED",
        "FAILED",
    ]
    assert {Phase.INTERNAL, Phase.BOUND, Phase.STOPPED, Phase.FAILED} == TERMINAL
