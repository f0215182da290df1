"""What others do on a node with OpenRC while the daemon works, and what must have come of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.vm.nodes import Node

#: Like a mirror of a registry that lies in the runtime: OpenRC stops it with the runtime.
_NEEDY: Final = """#!/sbin/openrc-run
supervisor=supervise-daemon
command=/bin/sleep
command_args=infinity

depend() {{
	need {runtime}
}}
"""
_HAMMER: Final = "until [ -e /run/calm ]; do rc-service {runtime} start; sleep 0.2; done"


@contextmanager
def a_service_that_needs_the_runtime(node: Node) -> Iterator[None]:
    """It runs before, is stopped meanwhile, and runs again."""
    node.machine.put_text(
        _NEEDY.format(runtime=node.flavour.runtime), "/etc/init.d/needy", mode=0o755
    )
    assert node.init.control("start", "needy") == 0
    before = node.wait_started("needy")
    yield
    assert node.wait_started("needy") != before


@contextmanager
def somebody_starts_the_runtime(node: Node) -> Iterator[None]:
    """Again and again, and it is started once: when its root is in place."""
    starts = node.runtime_starts()
    hammer = _HAMMER.format(runtime=node.flavour.runtime)
    node.machine.ssh(f"nohup sh -c '{hammer}' >/root/hammer.log 2>&1 &")
    yield
    node.machine.ssh("touch /run/calm")
    said = node.machine.ssh("cat /root/hammer.log").stdout
    assert "between two disks" in said, "the other program never hit the fence"
    assert node.runtime_starts() == starts + 1


@contextmanager
def somebody_shares_the_root(node: Node) -> Iterator[None]:
    """`/` is private under OpenRC until somebody does, for pods that hand on what they mount."""
    (before,) = node.mounted()
    node.machine.ssh("mount --make-rshared /")
    yield
    (after,) = node.mounted()
    assert [" shared:" in line for line in (before, after)] == [False, True]
