"""`doctor` as a person sees it.  Anew with: pytest tests/golden --update-golden"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nodestoraged.cli.offline.doctor.facts import Facts
from nodestoraged.cli.offline.doctor.gather import SOCKET_PATH, gather
from nodestoraged.cli.offline.doctor.verb import examine, lines
from tests.fakes.machine_files import MachineFiles

_HERE = Path(__file__).parent
_DOCS = _HERE.parents[2] / "docs"
_K3S = "/var/lib/rancher/k3s/agent/containerd"


def _well(_: MachineFiles) -> None:
    """As it is."""


def _by_hand(node: MachineFiles) -> None:
    """The laptop of the notes: k3s on OpenRC, its stick in fstab, no package of ours yet."""
    node.openrc()
    for name in ("nodestoraged", "containerd", "kubelet"):
        node.remove(f"etc/init.d/{name}")
    node.remove("etc/runlevels/default/nodestoraged")
    for name in ("usr/bin/ctr", "var/lib/kubelet/config.yaml", "var/lib/kubelet/kubeadm-flags.env"):
        node.remove(name)
    node.remove("usr/lib/udev/rules.d/61-nodestoraged.rules")
    for name in ("k3s", "k3s-killall.sh", "k3s-uninstall.sh"):
        node.program(f"usr/local/bin/{name}")
    node.write(
        "etc/init.d/k3s",
        '#!/sbin/openrc-run\ncommand=/usr/local/bin/k3s\ncommand_args="server"\n',
    )
    node.link("etc/runlevels/default/k3s", "/etc/init.d/k3s")
    node.fstab(
        "/dev/sda1 / ext4 defaults 0 1",
        f"LABEL=containerd-opt {_K3S} ext4 defaults 0 2",
    )
    node.mounts(f"40 25 8:17 / {_K3S} rw - ext4 /dev/sdb1 rw")
    node.archive(0)


_NODES: dict[str, Callable[[MachineFiles], None]] = {"doctor": _well, "doctor-by-hand": _by_hand}


def _settled(facts: Facts) -> Facts:
    """The numbers of this machine, replaced by those of another."""
    gib = 1 << 30
    space = {"capacity_bytes": 50 * gib, "available_bytes": 30 * gib, "inodes": 9, "inodes_free": 9}
    roles = tuple(replace(one, rooted=replace(one.rooted, **space)) for one in facts.roles)
    return replace(facts, roles=roles)


@pytest.mark.parametrize("name", _NODES)
def test_the_screen_is_as_it_was(name: str, tmp_path: Path, update_golden: bool) -> None:
    node = MachineFiles(tmp_path)
    _NODES[name](node)
    facts, missing = gather(tmp_path, SOCKET_PATH, None)
    assert missing == ""
    assert facts is not None
    shown = "\n".join(lines(examine(_settled(facts)))) + "\n"
    golden = _HERE / f"{name}.txt"
    if update_golden:
        golden.write_text(shown)
    assert shown == golden.read_text()


def test_what_the_documents_show_of_it_are_lines_of_these_screens() -> None:
    known = {line for name in _NODES for line in (_HERE / f"{name}.txt").read_text().splitlines()}
    shown = [
        line
        for path in sorted(_DOCS.glob("*.md"))
        for block in path.read_text().split("<!-- screen: doctor -->")[1:]
        for line in block.split("```")[1].strip("\n").splitlines()
        if not line.startswith("$ ")
    ]
    assert len(shown) > 3
    assert [line for line in shown if line not in known] == []
