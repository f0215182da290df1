"""The packages of the tree as it stands, made for tests that install them.

One more stands for what Debian has installed already, where dnf asks for it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parent
_PACKAGING: Final = _HERE.parent.parent / "packaging"
_NAMES: Final = _HERE / "debian-names.spec"
#: Newer than any that the tree will have.
NEWER_VERSION: Final = "99.0"


def build_deb(out: Path) -> None:
    """`out` (made) holds nodestoraged_VERSION_all.deb."""
    _run(_PACKAGING / "deb" / "build", out)


def renew_deb(deb: Path, out: Path) -> None:
    """`out` (made) holds nodestoraged_99.0_all.deb: what `deb` holds, as `NEWER_VERSION`."""
    out.mkdir()
    tree = out / "tree"
    _run("dpkg-deb", "--raw-extract", deb, tree)
    module = tree / "usr/lib/nodestoraged/python/nodestoraged/__init__.py"
    was = hashlib.md5(module.read_bytes()).hexdigest()
    old = deb.name.split("_")[1]
    for path in (module, tree / "DEBIAN/control"):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, NEWER_VERSION))
    sums = tree / "DEBIAN/md5sums"
    now = hashlib.md5(module.read_bytes()).hexdigest()
    sums.write_text(sums.read_text().replace(was, now))
    _run("dpkg-deb", "--root-owner-group", "--build", tree, out)
    shutil.rmtree(tree)


def build_bundle(out: Path) -> None:
    """`out` (made) holds nodestoraged-VERSION-bundle-ARCH.tar.gz."""
    _run(_PACKAGING / "bundle" / "build", out, PYTHON=sys.executable)


def build_rpms(out: Path) -> None:
    """`out` (made) holds nodestoraged-VERSION-1.noarch.rpm and debian-names.rpm."""
    _run(_PACKAGING / "rpm" / "build", out)
    work = out / "work"
    _run("rpmbuild", "-bb", "--nodeps", "--quiet", "--define", f"_topdir {work}", _NAMES)
    (names,) = work.glob("RPMS/noarch/*.rpm")
    names.rename(out / "debian-names.rpm")


def _run(*command: str | Path, **environment: str) -> None:
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}:\n{done.stdout}{done.stderr}")
