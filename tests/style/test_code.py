"""The tree passes its own linters; a linter that is missing is a failure."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
#: 300 is the aim; a list of Protocols or of steps may run over it a little.
LONGEST_MODULE = 350
PACKAGE = sorted((TOP / "nodestoraged").rglob("*.py"))


def run(*command: str) -> None:
    """Run a tool of this environment, or of the system; its complaints are the failure's text."""
    beside = Path(sys.executable).with_name(command[0])
    program = str(beside) if beside.exists() else command[0]
    done = subprocess.run(
        [program, *command[1:]], cwd=TOP, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)


def test_ruff_finds_nothing():
    run("ruff", "check", "--quiet", ".")


def test_every_file_is_formatted():
    run("ruff", "format", "--check", "--quiet", "--diff", ".")


def test_mypy_finds_nothing():
    run("mypy")


def test_imports_go_one_way():
    run("lint-imports", "--no-cache")


def test_nothing_is_misspelt():
    run("codespell")


def test_shell_scripts_pass_shellcheck():
    scripts = [path for path in TOP.rglob("*") if _is_shell_script(path)]
    assert TOP / "packaging" / "deb" / "build" in scripts
    run("shellcheck", *map(str, scripts))


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(TOP)))
def test_a_module_has_one_duty(path):
    """A bounded length, functions of at most 60 lines, a docstring that says what it is for."""
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= LONGEST_MODULE
    assert ast.get_docstring(tree)
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= 60
    }
    assert long == {}


def _is_shell_script(path: Path) -> bool:
    hidden = any(
        part.startswith(".venv") or part in {".git", "dist"} for part in path.relative_to(TOP).parts
    )
    if hidden or not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.readline()
    return first.startswith(b"#!") and first.split(b"/")[-1].split()[0] in {
        b"sh",
        b"bash",
        b"env bash",
    }
