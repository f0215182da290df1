"""What is read of files and /proc agrees with what a real containerd does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodestoraged.adapters.runtimes import configdump
from nodestoraged.adapters.runtimes.discovery import discover
from nodestoraged.linux import process
from nodestoraged.model.config import ProfileOverride, RoleConfig
from tests.fakes.private_containerd import PrivateContainerd

pytestmark = pytest.mark.integration


@pytest.fixture
def base() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="nsd-"))  # short: a socket's path ends at 107 bytes
    yield made
    shutil.rmtree(made)


def dump(path: Path) -> configdump.ContainerdConfig:
    command = ["containerd", "--config", str(path), "config", "dump"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    found = configdump.parse(done.stdout)
    assert found is not None
    return found


_V1 = """
root = "{base}/r1"
imports = ["{base}/conf.d/*.toml", "last.toml"]
disabled_plugins = ["cri"]
[grpc]
  address = "{base}/old.sock"
[plugins.native]
  root_path = "{base}/layers"
"""
_V2 = """
version = 2
root = "{base}/r2"
imports = ["{base}/conf.d/*.toml", "last.toml"]
[grpc]
  address = "{base}/c.sock"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.snapshotter.v1.overlayfs"]
  root_path = "{base}/layers"
"""


@pytest.mark.parametrize(("text", "version"), [(_V1, ""), (_V2, "version = 2\n")])
def test_the_file_and_containerd_s_own_dump_of_it_agree(
    base: Path, text: str, version: str
) -> None:
    (base / "conf.d").mkdir()
    (base / "conf.d/20.toml").write_text(f'{version}root = "{base}/b"\n')
    (base / "conf.d/10.toml").write_text(f'{version}root = "{base}/a"\nstate = "{base}/s"\n')
    (base / "last.toml").write_text(f'{version}root = "{base}/last"\n')
    main = base / "config.toml"
    main.write_text(text.format(base=base))

    ours, theirs = configdump.read(str(main), Path("/")), dump(main)

    assert ours is not None
    assert ours.root == theirs.root == f"{base}/last"
    assert ours.state == theirs.state == f"{base}/s"
    assert ours.address == theirs.address
    assert ours.snapshot_roots == theirs.snapshot_roots
    assert ours.cri == theirs.cri
    assert ours.snapshotter in (theirs.snapshotter, None)


def test_a_running_containerd_is_found_by_the_socket_that_the_role_names(base: Path) -> None:
    with PrivateContainerd(base) as containerd:
        over = ProfileOverride(socket=str(containerd.socket_path))
        role = RoleConfig(name="r", runtime="containerd", profile=over)

        found = discover(role)

        assert found.profile.root == str(containerd.root)
        assert found.profile.state == str(containerd.state)
        assert f"root {containerd.root}: {base}/config.toml" in found.sources


def test_whose_socket_nobody_names_is_not_taken_for_the_machine_s(base: Path) -> None:
    with PrivateContainerd(base) as containerd:
        found = discover(RoleConfig(name="r", runtime="containerd"))
        assert found.profile.root != str(containerd.root)


def test_a_running_k3s_is_found_though_it_hides_its_arguments(base: Path) -> None:
    standin = Path(__file__).parent.parent / "fakes/k3s_standin.py"
    data = base / "k3s"
    environment = {"K3S_STANDIN_RUN": str(base / "run"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    standing = subprocess.Popen(
        [sys.executable, standin, "server", "--data-dir", str(data)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    role = RoleConfig(name="r", runtime="k3s")
    try:
        until = time.monotonic() + 20
        while (found := discover(role, root=only(standing.pid, base))).profile.root != str(
            data / "agent/containerd"
        ):
            assert time.monotonic() < until, found
            time.sleep(0.1)
    finally:
        standing.kill()
        standing.wait(10)
    assert found.profile.socket == str(base / "run/containerd/containerd.sock")
    assert found.profile.state == str(base / "run/containerd")


def only(pid: int, base: Path) -> Path:
    """A machine on which only this process runs, and what it has started."""
    proc = base / "only" / "proc"
    shutil.rmtree(proc, ignore_errors=True)
    proc.mkdir(parents=True)
    below = process.descendants(process.table(), [pid])
    for each in (pid, *(one.pid for one in below)):
        (proc / str(each)).symlink_to(f"/proc/{each}")
    return proc.parent


def test_a_discovery_takes_no_time_to_speak_of() -> None:
    began, spent_before = time.monotonic(), spent_seconds()
    discover(RoleConfig(name="r"))
    assert spent_seconds() - spent_before < 1
    assert time.monotonic() - began < 10, "it waited for something"


def spent_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(os.times()[:4])
