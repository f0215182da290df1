"""The documents agree with the tree: links, the code map, the diagram, verbs, keys, targets."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from nodestoraged.adapters import configschema
from nodestoraged.cli import exits, main
from nodestoraged.model.phase import TERMINAL, TRANSITIONS, Phase
from nodestoraged.model.reason import Reason

TOP = Path(__file__).parents[2]
PACKAGE = TOP / "nodestoraged"
ARCHITECTURE = TOP / "ARCHITECTURE.md"
DECISIONS = TOP / "docs" / "decisions"
DOCUMENTS = sorted([*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")])
IDS = [str(path.relative_to(TOP)) for path in DOCUMENTS]

_FENCE = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_EDGE = re.compile(r"^\s*(\S+) --> (\S+)(?: : (.+))?$", re.MULTILINE)


def blocks(path: Path, language: str | None = None) -> list[str]:
    """The fenced blocks of a document; only those of `language` if it is given."""
    return [text for lang, text in _FENCE.findall(path.read_text()) if language in {None, lang}]


def prose(path: Path) -> str:
    return _FENCE.sub("", path.read_text())


def code(path: Path) -> Iterator[str]:
    """Everything that stands as code: fenced blocks and spans."""
    yield from blocks(path)
    yield from _SPAN.findall(prose(path).replace("\n", " "))


def anchors(path: Path) -> set[str]:
    """The fragments of a document's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.+)$", prose(path))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named_after(command: str, paths: list[Path]) -> set[str]:
    pattern = re.compile(rf"\b{command} ([a-z][a-z-]*)")
    return {word for path in paths for text in code(path) for word in pattern.findall(text)}


def code_map() -> dict[str, str]:
    _, _, text = ARCHITECTURE.read_text().partition("\n## Code map\n")
    return dict(re.findall(r"(?m)^- `([\w/]+\.py)`: (\S.*\.)$", text))


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_relative_links_lead_somewhere(path):
    for target in _LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, fragment = target.partition("#")
        found = (path.parent / place).resolve() if place else path
        assert found.is_relative_to(TOP)
        assert found.exists(), target
        if fragment:
            assert fragment in anchors(found), target


def test_the_code_map_names_every_module_and_no_other():
    modules = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert set(code_map()) == modules


def test_the_state_diagram_is_the_table():
    (diagram,) = blocks(ARCHITECTURE, "mermaid")
    edges = _EDGE.findall(diagram)
    drawn = [
        (Phase(source), trigger.strip(), Phase(target))
        for source, target, triggers in edges
        if "[*]" not in {source, target}
        for trigger in triggers.split(",")
    ]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == {(phase, str(t), target) for (phase, t), target in TRANSITIONS.items()}
    starts = [target for source, target, _ in edges if source == "[*]"]
    assert starts == [Phase.SWITCHING]
    assert {source for source, target, _ in edges if target == "[*]"} <= set(TERMINAL)


def test_the_architecture_shows_the_diagrams_as_they_were_generated():
    text = ARCHITECTURE.read_text()
    stale = [p.name for p in (TOP / "docs").glob("*.mmd") if p.read_text().strip() not in text]
    assert stale == []


def test_every_verb_in_a_document_exists():
    named = named_after("nodestoragectl", DOCUMENTS)
    assert {"status", "list", "enroll", "switch", "eject"} <= named
    assert named <= set(main.VERBS)


def test_the_readme_keeps_the_names_that_come_later():
    limits = (TOP / "README.md").read_text().partition("\n## Limits")[2]
    assert all(f"`{verb}`" in limits for verb in main.LATER)


def test_every_make_target_in_a_document_exists():
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", (TOP / "Makefile").read_text()))
    named = named_after("make", DOCUMENTS)
    assert {"demo", "test"} <= named
    assert named <= targets
    assert {f"`make {target}`" for target in targets - {"help"}} <= {
        f"`{span}`" for span in _SPAN.findall((TOP / "HACKING.md").read_text())
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_every_configuration_in_a_document_is_taken(path):
    for text in blocks(path, "toml"):
        configschema.build(tomllib.loads(text), lambda _key: str(path))


def test_the_exit_codes_of_the_readme_are_those_of_the_program():
    listed = re.findall(r"(?m)^\| (\d+) \|", (TOP / "README.md").read_text())
    codes = {value for value in vars(exits).values() if isinstance(value, int)}
    assert [int(code) for code in listed] == sorted(codes)


def test_every_variable_in_a_document_is_read_or_set_by_something():
    source = "\n".join(
        path.read_text()
        for where in ("nodestoraged", "tests")
        for path in TOP.glob(f"{where}/**/*.py")
    )
    named = {
        name
        for path in DOCUMENTS
        for text in code(path)
        for name in re.findall(r"\b(?:NODESTORAGED?|HYPOTHESIS)_[A-Z_]+\b", text)
    }
    assert "NODESTORAGED_TO" in named
    assert [name for name in sorted(named) if name not in source] == []


def test_every_reason_in_the_fault_table_is_published():
    _, _, table = ARCHITECTURE.read_text().partition("\n## Faults\n")
    words = re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)*)`", table.partition("\n## ")[0])
    conditions = (PACKAGE / "core" / "conditions.py").read_text()
    unknown = [w for w in words if w not in set(Reason) and f'"{w}"' not in conditions]
    assert words
    assert unknown == []


def test_every_file_that_a_document_names_is_there():
    """Words with a slash and an ending, in the tree's own directories."""
    named = {
        word
        for path in DOCUMENTS
        for span in _SPAN.findall(prose(path))
        for word in re.findall(r"^((?:[\w.-]+/)+[\w-]+\.(?:py|toml|md|sh|mmd|conf))$", span)
    }
    places = (TOP, PACKAGE)
    assert [n for n in sorted(named) if not any((top / n).exists() for top in places)] == []


def test_decisions_are_numbered_without_a_gap_and_listed():
    records = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
    numbers = [int(path.name[:4]) for path in records]
    assert numbers[0] == 1
    assert all(after == before + 1 for before, after in pairwise(numbers))
    listed = dict(
        reversed(pair)
        for pair in re.findall(r"(?m)^- \[(.+)\]\((.+)\)$", (DECISIONS / "README.md").read_text())
    )
    titles = {path.name: path.read_text().splitlines()[0].removeprefix("# ") for path in records}
    assert listed == titles
