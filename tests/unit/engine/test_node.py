"""Rules for the node: one writer, many readers, and the way of a request into the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from nodestoraged.engine.board import DaemonFacts
from nodestoraged.engine.node import Node
from nodestoraged.engine.reconciler import Reconciler
from nodestoraged.model.config import DaemonConfig, RoleConfig
from nodestoraged.model.device import BlockDevice
from nodestoraged.model.errors import NotFoundError, RefusedError, RequestError
from nodestoraged.sim.adapters import PROFILE, ports
from nodestoraged.sim.world import World


class Bench:
    """A node whose loop runs on a simulated world; virtual time passes only when asked to."""

    def __init__(self, *names: str) -> None:
        self.worlds = {name: World(RoleConfig(name=name)) for name in names or ("containerd",)}
        self.node: Node
        self.kept: list[dict[str, object]] = []
        self.reloads = 0
        roles = []
        for name, world in self.worlds.items():
            world.start_unit("containerd.service")
            world.start_unit("kubelet.service")
            role = RoleConfig(name=name)
            roles.append(Reconciler(ports(world), role, DaemonConfig(), PROFILE, self._publish))
        self.node = Node(
            roles,
            DaemonFacts(version="1", pid=7, init="sim"),
            rescan_seconds=0.02,
            events=lambda: self.kept,
            reload=self._reload,
        )

    def _publish(self) -> None:
        self.node.publish()

    def _reload(self) -> str:
        self.reloads += 1
        return "done"

    @property
    def world(self) -> World:
        return next(iter(self.worlds.values()))

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                self.world.now += 0.5
                self.node.wake()
                await asyncio.sleep(0.005)

    def role(self) -> dict[str, object]:
        roles = self.node.status()["roles"]
        assert isinstance(roles, list)
        return dict(roles[0])

    def rests(self) -> bool:
        return self.role()["phase"] in {"INTERNAL", "BOUND"}


def run(scenario: Callable[[Bench], Awaitable[None]], *names: str) -> None:
    async def whole() -> None:
        bench = Bench(*names)
        await bench.node.look()
        await bench.node.start()
        for world in bench.worlds.values():
            world.ready = True
        loop = asyncio.create_task(bench.node.run())
        try:
            await scenario(bench)
        finally:
            await bench.node.leave()
            await asyncio.wait_for(loop, 10)

    asyncio.run(whole())


def test_the_status_has_the_daemon_and_its_generation_moves_only_with_its_content() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.until(bench.rests)
        status = bench.node.status()
        assert status["apiVersion"] == "nodestorage/v1"
        assert status["daemon"] == {"version": "1", "pid": 7, "init": "sim"}
        generation = status["generation"]
        bench.node.publish()
        assert bench.node.status()["generation"] == generation
        news = asyncio.create_task(bench.node.changed(int(str(generation))))
        await asyncio.sleep(0.01)
        assert not news.done()
        bench.world.make("blue")
        bench.world.plug("blue")
        await bench.until(news.done)
        assert bench.node.status()["generation"] != generation

    run(scenario)


def test_a_switch_returns_once_its_operation_is_journalled() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.until(bench.rests)
        bench.world.make("blue")
        bench.world.plug("blue")
        await bench.until(lambda: bool(bench.role()["candidates"]))
        reply = await bench.node.act("switch", None, {"stick": bench.world.plugged["blue"].devnode})
        assert reply["changed"] is True
        assert reply["operationId"] == "1"
        assert bench.node.operation("1") is not None
        await bench.until(lambda: bench.role()["phase"] == "BOUND")
        there = await bench.node.act("switch", None, {"stick": bench.world.plugged["blue"].devnode})
        assert (there["changed"], there["operationId"]) == (False, None)
        (one,) = bench.node.operations(None, 10)
        assert (one["id"], one["result"]) == ("1", "done")

    run(scenario)


def test_an_enrolment_returns_at_once_and_the_loop_does_the_rest() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.until(bench.rests)
        bench.world.make("blue")
        stick = bench.world.plug("blue")
        await bench.until(lambda: bool(bench.role()["candidates"]))
        reply = await bench.node.act("enroll", None, {"stick": stick.devnode, "name": "blue"})
        assert (reply["changed"], reply["operationId"]) == (True, None)
        await bench.until(lambda: bench.role()["phase"] == "BOUND")

    run(scenario)


def test_what_cannot_be_is_refused_and_changes_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.until(bench.rests)
        before = bench.world.intents.copy(), bench.world.registry
        with pytest.raises(NotFoundError):
            await bench.node.act("switch", None, {"stick": "nothing"})
        with pytest.raises(NotFoundError, match="no role 'kata'"):
            await bench.node.act("switch", "kata", {"stick": "internal"})
        with pytest.raises(RequestError, match="0 bytes per second"):
            await bench.node.act("switch", None, {"stick": "internal", "rate": 0})
        with pytest.raises(NotFoundError, match="not running"):
            await bench.node.act("abort", None, {"id": "9"})
        with pytest.raises(RequestError):
            await bench.node.act("dance", None, {})
        assert (bench.world.intents, bench.world.registry) == before
        assert bench.node.operation("9") is None

    run(scenario)


def released(bench: Bench) -> list[float]:
    """The deadlines of every release from now on."""
    given: list[float] = []
    disks = next(iter(bench.node._roles.values())).ports.disks
    release = disks.release

    async def told(device: BlockDevice, *, deadline_seconds: float) -> None:
        given.append(deadline_seconds)
        await release(device, deadline_seconds=deadline_seconds)

    disks.release = told  # type: ignore[method-assign]
    return given


@pytest.mark.parametrize("between", ["pause", "enroll"])
def test_the_time_that_an_eject_gives_outlives_a_verb_that_comes_before_its_pass(
    between: str,
) -> None:
    async def scenario(bench: Bench) -> None:
        stick = await with_blue(bench)
        await bench.node.act("switch", None, {"stick": stick})
        await bench.until(lambda: bench.role()["phase"] == "BOUND")
        bench.world.make("green")
        other = bench.world.plug("green").devnode
        given = released(bench)
        async with bench.node._lock:
            leaving = asyncio.create_task(bench.node.act("eject", None, {"waitSeconds": 60.0}))
            await asyncio.sleep(0.01)
            await bench.node.act(between, None, {"stick": other, "noSwitch": True})
        await leaving
        await bench.until(lambda: bool(given))
        assert given == [60.0]

    run(scenario)


def test_the_time_that_an_eject_gives_is_its_own() -> None:
    async def scenario(bench: Bench) -> None:
        stick = await with_blue(bench)
        given = released(bench)
        for verb, arguments in (
            ("eject", {"waitSeconds": 60.0}),
            ("switch", {"stick": "internal"}),
            ("eject", {}),
        ):
            await bench.node.act("switch", None, {"stick": stick})
            await bench.until(lambda: bench.role()["phase"] == "BOUND")
            await bench.node.act(verb, None, dict(arguments))
            await bench.until(lambda: bench.role()["phase"] == "INTERNAL")
        assert given == [60.0, 20.0, 20.0]

    run(scenario)


def test_a_reload_is_the_daemons_matter() -> None:
    async def scenario(bench: Bench) -> None:
        reply = await bench.node.act("reload", None, {})
        assert (reply["message"], bench.reloads) == ("done", 1)

    run(scenario)


def test_with_several_roles_a_verb_needs_one_and_a_reader_gets_all() -> None:
    async def scenario(bench: Bench) -> None:
        roles = bench.node.status()["roles"]
        assert isinstance(roles, list)
        assert [role["name"] for role in roles] == ["a", "b"]
        with pytest.raises(RequestError, match="several"):
            await bench.node.act("switch", None, {"stick": "internal"})
        assert bench.node.operations(None, 5) == []

    run(scenario, "a", "b")


def test_events_are_given_by_time_and_awaited_by_cursor() -> None:
    async def scenario(bench: Bench) -> None:
        bench.kept += [{"time": "1", "cursor": 1}, {"time": "2", "cursor": 2}]
        assert [each["cursor"] for each in bench.node.events("2")] == [2]
        assert len(bench.node.events(None)) == 2
        waiting = asyncio.create_task(bench.node.next_events(2))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        bench.kept.append({"time": "3", "cursor": 3})
        bench.node.happened()
        assert [each["cursor"] for each in await waiting] == [3]

    run(scenario)


def test_a_plan_changes_nothing_and_before_the_first_look_there_is_none() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.until(bench.rests)
        bench.world.make("blue")
        stick = bench.world.plug("blue")
        await bench.until(lambda: bool(bench.role()["candidates"]))
        before = bench.world.intents.copy(), bench.world.registry, len(bench.world.trace)
        plan = await bench.node.plan(None, stick.devnode, None, None)
        assert plan["decision"] == "bind"
        assert plan["steps"]
        assert (plan["data"], plan["predictedBytes"], plan["warnings"]) == ("keep", None, [])
        idle = await bench.node.plan(None, None, None, None)
        assert idle["steps"] == []
        assert (bench.world.intents, bench.world.registry) == before[:2]
        assert not [t for t in bench.world.trace[before[2] :] if t in {"mount", "unmount", "check"}]

    run(scenario)
    with pytest.raises(RefusedError):
        asyncio.run(Bench().node.plan(None, None, None, None))


async def with_blue(bench: Bench, **traits: object) -> str:
    """Blue is in; how one names it."""
    await bench.until(bench.rests)
    bench.world.make("blue", **traits)
    stick = bench.world.plug("blue")
    await bench.until(lambda: bool(bench.role()["candidates"]))
    return stick.devnode


def test_a_plan_of_a_copy_tells_how_much_it_will_be() -> None:
    async def scenario(bench: Bench) -> None:
        stick = await with_blue(bench)
        plan = await bench.node.plan(None, stick, None, "copy")
        assert (plan["data"], plan["predictedBytes"]) == ("copy", 1 << 30)
        steps = plan["steps"]
        assert isinstance(steps, list)
        assert [s["step"] for s in steps if "copied" in s["step"]] == [
            "the data is copied to stick1",
            "what changed since is copied to stick1",
        ]
        with pytest.raises(RequestError) as refused:
            await bench.node.plan(None, stick, None, "everything")
        assert refused.value.reason == "BadWord"

    run(scenario)


def test_a_plan_predicts_what_the_last_move_of_its_kind_took() -> None:
    async def scenario(bench: Bench) -> None:
        stick = await with_blue(bench)
        assert (await bench.node.plan(None, stick, None, None))["predictedDowntimeSeconds"] is None
        await bench.node.act("switch", None, {"stick": stick})
        await bench.until(lambda: bench.role()["phase"] == "BOUND")
        told = await bench.node.plan(None, "internal", None, None)
        assert told["decision"] == "return"
        took = bench.node.operations(None, 1)[0]["downtimeSeconds"]
        assert told["predictedDowntimeSeconds"] == took

    run(scenario)


def test_what_lies_hidden_is_told_and_nothing_is_hidden_of_a_root_that_serves() -> None:
    async def scenario(bench: Bench) -> None:
        stick = await with_blue(bench)
        told = await bench.node.hidden(None)
        assert (told["files"], told["allowed"], told["reason"]) == (0, False, "NotBound")
        await bench.node.act("switch", None, {"stick": stick})
        await bench.until(lambda: bench.role()["phase"] == "BOUND")
        told = await bench.node.hidden(None)
        assert (told["files"], told["usedBytes"], told["reason"]) == (1, 1 << 30, "TooEarly")

    run(scenario)


def test_an_errand_runs_beside_the_loop_and_moves_wait_for_its_end() -> None:
    async def scenario(bench: Bench) -> None:
        stick = await with_blue(bench, label=None, fstype=None, uuid=None, partlabel="ctrd-opt")
        disk = bench.world.plugged["blue"].disk
        going = asyncio.Event()
        runtime = next(iter(bench.node._roles.values())).ports.copier
        copy = runtime.copy

        async def slow(*arguments: object, **more: object) -> object:
            await going.wait()
            return await copy(*arguments, **more)  # type: ignore[arg-type]

        runtime.copy = slow  # type: ignore[method-assign]
        reply = await bench.node.act("prepare", None, {"stick": disk, "name": "blue"})
        assert reply["changed"] is True
        with pytest.raises(RefusedError) as refused:
            await bench.node.act("switch", None, {"stick": "internal"})
        assert refused.value.reason == "OperationInProgress"
        with pytest.raises(RefusedError):
            await bench.node.act("prepare", None, {"stick": disk})
        asked = await bench.node.act("abort", None, {"id": reply["operationId"]})
        assert asked["message"].startswith(f"operation {reply['operationId']} ends")
        going.set()
        number = str(reply["operationId"])

        def over() -> bool:
            told = bench.node.operation(number)
            return told is not None and told["result"] is not None

        await bench.until(over)
        told = bench.node.operation(number)
        assert told is not None
        assert (told["kind"], told["result"]) == ("prepare", "aborted")
        assert stick

    run(scenario)
