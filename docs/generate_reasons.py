"""Write docs/reasons.md: every word that nodestoraged gives as a reason, with what it means.

    python -m docs.generate_reasons > docs/reasons.md

The words are those of `nodestoragectl explain`; the headings are the comments of the catalogues.
The page is compared with the code by tests/unit/cli/test_reasons_page.py.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator

from nodestoraged.cli.offline.explain import meanings
from nodestoraged.model import failure, reason

_HEAD = """\
<!-- Written by docs/generate_reasons.py; a test compares it with the code. -->
# What each reason means

Every word that `status`, `list`, `show`, `events` and the log give as a reason. On a node
`nodestoragectl explain WORD` tells the same, without the daemon too, and
`nodestoragectl explain STICK` tells all that holds for one stick. From a symptom to its cause:
[troubleshooting.md](troubleshooting.md).

The first six tables are of states that last; those after them are of one request, or of one step
of an operation.
"""
#: The comments of the catalogues are notes for those who write code; these are headings.
_TITLES = {
    "why a candidate waits": "Why a stick waits",
    "why a candidate cannot be used": "Why a stick cannot be used",
    "why an operation is refused": "Why nothing is done",
    "where the root is, and why": "Where the root is, and why",
    "conditions and attention": "What is wrong while it runs",
    "what a condition found": "What a condition found",
    "requests": "What was asked cannot be",
    "disks": "Steps: disks and copies",
    "runtime": "Steps: the runtime",
    "services": "Steps: services",
    "ourselves": "Steps: nodestoraged itself",
}
_WORD = re.compile(r'^    (?:[A-Z_]+ = )?"([A-Z]\w+)"')
_COMMENT = re.compile(r"^    # (.+)$")


def groups() -> Iterator[tuple[str, list[str]]]:
    """Each heading with its words, in the order of the catalogues."""
    enum = inspect.getsource(reason.Reason)
    table = inspect.getsource(failure).partition("FAILURES")[2]
    title, words = "", list[str]()
    for line in (*enum.splitlines(), *table.splitlines()):
        if comment := _COMMENT.match(line):
            if words:
                yield title, words
            title, words = _TITLES.get(comment[1], comment[1].capitalize()), []
        elif word := _WORD.match(line):
            words.append(word[1])
    yield title, words


def page() -> str:
    """The whole of docs/reasons.md."""
    known = meanings()
    parts = [_HEAD]
    for title, words in groups():
        rows = "\n".join(f"| `{word}` | {known[word].replace('|', '/')} |" for word in words)
        parts.append(f"\n## {title}\n\n| word | meaning |\n|---|---|\n{rows}\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
