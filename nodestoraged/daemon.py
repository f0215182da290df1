"""The composition root: configuration, adapters, one node, one loop, signals.

The only place that knows every part.  Order at start: the lock, the configuration, the launcher
(where services would be our descendants), the rights that are given up, the warm worker (before
anything is imported that it shall not carry), udev's monitor, the roots, the socket, READY, and
then the loop.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

from nodestoraged import __version__, log
from nodestoraged.adapters import configfile
from nodestoraged.adapters.children import Children
from nodestoraged.adapters.clock import RealClock
from nodestoraged.adapters.eventlog import RecordingLog
from nodestoraged.adapters.journal import FileJournal, OperationIds
from nodestoraged.adapters.launcher import Launcher
from nodestoraged.adapters.mounts import MountWatch
from nodestoraged.adapters.notify import notifier
from nodestoraged.adapters.offers import OfferFiles, keep_offers
from nodestoraged.adapters.runtimes.discovery import Discovery
from nodestoraged.adapters.services.select import choose
from nodestoraged.adapters.store import FileStore
from nodestoraged.adapters.udev import UdevDevices
from nodestoraged.api.faults import GROUP
from nodestoraged.api.interface import INTERFACE
from nodestoraged.api.server import ApiServer
from nodestoraged.assembly import Shared, discovered, narrow, ports_of
from nodestoraged.engine.board import DaemonFacts
from nodestoraged.engine.node import Node
from nodestoraged.engine.reconciler import Reconciler
from nodestoraged.linux import lockfile
from nodestoraged.model.config import Config, RoleConfig
from nodestoraged.model.errors import NodeStorageError
from nodestoraged.model.runtime import RuntimeProfile
from nodestoraged.ports import Notifier, Ports

#: A mount storm (kubelet makes one mount per volume) wakes us at most this often.
MOUNT_QUIET_SECONDS = 1.0
#: Keys of [daemon] that decide how its parts are put together.
AT_START = ("services", "commands", "mount_namespace")
EXIT_FAILED, EXIT_LOCKED = 1, 75


class Daemon:
    """One running daemon; `run` returns its exit code."""

    def __init__(
        self,
        config: Config,
        *,
        root: Path,
        run: Path,
        state: Path,
        fence: Path,
        launcher: Launcher | None = None,
    ) -> None:
        self._config = config
        self._at_start = config.daemon
        self._launcher = launcher
        self._root = root
        self._run = run
        self._state = state
        self._fence = fence
        self._stop = asyncio.Event()
        self._node: Node | None = None
        self._udev = UdevDevices(self._wake)
        self._clock = RealClock()
        self._events = RecordingLog(self._clock, self._happened)
        self._reconcilers: list[Reconciler] = []

    async def run(self) -> int:
        """The node is kept until a signal ends it."""
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            children = Children()
            await children.start()
            stack.push_async_callback(children.close)
            services = choose(self._config.daemon, self._launcher)
            stack.push_async_callback(services.close)
            loop.add_reader(self._udev.start(), self._udev.drain)
            stack.callback(self._udev.close)
            self._watch_mounts(loop, stack)
            if self._launcher is not None:
                loop.add_reader(self._launcher.pidfd, self._launcher_ended)
                stack.callback(loop.remove_reader, self._launcher.pidfd)
            store = FileStore(self._state, self._complain)
            told = notifier(self._run)
            ids = OperationIds()
            shared = Shared(
                config=self._config.daemon,
                state=self._state,
                fence=self._fence,
                children=children,
                clock=self._clock,
                devices=self._udev,
                services=services,
                launcher=self._launcher,
                store=store,
                notifier=told,
                log=self._events,
            )
            for role in self._config.roles:
                journal = FileJournal(self._state / "roles" / role.name, self._complain, ids)
                stack.callback(journal.close)
                ports = ports_of(role, shared, journal)
                self._reconcilers.append(self._reconciler(ports, role))
            node = self._node = Node(
                self._reconcilers,
                DaemonFacts(version=__version__, pid=os.getpid(), init=services.name),
                rescan_seconds=self._config.daemon.rescan_seconds,
                events=lambda: list(self._events.kept),
                reload=self._reload,
            )
            self._on_signals(loop)
            await node.look()
            server = ApiServer(node, report=self._report, path=str(self._run / INTERFACE))
            await server.start()
            stack.push_async_callback(server.close)
            await self._until_stopped(node, told)
        return 0

    async def _until_stopped(self, node: Node, told: Notifier) -> None:
        tasks = {
            asyncio.create_task(self._keep(node, told), name="node"),
            asyncio.create_task(self._rescan(), name="rescan"),
            asyncio.create_task(keep_offers(node, OfferFiles(self._run, GROUP)), name="offers"),
        }
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        done, _ = await asyncio.wait({*tasks, stop}, return_when=asyncio.FIRST_COMPLETED)
        if stop in done:
            await node.leave()
        for task in (*tasks, stop):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _keep(self, node: Node, told: Notifier) -> None:
        await node.start()
        told.ready()
        await node.run()

    async def _rescan(self) -> None:
        """What udev never told (a restarted udevd, a lost event) is seen by the next rescan."""
        while True:
            await asyncio.sleep(self._config.daemon.rescan_seconds)
            self._udev.rescan()
            await self._discover()
            self._wake()

    async def _discover(self) -> None:
        """A runtime that was installed since is found, whichever it is."""
        for reconciler in self._reconcilers:
            if reconciler.view is None or reconciler.view.observation.runtime_installed:
                continue
            with suppress(NodeStorageError):
                found = await asyncio.to_thread(discovered, reconciler.role, self._root)
                if found.complete and found.profile != reconciler.memory.profile:
                    self._tell(reconciler.role, found)
                    reconciler.configure(reconciler.role, self._config.daemon, found.profile)

    def _profile(self, role: RoleConfig) -> RuntimeProfile:
        """The runtime in force for `role`.

        One that is there stays, as long as the configuration says the same of it: the root of
        another must not take its place while a stick may be mounted on this one's.
        """
        known = next((one for one in self._reconcilers if one.role.name == role.name), None)
        if known is not None and known.view is not None:
            same = (known.role.runtime, known.role.profile) == (role.runtime, role.profile)
            if same and known.view.observation.runtime_installed:
                return known.memory.profile
        found = discovered(role, self._root)
        self._tell(role, found)
        return found.profile

    def _tell(self, role: RoleConfig, found: Discovery) -> None:
        self._events.event("runtime", "; ".join(found.sources), role=role.name)

    def _launcher_ended(self) -> None:
        """Without it nothing can be started or stopped; the next daemon has a new one."""
        self._events.event("failed", "the launcher ended, so the daemon does")
        asyncio.get_running_loop().remove_reader(self._launcher.pidfd)  # type: ignore[union-attr]
        self._stop.set()

    def _reconciler(self, ports: Ports, role: RoleConfig) -> Reconciler:
        aside = str(self._run / "aside")
        return Reconciler(
            ports, role, self._config.daemon, self._profile(role), self._changed, aside
        )

    def _watch_mounts(self, loop: asyncio.AbstractEventLoop, stack: AsyncExitStack) -> None:
        pending: list[asyncio.TimerHandle] = []

        def later() -> None:
            if not pending:
                pending.append(loop.call_later(MOUNT_QUIET_SECONDS, settled))

        def settled() -> None:
            pending.clear()
            self._wake()

        watch = MountWatch(later)
        loop.add_reader(watch.fileno(), watch.drain)
        stack.callback(watch.close)
        stack.callback(loop.remove_reader, watch.fileno())

    def _on_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        with suppress(NodeStorageError):
            self._reload()

    def _reload(self) -> str:
        """The new configuration is in force; a broken one is refused and the old one kept."""
        try:
            loaded = configfile.load(self._root)
            profiles = {role.name: self._profile(role) for role in loaded.config.roles}
        except NodeStorageError as error:
            self._events.event("config", f"kept the old one: {error.message}", reason=error.reason)
            raise
        known = {reconciler.role.name: reconciler for reconciler in self._reconcilers}
        if set(known) != set(profiles):
            text = "roles came or went: restart the daemon (what runs goes on running)"
            self._events.event("config", text)
            return text
        for role in loaded.config.roles:
            known[role.name].configure(role, loaded.config.daemon, profiles[role.name])
        self._config = loaded.config
        text = "the configuration is reloaded"
        if later := self._later(profiles):
            text += f"; restart the daemon for {', '.join(later)} (what runs goes on running)"
        self._events.event("config", text)
        self._wake()
        return text

    def _later(self, profiles: Mapping[str, RuntimeProfile]) -> list[str]:
        """What is configured now and cannot be in force before the daemon's next start."""
        new, old = self._config.daemon, self._at_start
        changed = [f"daemon.{key}" for key in AT_START if getattr(new, key) != getattr(old, key)]
        return changed + [
            f"the root of role {one.role.name}"
            for one in self._reconcilers
            if one.memory.profile.root != profiles[one.role.name].root
        ]

    def _report(self, text: str, error: BaseException | None) -> None:
        self._events.event("api", f"{text}: {error}" if error else text)

    def _complain(self, text: str) -> None:
        self._events.event("state", text)

    def _wake(self) -> None:
        if self._node is not None:
            self._node.wake()

    def _changed(self) -> None:
        if self._node is not None:
            self._node.publish()

    def _happened(self) -> None:
        if self._node is not None:
            self._node.happened()


def main(argv: list[str] | None = None) -> int:
    """Run the daemon; the exit code says how it ended."""
    options = _options(argv)
    log.configure(level=options.log_level, path=options.log_file)
    if os.geteuid() != 0:
        return _failed("NotRoot", "nodestoraged has to run as root", "sudo nodestoraged")
    run, state = Path(options.run), Path(options.state)
    try:
        run.mkdir(mode=0o755, parents=True, exist_ok=True)
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = lockfile.acquire(str(run / "lock"))
    except BlockingIOError:
        _failed("AlreadyRunning", f"another daemon holds {run}/lock", "nodestoragectl status")
        return EXIT_LOCKED
    except OSError as error:
        return _failed("NotWritable", f"{error.filename}: {error.strerror}", "")
    with ExitStack() as stack:
        stack.callback(os.close, lock)
        try:
            config = configfile.load(Path(options.root)).config
            for role in config.roles:
                (state / "roles" / role.name).mkdir(mode=0o700, parents=True, exist_ok=True)
            daemon = Daemon(
                config,
                root=Path(options.root),
                run=run,
                state=state,
                fence=Path(options.fence),
                launcher=narrow(config, run, stack),
            )
            return asyncio.run(daemon.run())
        except NodeStorageError as error:
            return _failed(error.reason, error.message, error.hint)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nodestoraged", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"nodestoraged {__version__}")
    parser.add_argument("--root", default="/", help="where /etc and /usr are looked for")
    parser.add_argument("--run", default="/run/nodestoraged", help="run-time directory")
    parser.add_argument("--state", default="/var/lib/nodestoraged", help="state directory")
    parser.add_argument("--fence", default="/run/nodestorage-fence", help="fence directory")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning"))
    parser.add_argument("--log-file", metavar="PATH", help="log JSON lines to PATH, kept small")
    return parser.parse_args(argv)


def _failed(reason: str, message: str, hint: str) -> int:
    log.event("failed", message, level="error", reason=reason, hint=hint or None)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
