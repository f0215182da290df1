"""Rules of the process table."""

import os
import signal
import subprocess
import time
from pathlib import Path

from nodestoraged.linux import holders, process


def test_we_find_ourselves_with_parent_and_start() -> None:
    ours = process.find(os.getpid())
    assert ours is not None
    assert ours.ppid == os.getppid()
    assert 0 <= process.boottime_seconds() - ours.start_seconds < 3600
    assert ours in process.table()


def test_what_is_gone_is_none_and_never_an_error() -> None:
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    assert process.find(child.pid) is None
    assert process.start_seconds(child.pid) is None
    assert process.command_line(child.pid) == ()


def test_a_name_with_brackets_and_blanks_is_parsed() -> None:
    command = ["/bin/sh", "-c", "printf 'a) S 1 (b' > /proc/$$/comm; echo; read x"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = process.find(child.pid)
        child.communicate(b"\n")
    assert found is not None
    assert (found.comm, found.ppid) == ("a) S 1 (b", os.getpid())


def test_descendants_come_parents_first_and_without_their_root() -> None:
    def row(pid: int, ppid: int) -> process.Process:
        return process.Process(pid, ppid, 0, "x", "S")

    rows = [row(4, 3), row(3, 2), row(2, 1), row(9, 1), row(5, 2)]
    assert [one.pid for one in process.descendants(rows, [2])] == [3, 5, 4]


def test_a_loop_of_parents_ends() -> None:
    rows = [process.Process(2, 3, 0, "x", "S"), process.Process(3, 2, 0, "x", "S")]
    assert [one.pid for one in process.descendants(rows, [2])] == [3]


def test_a_reused_pid_is_not_killed() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        found = process.find(child.pid)
        assert found is not None
        assert not process.kill(found._replace(start_ticks=found.start_ticks - 1))
        assert child.poll() is None
        assert process.kill(found)
        assert child.wait(5) == -signal.SIGKILL
    assert not process.kill(found)


def test_the_command_line_keeps_its_arguments() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        deadline = time.monotonic() + 5
        while not (line := process.command_line(child.pid)) and time.monotonic() < deadline:
            time.sleep(0.01)
        child.kill()
    assert line == ("/bin/sleep", "60")


def test_boot_id_is_a_uuid() -> None:
    assert len(process.boot_id()) == 36


def test_who_works_on_our_root_disk_is_found() -> None:
    device = Path("/usr").stat().st_dev
    uses = holders.uses_of_device(os.major(device), os.minor(device))
    assert "map" in {use.how for use in uses if use.process.pid == os.getpid()}
