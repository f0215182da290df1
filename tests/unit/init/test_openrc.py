"""OpenRC's init script, its configuration and the fence: what can be judged without OpenRC.

With OpenRC they are judged in the VM tests.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

TOP = Path(__file__).parents[3]
OPENRC = TOP / "init" / "openrc"
SYSTEMD = TOP / "init" / "systemd"
FENCE = OPENRC / "fence"
FENCED = (
    "containerd", "crio", "kubelet", "k3s", "k3s-agent", "rke2-server", "rke2-agent",
    "k0scontroller", "k0sworker",
)  # fmt: skip
PODMAN = ("podman", "podman-restart")
#: snapd needs systemd.
SNAPS = ("snap.microk8s.daemon-containerd", "snap.microk8s.daemon-kubelite")


def fence(etc: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(FENCE), *words],
        env={**os.environ, "NODESTORAGED_ETC": str(etc)},
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    assert fence(tmp_path, "install").returncode == 0
    return tmp_path / "rc.conf.d/nodestoraged.conf"


# ------------------------------------------------------------------------ the fence's file


@pytest.mark.parametrize("name", ["nodestoraged", "fence"])
def test_the_scripts_pass_shellcheck(name: str) -> None:
    done = subprocess.run(
        ["shellcheck", str(OPENRC / name)], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


def test_the_configuration_is_shell_without_effect() -> None:
    """Every line is a comment: what a package brings must not outvote the script's defaults."""
    lines = (OPENRC / "nodestoraged.confd").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_installing_twice_is_installing_once(gate: Path) -> None:
    before = gate.stat()
    assert fence(gate.parents[1], "install").returncode == 0
    after = gate.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert list(gate.parent.iterdir()) == [gate]
    assert oct(after.st_mode & 0o777) == "0o644"


def test_an_older_gate_is_renewed(gate: Path) -> None:
    whole = gate.read_text()
    gate.write_text(whole.splitlines()[0] + "\nexit 1\n")
    assert fence(gate.parents[1], "install").returncode == 0
    assert gate.read_text() == whole


def test_removing_leaves_nothing(gate: Path) -> None:
    etc = gate.parents[1]
    assert fence(etc, "remove").returncode == 0
    assert list(etc.iterdir()) == []
    assert fence(etc, "remove").returncode == 0


def test_other_files_are_left_alone(gate: Path) -> None:
    other = gate.with_name("mine.conf")
    other.write_text("rc_parallel=YES\n")
    assert fence(gate.parents[1], "remove").returncode == 0
    assert other.read_text() == "rc_parallel=YES\n"


def test_a_file_of_that_name_that_is_not_ours_is_kept(tmp_path: Path) -> None:
    theirs = tmp_path / "rc.conf.d/nodestoraged.conf"
    theirs.parent.mkdir()
    theirs.write_text("rc_parallel=YES\n")
    done = fence(tmp_path, "install")
    assert done.returncode == 1
    assert "not ours" in done.stderr
    assert fence(tmp_path, "remove").returncode == 0
    assert theirs.read_text() == "rc_parallel=YES\n"


@pytest.mark.parametrize("words", [(), ("raise",)])
def test_another_verb_changes_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert fence(tmp_path, *words).returncode == 64
    assert list(tmp_path.iterdir()) == []


def test_openrc_takes_no_setting_from_the_gate(gate: Path) -> None:
    """OpenRC's C side reads the same files for lines of NAME=value."""
    lines = [line for line in gate.read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if "=" in line] == []


# ------------------------------------------------------------------------ what the gate does

SERVICE_CALL = """
eerror() {{ echo "$*" >&2; }}
RC_SERVICE={service}
RC_SVCNAME={name}
RC_CMD={verb}
RC_SVCDIR={directory}
{settings}
. {gate}
echo "the script runs"
"""


def call(
    gate: Path, name: str = "containerd", *, verb: str = "start", state: str = "starting",
    up: str = "containerd", service: str = "/etc/init.d/", settings: str = "",
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """What a service's call comes to; `service` is "" while dependencies are gathered."""
    here = gate.parent
    (here / "openrc" / state).mkdir(parents=True)
    (here / "openrc" / state / name).symlink_to(f"/etc/init.d/{name}")
    (here / "fence").mkdir()
    if up:
        (here / "fence" / up).touch()
    copy = here / "gate"
    copy.write_text(gate.read_text().replace("/run/nodestorage-fence", str(here / "fence")))
    text = SERVICE_CALL.format(
        service=f"{service}{name}", name=name, verb=verb, directory=here / "openrc", gate=copy,
        settings=settings,
    )  # fmt: skip
    return subprocess.run(
        ["/bin/sh", "-c", text], capture_output=True, text=True, check=False, timeout=20
    )


@pytest.mark.parametrize("name", [*FENCED, "k3s.second", "k3s-second", "rke2"])
def test_with_the_fence_up_nothing_starts_and_it_says_why(gate: Path, name: str) -> None:
    done = call(gate, name)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{name}: not started" in done.stderr


@pytest.mark.parametrize("name", [*PODMAN, "podman-auto-update"])
def test_podman_has_a_fence_of_its_own(gate: Path, name: str) -> None:
    assert call(gate, name, up="podman").returncode == 1


def test_a_start_whose_mark_an_ending_stop_took_away_is_kept_too(gate: Path) -> None:
    assert call(gate, verb="start", state="stopping").returncode == 1


def test_the_fence_of_another_role_keeps_nobody(gate: Path) -> None:
    assert call(gate, "podman", up="containerd").stdout == "the script runs\n"


def test_with_the_fence_down_it_starts(gate: Path) -> None:
    assert call(gate, up="").stdout == "the script runs\n"


@pytest.mark.parametrize("verb", ["restart", "condrestart", "conditionalrestart"])
def test_a_restart_stops_and_does_not_start(gate: Path, verb: str) -> None:
    assert call(gate, verb=verb, state="starting").returncode == 1


@pytest.mark.parametrize(
    ("verb", "state"),
    [("stop", "stopping"), ("restart", "stopping"), ("status", "started"), ("status", "starting"),
     ("reload", "started"), ("describe", "starting"), ("depend", "starting")],
)  # fmt: skip
def test_everything_else_goes_on_working(gate: Path, verb: str, state: str) -> None:
    assert call(gate, verb=verb, state=state).stdout == "the script runs\n"


@pytest.mark.parametrize("name", ["sshd", "my-containerd", "containerd-shim", "nodestoraged"])
def test_other_services_are_not_kept(gate: Path, name: str) -> None:
    assert call(gate, name).stdout == "the script runs\n"


@pytest.mark.parametrize("name", ["lxd", "containerd"])
@pytest.mark.parametrize(("up", "kept"), [("images", True), ("images2", False)])
def test_a_service_says_in_its_settings_whose_fence_keeps_it(
    gate: Path, name: str, up: str, kept: bool
) -> None:
    """Whether the gate knows it or not: OpenRC reads conf.d first."""
    done = call(gate, name, up=up, settings='nodestoraged_role="images"')
    assert (done.returncode, done.stdout) == ((1, "") if kept else (0, "the script runs\n"))


def test_the_usual_fence_keeps_what_says_another_role_too(gate: Path) -> None:
    assert call(gate, up="containerd", settings="nodestoraged_role=images").returncode == 1


def test_a_stop_goes_on_whatever_the_settings_say(gate: Path) -> None:
    done = call(gate, "lxd", verb="stop", state="stopping", up="x", settings="nodestoraged_role=x")
    assert done.stdout == "the script runs\n"


def test_dependencies_are_gathered_with_the_fence_up(gate: Path) -> None:
    """OpenRC gathers them in the middle of a start, with that service marked as starting."""
    assert call(gate, service="").stdout == "the script runs\n"


# ------------------------------------------------------------------------ the init script


def dependencies(etc: Path) -> dict[str, set[str]]:
    """What `depend` says on a machine whose /etc/init.d is `etc`/init.d."""
    words = ("need", "use", "after", "before", "keyword")
    functions = "\n".join(f'{word}() {{ echo "{word} $*"; }}' for word in words)
    script = (OPENRC / "nodestoraged").read_text().replace("/etc/init.d", str(etc / "init.d"))
    done = subprocess.run(
        ["/bin/sh", "-c", f"{functions}\n{script}\ndepend"],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    found: dict[str, set[str]] = {word: set() for word in words}
    for line in done.stdout.splitlines():
        word, *names = line.split()
        found[word].update(names)
    return found


def test_it_needs_nothing_that_debian_lacks(tmp_path: Path) -> None:
    """A missing needed service keeps a service from starting."""
    assert dependencies(tmp_path)["need"] == set()
    (tmp_path / "init.d").mkdir()
    (tmp_path / "init.d/localmount").touch()
    assert dependencies(tmp_path)["need"] == {"localmount"}


def test_both_inits_order_the_same_services_after_the_decision(tmp_path: Path) -> None:
    unit = (SYSTEMD / "nodestoraged.service").read_text()
    after = {
        name.removesuffix(".service")
        for line in unit.splitlines()
        if line.startswith("Before=")
        for name in line.partition("=")[2].split()
    }
    assert dependencies(tmp_path)["before"] == after - {*SNAPS} == {*FENCED, *PODMAN}
    assert after >= {*SNAPS}


def test_openrc_leaves_the_wait_to_the_script(tmp_path: Path) -> None:
    """Without the keyword it is killed after 60 s, and who waits for it gives up."""
    assert "-timeout" in dependencies(tmp_path)["keyword"]


def wait_for_decision(tmp_path: Path, *, decided: bool, timeout: str) -> str:
    script = (OPENRC / "nodestoraged").read_text()
    script = script.replace("/run/nodestoraged/decided", str(tmp_path / "decided"))
    if decided:
        (tmp_path / "decided").touch()
    talk = 'ebegin() { :; }; ewarn() { echo "$*"; }; eend() { return "$1"; }'
    done = subprocess.run(
        ["/bin/sh", "-euc", f"{talk}; decision_timeout={timeout}\n{script}\nstart_post; echo ok"],
        capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    return done.stdout


def catches_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def test_an_interrupted_start_leaves_nothing_running(tmp_path: Path) -> None:
    """OpenRC writes down that it is stopped, whatever supervise-daemon has begun."""
    script = (OPENRC / "nodestoraged").read_text()
    script = script.replace("/run/nodestoraged/decided", str(tmp_path / "decided"))
    stubs = 'ebegin() { echo waiting; }; supervise-daemon() { echo "$*"; }; RC_SVCNAME=nodestoraged'
    with subprocess.Popen(
        ["bash", "-c", f"{stubs}\n{script}\nstart_post; echo started"],
        stdout=subprocess.PIPE, text=True,
    ) as waiting:  # fmt: skip
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "waiting\n"
        until = time.monotonic() + 10
        while not catches_sigterm(waiting.pid):  # the trap is set between two lines
            assert time.monotonic() < until
            time.sleep(0.01)
        waiting.terminate()
        assert waiting.stdout.read() == "nodestoraged --stop\n"
    assert waiting.returncode == 1


def test_the_start_ends_with_the_decision(tmp_path: Path) -> None:
    assert wait_for_decision(tmp_path, decided=True, timeout="90") == "ok\n"


def test_without_a_decision_the_boot_goes_on(tmp_path: Path) -> None:
    said = wait_for_decision(tmp_path, decided=False, timeout="1")
    assert said.startswith("Not decided after 1 s")
    assert said.endswith("ok\n")
