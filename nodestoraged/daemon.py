"""The composition root: configuration, adapters, one node, one loop, signals.

The only place that knows every part.  Order at start: the lock, the configuration, the warm
worker (before anything is imported that it shall not carry), udev's monitor, the roots, the
socket, READY, and then the loop.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from nodestoraged import __version__, log
from nodestoraged.adapters import configfile
from nodestoraged.adapters.children import Children
from nodestoraged.adapters.clock import RealClock
from nodestoraged.adapters.copier import TransientCopier
from nodestoraged.adapters.disks import WorkerDisks
from nodestoraged.adapters.eventlog import RecordingLog
from nodestoraged.adapters.fence import FileFence
from nodestoraged.adapters.hooks import ProgramHooks
from nodestoraged.adapters.journal import FileJournal
from nodestoraged.adapters.localkubelet import LocalKubelet
from nodestoraged.adapters.mounts import MountInfo, MountWatch
from nodestoraged.adapters.notify import SdNotifier
from nodestoraged.adapters.roots import WorkerRoots
from nodestoraged.adapters.runtimes.profiles import profile_of
from nodestoraged.adapters.runtimes.runtime import ContainerdRuntime
from nodestoraged.adapters.services.select import choose
from nodestoraged.adapters.sticks import WorkerSticks, kept_node_id
from nodestoraged.adapters.store import FileStore
from nodestoraged.adapters.udev import UdevDevices
from nodestoraged.api.server import ApiServer
from nodestoraged.engine.board import DaemonFacts
from nodestoraged.engine.node import Node
from nodestoraged.engine.reconciler import Reconciler
from nodestoraged.linux import lockfile
from nodestoraged.model.config import Config, MountNamespace, RoleConfig
from nodestoraged.model.errors import ConfigError, NodeStorageError
from nodestoraged.ports import Ports

#: A mount storm (kubelet makes one mount per volume) wakes us at most this often.
MOUNT_QUIET_SECONDS = 1.0
EXIT_FAILED, EXIT_LOCKED = 1, 75


class Daemon:
    """One running daemon; `run` returns its exit code."""

    def __init__(self, config: Config, *, root: Path, run: Path, state: Path, fence: Path) -> None:
        self._config = config
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
            services = choose(self._config.daemon)
            stack.push_async_callback(services.close)
            loop.add_reader(self._udev.start(), self._udev.drain)
            stack.callback(self._udev.close)
            self._watch_mounts(loop, stack)
            store = FileStore(self._state, self._complain)
            notifier = SdNotifier()
            for role in self._config.roles:
                journal = FileJournal(self._state / "roles" / role.name, self._complain)
                stack.callback(journal.close)
                ports = Ports(
                    clock=self._clock,
                    devices=self._udev,
                    mounts=MountInfo(),
                    disks=WorkerDisks(children),
                    sticks=WorkerSticks(children, kept_node_id(self._state)),
                    roots=WorkerRoots(children),
                    copier=TransientCopier(systemd=self._transient(services.name)),
                    services=services,
                    fence=FileFence(self._fence),
                    runtime=ContainerdRuntime(
                        children, self._clock, role.floor_images, self._state / "images"
                    ),
                    kubelet=LocalKubelet(),
                    hooks=ProgramHooks(),
                    journal=journal,
                    store=store,
                    notifier=notifier,
                    log=self._events,
                )
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
            server = ApiServer(node, report=self._report, path=str(self._run / "io.nodestorage"))
            await server.start()
            stack.push_async_callback(server.close)
            await self._until_stopped(node, notifier)
        return 0

    async def _until_stopped(self, node: Node, notifier: SdNotifier) -> None:
        tasks = {
            asyncio.create_task(self._keep(node, notifier), name="node"),
            asyncio.create_task(self._rescan(), name="rescan"),
        }
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        done, _ = await asyncio.wait({*tasks, stop}, return_when=asyncio.FIRST_COMPLETED)
        if stop in done:
            await node.leave()
        for task in (*tasks, stop):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _keep(self, node: Node, notifier: SdNotifier) -> None:
        await node.start()
        notifier.ready()
        await node.run()

    async def _rescan(self) -> None:
        """What udev never told (a restarted udevd, a lost event) is seen by the next rescan."""
        while True:
            await asyncio.sleep(self._config.daemon.rescan_seconds)
            self._udev.rescan()
            self._wake()

    def _transient(self, init: str) -> bool:
        """A copy runs in a unit of its own where there is systemd, and we share its mounts."""
        own = self._config.daemon.mount_namespace is MountNamespace.OWN
        return init in {"systemd", "systemctl"} and not own

    def _reconciler(self, ports: Ports, role: RoleConfig) -> Reconciler:
        aside = str(self._run / "aside")
        return Reconciler(ports, role, self._config.daemon, profile_of(role), self._changed, aside)

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
        with suppress(ConfigError):
            self._reload()

    def _reload(self) -> str:
        """The new configuration is in force; a broken one is refused and the old one kept."""
        try:
            loaded = configfile.load(self._root)
            profiles = {role.name: profile_of(role) for role in loaded.config.roles}
        except ConfigError as error:
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
        self._events.event("config", "reloaded")
        self._wake()
        return "the configuration is reloaded"

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
    parser = argparse.ArgumentParser(prog="nodestoraged", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"nodestoraged {__version__}")
    parser.add_argument("--root", default="/", help="where /etc and /usr are looked for")
    parser.add_argument("--run", default="/run/nodestoraged", help="run-time directory")
    parser.add_argument("--state", default="/var/lib/nodestoraged", help="state directory")
    parser.add_argument("--fence", default="/run/nodestorage-fence", help="fence directory")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning"))
    options = parser.parse_args(argv)
    log.configure(level=options.log_level)
    if os.geteuid() != 0:
        return _failed("NotRoot", "nodestoraged has to run as root", "sudo nodestoraged")
    run, state = Path(options.run), Path(options.state)
    try:
        run.mkdir(mode=0o755, parents=True, exist_ok=True)
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = lockfile.acquire(str(run / "lock"))
    except BlockingIOError:
        _failed(
            "AlreadyRunning", f"another daemon holds {run}/lock", "systemctl status nodestoraged"
        )
        return EXIT_LOCKED
    except OSError as error:
        return _failed("NotWritable", f"{error.filename}: {error.strerror}", "")
    try:
        config = configfile.load(Path(options.root)).config
        for role in config.roles:
            profile_of(role)
            (state / "roles" / role.name).mkdir(mode=0o700, parents=True, exist_ok=True)
        daemon = Daemon(
            config, root=Path(options.root), run=run, state=state, fence=Path(options.fence)
        )
        return asyncio.run(daemon.run())
    except NodeStorageError as error:
        return _failed(error.reason, error.message, error.hint)
    finally:
        os.close(lock)


def _failed(reason: str, message: str, hint: str) -> int:
    log.event("failed", message, level="error", reason=reason, hint=hint or None)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
