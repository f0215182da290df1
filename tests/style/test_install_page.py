"""docs/install.md has what was tried, word for word, and the packages say what it says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.vm.inits import OpenRC, Systemd
from tests.vm.nodes import INSTALL

TOP = Path(__file__).parents[2]
PAGE = TOP / "docs" / "install.md"
#: Package and init system, and the second command there: apt's packages enable themselves.
ENABLE = {
    (suffix, init): "nodestoragectl status" if suffix == ".deb" else init.enable
    for suffix in INSTALL
    for init in (Systemd, OpenRC)
    if (suffix, init) != (".rpm", OpenRC)  # the RPM holds nothing of OpenRC's
}
_SPAN = re.compile(r"`([^`\n]+)`")
_REMOVAL = re.compile(r'"([^"\n]*\b(?:apt|dnf) (?:remove|purge) -y nodestoraged)"')


def asked(command: str) -> str:
    """As a person types it, who is there to be asked."""
    return command.replace(" -y ", " ")


def section(command: str) -> str:
    """The part of the page that has this command as a line of a block."""
    parts = [part for part in PAGE.read_text().split("\n## ") if f"\n{command}\n" in part]
    assert len(parts) == 1, command
    return parts[0]


def removals() -> set[str]:
    """Every removal that a VM test runs."""
    return {
        asked(command)
        for path in (TOP / "tests" / "vm").glob("*.py")
        for command in _REMOVAL.findall(path.read_text())
    }


@pytest.mark.parametrize(("suffix", "init"), ENABLE)
def test_the_page_has_both_commands_in_one_section(suffix, init):
    there = section(asked(INSTALL[suffix]))
    command = ENABLE[suffix, init]
    assert f"\n{command}\n" in there or command in _SPAN.findall(there)


def test_the_page_has_every_removal():
    text = PAGE.read_text()
    assert len(removals()) >= 3
    assert removals() <= {*_SPAN.findall(text), *text.splitlines()}


def test_the_metadata_names_the_pythons_that_the_page_names():
    first, last = re.findall(r"every Python from 3\.(\d+) to 3\.(\d+)", PAGE.read_text())[0]
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    begin = "Programming Language :: Python :: 3."
    named = [int(one.removeprefix(begin)) for one in project["classifiers"] if begin in one]
    assert named == list(range(int(first), int(last) + 1))
    assert project["requires-python"] == f">=3.{first}"


def test_all_packages_name_the_same_home():
    home = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["urls"]["Homepage"]
    spec = (TOP / "packaging" / "rpm" / "nodestoraged.spec").read_text()
    build = (TOP / "packaging" / "apk" / "APKBUILD").read_text()
    assert re.findall(r"(?m)^URL: +(\S+)$", spec) == [home]
    assert re.findall(r'(?m)^url="(.+)"$', build) == [home]
