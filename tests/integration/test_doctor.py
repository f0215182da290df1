"""`doctor` beside a real daemon, real mounts and a real mount table."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from demo.node import DemoNode
from tests.fakes.loopdev import LoopDevice, make_image
from tests.fakes.node_bench import bind, on_a_node, processes


def seen(node: DemoNode) -> Path:
    """The node as a tree of its own: its configuration, and this machine's kernel and programs."""
    tree = node.base / "seen"
    if not tree.exists():
        tree.mkdir()
        for name in ("proc", "run", "sys", "usr", "sbin", "bin"):
            (tree / name).symlink_to(f"/{name}")
        (tree / "etc").symlink_to(node.base / "etcroot/etc")
    return tree


def doctor(node: DemoNode, *words: str) -> tuple[int, dict[str, list[tuple[str, str, str | None]]]]:
    """The exit code, and by check what it found."""
    done = node.ctl("doctor", "--root", str(seen(node)), *words, "-o", "json", check=False)
    assert done.stderr == ""
    found: dict[str, list[tuple[str, str, str | None]]] = {}
    for one in json.loads(done.stdout)["checks"]:
        found.setdefault(one["check"], []).append((one["result"], one["message"], one["remedy"]))
    return done.returncode, found


def levels(found: dict[str, list[tuple[str, str, str | None]]], check: str) -> list[str]:
    return [level for level, _, _ in found.get(check, [])]


@on_a_node()
def test_on_a_bound_node_all_passes_that_a_daemon_and_a_mount_table_can_tell(
    node: DemoNode,
) -> None:
    bind(node)
    _, found = doctor(node)
    for check in ("kernel", "tools", "config", "daemon", "ctr", "trust"):
        assert levels(found, check)[-1:] == ["PASS"], (check, found.get(check))
    assert levels(found, "namespace") == ["PASS"]
    assert levels(found, "health") == ["PASS"]
    assert found["mount"] == [("PASS", f"/dev/loop{_number(node)} lies on {node.base}/root", None)]
    changed = node.ctl("operations", "-o", "json").stdout
    assert len(json.loads(changed)) == 1  # the bind: a doctor changes nothing
    live = json.loads(node.ctl("doctor", "-o", "json", check=False).stdout)["checks"]
    assert [one["result"] for one in live if one["check"] == "libraries"] == ["PASS"]
    looks_without_privilege(node)


def looks_without_privilege(node: DemoNode) -> None:
    """As nobody: the socket is closed, and so is what root keeps to itself."""
    node.base.chmod(0o755)
    tree = seen(node)
    lib = tree / "var/lib/nodestoraged/images"
    lib.mkdir(parents=True)
    # What is made here may belong to root alone, by the umask of who runs the tests.
    for top in (tree, node.base / "etcroot"):
        for path in (top, *top.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
    lib.chmod(0o700)
    words = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    done = subprocess.run(
        [*words, node.python, "-B", "-m", "nodestoraged.cli", "doctor", "--root", str(tree),
         "--socket", str(node.base / "run/io.nodestorage"), "-o", "json"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    found = {one["check"]: one["result"] for one in json.loads(done.stdout)["checks"]}
    assert found["config"] == "PASS", done.stdout
    assert found["daemon"] == "SKIP"
    assert found["namespace"] == "SKIP"
    assert found["sandbox"] == "SKIP"
    assert found["mount"] == "SKIP"
    assert found["kernel"] == "PASS"


def _number(node: DemoNode) -> int:
    return os.minor((node.base / "root").stat().st_dev)


@on_a_node()
def test_a_bind_that_a_script_made_is_recognised_and_adopted_at_no_pods_cost(
    node: DemoNode,
) -> None:
    """The repointing script's world: a directory of another disk, bound on the root, with pods."""
    image = make_image(node.base / "disk.img", "mkfs.ext4", "-q", "-F", size_mib=512)
    storage = node.base / "storage"
    storage.mkdir()
    root = node.base / "root"
    node.service("stop", "kubelet")
    node.service("stop", "containerd")
    loop = LoopDevice(image)
    try:
        run("mount", loop.devnode, str(storage))
        run("cp", "-a", str(root), str(storage / "containerd"))
        run("mount", "--bind", str(storage / "containerd"), str(root))
        node.service("start", "containerd")
        node.until(lambda: node.containerd.ctr("version", check=False).returncode == 0)
        node.service("start", "kubelet")
        node.until(node.pod_runs)

        _, silent = doctor(node)
        assert levels(silent, "mount") == ["SKIP"]  # whose it is only the daemon knows

        node.start_daemon()
        node.until(lambda: "MountedByOthers" in node.ctl("status", "-o", "json").stdout)
        _, found = doctor(node)
        ((level, message, remedy),) = found["mount"]
        assert level == "WARN"
        assert f"a bind of {storage}/containerd" in message
        assert remedy == f"nodestoragectl adopt {storage}/containerd"
        remedy_takes_nobody_down(node, remedy)
    finally:
        node.stop_daemon()
        node.service("stop", "kubelet")
        node.service("stop", "containerd")
        subprocess.run(["umount", str(root)], check=False, timeout=10)
        subprocess.run(["umount", str(storage)], check=False, timeout=10)
        loop.close()


def remedy_takes_nobody_down(node: DemoNode, remedy: str) -> None:
    """Adopted where it is: it counts as ours, is proven, and nobody who ran was started anew."""
    assert node.role()["phase"] == "INTERNAL"
    before = (processes(node), node.pods())
    program, *words = remedy.split()
    assert program == "nodestoragectl"
    node.ctl(*words)
    node.until(lambda: node.role()["phase"] == "BOUND")
    assert node.role()["reason"] == "SlotProven"
    assert (processes(node), node.pods()) == before
    _, found = doctor(node)
    assert levels(found, "mount") == ["PASS"]


@on_a_node()
def test_a_stick_that_fstab_would_mount_is_told_with_its_line(node: DemoNode) -> None:
    root = node.base / "root"
    (node.base / "etcroot/etc/fstab").write_text(
        f"# by hand\nLABEL=containerd-opt {root} ext4 defaults 0 2\n"
    )
    stick = node.plug("blue")
    node.service("stop", "kubelet")
    node.service("stop", "containerd")
    try:
        run("mount", stick.devnode, str(root))
        node.service("start", "containerd")
        node.until(lambda: node.containerd.ctr("version", check=False).returncode == 0)
        node.start_daemon()
        node.until(lambda: node.role()["phase"] == "BOUND")
        code, found = doctor(node)
        assert code == 8
        ((level, message, remedy),) = found["fstab"]
        assert (level, "line 2 " in message) == ("FAIL", True)
        assert remedy == f"nodestoragectl adopt {stick.devnode} && sed -i '2s/^/#/' /etc/fstab"
        ((level, _, remedy),) = found["mount"]
        assert (level, remedy) == ("WARN", f"nodestoragectl adopt {stick.devnode}")
    finally:
        node.stop_daemon()
        node.service("stop", "containerd")
        subprocess.run(["umount", str(root)], check=False, timeout=10)


def run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=30)
