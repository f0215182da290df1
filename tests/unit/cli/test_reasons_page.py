"""docs/reasons.md is what the code says: every word once, under a heading for people."""

from __future__ import annotations

import re
from pathlib import Path

from docs import generate_reasons
from nodestoraged.cli.offline.explain import meanings

PAGE = Path(__file__).parents[3] / "docs" / "reasons.md"


def test_the_page_is_what_the_code_says():
    assert PAGE.read_text() == generate_reasons.page(), (
        "python -m docs.generate_reasons > docs/reasons.md"
    )


def test_every_word_that_is_explained_stands_there_once():
    words = re.findall(r"(?m)^\| `(\w+)` \|", generate_reasons.page())
    assert sorted(words) == sorted(meanings())


def test_every_heading_was_written_for_people():
    assert {title for title, _ in generate_reasons.groups()} == set(
        generate_reasons._TITLES.values()
    )
