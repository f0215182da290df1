"""RPM, APK, bundle, wheel and sdist: whole, from the same list, with what their readers expect."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata

from nodestoraged import __version__

TOP = Path(__file__).parents[2]
PACKAGING = TOP / "packaging"
PYTHON = "/usr/bin/python3"
#: Data that the program reads from beside its modules.
DATA = {
    "nodestoraged/adapters/config.toml",
    "nodestoraged/api/io.nodestorage.varlink",
    "nodestoraged/worker/grpc/proto/wire.binpb",
}
_SPEC = PACKAGING / "rpm" / "nodestoraged.spec"
_APK = PACKAGING / "apk"

pytestmark = pytest.mark.timeout(400)


def run(*command: str | Path, cwd: Path = TOP, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{command}\n{done.stdout}{done.stderr}", pytrace=False)
    return done.stdout


def files(root: Path) -> set[str]:
    found = {"/" + str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return {name for name in found if "__pycache__" not in name}


def declared() -> dict[str, str]:
    """The libraries of pyproject.toml with their minima."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    return dict(line.split(">=") for line in project["dependencies"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What `make install` puts where."""
    root = tmp_path_factory.mktemp("installed")
    run(PACKAGING / "install", DESTDIR=str(root), COMPILE="")
    return files(root)


# ----------------------------------------------------------------------------------- RPM


@pytest.fixture(scope="module")
def rpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rpm")
    run(PACKAGING / "rpm" / "build", out)
    (found,) = out.iterdir()
    return found


def test_the_rpm_holds_what_is_installed_but_openrcs_part(rpm, installed):
    rows = run("rpm", "-qp", "--qf", "[%{FILEMODES:perms} %{FILENAMES}\n]", rpm).splitlines()
    held = {row.split(None, 1)[1] for row in rows if not row.startswith("d")}
    openrc = {"/etc/init.d/nodestoraged", "/etc/conf.d/nodestoraged"}
    assert held == installed - openrc - {"/usr/lib/nodestoraged/openrc-fence"}
    assert rpm.name == f"nodestoraged-{__version__}-1.noarch.rpm"


def test_an_rpm_asks_for_every_library(rpm):
    asked = run("rpm", "-qp", "--requires", rpm).splitlines()
    for name, minimum in declared().items():
        version = minimum.removesuffix(".0")
        assert f"python3dist({name}) >= {version}" in asked
    assert "e2fsprogs" in asked


def test_an_rpms_settings_survive_an_upgrade(rpm):
    assert run("rpm", "-qp", "--configfiles", rpm).split() == ["/etc/nodestoraged/config.toml"]


def test_an_rpms_last_removal_goes_back_to_internal_and_an_upgrade_does_not(rpm):
    scripts = run("rpm", "-qp", "--scripts", rpm)
    _, _, preun = scripts.partition("preuninstall scriptlet")
    body, _, after = preun.partition("postuninstall scriptlet")
    assert body.index('[ "$1" -eq 0 ]') < body.index("/usr/lib/nodestoraged/leave || exit 1")
    assert body.index("leave") < body.index("disable --now")
    assert "rm -rf /run/nodestorage-fence" in after
    for line in scripts.splitlines():
        assert not re.search(r"systemctl.*(containerd|kubelet)", line)


def test_rpmlint_finds_nothing_that_has_no_answer(rpm):
    answers = PACKAGING / "rpm" / "rpmlint.toml"
    run("rpmlint", "--strict", "--config", answers, rpm, _SPEC)


# ----------------------------------------------------------------------------------- APK


def test_the_apkbuild_has_the_fields_that_abuild_wants():
    said = run(
        "sh",
        "-euc",
        '. ./APKBUILD; printf "%s\\n" "$pkgname" "$pkgver" "$pkgrel" "$pkgdesc" "$url" "$arch" '
        '"$license" $source; type build package >&2',
        cwd=_APK,
        srcdir="/src",
        pkgdir="/pkg",
    ).splitlines()
    assert said[:3] == ["nodestoraged", __version__, "0"]
    assert all(said)
    assert len(said[3]) < 128
    assert said[5:] == ["noarch", "Apache-2.0", f"nodestoraged-{__version__}.tar.gz"]


def test_an_apk_asks_for_every_library():
    asked = run("sh", "-c", ". ./APKBUILD; echo $depends", cwd=_APK).split()
    # Alpine calls pyudev by its module's older name, and grpcio's minimum is met everywhere.
    names = {"pyudev": "py3-udev"}
    assert {names.get(name, f"py3-{name}") for name in declared()} <= set(asked)
    assert {"python3", "e2fsprogs", "eudev"} <= set(asked)
    # Alpine has e2fsck and mkfs.ext4 in the first, tune2fs in the second.
    assert "e2fsprogs-extra" in asked


def test_every_script_of_the_apk_is_there_and_is_named_in_it():
    named = run("sh", "-c", ". ./APKBUILD; echo $install", cwd=_APK).split()
    assert sorted(named) == sorted(path.name for path in _APK.glob("nodestoraged.*"))
    for name in named:
        assert (_APK / name).read_text().startswith("#!/bin/sh\n")


def test_shellcheck_finds_nothing_in_what_alpine_runs():
    run("shellcheck", "--shell=dash", *_APK.glob("nodestoraged.*"))
    run("shellcheck", _APK / "APKBUILD")


def test_the_apk_holds_what_is_installed_but_systemds_part(tmp_path, installed):
    """package() as abuild would call it: unpacked source, empty directory."""
    source, target = tmp_path / "src", tmp_path / "pkg"
    source.mkdir()
    run(PACKAGING / "sources", source)
    run("tar", "-xzf", source / f"nodestoraged-{__version__}.tar.gz", cwd=source)
    places = {"srcdir": str(source), "pkgdir": str(target)}
    run("sh", "-euc", ". ./APKBUILD; build; package", cwd=_APK, **places)
    systemds = ("/usr/lib/systemd/", "/usr/lib/sysusers.d/")
    assert files(target) == {name for name in installed if not name.startswith(systemds)}


def test_an_apks_removal_goes_back_to_internal_before_anything_stops():
    """And goes on where that is refused: apk removes the files whatever the script says."""
    text = (_APK / "nodestoraged.pre-deinstall").read_text()
    assert "exit 1" not in text
    assert text.index("nodestoraged/leave") < text.index("nodestoraged stop")
    assert text.index("nodestoraged stop") < text.index("openrc-fence remove")


# -------------------------------------------------------------------------------- bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, unpacked."""
    out = tmp_path_factory.mktemp("bundle")
    run(PACKAGING / "bundle" / "build", out, PYTHON=sys.executable)
    (archive,) = out.iterdir()
    assert archive.name == f"nodestoraged-{__version__}-bundle-{os.uname().machine}.tar.gz"
    run("tar", "-xzf", archive, cwd=out)
    return out / archive.name.removesuffix(".tar.gz")


def unbundle(bundle: Path, root: Path) -> None:
    """The bundle is installed below `root`."""
    run("sh", bundle / "install.sh", DESTDIR=str(root), PYTHON=PYTHON, COMPILE="")


@pytest.fixture(scope="module")
def unbundled(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unbundled")
    unbundle(bundle, root)
    return root


@pytest.mark.parametrize("umask", ["000", "077"])
def test_the_bundle_is_as_open_as_it_should_be_whatever_the_umask(bundle, tmp_path, umask):
    """Closed to the group it could not be used, open to others the daemon would not trust it."""
    places = {"DESTDIR": str(tmp_path), "PYTHON": PYTHON, "COMPILE": ""}
    run("sh", "-c", f"umask {umask} && exec sh {bundle}/install.sh", **places)
    modes: dict[bool, set[int]] = {True: set(), False: set()}
    for path in tmp_path.rglob("*"):
        if not path.is_symlink():
            modes[path.is_dir()].add(path.stat().st_mode & 0o7777)
    assert modes == {True: {0o755}, False: {0o644, 0o755}}


@pytest.mark.parametrize("program", ["sbin/nodestoraged", "bin/nodestoragectl"])
def test_the_bundle_runs_without_any_library_of_the_system(unbundled, program):
    script = unbundled / "opt/nodestoraged" / program
    # -S: no site-packages, neither Debian's nor anybody's.
    assert script.read_text().startswith(f"#!{PYTHON} -IS\n")
    said = run(script, "--version", cwd=Path("/")).split()
    assert said == [Path(program).name, __version__]


def test_what_is_compiled_in_the_bundle_loads_in_the_child_that_needs_it(unbundled):
    modules = unbundled / "opt/nodestoraged/lib/nodestoraged/python"
    done = subprocess.run(
        [PYTHON, "-P", "-S", "-m", "nodestoraged.worker.grpc", "/nonexistent"],
        env={"PYTHONPATH": str(modules)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    pins = (PACKAGING / "bundle" / "requirements.txt").read_text()
    ready = json.loads(done.stdout.splitlines()[0])["ready"]
    assert f"grpcio=={ready['grpc']}\n" in pins
    assert f"protobuf=={ready['protobuf']}\n" in pins
    built_for = {path.name.split(".")[1][:11] for path in modules.glob("grpc/_cython/cygrpc.*.so")}
    assert built_for == {"cpython-311", "cpython-312", "cpython-313", "cpython-314"}


def test_the_bundle_names_its_own_places_only(unbundled):
    unit = (unbundled / "etc/systemd/system/nodestoraged.service").read_text()
    assert "ExecStart=/opt/nodestoraged/sbin/nodestoraged\n" in unit
    assert (
        "command=/opt/nodestoraged/sbin/nodestoraged\n"
        in (unbundled / "etc/init.d/nodestoraged").read_text()
    )
    assert not (unbundled / "usr/lib").exists()


def test_the_bundle_upgrades_and_goes_without_touching_settings(bundle, tmp_path):
    unbundle(bundle, tmp_path)
    settings = tmp_path / "etc/nodestoraged/config.toml"
    settings.write_text("schema = 1\n# mine\n")
    old = tmp_path / "opt/nodestoraged/lib/nodestoraged/python/nodestoraged/gone.py"
    old.write_text("")
    page = tmp_path / "usr/local/share/man/man8/gone.8"
    page.write_text("")
    with (tmp_path / "opt/nodestoraged/outside").open("a") as outside:
        outside.write("/usr/local/share/man/man8/gone.8\n/etc/nodestoraged/conf.d/mine.toml\n")
    mine = tmp_path / "etc/nodestoraged/conf.d/mine.toml"
    mine.write_text("")
    unbundle(bundle, tmp_path)
    assert settings.read_text().endswith("# mine\n")
    assert (old.exists(), page.exists(), mine.exists()) == (False, False, True)
    mine.unlink()
    modules = {path.name for path in old.parents[1].parent.iterdir()}
    assert modules == {"python", "leave", "openrc-fence"}
    run("sh", tmp_path / "opt/nodestoraged/uninstall.sh", DESTDIR=str(tmp_path))
    assert files(tmp_path) == {"/etc/nodestoraged/config.toml", "/etc/conf.d/nodestoraged"}


def test_a_python_that_is_too_old_is_refused(bundle, tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["sh", bundle / "install.sh"],
        env=os.environ | {"DESTDIR": str(tmp_path / "root"), "PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no Python here" in done.stderr
    assert not (tmp_path / "root").exists()


def test_the_bundle_carries_what_is_declared_and_no_older():
    pins = (PACKAGING / "bundle" / "requirements.txt").read_text()
    pinned = dict(re.findall(r"(?m)^([\w-]+)==(\S+)$", pins.replace("_", "-")))
    for name, minimum in declared().items():
        pin = [int(part) for part in pinned[name].split(".")]
        assert pin >= [int(part) for part in minimum.split(".")]


# ---------------------------------------------------------------------- wheel and sdist


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, the wheel built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, TOP)
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    (found,) = dist.glob("*.tar.gz")
    return found


def test_a_wheel_made_of_the_sdist_has_the_program_and_nothing_else(wheel):
    """`build` makes it of the sdist: what it lacks, the sdist lacks."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    program = {
        str(path.relative_to(TOP)): path.read_bytes()
        for path in (TOP / "nodestoraged").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    info = f"nodestoraged-{__version__}.dist-info/"
    assert {name: data for name, data in held.items() if not name.startswith(info)} == program
    assert set(held) >= DATA
    assert held[f"{info}licenses/LICENSE"] == (TOP / "LICENSE").read_bytes()
    assert wheel.name == f"nodestoraged-{__version__}-py3-none-any.whl"


def test_the_sdist_lets_others_build_packages_and_run_the_tests(sdist):
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert held >= DATA | {
        "LICENSE", "Makefile", "PKG-INFO", "README.md", "pyproject.toml", "bin/nodestoragectl",
        "config/nodestoraged.toml", "docs/man/nodestoraged.8", "init/openrc/nodestoraged",
        "init/systemd/nodestoraged.service", "packaging/install", "packaging/deb/rules",
        "packaging/rpm/nodestoraged.spec", "packaging/apk/APKBUILD", "tests/conftest.py",
    }  # fmt: skip
    unwanted = re.compile(r"(^|/)(\.ci|\.venv.*|__pycache__|\.artifacts|dist|\.hypothesis)(/|$)")
    assert [name for name in held if unwanted.search(name)] == []


def test_an_installation_from_the_sdist_is_the_trees(sdist, tmp_path, installed):
    run("tar", "-xzf", sdist, cwd=tmp_path)
    top = tmp_path / sdist.name.removesuffix(".tar.gz")
    run(top / "packaging" / "install", DESTDIR=str(tmp_path / "root"), COMPILE="")
    assert files(tmp_path / "root") == installed


def test_the_metadata_is_valid_and_says_what_people_look_for(wheel, sdist):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith("/METADATA")]
        raw = archive.read(name)
    with tarfile.open(sdist) as archive:
        member = archive.extractfile(f"nodestoraged-{__version__}/PKG-INFO")
        assert member is not None
        assert member.read() == raw
    # Refuses unknown fields, versions, classifiers' shapes and licence expressions.
    metadata = Metadata.from_email(raw, validate=True)
    assert str(metadata.version) == __version__
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.license_files == ["LICENSE"]
    assert metadata.description_content_type == "text/markdown"
    assert (metadata.description or "").startswith("# nodestoraged\n")
    assert set(metadata.project_urls or {}) == {"Homepage", "Documentation", "Changelog"}
    assert metadata.summary
    assert metadata.keywords
    assert metadata.requires_python == ">=3.11"
    asked = {str(each) for each in metadata.requires_dist or () if each.marker is None}
    assert asked == {f"{name}>={minimum}" for name, minimum in declared().items()}


def test_a_wheel_has_both_programs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"nodestoraged-{__version__}.dist-info/entry_points.txt").decode()
    assert "nodestoraged = nodestoraged.daemon:main" in text
    assert "nodestoragectl = nodestoraged.cli.main:main" in text


def test_the_spec_and_debian_name_one_summary():
    """People search by it."""
    summary = "keep a kubernetes node's container images on a removable disk"
    for path in (_SPEC, PACKAGING / "deb" / "control", _APK / "APKBUILD"):
        assert summary in path.read_text().lower()
