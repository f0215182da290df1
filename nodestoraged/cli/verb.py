"""One verb's command line: its options, read without argparse where that is plain.

Owns: argparse and the options that many verbs share.  argparse writes the help, judges every
unusual command line and words every error, but loading it and building a parser costs a fifth of
the whole program.  So the options are declared once, by `add_argument` calls, and a command line
that uses exactly what was declared is read here; a property test compares the two readings.
"""

from __future__ import annotations

import os

from nodestoraged.api.interface import SOCKET_PATH
from nodestoraged.cli.render import FORMATS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    class Declares(Protocol):
        """What options are declared to: an argparse parser, or the plain reader."""

        def add_argument(self, *names: str, **rules: Any) -> object:  # noqa: ANN401
            """Declare one option or positional argument, in argparse's words."""


__all__ = ["Arguments", "format_option", "parsed", "plainly", "role_option", "strictly"]

#: Where another socket can be named, for tests and demonstrations.
SOCKET_VARIABLE = "NODESTORAGE_SOCKET"


class Arguments:
    """The values of a verb's options, as attributes."""

    verb: str

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            """Whatever the verb has declared."""


def parsed(
    verb: str,
    summary: str,
    declare: Callable[[Declares], None],
    words: Sequence[str],
) -> Arguments:
    """The verb's arguments; a wrong command line ends the program with 2."""
    arguments = plainly(declare, words) or strictly(verb, summary, declare, words)
    arguments.verb = verb
    return arguments


def role_option(parser: Declares) -> None:
    """Add --role."""
    parser.add_argument("--role", metavar="ROLE", help="needed when there are several roles")


def format_option(parser: Declares) -> None:
    """Add -o."""
    parser.add_argument(
        "-o", "--output", choices=FORMATS, default="table", metavar="FORMAT",
        help="table (default), wide, json, jsonl or name",
    )  # fmt: skip


def strictly(
    verb: str, summary: str, declare: Callable[[Declares], None], words: Sequence[str]
) -> Arguments:
    """Read by argparse."""
    import argparse

    parser = argparse.ArgumentParser(
        prog=f"nodestoragectl {verb}",
        description=summary[0].upper() + summary[1:] + ".",
        # With a width given, argparse does not load shutil for the size of the terminal.
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=80),
        allow_abbrev=False,
    )
    declare(parser)
    parser.add_argument(
        "--socket", metavar="PATH", default=_default_socket(), help=argparse.SUPPRESS
    )
    arguments = Arguments()
    parser.parse_args(words, namespace=arguments)
    return arguments


def plainly(declare: Callable[[Declares], None], words: Sequence[str]) -> Arguments | None:
    """Read what is plain; None when argparse has to look at it."""
    reader = _Plain()
    declare(reader)
    reader.add_argument("--socket", default=_default_socket())
    return reader.read(words)


def _default_socket() -> str:
    return os.environ.get(SOCKET_VARIABLE) or SOCKET_PATH


class _Plain:
    """Reads flags, options with a word of their own after them, and positional arguments."""

    def __init__(self) -> None:
        self._flags: dict[str, str] = {}
        self._options: dict[str, tuple[str, object]] = {}
        self._positional: list[tuple[str, object]] = []
        self._needed: set[str] = set()
        self._values: dict[str, object] = {}

    def add_argument(self, *names: str, **rules: object) -> None:
        longest = names[-1]
        name = str(rules.get("dest") or longest.lstrip("-").replace("-", "_"))
        flag = rules.get("action") == "store_true"
        choices = rules.get("choices")
        self._values[name] = False if flag else rules.get("default")
        if rules.get("type") is not None:
            choices = ()  # a word that must be understood: argparse does that
        if flag:
            self._flags |= dict.fromkeys(names, name)
        elif longest.startswith("-"):
            self._options |= dict.fromkeys(names, (name, choices))
            if rules.get("required"):
                self._needed.add(name)
        else:
            self._positional.append((name, choices))
            if rules.get("nargs") is None:
                self._needed.add(name)

    def read(self, words: Sequence[str]) -> Arguments | None:
        rest = iter(words)
        waiting = list(self._positional)
        for word in rest:
            if word in self._flags:
                self._values[self._flags[word]] = True
                continue
            if word in self._options:
                name, choices = self._options[word]
                value = next(rest, "-")
            elif waiting:
                name, choices = waiting.pop(0)
                value = word
            else:
                return None
            if not _plain_word(value, choices):
                return None
            self._values[name] = value
            self._needed.discard(name)
        if self._needed:
            return None
        arguments = Arguments()
        arguments.__dict__.update(self._values)
        return arguments


def _plain_word(word: str, choices: object) -> bool:
    """A word that can be nothing but a value, and is one of the choices if there are any."""
    if not word or word[0] == "-" or " " in word:
        return False
    return choices is None or (isinstance(choices, tuple) and word in choices)
