"""What every test gets: marks by place, a deadline for unit tests, hypothesis profiles."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

from tests.fakes.once import made_once
from tests.fakes.packages import build_deb

_HERE = Path(__file__).parent
#: A unit test that takes longer waits for something that it should not.
_UNIT_SECONDS = 90

# A shell that starts us in the background has us ignore Ctrl-C, and our children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline for one example: it would judge how busy the machine is.
hypothesis.settings.register_profile("dev", max_examples=100, print_blob=True, deadline=None)
# The same examples each time: what is new is to be judged, not what luck finds in what was there.
hypothesis.settings.register_profile(
    "make", max_examples=100, print_blob=True, derandomize=True, deadline=None
)
hypothesis.settings.register_profile(
    "ci", max_examples=2000, print_blob=True, derandomize=True, deadline=None
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what is seen to tests/golden"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The directory says what a test needs, so that no mark can be forgotten."""
    for item in items:
        place = item.path.relative_to(_HERE).parts[0]
        if place in {"integration", "vm", "style"}:
            item.add_marker(getattr(pytest.mark, place))
        elif place == "unit" and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_UNIT_SECONDS))
    # Cheap and telling first: a wrong layer or rule explains many a failure that follows.
    order = ("style", "unit", "property", "golden", "contract", "integration", "vm")
    items.sort(
        key=lambda item: next(
            (
                rank
                for rank, place in enumerate(order)
                if item.path.relative_to(_HERE).parts[0] == place
            ),
            len(order),
        )
    )


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that all workers of this run have in common; see `made_once`."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def deb(shared_directory: Path) -> Path:
    """The Debian package, built from the tree as it stands."""
    (found,) = made_once(shared_directory / "deb", build_deb).iterdir()
    return found


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """True if the golden files are to be written instead of compared."""
    return bool(request.config.getoption("--update-golden"))
