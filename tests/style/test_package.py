"""The Debian package: everything of the program is in it, at its place, and nothing else."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
MODULES = "usr/lib/nodestoraged/python/nodestoraged"


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


@pytest.fixture(scope="module")
def tree(deb, tmp_path_factory) -> Path:
    """What the package unpacks to."""
    root = tmp_path_factory.mktemp("root")
    run("dpkg-deb", "--extract", str(deb), str(root))
    return root


@pytest.fixture(scope="module")
def scripts(deb, tmp_path_factory) -> Path:
    """The maintainer scripts."""
    directory = tmp_path_factory.mktemp("control")
    run("dpkg-deb", "--control", str(deb), str(directory))
    return directory


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_it_is_one_package_for_every_architecture(deb):
    from nodestoraged import __version__

    assert deb.name == f"nodestoraged_{__version__}_all.deb"


def test_it_holds_every_module_and_all_data_of_the_program(tree):
    assert contents(tree / MODULES) == contents(TOP / "nodestoraged")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("etc/nodestoraged/config.toml", "config/nodestoraged.toml"),
        ("usr/lib/systemd/system/nodestoraged.service", "init/systemd/nodestoraged.service"),
        ("usr/lib/udev/rules.d/61-nodestoraged.rules", "init/udev/61-nodestoraged.rules"),
        ("usr/lib/sysusers.d/nodestoraged.conf", "init/sysusers/nodestoraged.conf"),
        ("etc/conf.d/nodestoraged", "init/openrc/nodestoraged.confd"),
        *(
            (
                f"usr/lib/systemd/system/{unit}.service.d/10-nodestoraged.conf",
                "init/systemd/10-nodestoraged.conf",
            )
            for unit in ("containerd", "kubelet", "k3s", "k3s-agent", "crio")
        ),
    ],
)
def test_what_the_system_reads_lies_where_it_looks(tree, path, source):
    found = tree / path
    assert not found.is_symlink()
    assert stat.S_IMODE(found.stat().st_mode) == 0o644
    assert found.read_bytes() == (TOP / source).read_bytes()


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("usr/lib/nodestoraged/openrc/nodestoraged", "init/openrc/nodestoraged"),
        ("usr/lib/nodestoraged/openrc-fence", "init/openrc/fence"),
        ("usr/lib/nodestoraged/leave", "packaging/leave"),
    ],
)
def test_what_is_run_may_be_run(tree, path, source):
    found = tree / path
    assert stat.S_IMODE(found.stat().st_mode) == 0o755
    assert found.read_bytes() == (TOP / source).read_bytes()


@pytest.mark.parametrize("path", ["usr/sbin/nodestoraged", "usr/bin/nodestoragectl"])
def test_the_scripts_are_ours_and_isolated(tree, path):
    """A generated script would import `re`; -I keeps PYTHONPATH and the user's site out of root."""
    found = tree / path
    assert stat.S_IMODE(found.stat().st_mode) == 0o755
    assert found.read_text().startswith("#!/usr/bin/python3 -I\n")
    assert "import re" not in found.read_text()


def test_nothing_lies_in_directories_that_merged_usr_moved(tree):
    assert sorted(path.name for path in tree.iterdir()) == ["etc", "usr"]


def test_what_people_change_is_a_conffile_and_nothing_else_is(scripts):
    """dpkg keeps them over upgrades, asks, and removes them at a purge."""
    assert sorted((scripts / "conffiles").read_text().split()) == [
        "/etc/conf.d/nodestoraged",
        "/etc/nodestoraged/config.toml",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "e2fsprogs", "passwd", "udev", "python3-dbus-next", "python3-grpcio", "python3-protobuf",
        "python3-pyudev", "python3-structlog", "python3-tomli-w", "python3:any (>= 3.11~)",
    ],
)  # fmt: skip
def test_it_depends_on_what_the_program_imports_and_runs(deb, name):
    assert name in run("dpkg-deb", "--field", str(deb), "Depends").strip().split(", ")


def test_it_brings_no_runtime_along(deb):
    """apt installs what is recommended: a node of k3s would get, and start, a second containerd."""
    for field in ("Depends", "Recommends"):
        wanted = run("dpkg-deb", "--field", str(deb), field)
        assert not re.search(r"containerd|cri-o|podman|k3s|kubelet", wanted)


def test_no_maintainer_script_touches_runtime_or_kubelet(scripts):
    for name in ("postinst", "prerm", "postrm"):
        acting = [
            line
            for line in (scripts / name).read_text().splitlines()
            if "systemctl" in line or "deb-systemd-invoke" in line
        ]
        assert acting, name
        assert [line for line in acting if "containerd" in line or "kubelet" in line] == []


def test_no_maintainer_script_stops_anything_before_the_roots_are_internal(scripts):
    lines = (scripts / "prerm").read_text().splitlines()
    (leaves,) = [number for number, line in enumerate(lines) if line.endswith("nodestoraged/leave")]
    stops = [number for number, line in enumerate(lines) if re.search(r"\bstop\b", line)]
    assert stops
    assert min(stops) > leaves


def test_only_a_removal_goes_back_to_internal(scripts):
    text = (scripts / "prerm").read_text()
    assert text.index('if [ "$1" = remove ]') < text.index("nodestoraged/leave")


def test_openrcs_script_goes_with_the_package(tree, scripts):
    """Left behind in /etc/init.d as a conffile is, systemd would make a unit of it."""
    assert not (tree / "etc/init.d").exists()
    assert "rm -f /etc/init.d/nodestoraged" in (scripts / "prerm").read_text()


def test_openrc_may_come_later(scripts):
    asked = (scripts / "triggers").read_text().split()
    assert {"/sbin/openrc-run", "/usr/sbin/openrc-run"} <= set(asked)
    assert "triggered" in (scripts / "postinst").read_text()


def test_every_override_has_its_reason():
    text = (TOP / "packaging" / "deb" / "nodestoraged.lintian-overrides").read_text()
    lines = text.splitlines()
    assert lines[0].startswith("# ")
    assert [line for line in lines if not line.startswith("#")] == [
        "nodestoraged: unusual-interpreter /sbin/openrc-run"
        " [usr/lib/nodestoraged/openrc/nodestoraged]",
    ]


def test_an_upgrade_restarts_the_daemon_and_only_a_removal_stops_it(scripts):
    assert "_dh_action=restart" in (scripts / "postinst").read_text()
    assert '[ "$1" = remove ]' in (scripts / "prerm").read_text()


def test_removal_lowers_the_fence_and_purge_stays_on_one_file_system(scripts):
    text = (scripts / "postrm").read_text()
    assert "remove)" in text
    assert "rm -rf /run/nodestorage-fence" in text
    assert "rm -rf --one-file-system" in text


def test_lintian_finds_nothing(deb):
    run("lintian", "--allow-root", "--fail-on", "error,warning", str(deb))
