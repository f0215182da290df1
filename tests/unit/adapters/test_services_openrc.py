"""What OpenRC's files mean, and what is asked of rc-service; the rest is the contract's."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.adapters.program import Finished
from nodestoraged.adapters.services.openrc import OpenRcServices
from nodestoraged.adapters.services.openrcfiles import OpenRcFiles
from nodestoraged.model.errors import ObservationError, StepError, StepTimeout
from nodestoraged.model.runtime import Unit, UnitState
from tests.fakes.openrc_tree import SUPERVISOR_PID, OpenRcTree

CHILD_PID = 5_000_000


class Asked:
    """Stands for rc-service: notes what it was asked, and does what the test says."""

    def __init__(self, tree: OpenRcTree, *, exit_code: int = 0, said: str = "") -> None:
        self.tree = tree
        self.calls: list[tuple[str, str]] = []
        self.exit_code = exit_code
        self.said = said
        self.after: dict[str, str] = {"start": "started", "stop": "", "zap": ""}

    async def __call__(self, word: str, name: str, seconds: float) -> Finished:
        self.calls.append((word, name))
        if self.exit_code == 0 and word in self.after:
            self.tree.mark(name, self.after[word])
        return Finished(exit_code=self.exit_code, stdout=self.said, stderr="")


@pytest.fixture
def tree(tmp_path: Path) -> OpenRcTree:
    made = OpenRcTree(tmp_path).make()
    for name in ("containerd", "kubelet", "web"):
        made.script(name)
    return made


@pytest.fixture
def asked(tree: OpenRcTree) -> Asked:
    return Asked(tree)


@pytest.fixture
def services(tree: OpenRcTree, asked: Asked) -> OpenRcServices:
    return OpenRcServices(OpenRcFiles(tree.root), asked)


def look(services: OpenRcServices, name: str = "containerd.service") -> Unit:
    return asyncio.run(services.unit(name))


def start(services: OpenRcServices, *, wait: bool = True, seconds: float = 1) -> None:
    asyncio.run(services.start("containerd.service", wait=wait, deadline_seconds=seconds))


def stop(services: OpenRcServices, name: str = "containerd.service") -> None:
    asyncio.run(services.stop(name, deadline_seconds=1))


# ------------------------------------------------------------------------ states


@pytest.mark.parametrize(
    ("mark", "state"),
    [
        ("", UnitState.INACTIVE),
        ("started", UnitState.ACTIVE),
        ("starting", UnitState.STARTING),
        ("inactive", UnitState.STARTING),
        ("stopping", UnitState.STOPPING),
        ("failed", UnitState.FAILED),
    ],
)
def test_openrcs_own_words(
    tree: OpenRcTree, services: OpenRcServices, mark: str, state: UnitState
) -> None:
    tree.mark("containerd", mark)
    assert look(services).state is state


def test_a_script_below_usr_local_is_a_service_too(
    tree: OpenRcTree, services: OpenRcServices
) -> None:
    (tree.root / "usr/local/etc/init.d").mkdir(parents=True)
    (tree.root / "usr/local/etc/init.d/own").touch()
    assert look(services, "own.service").state is UnitState.INACTIVE


@pytest.mark.parametrize("pidfile", ["", "k3s.pid"])
def test_a_child_that_waits_for_its_respawn_is_on_its_way(
    tree: OpenRcTree, services: OpenRcServices, pidfile: str
) -> None:
    """Wherever its supervisor is written down: k3s's script names a file of its own."""
    tree.mark("containerd", "started")
    tree.process("containerd", child=CHILD_PID, supervisor=SUPERVISOR_PID, pidfile=pidfile)
    assert look(services).state is UnitState.ACTIVE
    tree.die(CHILD_PID)
    found = look(services)
    assert (found.state, found.main_pid) == (UnitState.STARTING, 0)


def test_a_zombie_does_not_live(tree: OpenRcTree, services: OpenRcServices) -> None:
    tree.mark("containerd", "started")
    tree.pidfile("containerd", CHILD_PID)
    tree.live(CHILD_PID, "Z")
    assert look(services).state is UnitState.FAILED


def test_without_supervisor_and_child_it_has_crashed(
    tree: OpenRcTree, services: OpenRcServices
) -> None:
    tree.mark("containerd", "started")
    tree.process("containerd", child=CHILD_PID, supervisor=SUPERVISOR_PID)
    tree.die(CHILD_PID)
    tree.die(SUPERVISOR_PID)
    assert look(services).state is UnitState.FAILED


@pytest.mark.parametrize(
    ("age", "state"),
    [(0.5, UnitState.STARTING), (60, UnitState.FAILED), (-60, UnitState.FAILED)],
)
def test_a_pid_that_is_not_written_yet_is_waited_for(
    tree: OpenRcTree, services: OpenRcServices, age: float, state: UnitState
) -> None:
    """A supervisor's pidfile is empty for a moment after the service counts as started."""
    tree.pidfile("containerd", CHILD_PID)
    (tree.root / "run/containerd.pid").write_text("")
    tree.mark("containerd", "started", age_seconds=age)
    assert look(services).state is state


def test_a_pid_that_is_written_and_dead_is_a_crash_however_early(
    tree: OpenRcTree, services: OpenRcServices
) -> None:
    tree.pidfile("containerd", CHILD_PID)
    tree.die(CHILD_PID)
    tree.mark("containerd", "started", age_seconds=0)
    assert look(services).state is UnitState.FAILED


def test_a_start_waits_for_the_pid(
    tree: OpenRcTree, services: OpenRcServices, asked: Asked
) -> None:
    tree.process("containerd", child=CHILD_PID, supervisor=SUPERVISOR_PID)
    tree.die(CHILD_PID)

    async def scenario() -> None:
        starting = asyncio.create_task(
            services.start("containerd.service", wait=True, deadline_seconds=5)
        )
        await asyncio.sleep(0.3)
        assert not starting.done()
        tree.live(CHILD_PID)
        await starting

    asyncio.run(scenario())
    assert asked.calls == [("start", "containerd")]


def test_a_child_without_its_supervisor_runs(tree: OpenRcTree, services: OpenRcServices) -> None:
    tree.mark("containerd", "started")
    tree.process("containerd", child=CHILD_PID, supervisor=SUPERVISOR_PID)
    tree.die(SUPERVISOR_PID)
    found = look(services)
    assert (found.state, found.main_pid) == (UnitState.ACTIVE, CHILD_PID)


def test_a_pidfile_named_to_openrcs_own_start_stop_daemon_is_found(
    tree: OpenRcTree, services: OpenRcServices
) -> None:
    tree.mark("kubelet", "started")
    (tree.state / "daemons/kubelet").mkdir()
    (tree.state / "daemons/kubelet/001").write_text("exec=/x\nargv_0=/x\npidfile=/run/k.pid\n")
    (tree.root / "run/k.pid").write_text(f"{CHILD_PID}\n")
    tree.live(CHILD_PID)
    assert look(services, "kubelet").main_pid == CHILD_PID
    tree.die(CHILD_PID)
    assert look(services, "kubelet").state is UnitState.FAILED


@pytest.mark.parametrize("content", ["", "nonsense\n"])
def test_an_empty_pidfile_is_no_process(
    tree: OpenRcTree, services: OpenRcServices, content: str
) -> None:
    tree.mark("kubelet", "started")
    tree.pidfile("kubelet", CHILD_PID)
    (tree.root / "run/kubelet.pid").write_text(content)
    assert look(services, "kubelet").state is UnitState.FAILED


def test_files_that_cannot_be_read_are_no_reading(
    tree: OpenRcTree, services: OpenRcServices
) -> None:
    tree.mark("containerd", "started")
    (tree.state / "deptree").mkdir()
    with pytest.raises(ObservationError) as caught:
        look(services)
    assert caught.value.reason == "UnitUnreadable"


# ------------------------------------------------------------------------ dependencies


def test_what_needs_a_service_stops_with_it_however_far(
    tree: OpenRcTree, services: OpenRcServices
) -> None:
    tree.deptree(
        {
            "containerd": {"needsme": ["kubelet", "idle"], "usesme": ["logger"]},
            "kubelet": {"ineed": ["containerd"], "needsme": ["web"]},
            "idle": {}, "logger": {}, "web": {"needsme": ["containerd"]},
        }
    )  # fmt: skip
    for name in ("containerd", "kubelet", "web", "logger"):
        tree.mark(name, "started")
    assert look(services).takes_along == ("kubelet.service", "web.service")
    tree.mark("kubelet", "inactive")
    tree.mark("web", "")
    assert look(services).takes_along == ("kubelet.service",)


def test_what_needs_a_virtual_service_stops_with_its_only_provider(
    tree: OpenRcTree, services: OpenRcServices
) -> None:
    tree.deptree(
        {
            "containerd": {"iprovide": ["runtime"]},
            "runtime": {"providedby": ["containerd", "crio"], "needsme": ["kubelet"]},
        }
    )
    tree.mark("containerd", "started")
    tree.mark("kubelet", "started")
    assert look(services).takes_along == ("kubelet.service",)
    tree.mark("crio", "started")
    assert look(services).takes_along == ()


def test_changed_dependencies_are_read_again(tree: OpenRcTree, services: OpenRcServices) -> None:
    tree.mark("containerd", "started")
    tree.mark("kubelet", "started")
    assert look(services).takes_along == ()
    tree.deptree({"containerd": {"needsme": ["kubelet"]}})
    assert look(services).takes_along == ("kubelet.service",)


# ------------------------------------------------------------------------ runlevels


def boot(tree: OpenRcTree, *members: str, level: str = "default") -> None:
    """The system enters `level`, of which `default` has these members."""
    for name in members:
        (tree.root / "etc/runlevels/default" / name).symlink_to(f"/etc/init.d/{name}")
    (tree.state / "softlevel").write_text(level)
    (tree.state / "rc.starting").mkdir()


def test_what_the_boot_will_start_is_queued(tree: OpenRcTree, services: OpenRcServices) -> None:
    boot(tree, "containerd")
    assert look(services).job_queued
    assert not look(services, "kubelet").job_queued
    tree.mark("containerd", "started")
    assert not look(services).job_queued
    tree.mark("containerd", "failed")
    assert not look(services).job_queued


def test_after_the_boot_nothing_is_queued(tree: OpenRcTree, services: OpenRcServices) -> None:
    boot(tree, "containerd")
    (tree.state / "rc.starting").rmdir()
    assert not look(services).job_queued


def test_a_service_that_a_member_needs_is_queued(
    tree: OpenRcTree, services: OpenRcServices
) -> None:
    tree.deptree({"kubelet": {"ineed": ["containerd"]}, "containerd": {}})
    boot(tree, "kubelet")
    assert look(services).job_queued


def test_before_the_default_level_its_members_are_queued(
    tree: OpenRcTree, services: OpenRcServices
) -> None:
    boot(tree, "containerd", level="boot")
    (tree.state / "rc.starting").rmdir()  # between two levels
    assert look(services).job_queued


def test_members_of_a_stacked_level_are_queued(tree: OpenRcTree, services: OpenRcServices) -> None:
    levels = tree.root / "etc/runlevels"
    (levels / "node").mkdir()
    (levels / "node/containerd").symlink_to("/etc/init.d/containerd")
    (levels / "default/node").symlink_to("../node")
    boot(tree)
    assert look(services).job_queued


@pytest.mark.parametrize("level", ["shutdown", "single", "off"])
def test_levels_that_end_services_are_a_shutdown(
    tree: OpenRcTree, services: OpenRcServices, level: str
) -> None:
    (tree.state / "softlevel").write_text(f"{level}\n")
    assert asyncio.run(services.shutting_down())


def test_a_level_that_is_being_left_is_a_shutdown(
    tree: OpenRcTree, services: OpenRcServices
) -> None:
    """Debian's `openrc off` stops all services with the old level still in force."""
    (tree.state / "rc.stopping").mkdir()
    tree.mark("web", "stopping")
    assert asyncio.run(services.shutting_down())


def test_one_service_that_stops_is_no_shutdown(tree: OpenRcTree, services: OpenRcServices) -> None:
    tree.mark("web", "stopping")
    assert not asyncio.run(services.shutting_down())


def test_a_level_that_is_entered_again_is_no_shutdown(
    tree: OpenRcTree, services: OpenRcServices
) -> None:
    """`openrc` makes the directory also where it has nothing to stop."""
    (tree.state / "rc.stopping").mkdir()
    assert not asyncio.run(services.shutting_down())


# ------------------------------------------------------------------------ starting


def test_a_crashed_service_is_reset_before_its_start(
    tree: OpenRcTree, services: OpenRcServices, asked: Asked
) -> None:
    """OpenRC says "has already been started" otherwise, and starts nothing."""
    tree.mark("containerd", "started")
    tree.pidfile("containerd", CHILD_PID)
    tree.die(CHILD_PID)
    start(services)
    assert asked.calls == [("zap", "containerd"), ("start", "containerd")]


def test_what_a_supervisor_will_start_again_is_not_started_twice(
    tree: OpenRcTree, services: OpenRcServices, asked: Asked
) -> None:
    tree.mark("containerd", "started")
    tree.process("containerd", child=CHILD_PID, supervisor=SUPERVISOR_PID)
    tree.die(CHILD_PID)
    start(services)
    assert asked.calls == []


def test_what_the_boot_will_start_is_left_to_it(
    tree: OpenRcTree, services: OpenRcServices, asked: Asked
) -> None:
    """While a level is entered, rc-service ignores what a service needs."""
    boot(tree, "containerd")
    start(services, wait=False)
    assert asked.calls == []
    with pytest.raises(StepTimeout):
        start(services, wait=True)
    assert asked.calls == []


def test_a_start_that_has_begun_is_no_respawn(tree: OpenRcTree, services: OpenRcServices) -> None:
    tree.mark("containerd", "starting")
    assert look(services).job_queued
    tree.mark("containerd", "started")
    tree.process("containerd", child=CHILD_PID, supervisor=SUPERVISOR_PID)
    tree.die(CHILD_PID)
    unit = look(services)
    assert (unit.state, unit.job_queued) == (UnitState.STARTING, False)


def test_a_start_waits_for_the_boots_own(
    tree: OpenRcTree, services: OpenRcServices, asked: Asked
) -> None:
    boot(tree, "containerd")

    async def scenario() -> None:
        waiting = asyncio.create_task(
            services.start("containerd.service", wait=True, deadline_seconds=5)
        )
        await asyncio.sleep(0.2)
        assert not waiting.done()
        tree.mark("containerd", "started")
        await waiting

    asyncio.run(scenario())
    assert asked.calls == []


class Slow(Asked):
    """rc-service that does what it was asked when `go` is set; it shows nothing before."""

    def __init__(self, tree: OpenRcTree) -> None:
        super().__init__(tree)
        self.go = asyncio.Event()

    async def __call__(self, word: str, name: str, seconds: float) -> Finished:
        self.calls.append((word, name))
        await self.go.wait()
        if self.exit_code == 0:
            self.tree.mark(name, "" if word == "stop" else "started")
        return Finished(exit_code=self.exit_code, stdout="", stderr="")


async def later(tree: OpenRcTree, slow: Slow) -> OpenRcServices:
    """Services of which containerd's start was asked for and is on its way."""
    services = OpenRcServices(OpenRcFiles(tree.root), slow)
    await services.start("containerd.service", wait=False, deadline_seconds=1)
    assert slow.calls == [("start-later", "containerd")]
    return services


def test_a_start_that_was_asked_for_is_on_its_way_before_openrc_shows_it(tree: OpenRcTree) -> None:
    async def scenario() -> None:
        slow = Slow(tree)
        services = await later(tree, slow)
        unit = await services.unit("containerd.service")
        assert (unit.state, unit.job_queued) == (UnitState.STARTING, True)
        await services.start("containerd.service", wait=False, deadline_seconds=1)
        assert slow.calls == [("start-later", "containerd")]  # once is enough
        slow.go.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        unit = await services.unit("containerd.service")
        assert (unit.state, unit.job_queued) == (UnitState.ACTIVE, False)

    asyncio.run(scenario())


def test_a_start_that_came_to_nothing_is_not_on_its_way(tree: OpenRcTree) -> None:
    async def scenario() -> None:
        slow = Slow(tree)
        services = await later(tree, slow)
        slow.exit_code = 1
        slow.go.set()
        await asyncio.sleep(0.01)
        unit = await services.unit("containerd.service")
        assert (unit.state, unit.job_queued) == (UnitState.INACTIVE, False)

    asyncio.run(scenario())


def test_what_is_refused_at_once_is_said_though_nobody_waits(
    services: OpenRcServices, asked: Asked
) -> None:
    asked.exit_code, asked.said = 1, "the launcher does not answer"
    with pytest.raises(StepError, match="does not answer"):
        start(services, wait=False)


def test_a_stop_comes_after_a_start_that_is_on_its_way(tree: OpenRcTree) -> None:
    """Or it would find nothing to stop, and the service would come up behind it."""

    async def scenario() -> None:
        slow = Slow(tree)
        services = await later(tree, slow)
        stopping = asyncio.create_task(services.stop("containerd.service", deadline_seconds=5))
        await asyncio.sleep(0.05)
        assert not stopping.done()
        slow.go.set()
        await stopping
        assert (await services.unit("containerd.service")).state is UnitState.INACTIVE

    asyncio.run(scenario())


def test_a_start_with_wait_joins_the_one_that_is_on_its_way(tree: OpenRcTree) -> None:
    async def scenario() -> None:
        slow = Slow(tree)
        services = await later(tree, slow)
        starting = asyncio.create_task(
            services.start("containerd.service", wait=True, deadline_seconds=5)
        )
        await asyncio.sleep(0.05)
        assert not starting.done()
        slow.go.set()
        await starting
        assert slow.calls == [("start-later", "containerd")]

    asyncio.run(scenario())


class Second(Slow):
    """rc-service while somebody else's works on the same service, until `go`."""

    def __init__(self, tree: OpenRcTree, said: str) -> None:
        super().__init__(tree)
        self.held = said

    async def __call__(self, word: str, name: str, seconds: float) -> Finished:
        if not self.go.is_set():
            self.calls.append((word, name))
            return Finished(exit_code=1, stdout=f" * {name} {self.held}", stderr="")
        return await super().__call__(word, name, seconds)


@pytest.mark.parametrize("held", ["is already starting", "is stopping"])
@pytest.mark.parametrize("wait", [True, False])
def test_a_start_comes_after_what_somebody_else_has_begun(
    tree: OpenRcTree, held: str, wait: bool
) -> None:
    """That may have been refused by the fence, which is down now."""

    async def scenario() -> None:
        second = Second(tree, held)
        services = OpenRcServices(OpenRcFiles(tree.root), second)
        starting = asyncio.create_task(
            services.start("containerd.service", wait=wait, deadline_seconds=5)
        )
        done, _ = await asyncio.wait({starting}, timeout=0.15)
        assert [task.exception() for task in done] == ([] if wait else [None])
        assert (await services.unit("containerd.service")).runs is not wait
        second.go.set()
        await starting
        await services.start("containerd.service", wait=True, deadline_seconds=5)
        assert (await services.unit("containerd.service")).state is UnitState.ACTIVE
        assert {word for word, _ in second.calls} == {"start" if wait else "start-later"}

    asyncio.run(scenario())


def test_closing_waits_for_no_start(tree: OpenRcTree) -> None:
    async def scenario() -> None:
        services = await later(tree, Slow(tree))
        async with asyncio.timeout(1):
            await services.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (" * (/run/nodestorage-fence/containerd; …)\n * ERROR: containerd failed to start",
         "ConditionFailed"),
        (" * ERROR: cannot start containerd as net would not start", "DependencyFailed"),
        (" * ERROR: containerd needs service(s) net", "DependencyFailed"),
        (" * ERROR: containerd failed to start", "StartFailed"),
    ],
)  # fmt: skip
def test_refusals_by_their_sentences(
    services: OpenRcServices, asked: Asked, said: str, reason: str
) -> None:
    asked.exit_code, asked.said = 1, said
    with pytest.raises(StepError) as caught:
        start(services)
    assert caught.value.reason == reason
    assert " * " not in caught.value.message


def test_a_start_that_says_nothing_and_does_nothing_failed(
    services: OpenRcServices, asked: Asked
) -> None:
    asked.after = {}
    with pytest.raises(StepError) as caught:
        start(services, seconds=10)
    assert caught.value.reason == "StartFailed"


# ------------------------------------------------------------------------ stopping


def test_a_dead_dependent_is_reset_before_the_stop(
    tree: OpenRcTree, services: OpenRcServices, asked: Asked
) -> None:
    """OpenRC fails to stop it, and then refuses to stop what it needs."""
    tree.deptree({"containerd": {"needsme": ["kubelet"]}, "kubelet": {}})
    tree.mark("containerd", "started")
    tree.mark("kubelet", "started")
    tree.pidfile("kubelet", CHILD_PID)
    tree.die(CHILD_PID)
    stop(services)
    assert asked.calls == [("zap", "kubelet"), ("stop", "containerd")]


def test_a_crashed_service_is_stopped_by_forgetting_it(
    tree: OpenRcTree, services: OpenRcServices, asked: Asked
) -> None:
    tree.mark("containerd", "started")
    tree.pidfile("containerd", CHILD_PID)
    tree.die(CHILD_PID)
    stop(services)
    assert asked.calls == [("zap", "containerd")]


def test_a_stop_that_openrc_refuses_is_an_error(
    tree: OpenRcTree, services: OpenRcServices, asked: Asked
) -> None:
    tree.mark("containerd", "started")
    asked.exit_code, asked.said = 1, " * ERROR: cannot stop containerd as web is still up"
    with pytest.raises(StepError, match="web is still up") as caught:
        stop(services)
    assert caught.value.reason == "StopFailed"


def test_a_stop_comes_after_somebody_elses_start(
    tree: OpenRcTree, services: OpenRcServices, asked: Asked
) -> None:
    tree.mark("containerd", "starting")
    asked.exit_code, asked.said = 1, " * ERROR: containerd stopped by something else"

    async def scenario() -> None:
        stopping = asyncio.create_task(services.stop("containerd.service", deadline_seconds=5))
        await asyncio.sleep(0.2)
        assert not stopping.done()
        tree.mark("containerd", "started")
        asked.exit_code = 0
        await stopping

    asyncio.run(scenario())
    assert look(services).state is UnitState.INACTIVE


def test_a_stop_comes_after_a_start_that_found_nothing_to_do(tree: OpenRcTree) -> None:
    """It held the lock for a moment, and no mark tells of it."""
    tree.mark("containerd", "started")

    async def scenario() -> None:
        second = Second(tree, "stopped by something else")
        services = OpenRcServices(OpenRcFiles(tree.root), second)
        stopping = asyncio.create_task(services.stop("containerd.service", deadline_seconds=5))
        done, _ = await asyncio.wait({stopping}, timeout=0.05)
        assert [task.exception() for task in done] == []
        second.go.set()
        await stopping
        assert (await services.unit("containerd.service")).state is UnitState.INACTIVE

    asyncio.run(scenario())


class Followed(Asked):
    """rc-service where somebody starts what was just stopped; it comes to `end`."""

    def __init__(self, tree: OpenRcTree, end: str) -> None:
        super().__init__(tree)
        self.end = end

    async def __call__(self, word: str, name: str, seconds: float) -> Finished:
        self.calls.append((word, name))
        self.tree.mark(name, "starting")
        asyncio.get_running_loop().call_later(0.15, self.tree.mark, name, self.end)
        return Finished(exit_code=0, stdout="", stderr="")


def test_a_start_that_the_fence_refuses_is_no_failure_of_the_stop_before(tree: OpenRcTree) -> None:
    tree.mark("containerd", "started")
    services = OpenRcServices(OpenRcFiles(tree.root), Followed(tree, ""))
    asyncio.run(services.stop("containerd.service", deadline_seconds=5))
    assert look(services).state is UnitState.INACTIVE


def test_a_start_that_got_through_is(tree: OpenRcTree) -> None:
    tree.mark("containerd", "started")
    services = OpenRcServices(OpenRcFiles(tree.root), Followed(tree, "started"))
    with pytest.raises(StepError, match="was stopped and runs again"):
        asyncio.run(services.stop("containerd.service", deadline_seconds=5))


@pytest.fixture
def sleeper(tree: OpenRcTree) -> Iterator[subprocess.Popen[bytes]]:
    """A real process that is containerd's."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        tree.mark("containerd", "started")
        tree.process("containerd", child=process.pid, supervisor=SUPERVISOR_PID)
        yield process
        process.kill()


def test_stopped_means_that_the_process_is_gone(
    services: OpenRcServices, sleeper: subprocess.Popen[bytes]
) -> None:
    """supervise-daemon answers before its child has ended."""
    with pytest.raises(StepTimeout):
        stop(services)
    assert sleeper.poll() is None


def test_a_process_without_its_supervisor_is_told_to_stop(
    tree: OpenRcTree, services: OpenRcServices, sleeper: subprocess.Popen[bytes]
) -> None:
    """OpenRC calls the service stopped and leaves the process alone."""
    tree.die(SUPERVISOR_PID)
    stop(services)
    assert os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT) is not None
    assert sleeper.wait() == -signal.SIGTERM
