"""The tree speaks of itself only, keeps its promises, and its documents name what exists."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged import __version__

TOP = Path(__file__).parents[2]
#: Each with a class of one letter, so that this file is not its own finding.
UNFINISHED = re.compile(r"\bTOD[O]\b|\bFIXM[E]\b|\bNotImplemented[E]rror\b")
ELSEWHERE = re.compile(r"\bshare[d]/(?!slave|private)|\.librar[y]\b|/wor[k]/|/opt/pyp[i]")


def files() -> Iterator[Path]:
    """Yield every text file of the tree, whether git knows it or not."""
    skipped = {".git", "dist", "build", "__pycache__", ".hypothesis", ".artifacts"}
    for path in TOP.rglob("*"):
        parts = path.relative_to(TOP).parts
        made = any(
            part in skipped or part.startswith(".venv") or part.endswith("_cache") for part in parts
        )
        made = made or path.name.startswith(".coverage")
        if not made and path.is_file() and path.suffix not in {".binpb", ".gz", ".png"}:
            yield path


@pytest.mark.parametrize(("words", "why"), [(UNFINISHED, "unfinished"), (ELSEWHERE, "not here")])
def test_no_file_speaks_of_what_is_unfinished_or_elsewhere(words, why):
    found = [
        f"{path.relative_to(TOP)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if words.search(line)
    ]
    assert found == [], why


def test_every_make_target_that_a_document_names_exists():
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", (TOP / "Makefile").read_text()))
    named = {
        (path.name, target)
        for path in TOP.glob("*.md")
        for target in re.findall(r"(?m)(?:`|^    |^\$ |^)make ([a-z][a-z-]*)", path.read_text())
    }
    assert ("README.md", "test") in named
    assert {target for _, target in named} <= targets


def test_every_target_says_what_it_is_for():
    text = (TOP / "Makefile").read_text()
    phony = set(re.findall(r"(?m)^\.PHONY: (.+)$", text))
    assert phony == set(re.findall(r"(?m)^([a-z-]+):.*## \w", text))


def test_the_package_has_the_version_of_the_program():
    changelog = (TOP / "packaging" / "deb" / "changelog").read_text()
    assert changelog.startswith(f"nodestoraged ({__version__}) ")


def test_importing_the_cli_stays_small():
    """Each of these costs a good part of an interpreter's start, for every `nodestoragectl`."""
    code = (
        f"import sys; sys.path.insert(0, {str(TOP)!r}); import nodestoraged.cli.main; "
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    heavy = {"asyncio", "dataclasses", "inspect", "logging", "pathlib", "subprocess", "typing"}
    loaded = set(done.stdout.split())
    assert heavy & loaded == set()
    assert not {name for name in loaded if name.startswith("nodestoraged.model")}
