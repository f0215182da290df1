"""Rules for podman: what its answers mean, what each link is read from, and who is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from nodestoraged.adapters.clock import RealClock
from nodestoraged.adapters.program import Finished
from nodestoraged.adapters.runtimes import podman as module
from nodestoraged.adapters.runtimes.dispatch import RuntimeByDialect
from nodestoraged.adapters.runtimes.podman import PodmanRuntime
from nodestoraged.core.verify import verify
from nodestoraged.model.config import RoleConfig
from nodestoraged.model.device import DeviceNumber
from nodestoraged.model.errors import StepError, StepTimeout
from nodestoraged.model.proof import Link
from nodestoraged.model.runtime import Dialect, RuntimeProfile

ROOT = "/var/lib/containers/storage"
PROFILE = RuntimeProfile(
    name="podman", runtime_units=("podman.socket", "podman.service"), kubelet_units=(),
    root=ROOT, state="/run/containers/storage", socket="/run/podman/podman.sock",
    dialect=Dialect.PODMAN,
)  # fmt: skip
STICK = DeviceNumber(8, 17)
LONG = 5.0

#: Recorded on Debian 12 (podman 4.3.1) and Debian 13 (5.4.2), without what is not read.
INFO_4 = {
    "host": {"cgroupVersion": "v1", "eventLogger": "file", "networkBackend": "netavark"},
    "store": {
        "configFile": "/usr/share/containers/storage.conf",
        "containerStore": {"number": 1, "paused": 0, "running": 1, "stopped": 0},
        "graphDriverName": "overlay",
        "graphRoot": ROOT,
        "graphRootAllocated": 270553174016,
        "imageStore": {"number": 2},
        "runRoot": "/run/containers/storage",
        "volumePath": ROOT + "/volumes",
    },
    "version": {"APIVersion": "4.3.1", "Version": "4.3.1", "GitCommit": "", "Built": 0},
}
INFO_5 = {
    "host": {"cgroupVersion": "v2", "databaseBackend": "sqlite", "freeLocks": 2048},
    "store": {
        "configFile": "/usr/share/containers/storage.conf",
        "containerStore": {"number": 0, "paused": 0, "running": 0, "stopped": 0},
        "graphDriverName": "overlay",
        "graphRoot": ROOT,
        "graphRootAllocated": 6249086976,
        "imageStore": {"number": 0},
        "runRoot": "/run/containers/storage",
        "volumePath": ROOT + "/volumes",
        "transientStore": False,
    },
    "version": {"APIVersion": "5.4.2", "Version": "5.4.2", "BuildOrigin": "Debian"},
}
#: `podman info` once the disk below its root is gone, word for word.
DEAD = "Error: faccessat /var/lib/containers/storage/libpod/bolt_state.db: input/output error\n"


def said(stdout: object = "", stderr: str = "", code: int = 0) -> Finished:
    text = stdout if isinstance(stdout, str) else json.dumps(stdout)
    return Finished(exit_code=code, stdout=text, stderr=stderr)


class FakePodman:
    """Stands for `run_program`: answers by the first word, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Finished | Exception] = {"info": said(INFO_5)}
        self.asked: list[tuple[str, ...]] = []

    async def __call__(self, argv: Sequence[str], *, deadline_seconds: float) -> Finished:
        assert deadline_seconds > 0
        self.asked.append(tuple(argv))
        found = next((self.answers[word] for word in argv if word in self.answers), said())
        if isinstance(found, Exception):
            raise found
        return found

    def words(self) -> list[tuple[str, ...]]:
        """The command lines without the program."""
        return [argv[argv.index("podman") + 1 :] for argv in self.asked]


class FakeChildren:
    """Stands for the worker; everything lies on the stick unless a test says otherwise."""

    pid = 4711

    def __init__(self) -> None:
        self.broken: dict[str, StepError] = {}
        self.calls: list[tuple[str, Mapping[str, object]]] = []
        self.conmons: list[dict[str, object]] = []
        self.options = ["rw", "noatime"]

    async def call(
        self, operation: str, arguments: Mapping[str, object], *, deadline_seconds: float
    ) -> Mapping[str, object]:
        assert deadline_seconds > 0
        self.calls.append((operation, arguments))
        for name in (operation, f"{operation} {arguments.get('path')}"):
            if name in self.broken:
                raise self.broken[name]
        number = {"major": STICK.major, "minor": STICK.minor}
        answers: dict[str, Mapping[str, object]] = {
            "stat_fs": {
                "st_major": 8, "st_minor": 17, "capacity_bytes": 1000, "available_bytes": 900,
            },
            "runtime_view": {
                "mount": {**number, "options": self.options, "super_options": ["rw"]},
                "root_mount_ids": {"ours": 28, "init": 28, "runtime": 28},
            },
            "probe_write": {"seconds": 0.01},
            "conmons": {"conmons": self.conmons},
            "kill_conmons": {"conmons": 0, "killed": 0, "left": []},
        }  # fmt: skip
        return answers[operation]


@pytest.fixture
def podman(monkeypatch: pytest.MonkeyPatch) -> FakePodman:
    fake = FakePodman()
    monkeypatch.setattr(module, "run_program", fake)
    return fake


@pytest.fixture
def children() -> FakeChildren:
    return FakeChildren()


def made(
    children: FakeChildren, archive: Path, floor: tuple[str, ...] = (), *, transient: bool = False
) -> PodmanRuntime:
    runtime = PodmanRuntime(children, RealClock(), archive, transient=transient)  # type: ignore[arg-type]
    runtime.configure(RoleConfig(name="podman", floor_images=floor))
    return runtime


@pytest.fixture
def runtime(podman: FakePodman, children: FakeChildren, tmp_path: Path) -> PodmanRuntime:
    return made(children, tmp_path)


def refused(ask: Callable[[], Awaitable[object]]) -> StepError:
    async def run() -> None:
        await ask()

    with pytest.raises(StepError) as caught:
        asyncio.run(run())
    return caught.value


def test_without_the_program_podman_is_missing(podman: FakePodman, runtime: PodmanRuntime) -> None:
    podman.answers["info"] = FileNotFoundError(2, "No such file or directory")
    error = refused(lambda: runtime.prove(PROFILE, deadline_seconds=LONG))
    assert error.reason == "PodmanMissing"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Failed to find executable podman: No such file or directory", 1),
        ("podman cannot be started: [Errno 2] No such file or directory", 69),
    ],
)
def test_what_runs_podman_for_us_says_the_same(
    podman: FakePodman, children: FakeChildren, tmp_path: Path, text: str, code: int
) -> None:
    podman.answers["info"] = said(stderr=f"{text}\n", code=code)
    runtime = made(children, tmp_path, transient=True)
    error = refused(lambda: runtime.prove(PROFILE, deadline_seconds=LONG))
    assert error.reason == "PodmanMissing"


def test_a_store_on_a_dead_disk_is_told_in_podman_s_own_words(
    podman: FakePodman, runtime: PodmanRuntime
) -> None:
    podman.answers["info"] = said(stderr=DEAD, code=125)
    error = refused(lambda: runtime.prove(PROFILE, deadline_seconds=0.1))
    assert (error.reason, error.message) == ("PodmanFailed", f"podman info: {DEAD.strip()}")


def test_podman_is_not_started_upon_a_disk_that_hangs(
    podman: FakePodman, children: FakeChildren, runtime: PodmanRuntime
) -> None:
    children.broken["stat_fs"] = StepTimeout("Hung", "stat_fs did not come back within 5 s")
    error = refused(lambda: runtime.prove(PROFILE, deadline_seconds=LONG))
    assert error.reason == "Hung"
    assert podman.asked == []


def test_a_podman_that_does_not_end_is_given_up_at_the_deadline(
    podman: FakePodman, runtime: PodmanRuntime
) -> None:
    podman.answers["info"] = TimeoutError()
    error = refused(lambda: runtime.prove(PROFILE, deadline_seconds=LONG))
    assert isinstance(error, StepTimeout)
    assert (error.reason, error.message) == ("Hung", "podman info did not end within 5 s")


def test_a_store_at_another_place_is_refused(podman: FakePodman, runtime: PodmanRuntime) -> None:
    store = {**INFO_5["store"], "graphRoot": "/srv/containers"}  # type: ignore[dict-item]
    podman.answers["info"] = said({**INFO_5, "store": store})
    error = refused(lambda: runtime.prove(PROFILE, deadline_seconds=LONG))
    assert error.reason == "RootElsewhere"
    assert "/srv/containers" in error.message


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"store": 1, "version": {}}'])
def test_an_answer_that_is_not_podman_s_is_an_error_with_a_name(
    podman: FakePodman, runtime: PodmanRuntime, text: str
) -> None:
    podman.answers["info"] = said(text)
    error = refused(lambda: runtime.prove(PROFILE, deadline_seconds=0.1))
    assert error.reason == "PodmanFailed"


@pytest.mark.parametrize(
    ("answer", "database", "told"),
    [(INFO_4, "libpod/bolt_state.db", ("4.3.1", 1)), (INFO_5, "db.sql", ("5.4.2", 0))],
)
def test_every_link_holds_for_the_device_that_carries_layers_database_and_mount(
    podman: FakePodman,
    children: FakeChildren,
    runtime: PodmanRuntime,
    answer: object,
    database: str,
    told: tuple[str, int],
) -> None:
    podman.answers["info"] = said(answer)
    children.conmons = [{"pid": 7, "id": "a" * 64}]
    podman.answers["ps"] = said("b" * 64 + "\n" + "a" * 64 + "\n")
    found = asyncio.run(runtime.prove(PROFILE, deadline_seconds=LONG))
    links = verify(found, STICK, own_namespace=False, dialect=Dialect.PODMAN)
    assert [link for link in links if not link.holds] == []
    assert found.mountpoint == f"{ROOT}/overlay"
    assert (found.runtime_version, found.pods) == told
    asked = [arguments["path"] for name, arguments in children.calls if name == "stat_fs"]
    assert f"{ROOT}/{database}" in asked
    other = verify(found, DeviceNumber(8, 1), own_namespace=False, dialect=Dialect.PODMAN)
    broken = {link.link for link in other if not link.holds}
    assert broken == {Link.IMAGE_FS_PATH, Link.DATABASE_LOCK, Link.RUNTIME_MOUNT}


@pytest.mark.parametrize(
    ("operation", "link"),
    [
        (f"stat_fs {ROOT}/overlay", Link.CAPACITY),
        (f"stat_fs {ROOT}/db.sql", Link.DATABASE_LOCK),
        ("runtime_view", Link.MOUNT_NAMESPACE),
        ("probe_write", Link.WRITE_PROBE),
        ("conmons", Link.RUNTIME_MOUNT),
    ],
)
def test_a_link_that_cannot_be_read_names_its_cause_and_hides_no_other(
    children: FakeChildren, runtime: PodmanRuntime, operation: str, link: Link
) -> None:
    children.broken[operation] = StepError("IoError", "Input/output error")
    found = asyncio.run(runtime.prove(PROFILE, deadline_seconds=LONG))
    assert found.error(link) == "Input/output error"
    assert found.images == 0
    assert found.error(Link.LISTING) is None


def test_a_mount_that_became_read_only_is_seen(
    children: FakeChildren, runtime: PodmanRuntime
) -> None:
    children.options = ["ro"]
    found = asyncio.run(runtime.prove(PROFILE, deadline_seconds=LONG))
    assert found.mount_read_only is True


def test_a_container_that_the_root_does_not_know_breaks_the_proof(
    podman: FakePodman, children: FakeChildren, runtime: PodmanRuntime
) -> None:
    children.conmons = [{"pid": 7, "id": "a" * 64}]
    podman.answers["ps"] = said("b" * 64 + "\n")
    found = asyncio.run(runtime.prove(PROFILE, deadline_seconds=LONG))
    assert found.error(Link.RUNTIME_MOUNT) == (
        "container aaaaaaaaaaaa runs from another root than this one"
    )


def test_a_container_that_the_root_knows_may_be_between_created_and_running(
    podman: FakePodman, children: FakeChildren, runtime: PodmanRuntime
) -> None:
    children.conmons = [{"pid": 7, "id": "a" * 64}]
    podman.answers["ps"] = said("a" * 64 + "\n")
    found = asyncio.run(runtime.prove(PROFILE, deadline_seconds=LONG))
    assert found.errors == ()


def test_containers_get_their_grace_and_their_monitors_do_not_stay(
    podman: FakePodman, children: FakeChildren, runtime: PodmanRuntime
) -> None:
    # The second has an `exec` session, which has a monitor of its own.
    children.conmons = [{"pid": 7, "id": "a"}, {"pid": 8, "id": "b"}, {"pid": 9, "id": "b"}]
    podman.answers["stop"] = said(stderr="Error: cannot stop a paused container\n", code=125)
    stopped = asyncio.run(runtime.stop_pods(PROFILE, grace_seconds=20, deadline_seconds=60))
    assert stopped == 2
    assert podman.words() == [("stop", "--all", "--time", "20")]
    assert children.calls[-1][0] == "kill_conmons"
    assert children.calls[-1][1]["root"] == ROOT


def test_where_nothing_runs_podman_is_not_asked_to_stop_it(
    podman: FakePodman, runtime: PodmanRuntime
) -> None:
    assert asyncio.run(runtime.stop_pods(PROFILE, grace_seconds=20, deadline_seconds=60)) == 0
    assert podman.asked == []


def test_the_grace_is_cut_where_the_deadline_does_not_allow_it(
    podman: FakePodman, children: FakeChildren, runtime: PodmanRuntime
) -> None:
    children.conmons = [{"pid": 7, "id": "a"}]
    asyncio.run(runtime.stop_pods(PROFILE, grace_seconds=20, deadline_seconds=15))
    assert podman.words() == [("stop", "--all", "--time", "5")]


def test_in_a_unit_of_its_own_podman_ends_with_its_deadline(
    podman: FakePodman, children: FakeChildren, tmp_path: Path
) -> None:
    runtime = made(children, tmp_path, transient=True)
    asyncio.run(runtime.prove(PROFILE, deadline_seconds=LONG))
    argv = podman.asked[0]
    assert argv[0] == "systemd-run"
    assert "--property=RuntimeMaxSec=5s" in argv
    assert argv[-5:] == ("--", "podman", "info", "--format", "json")


def test_floor_images_are_kept_once_and_come_back(
    podman: FakePodman, children: FakeChildren, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = made(children, tmp_path, ("localhost/app:1", "localhost/none:1"))

    async def answer(argv: Sequence[str], *, deadline_seconds: float) -> Finished:
        podman.asked.append(tuple(argv))
        if "inspect" in argv:
            known = argv[-1] == "localhost/app:1" and present
            return said("sha\n" if known else "", code=0 if known else 125)
        if "save" in argv:
            _write(argv[argv.index("--output") + 1])
        return said()

    present = True
    monkeypatch.setattr(module, "run_program", answer)
    for _ in range(2):
        text = asyncio.run(runtime.save_images(PROFILE, deadline_seconds=LONG))
        assert text == "1 kept, not present: localhost/none:1"
    assert sum("save" in argv for argv in podman.asked) == 1
    assert runtime.kept_images() == ("localhost/app:1",)
    present = False
    assert asyncio.run(runtime.load_images(PROFILE, deadline_seconds=LONG)) is False
    loaded = [argv for argv in podman.asked if "load" in argv]
    assert [Path(argv[-1]).read_text() for argv in loaded] == ["archive"]


def _write(path: str) -> None:
    Path(path).write_text("archive")


def test_an_archive_that_is_not_whole_is_none(
    podman: FakePodman, children: FakeChildren, tmp_path: Path
) -> None:
    runtime = made(children, tmp_path, ("localhost/app:1",))
    (tmp_path / "podman").mkdir()
    record = {"name": "localhost/app:1", "id": "sha", "size_bytes": 7}
    (tmp_path / "podman" / "abc.json").write_text(json.dumps(record))
    (tmp_path / "podman" / "abc.tar").write_text("archi")
    (tmp_path / "podman" / "damaged.json").write_text("{")
    assert runtime.kept_images() == ()


def test_the_names_of_all_images_cannot_be_kept(runtime: PodmanRuntime) -> None:
    error = refused(lambda: runtime.keep_images(PROFILE, every=True, deadline_seconds=LONG))
    assert error.reason == "NotForPodman"


class Recorder:
    """A `Runtime` that says who was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    def __getattr__(self, method: str) -> object:
        async def answer(profile: RuntimeProfile, **_: object) -> str:
            return f"{self.name} {method} {profile.dialect}"

        return answer

    def kept_images(self) -> tuple[str, ...]:
        return (f"{self.name}-image", "both")

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("dialect", list(Dialect))
def test_each_call_goes_to_who_speaks_the_dialect(dialect: Dialect) -> None:
    containerd, podman = Recorder("containerd"), Recorder("podman")
    both = RuntimeByDialect(containerd, podman)  # type: ignore[arg-type]
    wanted = "podman" if dialect is Dialect.PODMAN else "containerd"
    profile = RuntimeProfile(
        name="x", runtime_units=(), kubelet_units=(), root="/r", state="/s", socket="/k",
        dialect=dialect,
    )  # fmt: skip
    deadline: dict[str, object] = {"deadline_seconds": LONG}
    calls: dict[str, dict[str, object]] = {
        "open": {},
        "foreign_containers": deadline,
        "image_directory": deadline,
        "stop_pods": {**deadline, "grace_seconds": 1.0},
        "prove": deadline,
        "save_images": deadline,
        "keep_images": {**deadline, "every": True},
        "bring_images": {**deadline, "every": True},
        "load_images": deadline,
    }
    for method, arguments in calls.items():
        if method == "open":
            asyncio.run(both.open(profile))
            continue
        found = asyncio.run(getattr(both, method)(profile, **arguments))
        assert found == f"{wanted} {method} {dialect}"
    assert both.kept_images() == ("containerd-image", "both", "podman-image")
    asyncio.run(both.close())
    assert containerd.closed
    assert podman.closed
