"""Nothing is touched before it is trusted, and trust is enough."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from demo.demo import active, candidate
from demo.node import FLOOR, DemoNode
from tests.fakes.node_bench import bind, on_a_node


def digest(image: Path) -> bytes:
    """Of every block that is not empty, and of where it is."""
    found = hashlib.sha256()
    with image.open("rb") as stream:
        end = 0
        while True:
            try:
                begin = os.lseek(stream.fileno(), end, os.SEEK_DATA)
            except OSError:
                return found.digest()
            end = os.lseek(stream.fileno(), begin, os.SEEK_HOLE)
            for at in range(begin, end, 4096):
                block = os.pread(stream.fileno(), 4096, at)
                if block.strip(b"\0"):
                    found.update(b"%d" % at)
                    found.update(block)


def mounts_of(number: str) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split(" ")[2] == number]


@on_a_node()
def test_an_unknown_stick_waits_and_gets_not_one_byte_and_no_mount(node: DemoNode) -> None:
    image = node.make_stick("blue")
    before = digest(image)
    node.start_daemon()
    stick = node.attach("blue", image)
    node.until(lambda: candidate(node, stick) == "waiting NotEnrolled")
    for verb in (("status", "-o", "wide"), ("list",), ("plan",), ("doctor",), ("explain", "blue")):
        node.ctl(*verb, check=False)
    assert mounts_of(f"{stick.major}:{stick.minor}") == []
    assert node.role()["phase"] == "INTERNAL"
    node.stop_daemon()
    node.unplug("blue")
    assert digest(image) == before


@on_a_node()
def test_an_enrolled_stick_is_bound_and_the_pod_is_back(node: DemoNode) -> None:
    bind(node, "blue")
    assert active(node) == "blue"
    assert node.ctl("is-bound").returncode == 0
    offered = node.base / "run"
    node.until(lambda: "blue" in (offered / "sticks").read_text().splitlines())
    listed = node.ctl("operations", "-o", "name").stdout
    node.until(lambda: (offered / "operations").read_text() == listed)


# With the usual label, a stick of another test would be trusted as well.
@on_a_node(extra=f'{FLOOR}\ntrust = "label"\nlabels = ["nsd-own"]')
def test_first_contact_stops_nothing_even_if_the_label_is_trust_enough(node: DemoNode) -> None:
    stick = node.plug("blue", "nsd-own")
    node.until(node.pod_runs)
    before = node.service_pid("containerd"), node.service_pid("kubelet")
    node.start_daemon()
    node.until(lambda: node.role()["phase"] == "INTERNAL")
    node.until(lambda: candidate(node, stick) == "waiting RuntimeRunning")
    assert (node.service_pid("containerd"), node.service_pid("kubelet")) == before
    assert node.pod_runs()
    assert mounts_of(f"{stick.major}:{stick.minor}") == []
