"""A simulated node that one can boot, break and ask; used by the tests and by `rehearse`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from nodestoraged.core import requests
from nodestoraged.core.requests import Answer, Request
from nodestoraged.engine import desk, hearing
from nodestoraged.engine.executor import Interrupted
from nodestoraged.engine.reconciler import Reconciler
from nodestoraged.model.config import DaemonConfig, RoleConfig
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.operation import Operation
from nodestoraged.model.phase import Phase
from nodestoraged.model.runtime import RuntimeProfile
from nodestoraged.model.view import View
from nodestoraged.sim.adapters import PROFILE, ports
from nodestoraged.sim.world import KUBELET, RUNTIME, DaemonCrash, Faults, PowerCut, World

T = TypeVar("T")

#: How long a node is given to come to rest; longer than grace, settle and boot wait together.
HORIZON_SECONDS = 300.0
PASSES_MAX = 400


class SimNode:
    """One node with its daemon.  Every verb returns when the node has come to rest."""

    def __init__(
        self,
        role: RoleConfig | None = None,
        *,
        running: bool = True,
        kubelet_requires_runtime: bool = False,
        profile: RuntimeProfile = PROFILE,
        prepare: Callable[[World], None] = lambda _world: None,
    ) -> None:
        """`running`: the daemon meets a node that works already; `prepare` comes before it."""
        self.role = role or RoleConfig(name="containerd")
        self.world = World(self.role, profile)
        self.world.kubelet_requires_runtime = kubelet_requires_runtime
        self.world.on_term = self._term
        self.daemon = DaemonConfig()
        self._loop = asyncio.new_event_loop()
        #: How often the power was cut, the daemon crashed, SIGTERM came, the system went down.
        self.ends: list[str] = []
        prepare(self.world)
        if running:
            self.world.start_unit(RUNTIME)
            self.world.start_unit(KUBELET)
        self.reconciler = self._new()
        self._start()

    def close(self) -> None:
        """The loop is closed."""
        self._loop.close()

    @property
    def view(self) -> View:
        """What was published last."""
        assert self.reconciler.view is not None
        return self.reconciler.view

    @property
    def phase(self) -> Phase:
        """Where the machine rests."""
        return self.reconciler.phase

    @property
    def resting(self) -> bool:
        """True if nothing is open and the phase is one of those in which a node may rest."""
        world = self.world
        settled = world.now >= world.insertion_at + self.daemon.settle_seconds
        return not world.open and self.phase not in {Phase.SWITCHING, Phase.LOST} and settled

    def serving(self) -> str:
        """The name of the medium that the root lies on: `internal`, a stick's, or `gone`."""
        if not self.world.root_mounts:
            return "internal"
        for name, device in self.world.plugged.items():
            if device.number == self.world.root_number:
                return name
        return "gone"

    def device(self, name: str) -> BlockDevice:
        """The plugged stick of that name."""
        return self.world.plugged[name]

    # -- time -------------------------------------------------------------------------

    def settle(self, *, horizon: float = HORIZON_SECONDS) -> None:
        """Passes are made, and time runs to each next look, until the node rests (I4)."""
        end = self.world.now + horizon
        for _ in range(PASSES_MAX):
            until = self._pass()
            if until is None:
                continue
            if self.resting:
                return
            if self.world.now >= end:
                raise AssertionError(f"I4: not at rest after {horizon} s: {self.phase}")
            self._sleep(until, end)
        raise AssertionError(f"I4: does not rest: {self.phase}, {self.world.trace[-30:]}")

    def run_for(self, seconds: float) -> None:
        """That much time passes, with whatever happens in it; the node need not rest after it."""
        end = self.world.now + seconds
        for _ in range(PASSES_MAX * (1 + int(seconds / 600))):
            until = self._pass()
            if self.world.now >= end:
                return
            if until is not None:
                self._sleep(until, end)
        raise AssertionError(f"it never sleeps: {self.phase}, {self.world.trace[-30:]}")

    def _sleep(self, until: float, end: float) -> None:
        rescan = self.world.now + self.daemon.rescan_seconds
        self.world.now = max(self.world.now + 0.01, min(until, rescan, end))

    # -- what people and machines do -----------------------------------------------------

    def ask(self, verb: str, **arguments: object) -> Answer:
        """A verb is said, and the node comes to rest; raises what the verb refuses."""
        answer = self.say(verb, **arguments)
        self.settle()
        return answer

    def say(self, verb: str, **arguments: object) -> Answer:
        """A verb is said, and nothing has come of it yet."""
        request = Request(verb=verb, **arguments)  # type: ignore[arg-type]
        answer = requests.apply(request, self._drive(hearing.heard(self.reconciler, request)))
        self.world.registry = answer.registry
        self.world.intents[self.role.name] = answer.intent
        memory = self.reconciler.memory
        memory.permitted = memory.permitted | answer.permitted
        for incarnation in answer.forgiven:
            memory.forgive(incarnation)
        return answer

    def errand(self, verb: str, **arguments: object) -> Operation | None:
        """An errand has come to its end, and the node to rest; None if the daemon ended in it."""
        begun: list[str] = []

        async def whole() -> None:
            operation = await desk.begin(self.reconciler, verb, arguments)
            begun.append(operation.id)
            for task in asyncio.all_tasks():
                if task.get_name().startswith("errand "):
                    with suppress(asyncio.CancelledError):
                        await task

        self._guarded(whole())
        self.settle()
        return next((each for each in self.world.closed if each.id in begun), None)

    def restart_daemon(self) -> None:
        """The daemon alone comes up again; what runs goes on running."""
        self.world.halted = None
        self.world.ready = False
        self.world.inserted, self.world.insertion_at = 0, 0.0
        self.world.plugged = {n: replace(d, inserted=0) for n, d in self.world.plugged.items()}
        self.reconciler = self._new()
        self._start()

    def terminate_daemon(self) -> None:
        """SIGTERM: the daemon leaves as it should."""
        self.reconciler.begin_leaving()
        self._guarded(self.reconciler.leave())

    def power_cycle(self) -> None:
        """Power is cut and comes back."""
        self.world.halted = None
        self.world.power_cycle()
        self.reconciler = self._new()
        self._start()

    def shut_down_and_boot(self) -> None:
        """A clean shutdown: services stop, the daemon looks on, and the next boot."""
        self.world.stopping = True
        self._guarded(self.reconciler.tick())
        self.world.stop_unit(KUBELET)
        self.world.stop_unit(RUNTIME)
        self._guarded(self.reconciler.tick())
        self.terminate_daemon()
        self.power_cycle()

    def inject(self, plan: dict[int, str]) -> None:
        """Faults by the number of the effect, counted from now."""
        self.world.faults = Faults(plan=plan)

    # -- the daemon's own life --------------------------------------------------------------

    def _new(self) -> Reconciler:
        return Reconciler(
            ports(self.world), self.role, self.daemon, self.world.profile, lambda: None
        )

    def _term(self) -> None:
        self.reconciler.begin_leaving()

    def _start(self) -> None:
        """Up to READY and what follows it; the node has come to rest."""
        reconciler = self.reconciler
        if not self._guarded(self._up(reconciler)):
            return
        self.settle()

    async def _up(self, reconciler: Reconciler) -> None:
        await reconciler.look()
        await reconciler.start()
        if self.world.stopping or reconciler.executor.leaving:
            raise Interrupted
        reconciler.ports.notifier.ready()
        await reconciler.after_ready()
        if self.world.stopping or reconciler.executor.leaving:
            raise Interrupted

    def _pass(self) -> float | None:
        """One pass of the loop; None if the daemon is another one after it."""
        due: list[float | None] = []

        async def tick() -> None:
            due.append(await self.reconciler.tick())
            if self.reconciler.executor.leaving or self.world.stopping:
                raise Interrupted

        if not self._guarded(tick()):
            return None
        return due[0] if due[0] is not None else self.world.now + self.daemon.rescan_seconds

    def _guarded(self, work: Coroutine[object, object, object]) -> bool:
        """True if `work` came to its end; else the daemon has ended, and lives again."""
        try:
            self._drive(work)
        except PowerCut:
            self.ends.append("cut")
            self.power_cycle()
        except DaemonCrash:
            self.ends.append("crash")
            self.restart_daemon()
        except Interrupted:
            self._ended()
        else:
            return True
        return False

    def _ended(self) -> None:
        if self.world.stopping:
            self.ends.append("down")
            self.world.stop_unit(KUBELET)
            self.world.stop_unit(RUNTIME)
            self._drive(self.reconciler.leave())
            self.power_cycle()
        else:
            self.ends.append("term")
            if self._guarded(self.reconciler.leave()):
                self.restart_daemon()

    def _drive(self, coroutine: Coroutine[object, object, T]) -> T:
        return self._loop.run_until_complete(coroutine)
