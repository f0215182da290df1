"""The manual pages agree with the program: verbs, options, keys, defaults, exit codes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from nodestoraged import daemon
from nodestoraged.adapters import configschema
from nodestoraged.cli import exits, main
from nodestoraged.model.config import Config
from nodestoraged.model.phase import Phase

MAN = Path(__file__).parents[2] / "docs" / "man"
PAGES = ("nodestoraged.8", "nodestoragectl.1", "nodestoraged.toml.5")


def plain(text: str) -> str:
    """The text without fonts and escapes."""
    return re.sub(r"\\f[BIR]", "", text).replace("\\-", "-")


def page(name: str) -> str:
    return (MAN / name).read_text()


def sections(text: str, macro: str) -> dict[str, str]:
    """The text below each heading of this rank."""
    parts = re.split(rf"^\.{macro} (.*)$", text, flags=re.MULTILINE)
    return {
        plain(title).strip('"'): body for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def tagged(text: str) -> list[str]:
    """The tags of the paragraphs that have one."""
    return [
        plain(line).removeprefix(".BR ").removeprefix(".B ")
        for line in re.findall(r"^\.TP\n(.*)$", text, flags=re.MULTILINE)
    ]


class Declared:
    """What a verb declares: its options, each with its metavar or none."""

    def __init__(self, verb: str) -> None:
        self.options: set[str] = set()
        self.words: list[str] = []
        module, _ = main.VERBS[verb]
        verbs = __import__(f"nodestoraged.cli.{module}", fromlist=["VERBS"]).VERBS
        verbs[verb][0](self)

    def add_argument(self, *names: str, **rules: object) -> None:
        longest = names[-1]
        if not longest.startswith("-"):
            choices = rules.get("choices")
            word = "|".join(choices) if isinstance(choices, tuple) else str(rules.get("metavar"))
            if rules.get("metavar") is None and choices is None:
                word = longest.upper()
            self.words.append(f"[{word}]" if rules.get("nargs") == "?" else word)
            return
        said = ", ".join(names)
        if rules.get("action") != "store_true":
            said += f" {rules.get('metavar') or longest.lstrip('-').upper()}"
        self.options.add(said)


def verb_sections() -> dict[str, tuple[str, str]]:
    """Of each verb in the page: its words, and the text about it."""
    found = {}
    for body in sections(page("nodestoragectl.1"), "SH").values():
        for title, text in sections(body, "SS").items():
            verb, _, words = title.partition(" ")
            found[verb] = (words, text)
    return found


def test_the_page_has_every_verb_and_no_other():
    assert list(verb_sections()) == list(main.VERBS)


@pytest.mark.parametrize("verb", main.VERBS)
def test_the_page_has_every_option_of_the_verb_and_no_other(verb):
    words, text = verb_sections()[verb]
    declared = Declared(verb)
    assert set(tagged(text)) == declared.options
    assert words == " ".join(declared.words)


def test_the_page_has_every_exit_code_and_no_other():
    codes = {getattr(exits, name) for name in exits.__all__ if name != "StopError"}
    written = tagged(sections(page("nodestoragectl.1"), "SH")["EXIT STATUS"])
    assert written == [str(code) for code in sorted(codes)]


def test_the_page_of_the_daemon_has_its_options(capsys):
    with pytest.raises(SystemExit):
        daemon.main(["--help"])
    options = set(re.findall(r"(?<![\w-])--[a-z-]+", capsys.readouterr().out))
    written = " ".join(tagged(sections(page("nodestoraged.8"), "SH")["OPTIONS"]))
    assert set(re.findall(r"--[a-z-]+", written)) == options


def test_the_page_of_the_daemon_has_every_phase_and_its_exit_codes():
    found = sections(page("nodestoraged.8"), "SH")
    assert tagged(found["PHASES"]) == [phase.value for phase in Phase]
    codes = {str(code) for code in (0, daemon.EXIT_FAILED, exits.USAGE, daemon.EXIT_LOCKED)}
    assert set(tagged(found["EXIT STATUS"])) == codes


def keys() -> dict[str, object]:
    """Every key, dotted, below `[role.NAME]` or the top; None where it has no default."""
    found: dict[str, object] = {}

    def walk(table, at, value):
        for name, key in table.items():
            if isinstance(key, configschema._Key):
                default = getattr(value, key.field)
                found[f"{at}{name}"] = None if default in (None, ()) else key.show(default)
                if default == () and not at.startswith("daemon.commands"):
                    found[f"{at}{name}"] = []
            else:
                walk(key, f"{at}{name}.", getattr(value, name))

    config = Config()
    found["schema"] = configschema.model.SCHEMA
    walk(configschema._ROLE, "role.NAME.", config.roles[0])
    walk(configschema._DAEMON, "daemon.", config.daemon)
    return found


def test_the_page_of_the_configuration_has_every_key_with_its_default():
    written: dict[str, object] = {}
    for title, body in sections(page("nodestoraged.toml.5"), "SH").items():
        at = title.strip("[]") + "." if title.startswith("[") else ""
        for tag in tagged(body):
            match = re.fullmatch(r"(\w+) \(([a-z0-9, ]+), (no default|default (.+))\)", tag)
            assert match, tag
            written[at + match[1]] = None if match[4] is None else json.loads(match[4])
    expected = {key: json.loads(json.dumps(value)) for key, value in keys().items()}
    assert written == expected


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_itself_and_is_plain(name):
    stem, _, section = name.rpartition(".")
    text = page(name)
    assert f".TH {stem.upper()} {section} " in text
    assert f".SH NAME\n{stem} \\- " in text
    assert text.isascii()
    assert [line for line in text.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize("name", PAGES)
def test_groff_warns_of_nothing(name):
    command = ["groff", "-man", "-Tutf8", "-ww", "-z", str(MAN / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
