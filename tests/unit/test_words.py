"""Every word that the code can say is one that `explain` can tell."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nodestoraged
from nodestoraged.model.failure import FAILURES
from nodestoraged.model.reason import MEANINGS, Reason

_TREE = Path(nodestoraged.__file__).parent
_ERRORS = {
    "StepError", "StepTimeout", "OperationFailed", "RefusedError", "RequestError",
    "NotFoundError", "ObservationError",
}  # fmt: skip


def raised_words() -> Iterator[tuple[str, str]]:
    for path in sorted(_TREE.rglob("*.py")):
        if "sim" in path.relative_to(_TREE).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            first = node.args[0]
            if name in _ERRORS and isinstance(first, ast.Constant):
                yield str(first.value), f"{path.relative_to(_TREE)}:{node.lineno}"


def test_every_reason_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Reason)


def test_every_word_that_is_raised_can_be_explained() -> None:
    known = {reason.value for reason in Reason} | FAILURES.keys()
    found = dict(raised_words())
    assert len(found) > 20, "the search found hardly anything"
    assert {word: place for word, place in found.items() if word not in known} == {}


def test_every_word_of_a_condition_is_one_of_the_catalogue() -> None:
    tree = ast.parse((_TREE / "core" / "conditions.py").read_text())
    given = [
        keyword.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == "Condition"
        for keyword in node.keywords
        if keyword.arg == "reason"
    ]
    assert len(given) > 10, "the search found hardly anything"
    said = [part for value in given for part in ast.walk(value) if isinstance(part, ast.Constant)]
    assert [each.value for each in said] == []


def test_every_word_of_the_catalogues_is_said_by_somebody() -> None:
    code = "\n".join(
        path.read_text()
        for path in _TREE.rglob("*.py")
        if path.name not in {"reason.py", "failure.py"} or path.parent.name != "model"
        if "sim" not in path.relative_to(_TREE).parts
    )
    names = {reason.value: rf"Reason\.{reason.name}" for reason in Reason}
    names |= {word: word for word in FAILURES}
    assert [word for word, name in names.items() if not re.search(rf"\b{name}\b", code)] == []


def test_no_word_has_two_meanings() -> None:
    assert {reason.value for reason in Reason} & FAILURES.keys() == set()
