#!/usr/bin/python3 -B
"""Write the completions of bash, zsh and fish into a directory, from the program's declarations.

    packaging/completions/generate.py DIRECTORY

Run when a package is built.  Owns: what each verb declares, read as values.  May not know: what
any shell's file looks like; `shells.py` beside this file writes them.

The files hold verbs, options and fixed words as they were declared.  Where a stick or an operation
is meant, a Tab reads the names that the daemon keeps beside its socket; without a daemon, or
without the right to read them, just the fixed words are offered.  No Tab starts a program.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from shells import DIRECTORIES, OPERATIONS, STICKS, Option, Values, Verb, bash, fish, zsh

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nodestoraged.adapters import configschema
from nodestoraged.api.interface import SOCKET_PATH
from nodestoraged.cli import main as cli
from nodestoraged.cli.health import PHASES
from nodestoraged.cli.offline.explain import meanings
from nodestoraged.model.config import Config, ProfileOverride


def config_keys() -> tuple[str, ...]:
    """Every key of the default role and the daemon, those without a default too."""
    config = Config()
    # Any value will do: only None hides a key.
    unset = ProfileOverride(
        **{one.name: "" for one in dataclasses.fields(ProfileOverride)}  # type: ignore[arg-type]
    )
    role = dataclasses.replace(config.roles[0], profile=unset)
    keys = configschema.flatten(dataclasses.replace(config, roles=(role,)))
    return tuple(configschema.dotted(key) for key, _ in keys if key != ("schema",))


#: What a declared metavar stands for.  A new one has to be named here, or nothing is written.
METAVARS: dict[str, Callable[[], Values]] = {
    "STICK": lambda: Values(kind=STICKS),
    "ID": lambda: Values(kind=OPERATIONS),
    "ID|STICK": lambda: Values(kind=STICKS),
    "REASON|STICK|imagefs": lambda: Values(words=("imagefs", *sorted(meanings())), kind=STICKS),
    "PHASE": lambda: Values(words=PHASES),
    "KEY": lambda: Values(words=config_keys()),
    "DIRECTORY": lambda: Values(kind=DIRECTORIES),
    "PATH": lambda: Values(kind=DIRECTORIES),
} | dict.fromkeys(
    ("ROLE", "LIMIT", "TIME", "DESCRIPTION", "RATE", "SECONDS", "NAME", "SERIAL", "LABEL", "VALUE"),
    Values,
)
#: Words that a verb takes beside the sticks.
BESIDE = {"switch": ("auto", "internal"), "plan": ("auto", "internal"), "eject": ("internal",)}


class Recorder:
    """Keeps what a verb declares, as argparse would read it."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._parser = argparse.ArgumentParser(prog=verb, add_help=False)
        self.options: list[Option] = []
        self.words: list[Values] = []

    def add_argument(self, *names: str, **rules: object) -> None:
        """Declare one option or one word."""
        action = self._parser.add_argument(*names, **rules)  # type: ignore[arg-type]
        metavar = str(action.metavar or action.dest.upper())
        if action.nargs == 0:
            values = None
        elif action.choices is not None:
            values = Values(words=tuple(action.choices))
        elif metavar in METAVARS:
            values = METAVARS[metavar]()
            if values.kind == STICKS and metavar == "STICK" and names != ("stick",):
                values = dataclasses.replace(values, words=BESIDE.get(self._verb, ()))
            elif values.kind == STICKS and self._verb == "switch":
                values = dataclasses.replace(values, words=BESIDE["switch"])
        else:
            sys.exit(f"{self._verb}: what does {metavar} stand for? Name it in METAVARS.")
        if action.option_strings:
            self.options.append(
                Option(names=names, help=action.help or "", metavar=metavar, values=values)
            )
        elif values is not None:
            self.words.append(values)


def verbs() -> list[Verb]:
    """All verbs, in the order of the program's own list."""
    found = []
    for name, (module, summary) in cli.VERBS.items():
        recorder = Recorder(name)
        declare, _ = importlib.import_module(f"nodestoraged.cli.{module}").VERBS[name]
        declare(recorder)
        recorder.options.append(
            Option(names=("-h", "--help"), help="what the verb takes", metavar="", values=None)
        )
        found.append(
            Verb(
                name=name,
                summary=summary,
                options=tuple(recorder.options),
                words=tuple(recorder.words),
            )
        )
    return found


def main() -> None:
    """Write the three files under the names that the shells look for."""
    if len(sys.argv) != 2:
        sys.exit("usage: generate.py DIRECTORY")
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    found = verbs()
    (directory / "nodestoragectl").write_text(bash(found, SOCKET_PATH))
    (directory / "_nodestoragectl").write_text(zsh(found, SOCKET_PATH))
    (directory / "nodestoragectl.fish").write_text(fish(found, SOCKET_PATH))


if __name__ == "__main__":
    main()
