"""The RPM of the tree, and one that stands for what Debian has installed already."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parent
_BUILD: Final = _HERE.parent.parent / "packaging" / "rpm" / "build"
_NAMES: Final = _HERE / "debian-names.spec"


def build_rpms(out: Path) -> None:
    """`out` (made) holds nodestoraged-VERSION-1.noarch.rpm and debian-names.rpm."""
    _run(_BUILD, out)
    work = out / "work"
    _run("rpmbuild", "-bb", "--nodeps", "--quiet", "--define", f"_topdir {work}", _NAMES)
    (names,) = work.glob("RPMS/noarch/*.rpm")
    names.rename(out / "debian-names.rpm")


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}:\n{done.stdout}{done.stderr}")
