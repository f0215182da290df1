"""The completions offer what is declared, and never run what somebody wrote on a stick."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodestoraged.adapters.offers import OfferFiles
from nodestoraged.cli import main
from nodestoraged.cli.render import FORMATS
from nodestoraged.model.phase import Phase

TOP = Path(__file__).parents[3]
GENERATOR = TOP / "packaging" / "completions" / "generate.py"
#: A stick's name is anybody's text: this one would make a file if a shell ran it.
NASTY = "blue$(touch hit)`touch hit`"
STICKS = ("blue", "blueish", NASTY, "green")
DRIVER = """
source "$1"; shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_nodestoragectl
printf '%s\\n' "${COMPREPLY[@]}"
"""


#: What zsh writes when it is ready for a line.
EDITS = "\x1b[?2004h"


@contextlib.contextmanager
def on_pty(
    words: list[str], environment: dict[str, str], home: Path
) -> Iterator[tuple[Callable[[str], None], Callable[[str], str]]]:
    """A program on a terminal: what writes to it, and what reads until something came."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 300, 0, 0))
    program = subprocess.Popen(
        words, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=home,
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)

    def read_until(wanted: str) -> str:
        seen, end = "", time.monotonic() + 20
        while wanted not in seen:
            assert time.monotonic() < end, f"{wanted!r} did not come: {seen!r}"
            if select.select([master], [], [], 0.2)[0]:
                seen += os.read(master, 65536).decode()
        return seen

    try:
        yield lambda text: os.write(master, text.encode()), read_until
        program.wait(10)
    finally:
        program.kill()
        program.wait()
        os.close(master)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """The generator's files, made as a build makes them: PATH is all of the environment."""
    directory = tmp_path_factory.mktemp("completions")
    subprocess.run(
        ["/usr/bin/python3", "-B", str(GENERATOR), str(directory)],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        cwd="/",
        check=True,
    )
    return directory


@pytest.fixture
def environment(tmp_path) -> Iterator[dict[str, str]]:
    """A daemon that keeps STICKS, and a nodestoragectl that nobody may start for a Tab."""
    program = tmp_path / "bin" / "nodestoragectl"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$*" >>asked\n')
    program.chmod(0o755)
    run = tmp_path / "run"
    run.mkdir()
    files = OfferFiles(run, "no-such-group")
    files.write("sticks", STICKS)
    files.write("operations", ("7", "6"))
    yield {
        "PATH": f"{program.parent}:{os.defpath}",
        "HOME": str(tmp_path),
        "NODESTORAGE_SOCKET": str(run / "io.nodestorage"),
    }
    assert not (tmp_path / "asked").exists()


@pytest.fixture
def reply(written, environment, tmp_path):
    """What bash offers for the last of the words."""

    def ask(*words: str) -> list[str]:
        done = subprocess.run(
            ["bash", "--norc", "-c", DRIVER, "driver", str(written / "nodestoragectl"),
             "nodestoragectl", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )  # fmt: skip
        assert done.stderr == ""
        return [line for line in done.stdout.splitlines() if line]

    return ask


def test_the_first_word_is_any_verb(reply):
    assert reply("") == [*main.VERBS, "--help", "--version"]
    assert reply("re") == ["resume", "rename", "relist", "reclaim"]


def test_a_dash_offers_the_options_of_the_verb(reply):
    assert reply("switch", "--") == [
        "--copy", "--keep", "--data", "--rate", "--no-wait", "--role", "--help",
    ]  # fmt: skip
    assert reply("prepare", "sdb", "--wh") == ["--whole-disk"]
    assert reply("is-bound", "-") == ["-q", "--quiet", "--role", "-h", "--help"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("switch", "blue", "--data", ""), ["keep", "copy", "pinned"]),
        (("wait", "--for", ""), [phase.value for phase in Phase]),
        (("wait", "--for", "S"), ["SWITCHING", "STOPPED"]),
        (("status", "-o", ""), list(FORMATS)),
        (("status", "--output", "json"), ["json", "jsonl"]),
        (("prepare", "sdb", "--fs", ""), ["ext4", "xfs"]),
        (("config", ""), ["validate", "show", "default", "set"]),
        (("config", "set", "role.containerd.profile.h"), ["role.containerd.profile.healthz_port"]),
        (("explain", "NotEn"), ["NotEnrolled"]),
        (("wait", "--timeout", ""), []),
        (("rename", "blue", ""), []),
        (("no-such-verb", ""), []),
    ],
)
def test_fixed_words_are_offered_where_they_fit(reply, words, offered):
    assert reply(*words) == offered


def test_without_a_daemon_only_fixed_words_are_offered(reply, environment):
    environment["NODESTORAGE_SOCKET"] = "/nowhere/io.nodestorage"
    assert reply("switch", "") == ["auto", "internal"]
    assert reply("forget", "") == []


def test_sticks_are_offered_where_a_stick_is_meant(reply):
    assert reply("forget", "gr") == ["green"]
    assert reply("switch", "--copy", "g") == ["green"]
    assert reply("switch", "--rate", "20M", "")[:2] == ["auto", "internal"]
    assert reply("plan", "--to", "i") == ["internal"]
    assert reply("abort", "") == ["7", "6"]


def test_a_name_that_looks_like_a_command_is_quoted_and_never_run(reply, tmp_path):
    offered = reply("forget", "blue")
    assert len(offered) == 3
    quoted = offered[2]
    echoed = subprocess.run(
        ["bash", "-c", f"printf %s {quoted}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert echoed.stdout == NASTY
    assert not (tmp_path / "hit").exists()


def test_the_other_shells_know_every_verb_and_long_option(written):
    bash = (written / "nodestoragectl").read_text()
    zsh = (written / "_nodestoragectl").read_text()
    fish = (written / "nodestoragectl.fish").read_text()
    assert zsh.startswith("#compdef nodestoragectl\n")
    for verb in main.VERBS:
        options = re.search(rf"^ +{verb}\) options='([^']*)'", bash, flags=re.MULTILINE)
        assert options, verb
        described = zsh.partition(f"        {verb})\n")[2].partition(";;")[0]
        for option in options[1].split():
            assert f"){option}[" in described, (verb, option)
            dashed = f"-l {option[2:]} " if option.startswith("--") else f"-s {option[1:]} "
            line = f"'__nodestoragectl_verb {verb}' "
            assert any(
                line in one and f" {dashed}" in f"{one} " for one in fish.splitlines()
            ), (verb, option)  # fmt: skip
        assert f"-n __fish_is_first_token -a {verb} " in fish


def in_fish(line: str, written: Path, environment: dict[str, str], home: Path) -> set[str]:
    """What fish itself offers at the end of the line."""
    done = subprocess.run(
        ["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]",
         str(written / "nodestoragectl.fish"), line],
        cwd=home, env=environment,
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return {offered.partition("\t")[0] for offered in done.stdout.splitlines()}


def in_zsh(line: str, written: Path, environment: dict[str, str], home: Path) -> set[str]:
    """What zsh itself lists at the end of the line: it completes on a terminal only."""
    with on_pty(["zsh", "-f", "-i"], {**environment, "TERM": "dumb", "PS1": ""}, home) as (
        write,
        read_until,
    ):
        read_until(EDITS)
        write(f"fpath=({written} $fpath); autoload -U compinit; compinit -u -D; ")
        write("bindkey '^X' list-choices\n")
        read_until(EDITS)
        write(f"{line}\x18")
        # The list stands between the line and the same line again.
        listed = read_until(f"\r\n{line}")
        write("\x15exit\n")
    rows = listed.rpartition(f"{line}\r\r\n")[2].split("\r\n")[:-1]
    # A row is a verb and what it does, or several words with two blanks or more between them.
    cells = [cell for row in rows for cell in re.split(r" {2,}(?!--)", row)]
    return {cell.partition(" --")[0].strip() for cell in cells} - {""}


@pytest.mark.parametrize("shell", [in_fish, in_zsh])
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("re", {"resume", "rename", "relist", "reclaim"}),
        ("wait --for S", {"SWITCHING", "STOPPED"}),
        ("switch blue --data ", {"keep", "copy", "pinned"}),
        ("prepare sdb --wh", {"--whole-disk"}),
        ("explain NotEnr", {"NotEnrolled"}),
        ("switch --copy g", {"green"}),
        ("plan --to ", {"auto", "internal", "blue", "blueish", "green", NASTY}),
        ("abort ", {"7", "6"}),
    ],
)
def test_fish_and_zsh_offer_the_same(written, environment, tmp_path, shell, line, offered):
    found = shell(f"nodestoragectl {line}", written, environment, tmp_path)
    assert {word.replace("\\", "") for word in found} == offered
    assert not (tmp_path / "hit").exists()


@pytest.mark.parametrize("name", ["_nodestoragectl", "nodestoragectl.fish"])
def test_quotes_are_closed_in_each_line(written, name):
    for line in (written / name).read_text().splitlines():
        bare = line.replace("'\\''", "").replace("\\'", "")
        assert bare.count("'") % 2 == 0, line


@pytest.mark.parametrize(
    ("shell", "name"),
    [("bash", "nodestoragectl"), ("zsh", "_nodestoragectl"), ("fish", "nodestoragectl.fish")],
)
def test_the_shell_takes_the_syntax(written, shell, name):
    subprocess.run([shell, "-n", str(written / name)], check=True)


def test_shellcheck_finds_nothing(written):
    done = subprocess.run(
        ["shellcheck", "--shell", "bash", str(written / "nodestoragectl")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
