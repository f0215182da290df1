"""Commands in the documents are commands that the program takes; the tour fits a terminal."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from nodestoraged.cli import main, verb

TOP = Path(__file__).parents[2]
DOCUMENTS = sorted([*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")])
#: Words that stand for something.
_FORMS = {"ID": "7"}


def blocks(path: Path) -> list[str]:
    return re.findall(r"(?ms)^```\w*\n(.*?)^```$", path.read_text())


def commands(path: Path) -> list[str]:
    """What is called, in a block or as a span, up to a comment or the next command of the line."""
    text = path.read_text()
    lines = [line.removeprefix("$ ") for block in blocks(path) for line in block.splitlines()]
    prose = re.sub(r"(?ms)^```.*?^```$", "", text).replace("\n", " ")
    lines += [" ".join(span.split()) for span in re.findall(r"`(nodestoragectl [^`]+)`", prose)]
    found = []
    for line in lines:
        match = re.match(r"(?:sudo )?(nodestoragectl [a-z].*)", line)
        if match:
            found.append(re.split(r"\s{2,}|\s#|\s?&&|\s\|\|?|;|…|\(", match[1])[0].strip())
    return found


def refused(command: str) -> str:
    """Why the program would not take the command; "" if it does."""
    _, name, *words = shlex.split(command)
    if name not in main.VERBS:
        return f"no verb {name}"
    module, summary = main.VERBS[name]
    declare, _ = __import__(f"nodestoraged.cli.{module}", fromlist=["VERBS"]).VERBS[name]
    words = [_FORMS.get(word, word) for word in words]
    # A span may name a verb or an option without the rest; what is written has to be right.
    for rest in ([], ["STICK"], ["STICK", "NAME"], ["value"], ["--for", "BOUND"]):
        try:
            verb.strictly(name, summary, declare, [*words, *rest])
        except SystemExit:
            continue
        return ""
    return f"{name} does not take {words}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(TOP)))
def test_every_command_in_a_document_is_taken(path, capsys):
    wrong = {one: refused(one) for one in commands(path) if refused(one)}
    assert wrong == {}


def test_the_commands_are_found_and_wrong_ones_are_seen(capsys):
    assert len(commands(TOP / "docs" / "tour.md")) > 10
    assert refused("nodestoragectl switch blue --carry")
    assert refused("nodestoragectl list blue green red")
    assert not refused("nodestoragectl switch blue --copy")


@pytest.mark.parametrize("name", ["tour.md", "migration.md", "troubleshooting.md"])
def test_screens_fit_80_columns(name):
    """Commands to paste are as long as they are."""
    wide = [
        line
        for block in blocks(TOP / "docs" / name)
        for line in block.splitlines()
        if len(line) > 80 and "nodestoragectl" not in line
    ]
    assert wide == []
