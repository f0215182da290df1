"""The fence: files whose presence keeps runtime and kubelet units from starting.

Packaged drop-ins say `ConditionPathExists=!/run/nodestorage-fence/<role>`, so that neither apt
nor a `Requires=` starts a runtime while its root moves.  The directory is on a tmpfs: a reboot
lowers every fence.  Owns: these files.  May not know: when a fence is needed.
"""

from __future__ import annotations

import os
from pathlib import Path

from nodestoraged.model.errors import InternalError, ObservationError, StepError

__all__ = ["FileFence"]

_ROLE_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class FileFence:
    """Implements `ports.Fence` with one empty file per role in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def is_up(self, role: str) -> bool:
        """True while raised; raises ObservationError if the directory cannot be searched."""
        path = self._path(role)
        try:
            os.lstat(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise ObservationError(
                "FenceUnreadable", f"cannot tell whether {path} exists: {error.strerror}"
            ) from error
        return True

    def raise_(self, role: str) -> None:
        """The units' start conditions fail from now on; raising twice is fine."""
        path = self._path(role)
        try:
            self._directory.mkdir(mode=0o755, exist_ok=True)
            # The umask took its share of mkdir's mode; everyone may see which fences are up.
            self._directory.chmod(0o755)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(path, flags, 0o644))
        except OSError as error:
            raise _failed("raise", path, error) from error

    def lower(self, role: str) -> None:
        """The units may start; lowering what is not up is fine."""
        path = self._path(role)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _failed("lower", path, error) from error

    def _path(self, role: str) -> Path:
        """The role's file; a role is a checked configuration key, so anything else is our bug."""
        if not role or not _ROLE_CHARACTERS.issuperset(role):
            raise InternalError(f"{role!r} is no role name")
        return self._directory / role


def _failed(verb: str, path: Path, error: OSError) -> StepError:
    return StepError(
        "FenceFailed", f"cannot {verb} the fence {path}: {error.strerror}", errno=error.errno
    )
