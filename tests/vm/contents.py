"""What lies on the roots of a node, told so that two of them can be compared."""

from __future__ import annotations

from typing import Any

from tests.vm.nodes import ROOT, Node

_BLOBS = f"{ROOT}/io.containerd.content.v1.content/blobs/sha256"


def images_of(node: Node) -> set[str]:
    """Names of k8s.io, without those that CRI makes by itself."""
    listed = node.machine.ssh("ctr -n k8s.io images ls -q").stdout.split()
    return {name for name in listed if not name.startswith("sha256:")}


def blobs_of(node: Node) -> str:
    """Name and size of every blob of the content store."""
    return node.machine.ssh(f"find {_BLOBS} -type f -printf '%f %s\\n' | sort").stdout


def write_files(node: Node, mebibytes: int) -> None:
    """The root holds so much more, in files of one MiB."""
    node.machine.ssh(
        f"mkdir -p {ROOT}/opt/bulk && cd {ROOT}/opt/bulk && for i in $(seq {mebibytes}); do"
        " dd if=/dev/urandom of=$i bs=1M count=1 status=none; done",
        timeout=300,
    )


def by_name(node: Node) -> dict[str, dict[str, Any]]:
    """The candidates of the status."""
    return {each["name"]: each for each in node.role()["candidates"]}


def nothing_aside(node: Node) -> None:
    """Neither a mount of a copy is left, nor its process."""
    assert "/run/nodestoraged" not in node.machine.ssh("cat /proc/1/mountinfo").stdout
    # The launcher bears the copier's path too, as a later word.
    copiers = "pgrep -af '^[^ ]*python3 -I -S [^ ]*/nodestoraged/copier/'"
    assert node.machine.ssh(f"{copiers} || true").stdout == ""
