"""The `Runtime` port for podman: no socket and no daemon, the program `podman` is the runtime.

Owns: its command lines, and what its answers mean.  May not know: when a root moves.

Each question is a program with a deadline, run as a unit of its own where systemd runs: podman
tests what this kernel can do, mounts and sends netlink messages, which our own sandbox forbids,
and a wrong result of such a test would stay in its run root until the next boot.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from nodestoraged.adapters.children import Children
from nodestoraged.adapters.program import Finished, run_program
from nodestoraged.adapters.runtimes.podman_images import PodmanImages
from nodestoraged.adapters.runtimes.podman_info import PodmanInfo
from nodestoraged.adapters.runtimes.podman_links import PodmanLinks
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.model.proof import ProofReading
from nodestoraged.model.runtime import RuntimeProfile
from nodestoraged.ports import Clock

__all__ = ["PodmanRuntime"]

#: A quick look at the root before podman is started: a disk that hangs is found by a child that
#: is counted, and podman is not started upon it.
LOOK_SECONDS = 5.0
#: What is left of a stop's deadline for what comes after `podman stop`.
_AFTER_STOP_SECONDS = 8.0
_KILL_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.25
_LIST_SECONDS = 15.0
#: What runs podman for us did not find it: systemd-run, or our launcher.
_MISSING = ("Failed to find executable", "podman cannot be started")


class PodmanRuntime:
    """podman as root runs it, with its argument vector `podman`.

    `transient`: each command is a transient unit of systemd.
    """

    def __init__(
        self,
        children: Children,
        clock: Clock,
        archive: Path,
        *,
        podman: Sequence[str] = ("podman",),
        transient: bool = False,
    ) -> None:
        self._children = children
        self._clock = clock
        self._floor: tuple[str, ...] = ()
        self._images = PodmanImages(self.run, archive / "podman")
        self._podman = tuple(podman)
        self._transient = transient

    def configure(self, role: RoleConfig) -> None:
        """Its floor images count from now on."""
        self._floor = role.floor_images

    async def open(self, profile: RuntimeProfile) -> None:
        """Nothing has to be warm."""

    async def close(self) -> None:
        """Nothing is open."""

    async def foreign_containers(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> tuple[str, ...]:
        """None: whatever runs from this root is podman's own."""
        return ()

    async def image_directory(
        self, profile: RuntimeProfile, *, deadline_seconds: float
    ) -> str | None:
        """Not asked: it would cost a start of podman, and each proof compares the two."""
        return None

    async def stop_pods(
        self, profile: RuntimeProfile, *, grace_seconds: float, deadline_seconds: float
    ) -> int:
        """Every container had its grace; what would not go was killed with its monitor.

        podman is not even asked where no container has a monitor: a move shall not wait for it.
        """
        root = {"root": profile.root}
        answer = await self._children.call("conmons", root, deadline_seconds=LOOK_SECONDS)
        found = answer.get("conmons")
        running = {str(row["id"]) for row in found} if isinstance(found, list) else set()
        if not running:
            return 0
        left = max(1.0, deadline_seconds - _AFTER_STOP_SECONDS)
        grace = str(int(min(grace_seconds, max(0.0, left - 2.0))))
        # One that cannot be stopped (paused, say) fails the whole command; it is killed below.
        await self.run(("stop", "--all", "--time", grace), deadline_seconds=left)
        await self._children.call(
            "kill_conmons",
            {**root, "grace_seconds": _KILL_GRACE_SECONDS},
            deadline_seconds=_KILL_GRACE_SECONDS + 2.0,
        )
        return len(running)

    async def empty_alone(
        self, profile: RuntimeProfile, *, grace_seconds: float, deadline_seconds: float
    ) -> int:
        """There is nothing that would have to run for it."""
        return await self.stop_pods(
            profile, grace_seconds=grace_seconds, deadline_seconds=deadline_seconds
        )

    async def prove(self, profile: RuntimeProfile, *, deadline_seconds: float) -> ProofReading:
        """Waits until podman reads a store in this root, then reads every link once."""
        clock = self._clock
        deadline = clock.boottime() + deadline_seconds
        while True:
            left = max(1.0, deadline - clock.boottime())
            try:
                info = await self._info(profile, left)
            except StepError as error:
                if error.reason != "PodmanFailed" or clock.boottime() + _POLL_SECONDS >= deadline:
                    raise
                await clock.sleep(_POLL_SECONDS)
                continue
            links = PodmanLinks(self._children, profile, info, self._known)
            return await links.read(at=clock.boottime())

    async def save_images(self, profile: RuntimeProfile, *, deadline_seconds: float) -> str:
        """The floor images are archived, as far as the root has them; there is no sandbox image."""
        kept, missing = await self._images.keep(self._floor, deadline_seconds=deadline_seconds)
        text = f"{len(kept)} kept"
        return text + (f", not present: {', '.join(missing)}" if missing else "")

    def kept_images(self) -> tuple[str, ...]:
        """What the archive lists and holds in full."""
        return self._images.names()

    async def keep_images(
        self, profile: RuntimeProfile, *, every: bool, deadline_seconds: float
    ) -> str:
        """The floor images are archived; the names of all are refused, for podman has no pins."""
        if every:
            raise StepError(
                "NotForPodman",
                "podman's images cannot be kept over a wash",
                "podman save",
            )
        return await self.save_images(profile, deadline_seconds=deadline_seconds)

    async def bring_images(
        self, profile: RuntimeProfile, *, every: bool, deadline_seconds: float
    ) -> str:
        """What was archived is in the root in force again."""
        came = await self._images.restore(self._floor, deadline_seconds=deadline_seconds)
        return f"{len(came)} images"

    async def load_images(self, profile: RuntimeProfile, *, deadline_seconds: float) -> bool:
        """The floor images are in the root in force, from the archive if need be."""
        try:
            came = await self._images.restore(self._floor, deadline_seconds=deadline_seconds)
        except StepTimeout:
            raise
        except StepError:
            return False
        return len(came) == len(self._floor)

    async def run(self, words: Sequence[str], *, deadline_seconds: float) -> Finished:
        """`podman WORDS` ended by itself, whatever its exit code.

        Raises StepError `PodmanMissing` if it is not installed, StepTimeout `Hung`.
        """
        argv = (*self._prefix(deadline_seconds), *self._podman, *words)
        name = f"podman {words[0]}"
        try:
            done = await run_program(argv, deadline_seconds=deadline_seconds)
        except TimeoutError:
            text = f"{name} did not end within {deadline_seconds:g} s"
            raise StepTimeout("Hung", text) from None
        except OSError as error:
            text = f"{argv[0]}: {os.strerror(error.errno or 0)}"
            raise StepError("PodmanMissing", text, "install podman", error.errno) from None
        if done.exit_code != 0 and any(text in done.stderr for text in _MISSING):
            raise StepError("PodmanMissing", "podman is not installed", "install podman")
        return done

    def _prefix(self, deadline_seconds: float) -> tuple[str, ...]:
        if not self._transient:
            return ()
        # systemd-run may be killed without its unit: the unit has a limit of its own.
        return (
            *("systemd-run", "--quiet", "--pipe", "--wait", "--collect"),
            "--description=Node storage: a question to podman",
            f"--property=RuntimeMaxSec={deadline_seconds:.0f}s",
            *("--property=TimeoutStopSec=2s", "--"),
        )

    async def _known(self) -> frozenset[str]:
        """The ids of all containers of the root in force."""
        words = ("ps", "--all", "--quiet", "--no-trunc")
        done = await self.run(words, deadline_seconds=_LIST_SECONDS)
        if done.exit_code != 0:
            raise StepError("PodmanFailed", f"podman ps: {done.complaint}")
        return frozenset(done.stdout.split())

    async def _info(self, profile: RuntimeProfile, deadline_seconds: float) -> PodmanInfo:
        """What `podman info` says of the store in `profile.root`.

        Raises `PodmanFailed` when it does not answer, `RootElsewhere` for a store at another place.
        """
        await self._children.call(
            "stat_fs", {"path": profile.root}, deadline_seconds=min(LOOK_SECONDS, deadline_seconds)
        )
        done = await self.run(("info", "--format", "json"), deadline_seconds=deadline_seconds)
        if done.exit_code != 0:
            raise StepError("PodmanFailed", f"podman info: {done.complaint}")
        try:
            answer = json.loads(done.stdout)
            assert isinstance(answer, Mapping)
            info = PodmanInfo.of(answer)
        except (ValueError, KeyError, TypeError, AssertionError):
            raise StepError("PodmanFailed", "podman info: an answer that is not its own") from None
        if PurePosixPath(info.graph_root) != PurePosixPath(profile.root):
            raise StepError(
                "RootElsewhere",
                f"podman keeps its store in {info.graph_root}, not in {profile.root}",
                "set graphroot in /etc/containers/storage.conf, or root in [role.NAME.profile]",
            )
        return info
