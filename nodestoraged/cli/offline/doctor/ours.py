"""The checks of what is ours: configuration, state, daemon, mount namespace.

Owns: what is good and what is bad about them.  May not know: how a fact was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nodestoraged import __version__
from nodestoraged.cli.fields import obj, text
from nodestoraged.cli.offline.doctor import commands
from nodestoraged.cli.offline.doctor.facts import Facts, Finding, Level
from nodestoraged.model.config import MountNamespace

__all__ = ["OUR_CHECKS"]

_Check = Callable[[Facts], Iterator[Finding]]

#: A root file system of these kinds is forgotten, or belongs to a server.
_FLEETING = ("overlay", "tmpfs", "ramfs", "rootfs")


def _config(facts: Facts) -> Iterator[Finding]:
    daemon = facts.daemon
    if daemon.config_denied:
        yield Finding(
            level=Level.SKIP,
            message="the configuration may not be read, so no role is looked at: needs root",
            remedy="sudo nodestoragectl doctor",
        )
    elif daemon.config_problem:
        yield Finding(
            level=Level.FAIL,
            message=f"{daemon.config_problem}; the checks below take the defaults",
            remedy=daemon.config_hint or "nodestoragectl config validate",
        )
    else:
        yield Finding(level=Level.PASS, message="the configuration is valid")


def _etc(facts: Facts) -> Iterator[Finding]:
    mounts = facts.machine.mounts
    if mounts is None:
        return
    etc = mounts.covering("/etc/nodestoraged/conf.d")
    if etc is not None and etc.read_only:
        yield Finding(
            level=Level.INFO,
            message="/etc is read-only: `config set` writes to /var/lib/nodestoraged/conf.d",
        )
    state = mounts.covering("/var/lib/nodestoraged")
    if state is None:
        return
    if state.read_only:
        yield Finding(
            level=Level.FAIL,
            message="/var/lib/nodestoraged is read-only: no journal can be written",
            remedy="see in dmesg whether its disk failed; of an image, mount there what can be"
            " written",
        )
    elif state.fstype in _FLEETING:
        yield Finding(
            level=Level.WARN,
            message=f"/var/lib/nodestoraged is on {state.fstype}: a boot may forget what is"
            " enrolled",
            remedy="list the sticks in the image's configuration: allow = [{ uuid = \"…\" }]",
        )  # fmt: skip
    else:
        yield Finding(level=Level.PASS, message=f"/var/lib/nodestoraged is on {state.fstype}")


def _daemon(facts: Facts) -> Iterator[Finding]:
    daemon, machine = facts.daemon, facts.machine
    if not daemon.installed and machine.init:
        yield Finding(
            level=Level.FAIL, message="the service nodestoraged is not installed",
            remedy=commands.our_package(machine, "install"),
        )  # fmt: skip
    elif not daemon.enabled and machine.init:
        yield Finding(
            level=Level.WARN,
            message="nodestoraged is not enabled: after a boot no stick is used",
            remedy=commands.service(machine, "enable"),
        )
    if not daemon.asked:
        return
    if daemon.denied:
        yield Finding(
            level=Level.SKIP,
            message="the daemon may not be asked: needs root or the group nodestorage",
            remedy="sudo nodestoragectl doctor",
        )
    elif daemon.status is None:
        yield Finding(
            level=Level.FAIL,
            message=f"the daemon does not answer: {daemon.silence}",
            remedy=commands.service(machine, "start"),
        )
    else:
        yield from _version(facts)


def _version(facts: Facts) -> Iterator[Finding]:
    version = text(obj(facts.daemon.status, "daemon"), "version", "?")
    if version == __version__:
        yield Finding(level=Level.PASS, message=f"nodestoraged {version} answers")
        return
    yield Finding(
        level=Level.WARN,
        message=f"nodestoraged {version} runs, {__version__} is installed",
        remedy=commands.service(facts.machine, "restart"),
    )


def _namespace(facts: Facts) -> Iterator[Finding]:
    daemon = facts.daemon
    if daemon.namespace_shared is True:
        yield Finding(level=Level.PASS, message="the daemon sees PID 1's mounts")
    elif daemon.namespace_shared is False:
        yield Finding(
            level=Level.FAIL,
            message="the daemon has a mount namespace of its own: what it mounts is seen by nobody"
            f' (meant only with mount_namespace = "{MountNamespace.OWN}")',
            # Elsewhere it inherited that from whoever started it.
            remedy="systemctl cat nodestoraged"
            if facts.machine.init == "systemd"
            else commands.service(facts.machine, "restart"),
        )
    elif daemon.asked:
        yield Finding(
            level=Level.SKIP,
            message="whether the daemon sees PID 1's mounts cannot be told while it is silent",
        )


OUR_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("config", _config),
    ("state", _etc),
    ("daemon", _daemon),
    ("namespace", _namespace),
)
