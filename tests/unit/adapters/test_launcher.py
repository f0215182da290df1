"""The launcher: what its programs inherit, when they end, and what it refuses to run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.services import lives
from nodestoraged.adapters.launcher import Launcher
from nodestoraged.adapters.program import Finished, run_program
from nodestoraged.worker.helper import ENVIRONMENT

TOP = Path(__file__).parents[3]

#: Stands for rc-service: says what it finds, or does what its service is called.
RC_SERVICE = """#!/bin/sh
case $1 in
fails) echo "it failed" >&2; exit 3 ;;
sleeps) echo $$ >{directory}/pid; trap 'echo told >{directory}/told; exit 1' TERM
    sleep 60 & wait $!; exit 0 ;;
later) : >{directory}/begun; tries=0
    while [ ! -e {directory}/go ] && [ $tries -lt 400 ]; do sleep 0.05; tries=$((tries + 1)); done
    echo "$*" >{directory}/later ;;
leaves) sleep 60 & echo $! >{directory}/left ;;
*) echo "$*" ;;
esac
"""


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    program = tmp_path / "rc-service"
    program.write_text(RC_SERVICE.format(directory=tmp_path))
    program.chmod(0o755)
    made = Launcher(tmp_path / "launcher", rc_service=str(program))
    yield made
    if made.path.exists():
        made.close()


def ask(launcher: Launcher, word: str, name: str, seconds: float = 10) -> Finished:
    return asyncio.run(launcher.service(word, name, seconds))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("word", ["start", "stop", "zap"])
def test_the_words_are_rc_services(launcher: Launcher, word: str) -> None:
    done = ask(launcher, word, "containerd")
    assert (done.exit_code, done.stdout) == (0, f"containerd {word}\n")


def test_exit_code_and_complaint_come_through(launcher: Launcher) -> None:
    done = ask(launcher, "start", "fails")
    assert (done.exit_code, done.complaint) == (3, "it failed")


@pytest.mark.parametrize("name", ["", "../sh", "a/b", "-x", ".hidden", "a b", "a;b", "ä"])
def test_what_is_no_service_name_is_refused(launcher: Launcher, name: str) -> None:
    assert ask(launcher, "start", name).exit_code in {64, 69}
    assert ask(launcher, "start", "containerd").exit_code == 0


@pytest.mark.parametrize("word", ["restart", "status", "serve", "/bin/echo", ""])
def test_another_word_is_refused(launcher: Launcher, word: str) -> None:
    done = ask(launcher, word, "containerd")
    assert (done.exit_code, done.stdout) == (64, "")


def run(*argv: str) -> Finished:
    return asyncio.run(run_program(argv, deadline_seconds=10))


def test_podman_is_run_with_the_verbs_that_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "podman"
    stub.write_text('#!/bin/sh\nprintf "%s|" "$@"; umask\n')
    stub.chmod(0o755)
    monkeypatch.setattr(
        "nodestoraged.adapters.launcher.ENVIRONMENT", {**ENVIRONMENT, "PATH": f"{tmp_path}:/bin"}
    )
    made = Launcher(tmp_path / "launcher", rc_service="/bin/false")
    try:
        done = run(*made.podman, "ps", "--format", "{{.Id}} {{.Names}}")
        assert done.stdout == "ps|--format|{{.Id}} {{.Names}}|0022\n"
        refused = [run(*made.podman, *words) for words in (("run", "x"), ("--root", "/"), ())]
        assert [(each.exit_code, each.stdout) for each in refused] == [(64, "")] * 3
    finally:
        made.close()


@contextlib.contextmanager
def containerd_of(
    launcher: Launcher, directory: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """A stub that runs: its client, its pid, and the launcher's."""
    stub, pids = directory / "containerd", directory / "pids"
    stub.write_text(f"#!/bin/sh\necho $$ $PPID >{pids}\nexec sleep 60\n")
    stub.chmod(0o755)
    with subprocess.Popen([*launcher.containerd, str(stub), "-c", "x"]) as client:
        until(lambda: pids.exists() and pids.read_text() != "")
        pid, launcher_pid = map(int, pids.read_text().split())
        yield client, pid, launcher_pid


def test_a_program_that_ends_while_its_client_hangs_up_ends_nothing_else(
    launcher: Launcher, tmp_path: Path
) -> None:
    """Both are seen by one poll: the launcher is stopped until both have happened."""
    with containerd_of(launcher, tmp_path) as (client, pid, launcher_pid):
        signal.pidfd_send_signal(launcher.pidfd, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        client.kill()
    assert lives(launcher_pid)
    signal.pidfd_send_signal(launcher.pidfd, signal.SIGCONT)
    assert ask(launcher, "start", "containerd").exit_code == 0


def test_a_containerd_runs_until_its_client_is_gone_and_nothing_else_by_that_word(
    launcher: Launcher, tmp_path: Path
) -> None:
    with containerd_of(launcher, tmp_path) as (client, pid, _):
        assert lives(pid)
        client.kill()
    until(lambda: not lives(pid))
    for words in (("/bin/sh",), ("containerd",), ()):
        assert run(*launcher.containerd, *words).exit_code == 64


def test_the_copier_is_the_launchers_child(launcher: Launcher) -> None:
    """It takes its request from the client's stdin and answers on its stdout."""
    done = subprocess.run(
        [*launcher.copier_python, "/whatever/script"],
        input=b"{}", capture_output=True, check=False, timeout=20,
    )  # fmt: skip
    assert b"error" in done.stdout + done.stderr


def test_a_copier_does_not_outlive_its_client(launcher: Launcher) -> None:
    """The client is killed where the copy is given up."""
    with subprocess.Popen(
        launcher.copier_python, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as client:
        until(lambda: copiers(launcher) != [])
        (copier,) = copiers(launcher)
        client.kill()
    until(lambda: not lives(copier))


def copiers(launcher: Launcher) -> list[int]:
    """Children of the launcher; the copier waits for its request."""
    text = Path(f"/proc/self/fdinfo/{launcher.pidfd}").read_text()
    pid = text.partition("Pid:")[2].split()[0]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in children.split()]


def leave_in_the_middle(launcher: Launcher, directory: Path) -> None:
    """A service is in the middle of its start, until `go` is there, and its client is gone."""

    async def main() -> None:
        asking = asyncio.create_task(launcher.service("start-later", "later", 20))
        async with asyncio.timeout(20):
            while not (directory / "begun").exists():  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(main())
    assert not (directory / "later").exists()


def test_start_later_goes_on_without_its_client(launcher: Launcher, tmp_path: Path) -> None:
    leave_in_the_middle(launcher, tmp_path)
    (tmp_path / "go").touch()
    until((tmp_path / "later").exists)
    until(lambda: (tmp_path / "later").read_text() == "later start\n")


def test_a_start_that_takes_too_long_is_told_so(launcher: Launcher, tmp_path: Path) -> None:
    """By SIGTERM, on which OpenRC puts the state of the service in order."""
    with pytest.raises(TimeoutError):
        ask(launcher, "start", "sleeps", 5)
    until((tmp_path / "told").exists)
    assert ask(launcher, "start", "containerd").exit_code == 0


def test_what_a_start_left_running_runs_on(launcher: Launcher, tmp_path: Path) -> None:
    assert ask(launcher, "start", "leaves").exit_code == 0
    left = int((tmp_path / "left").read_text())
    try:
        launcher.close()
        assert lives(left)
    finally:
        os.kill(left, 9)


def test_a_start_goes_on_when_the_daemon_ends(launcher: Launcher, tmp_path: Path) -> None:
    leave_in_the_middle(launcher, tmp_path)
    closing = threading.Thread(target=launcher.close)
    closing.start()
    until(lambda: not launcher.path.exists())
    (tmp_path / "go").touch()
    closing.join()
    until((tmp_path / "later").exists)


def test_an_ended_launcher_is_seen_and_said(launcher: Launcher) -> None:
    signal.pidfd_send_signal(launcher.pidfd, signal.SIGKILL)
    until(lambda: _readable(launcher.pidfd))
    done = ask(launcher, "start", "containerd")
    assert (done.exit_code, done.complaint) == (
        69,
        "the launcher does not answer: Connection refused",
    )


def _readable(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 0)[0])


def test_only_root_may_ask(launcher: Launcher) -> None:
    assert stat.S_IMODE(launcher.path.stat().st_mode) == 0o600
    program = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        f"s.connect({str(launcher.path)!r})\n"  # as somebody who got hold of an open socket
        "pid = os.fork()\n"
        "socket.send_fds(s, [b'start containerd'], [0, 1, 2])\n"
        "print(list(s.recv(1)))\n"
    )
    launcher.path.chmod(0o666)
    launcher.path.parent.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", "import os; os.setgid(65534); os.setuid(65534)\n" + program],
        capture_output=True, text=True, check=False, timeout=20, cwd="/",
    )  # fmt: skip
    assert "containerd start" not in done.stdout


def test_a_client_that_says_nothing_blocks_nobody(launcher: Launcher) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        silent.connect(str(launcher.path))
        assert ask(launcher, "start", "containerd").exit_code == 0


# ------------------------------------------------------------------------ what is inherited

#: A daemon that starts the launcher, gives its rights up, and starts a service.
DAEMON = """
import asyncio, os, sys
from pathlib import Path
from nodestoraged.adapters.launcher import Launcher
from nodestoraged.assembly import RIGHTS
from nodestoraged.linux import privileges
here = Path(sys.argv[1])
launcher = Launcher(here / "launcher", rc_service=str(here / "rc-service"))
os.umask(0o077)
os.chdir(here)
os.environ["SECRET"] = "ours"
privileges.set_oom_score(500)
privileges.give_up(keep=RIGHTS)
mine = privileges.rights()
assert mine.no_new_privs and mine.bounding & ~0x{mask:x} == 0
asyncio.run(launcher.service("start", "containerd", 10))
launcher.close()
"""

SERVICE = """#!{python}
import json, os, sys
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
json.dump({{
    "status": {{each: lines[each].strip() for each in {names!r}}},
    "umask": os.umask(0), "cwd": os.getcwd(), "environment": sorted(os.environ),
    "oom": open("/proc/self/oom_score_adj").read().strip(),
    "mounts": os.readlink("/proc/self/ns/mnt"), "leads": os.getsid(0) == os.getpid(),
    "descriptors": [each for each in os.listdir("/proc/self/fd") if int(each) > 3],
}}, open({result!r}, "w"))
"""

NAMES = ("CapPrm", "CapEff", "CapBnd", "NoNewPrivs")
FLOOR = 0x200000 | 0x1 | 0x2 | 0x8 | 0x20 | 0x200


def test_a_service_inherits_nothing_of_the_daemons(tmp_path: Path) -> None:
    """A runtime with our no_new_privs or our bounding set could run no container."""
    result = tmp_path / "result"
    program = tmp_path / "rc-service"
    program.write_text(SERVICE.format(python=sys.executable, names=NAMES, result=str(result)))
    program.chmod(0o755)
    subprocess.run(
        [sys.executable, "-c", DAEMON.format(mask=FLOOR), str(tmp_path)],
        cwd=TOP, check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(TOP)},
    )  # fmt: skip
    found = json.loads(result.read_text())
    ours = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert found["status"] == {name: ours[name].strip() for name in NAMES}
    assert found["status"]["NoNewPrivs"] == "0"
    assert (found["umask"], found["cwd"], found["oom"]) == (0o022, "/", "0")
    assert set(found["environment"]) <= {"PATH", "LANG", "LC_ALL", "LC_CTYPE"}
    assert found["mounts"] == str(Path("/proc/self/ns/mnt").readlink())
    assert found["leads"]
    assert found["descriptors"] == []
