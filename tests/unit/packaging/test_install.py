"""`make install` and `make uninstall`: the one list that every package is made from."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[3]


def install(destination: Path, *words: str, **variables: str) -> None:
    subprocess.run(
        [TOP / "packaging" / "install", *words],
        env={"PATH": os.environ["PATH"], "DESTDIR": str(destination), "COMPILE": "", **variables},
        check=True,
        timeout=60,
    )


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    install(root)
    return root


def test_both_init_systems_find_what_they_read(installed):
    assert {
        "usr/lib/systemd/system/nodestoraged.service",
        "usr/lib/systemd/system/containerd.service.d/10-nodestoraged.conf",
        "usr/lib/systemd/system/podman-.service.d/10-nodestoraged.conf",
        "usr/lib/systemd/system/podman.socket.d/10-nodestoraged.conf",
        "etc/init.d/nodestoraged",
        "etc/conf.d/nodestoraged",
        "usr/lib/nodestoraged/openrc-fence",
    } <= files(installed)


def test_licence_manual_completions_and_documents_come_along(installed):
    found = files(installed)
    assert "usr/share/licenses/nodestoraged/LICENSE" in found
    pages = {path.name for path in (TOP / "docs" / "man").glob("*.[158]")}
    assert pages
    assert pages <= {Path(name).name for name in found if name.startswith("usr/share/man/")}
    assert {
        "usr/share/bash-completion/completions/nodestoragectl",
        "usr/share/zsh/site-functions/_nodestoragectl",
        "usr/share/fish/vendor_completions.d/nodestoragectl.fish",
        "usr/share/doc/nodestoraged/README.md",
        "usr/share/doc/nodestoraged/docs/trust.md",
    } <= found


def test_systemd_needs_nothing_in_etc_but_what_people_change(installed):
    """A system whose /etc is empty or read-only runs what lies in /usr, with the defaults."""
    in_etc = {name for name in files(installed) if name.startswith("etc/")}
    assert in_etc == {
        "etc/nodestoraged/config.toml",
        # OpenRC looks nowhere else.
        "etc/init.d/nodestoraged",
        "etc/conf.d/nodestoraged",
    }


def test_nothing_is_writable_by_others_or_lacks_its_mode(installed):
    programs = {
        "etc/init.d/nodestoraged", "usr/bin/nodestoragectl", "usr/lib/nodestoraged/leave",
        "usr/lib/nodestoraged/openrc-fence", "usr/sbin/nodestoraged",
    }  # fmt: skip
    for path in installed.rglob("*"):
        name = str(path.relative_to(installed))
        wanted = 0o755 if path.is_dir() or name in programs else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted, name


def test_an_installed_program_needs_no_path_of_the_tree(installed):
    for program in ("usr/sbin/nodestoraged", "usr/bin/nodestoragectl"):
        script = (installed / program).read_text()
        assert str(TOP) not in script
    done = subprocess.run(
        ["/usr/bin/python3", "-I", installed / "usr/bin/nodestoragectl", "--version"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("nodestoragectl ")


def test_another_prefix_reaches_into_what_names_paths(tmp_path):
    install(tmp_path, PREFIX="/opt/x", INTERPRETER="/usr/bin/python3")
    unit = (tmp_path / "opt/x/lib/systemd/system/nodestoraged.service").read_text()
    assert "ExecStart=/opt/x/sbin/nodestoraged\n" in unit
    script = (tmp_path / "etc/init.d/nodestoraged").read_text()
    assert "command=/opt/x/sbin/nodestoraged\n" in script
    assert "/usr/lib/nodestoraged/" not in script
    assert not (tmp_path / "usr").exists()


def test_a_second_installation_on_this_machine_keeps_what_was_changed(tmp_path):
    """Without DESTDIR, every directory elsewhere; the group is there already."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("getent", "systemctl", "rc-service", "openrc-run"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    here = {"PATH": f"{tools}:{os.environ['PATH']}", "SYSCONFDIR": f"{tmp_path}/etc"}
    where = {"DESTDIR": "", "PREFIX": f"{tmp_path}/usr", **here}
    install(tmp_path, **where)
    settings = [tmp_path / "etc/nodestoraged/config.toml", tmp_path / "etc/conf.d/nodestoraged"]
    for each in settings:
        each.write_text("# mine\n")
    program = tmp_path / "usr/sbin/nodestoraged"
    program.write_text("old")
    install(tmp_path, **where)
    assert [each.read_text() for each in settings] == ["# mine\n", "# mine\n"]
    assert program.read_text() != "old"


def test_uninstall_takes_its_own_files_and_leaves_changed_settings(tmp_path):
    install(tmp_path)
    (tmp_path / "etc/nodestoraged/config.toml").write_text("schema = 1\n# mine\n")
    other = tmp_path / "usr/lib/systemd/system/other.service"
    other.write_text("")
    install(tmp_path, "remove")
    assert files(tmp_path) == {
        "etc/nodestoraged/config.toml",
        "usr/lib/systemd/system/other.service",
    }
    assert not (tmp_path / "usr/lib/nodestoraged").exists()


def test_uninstall_of_an_untouched_installation_leaves_what_was_there_before(tmp_path):
    before = tmp_path / "usr/lib/udev/rules.d"
    before.mkdir(parents=True)
    install(tmp_path, COMPILE="yes")
    install(tmp_path, "remove")
    assert files(tmp_path) == set()
    assert before.is_dir()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert [name for name in left if "nodestorage" in name or ".service.d" in name] == []
