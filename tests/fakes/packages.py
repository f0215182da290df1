"""The packages of the tree as it stands, made for tests that install them.

One more stands for what Debian has installed already, where dnf asks for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parent
_PACKAGING: Final = _HERE.parent.parent / "packaging"
_NAMES: Final = _HERE / "debian-names.spec"


def build_deb(out: Path) -> None:
    """`out` (made) holds nodestoraged_VERSION_all.deb."""
    _run(_PACKAGING / "deb" / "build", out)


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
