"""Fixtures of the VM tests: per Debian release a booted node, resumed afresh for each test.

`suite` runs a test once per release, `flavour` once per way to run pods where the module names
some. `booted` is the cached state of the booted node, static pod running; `machine` is a machine
resumed from it (1-2 s), for one test. `new_machine` makes machines of any other origin, one at a
time. `new_stick` makes stick images. When a test fails, console, journal, mounts and processes of
its machine are kept under --vm-artifacts.

A build, a boot or a tool that fails is an error of the tests that need it, never a skip.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.fakes.once import made_once
from tests.fakes.packages import build_bundle, build_rpms, renew_deb
from tests.vm.harness.flavour import Flavour, flavour_of
from tests.vm.harness.image import Image
from tests.vm.harness.machine import Machine
from tests.vm.harness.migration import Saved
from tests.vm.harness.pool import MachinePool
from tests.vm.harness.states import ensure_flavour
from tests.vm.harness.stickbox import StickBox
from tests.vm.nodes import Node

_HERE = Path(__file__).resolve().parent
_DEFAULT_SUITES = ("trixie", "bookworm")
# A machine that hangs is cut off by the harness before this, and an image may have to be built.
_TEST_SECONDS = 1800
_LONG = frozenset(
    f"test_{what}" for what in ("boot", "everywhere", "loss", "migration", "package_life", "podman")
)
#: What a kind of node installs (a fixture's name), where it is not the Debian package. `installed`
#: goes by it.
_PACKAGES = {("podman", "containerd"): "rpm", ("trixie", "k3s"): "bundle"}
_FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --vm-artifacts and --vm-suite."""
    group = parser.getgroup("vm", "virtual machines")
    group.addoption(
        "--vm-artifacts",
        type=Path,
        default=_HERE / ".artifacts",
        help="directory for the logs of failed VM tests",
    )
    group.addoption(
        "--vm-suite",
        action="append",
        help=f"run the VM tests on this recipe only (repeatable; default {_DEFAULT_SUITES})",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers `vm` and `node_kind`."""
    config.addinivalue_line("markers", "vm: boots a virtual machine")
    config.addinivalue_line("markers", "node_kind(suite, flavour): the test runs on that one alone")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this directory `vm`, and give it time for a build and two boots.

    The long ones come first: at the end no worker waits for another's. They go from one kind of
    node to the next: at the start no worker waits for the installation that another makes.
    """
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.vm)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_TEST_SECONDS))
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> tuple[bool, bool, str]:
    ours = item.path.is_relative_to(_HERE)
    long = ours and item.path.stem in _LONG
    return ours, not long, item.name.rpartition("[")[2] if long else ""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what needs a `suite` once per release, release by release."""
    kind = metafunc.definition.get_closest_marker("node_kind")
    if kind is not None:
        own, flavours = ((one,) for one in kind.args)
    else:
        # A module that names its releases runs on those: what differs between them is few things.
        own = getattr(metafunc.module, "SUITES", _DEFAULT_SUITES)
        flavours = getattr(metafunc.module, "FLAVOURS", ())
    if "suite" in metafunc.fixturenames:
        suites = metafunc.config.getoption("vm_suite") or own
        metafunc.parametrize("suite", suites, scope="session", indirect=True)
    if flavours and "flavour" in metafunc.fixturenames:
        metafunc.parametrize("flavour", flavours, scope="session", indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember on the item that its set-up or call failed, for the fixtures' tear-down."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest) -> str:
    """The name of the recipe that the test runs on."""
    return str(request.param)


@pytest.fixture(scope="session")
def flavour(request: pytest.FixtureRequest, suite: str) -> Flavour:
    """What runs the pods of the node: containerd and kubelet where a module names nothing else."""
    return flavour_of(getattr(request, "param", "containerd"), suite)


@pytest.fixture(scope="session")
def booted(suite: str, flavour: Flavour) -> Saved:
    """The state of the booted node, its static pod running; built where the cache lacks it."""
    return ensure_flavour(suite, flavour)


@pytest.fixture(scope="session")
def image(booted: Saved) -> Image:
    """The image that the node was booted from."""
    return booted.image


@pytest.fixture(scope="session")
def stick_box() -> Iterator[StickBox]:
    """Makes sticks that live as long as the session; for fixtures of wider scope than a test."""
    with tempfile.TemporaryDirectory(prefix="nodestoraged-sticks-") as directory:
        yield StickBox(Path(directory))


@pytest.fixture
def new_stick() -> Iterator[StickBox]:
    """Makes sticks for one test: `new_stick("BLUE01", label=…, fstype="xfs", …)`."""
    with tempfile.TemporaryDirectory(prefix="nodestoraged-sticks-") as directory:
        yield StickBox(Path(directory))


@pytest.fixture(scope="session")
def machine_pool() -> Iterator[MachinePool]:
    """Makes machines for fixtures of wider scope than a test; one lives at a time."""
    with MachinePool() as pool:
        yield pool


@pytest.fixture
def new_machine(request: pytest.FixtureRequest, machine_pool: MachinePool) -> Iterator[MachinePool]:
    """Makes machines for one test: `new_machine(saved_or_image, cache="writeback")`.

    They are closed after it; when it failed, their logs are kept first.
    """
    yield machine_pool
    if request.node.stash.get(_FAILED, False):
        root: Path = request.config.getoption("vm_artifacts")
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", request.node.nodeid.rpartition("/")[2])
        machine_pool.keep_logs(root / name)
        (root / ".gitignore").write_text("*\n")
    machine_pool.close()


@pytest.fixture
def machine(new_machine: MachinePool, booted: Saved) -> Machine:
    """A machine resumed from the booted state; its disk is its own."""
    made = new_machine(booted)
    made.resume()
    return made


@pytest.fixture(scope="session")
def newer_deb(deb: Path, shared_directory: Path) -> Path:
    """The same Debian package as a later version."""
    (found,) = made_once(shared_directory / "newer-deb", partial(renew_deb, deb)).iterdir()
    return found


@pytest.fixture(scope="session")
def bundle(shared_directory: Path) -> Path:
    """The self-contained bundle, built from the tree as it stands."""
    (found,) = made_once(shared_directory / "bundle", build_bundle).iterdir()
    return found


@pytest.fixture(scope="session")
def rpm(shared_directory: Path) -> Path:
    """The RPM, built from the tree as it stands; beside it what dnf has to know of a Debian."""
    out = made_once(shared_directory / "rpms", build_rpms)
    (found,) = out.glob("nodestoraged-*.noarch.rpm")
    return found


@pytest.fixture(scope="session")
def installed(
    request: pytest.FixtureRequest,
    booted: Saved,
    flavour: Flavour,
    machine_pool: MachinePool,
    shared_directory: Path,
) -> Saved:
    """The state of the booted node with the package installed and its first decision made."""

    def make(place: Path) -> None:
        made = machine_pool(booted)
        made.resume()
        node = Node(made, flavour)
        kind = _PACKAGES.get((booted.image.recipe, flavour.name), "deb")
        package: Path = request.getfixturevalue(kind)
        if kind == "rpm":
            made.put(package.with_name("debian-names.rpm"), "/root/debian-names.rpm")
            made.ssh("dnf install -y /root/debian-names.rpm", timeout=300)
        node.install(package)
        node.wait_phase("INTERNAL")
        made.save(place)
        machine_pool.close()

    place = made_once(shared_directory / f"installed-{booted.directory.name}", make)
    return replace(booted, directory=place)


@pytest.fixture
def node(new_machine: MachinePool, installed: Saved, flavour: Flavour) -> Node:
    """A node with the package installed, resumed; its disk is its own."""
    made = new_machine(installed)
    made.resume()
    return Node(made, flavour)


@pytest.fixture
def bare_node(machine: Machine, flavour: Flavour) -> Node:
    """A node without the package, its pod running."""
    return Node(machine, flavour)


@pytest.fixture
def durable_node(new_machine: MachinePool, installed: Saved, flavour: Flavour) -> Node:
    """The same on a disk that keeps what was flushed when the power is cut."""
    made = new_machine(installed, cache="writeback")
    made.resume()
    return Node(made, flavour)
