"""The daemon comes and goes; what runs goes on running, and a wrong start says what is wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from demo.demo import active, candidate
from demo.node import DemoNode
from tests.fakes.node_bench import bind, on_a_node, processes


def log_of(node: DemoNode) -> str:
    return (node.base / "daemon.log").read_text()


def ended(process: subprocess.Popen[bytes], seconds: float = 10) -> int:
    return process.wait(seconds)


@on_a_node()
def test_a_restart_of_the_daemon_restarts_nobody_else_and_the_phase_is_bound_again(
    node: DemoNode,
) -> None:
    bind(node)
    before = processes(node)
    for number in (signal.SIGTERM, signal.SIGKILL):
        node.stop_daemon(number)
        node.start_daemon()
        node.until(lambda: node.role()["phase"] == "BOUND")
        assert active(node) == "blue"
        time.sleep(1.5)  # a decision that comes late would come after the settle time
        assert processes(node) == before
        assert node.role()["phase"] == "BOUND"
    assert [each["kind"] for each in json.loads(node.ctl("operations", "-o", "json").stdout)] == [
        "bind"
    ]


@on_a_node()
def test_a_second_daemon_ends_at_once_with_75_and_says_why(node: DemoNode) -> None:
    node.start_daemon()
    assert ended(node.launch_daemon()) == 75  # one that waited would wait for ever
    assert "AlreadyRunning" in log_of(node)
    assert node.ctl("status").returncode == 0


@on_a_node()
def test_wrong_starts_say_what_is_wrong(node: DemoNode) -> None:
    gone = node.ctl("status", check=False)
    assert gone.returncode == 5
    assert "daemon" in gone.stderr
    config = node.base / "etcroot/etc/nodestoraged/config.toml"
    text = config.read_text()
    config.write_text(text.replace("pod_grace_seconds", "pod_grace_secs"))
    assert ended(node.launch_daemon()) == 1
    said = log_of(node)
    assert str(config) in said
    assert "pod_grace_secs" in said
    assert "pod_grace_seconds" in said, "a did-you-mean"
    config.write_text(text)
    config.chmod(0o666)
    assert ended(node.launch_daemon()) == 1
    assert "writable" in log_of(node)
    config.chmod(0o644)
    nobody = (
        "import os, sys; from nodestoraged import daemon;"
        " os.setuid(65534); sys.exit(daemon.main([]))"
    )
    unprivileged = subprocess.run(
        [node.python, "-c", nobody],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert unprivileged.returncode == 1, unprivileged.stderr
    assert "NotRoot" in unprivileged.stderr + unprivileged.stdout


@on_a_node()
def test_a_broken_configuration_is_refused_at_a_reload_and_the_old_one_kept(node: DemoNode) -> None:
    node.start_daemon()
    stick = node.plug("blue")
    node.until(lambda: candidate(node, stick) == "waiting NotEnrolled")
    config = node.base / "etcroot/etc/nodestoraged/config.toml"
    text = config.read_text()
    config.write_text(text.replace("pod_grace_seconds = 2", 'trust = "nobody"'))
    os.kill(node.daemon_pid, signal.SIGHUP)
    node.until(lambda: "kept the old one" in log_of(node))
    events = node.ctl("events", "-o", "json").stdout
    assert "kept the old one" in events
    assert candidate(node, stick) == "waiting NotEnrolled"
    config.write_text(text.replace("pod_grace_seconds = 2", 'trust = "none"'))
    os.kill(node.daemon_pid, signal.SIGHUP)
    node.until(lambda: candidate(node, stick) == "waiting TrustNone")


@on_a_node()
def test_a_set_key_is_in_the_local_file_and_in_force_after_a_reload(node: DemoNode) -> None:
    node.start_daemon()
    stick = node.plug("blue")
    node.until(lambda: candidate(node, stick) == "waiting NotEnrolled")
    set_key(node, "role.containerd.trust", "none")
    local = node.base / "etcroot/etc/nodestoraged/conf.d/90-local.toml"
    assert "none" in local.read_text()
    os.kill(node.daemon_pid, signal.SIGHUP)  # with another root than /, the command asks nobody
    node.until(lambda: candidate(node, stick) == "waiting TrustNone")
    assert "restart the daemon" not in log_of(node)
    set_key(node, "daemon.mount_namespace", "host")
    set_key(node, "role.containerd.profile.root", f"{node.base}/elsewhere")
    os.kill(node.daemon_pid, signal.SIGHUP)
    node.until(
        lambda: (
            "restart the daemon for daemon.mount_namespace, the root of role containerd"
            in log_of(node)
        )
    )


def set_key(node: DemoNode, key: str, value: str) -> None:
    """`config set`, in the files of the node."""
    node.ctl("config", "set", key, value, "--root", str(node.base / "etcroot"))


@on_a_node()
def test_a_frame_of_ten_megabytes_costs_its_sender_the_connection_and_nobody_else_anything(
    node: DemoNode,
) -> None:
    node.start_daemon()
    rss = resident(node.daemon_pid)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(node.base / "run/io.nodestorage"))
        try:
            client.sendall(b'{"method":"' + b"x" * (10 << 20))
            left = client.recv(1 << 16)
            while left:
                left = client.recv(1 << 16)
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert node.ctl("status").returncode == 0
    assert resident(node.daemon_pid) - rss < 8 << 20


def resident(pid: int) -> int:
    line = next(
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    return int(line.split()[1]) << 10


@on_a_node(seconds=90)
def test_a_full_root_disk_stops_nothing_and_the_daemon_lives_to_see_it_mended(
    node: DemoNode,
) -> None:
    lib = node.base / "lib"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(lib)], check=True)
    node.until(node.pod_runs)
    node.start_daemon()
    stick = node.plug("blue")
    node.until(lambda: candidate(node, stick) is not None)
    node.ctl("enroll", stick.devnode, "--name", "blue", "--no-switch")
    node.unplug("blue")
    node.until(lambda: candidate(node, stick) is None)
    before, pid = processes(node), node.daemon_pid
    with suppress(OSError), (lib / "filler").open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 4096)
    stick = node.plug("blue")  # it would be bound without a word
    node.until(lambda: candidate(node, stick) is not None)
    refused = node.ctl("switch", "blue", check=False)
    assert refused.returncode in {1, 6}, refused
    time.sleep(2.5)
    assert Path(f"/proc/{pid}").exists(), "the daemon ended"
    assert node.ctl("status").returncode == 0
    assert processes(node) == before
    (lib / "filler").unlink()
    node.until(lambda: node.role()["phase"] == "BOUND", 40)
    assert active(node) == "blue"
