"""Which service manager is taken on which machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.adapters.launcher import Launcher
from nodestoraged.adapters.services.command import CommandServiceManager
from nodestoraged.adapters.services.select import FallbackControl, choose, is_openrc
from nodestoraged.adapters.services.systemctl import SystemctlControl
from nodestoraged.adapters.services.systemd import DbusControl
from nodestoraged.adapters.services.unitcontrol import SystemdServices
from nodestoraged.model.config import CommandServices, DaemonConfig, Services
from nodestoraged.model.errors import ConfigError


def with_systemd(root: Path) -> Path:
    (root / "run/systemd/system").mkdir(parents=True)
    return root


def control_of(root: Path, services: Services) -> object:
    manager = choose(DaemonConfig(services=services), root=root)
    assert isinstance(manager, SystemdServices)
    assert manager.name == "systemd"
    return manager._control


def test_on_systemd_it_is_the_bus_with_systemctl_behind(tmp_path: Path) -> None:
    control = control_of(with_systemd(tmp_path), Services.AUTO)
    assert isinstance(control, FallbackControl)
    assert isinstance(control._first, DbusControl)
    assert isinstance(control._second, SystemctlControl)
    assert control._first._bus_socket == str(tmp_path / "run/dbus/system_bus_socket")


def test_what_is_named_is_taken_without_looking(tmp_path: Path) -> None:
    assert isinstance(control_of(tmp_path, Services.SYSTEMD), DbusControl)
    assert isinstance(control_of(tmp_path, Services.SYSTEMCTL), SystemctlControl)


def test_an_unknown_init_is_a_configuration_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "run/openrc").mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        choose(DaemonConfig(), root=tmp_path)
    assert caught.value.key == "daemon.services"
    assert "command" in caught.value.hint


def test_commands_are_taken_where_they_are_named(tmp_path: Path) -> None:
    commands = CommandServices(start=("a",), stop=("b",), status=("c",))
    config = DaemonConfig(services=Services.COMMAND, commands=commands)
    manager = choose(config, root=with_systemd(tmp_path))
    assert isinstance(manager, CommandServiceManager)
    assert manager.name == "command"


@pytest.mark.parametrize("missing", ["start", "stop", "status"])
def test_a_missing_command_is_named(tmp_path: Path, missing: str) -> None:
    argv = {word: ("x",) for word in ("start", "stop", "status") if word != missing}
    config = DaemonConfig(services=Services.COMMAND, commands=CommandServices(**argv))
    with pytest.raises(ConfigError) as caught:
        choose(config, root=tmp_path)
    assert caught.value.key == f"daemon.commands.{missing}"


def test_without_the_library_it_is_systemctl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nodestoraged.adapters.services.systemd", None)
    control = control_of(with_systemd(tmp_path), Services.AUTO)
    assert isinstance(control, SystemctlControl)


def test_a_machine_without_systemd_does_not_import_the_bus_library() -> None:
    program = "import sys, nodestoraged.adapters.services.select; print('dbus_next' in sys.modules)"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


# ------------------------------------------------------------------------ OpenRC


def with_openrc(root: Path) -> Path:
    (root / "run/openrc").mkdir(parents=True)
    (root / "run/openrc/softlevel").write_text("default")
    return root


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    made = Launcher(tmp_path / "launcher", rc_service="/bin/false")
    yield made
    made.close()


def test_openrc_is_taken_where_it_booted(tmp_path: Path, launcher: Launcher) -> None:
    manager = choose(DaemonConfig(), launcher, root=with_openrc(tmp_path))
    assert manager.name == "openrc"


def test_systemd_is_taken_before_openrc(tmp_path: Path) -> None:
    root = with_systemd(with_openrc(tmp_path))
    assert not is_openrc(DaemonConfig(), root=root)
    assert choose(DaemonConfig(), root=root).name == "systemd"


def test_openrc_can_be_asked_for(tmp_path: Path, launcher: Launcher) -> None:
    config = DaemonConfig(services=Services.OPENRC)
    assert is_openrc(config, root=tmp_path)
    assert choose(config, launcher, root=tmp_path).name == "openrc"


@pytest.mark.parametrize("services", [Services.SYSTEMCTL, Services.COMMAND])
def test_another_that_was_asked_for_is_not_openrc(tmp_path: Path, services: Services) -> None:
    assert not is_openrc(DaemonConfig(services=services), root=with_openrc(tmp_path))
