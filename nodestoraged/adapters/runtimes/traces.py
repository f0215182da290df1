"""Where each row of the runtime table leaves its traces: programs, settings, configuration.

Owns: the second half of the table, which only discovery reads.  May not know: what is found.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TRACES", "Trace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One row.  `{data}` in a path stands for the data directory.

    `programs` show that it is installed where no unit does.  `parents` are beginnings of the name
    of the process whose child its containerd is.  `root` is given where the data directory decides
    about it.  `settings` is a YAML file with a plain `data-dir:`, which has drop-ins beside it and
    which `--config` or an environment variable can move; `prefix` begins these variables' names.
    `arguments` is a file that holds containerd's command line.  `unexpanded` are its variables.
    """

    programs: tuple[str, ...]
    parents: tuple[str, ...] = ()
    config: str = ""
    data: str = ""
    root: str = ""
    tool: str = ""
    settings: str = ""
    prefix: str = ""
    arguments: str = ""
    unexpanded: tuple[tuple[str, str], ...] = ()


_LOCAL = ("/usr/local/bin", "/usr/bin", "/opt/bin", "/usr/sbin", "/usr/local/sbin")


def _programs(name: str) -> tuple[str, ...]:
    return tuple(f"{directory}/{name}" for directory in _LOCAL)


TRACES: dict[str, Trace] = {
    "containerd": Trace(
        programs=_programs("containerd"),
        config="/etc/containerd/config.toml",
    ),
    # install.sh; docs.k3s.io/installation/configuration.  k3s hides its own arguments in /proc.
    "k3s": Trace(
        programs=_programs("k3s"),
        parents=("k3s",),
        config="{data}/agent/etc/containerd/config.toml",
        data="/var/lib/rancher/k3s",
        root="{data}/agent/containerd",
        settings="/etc/rancher/k3s/config.yaml",
        prefix="K3S",
    ),
    "rke2": Trace(
        programs=(*_programs("rke2"), "/opt/rke2/bin/rke2"),
        parents=("rke2",),
        config="{data}/agent/etc/containerd/config.toml",
        data="/var/lib/rancher/rke2",
        root="{data}/agent/containerd",
        tool="{data}/bin/ctr",
        settings="/etc/rancher/rke2/config.yaml",
        prefix="RKE2",
    ),
    "k0s": Trace(
        programs=_programs("k0s"),
        parents=("k0s",),
        config="/etc/k0s/containerd.toml",
        data="/var/lib/k0s",
        root="{data}/containerd",
    ),
    "microk8s": Trace(
        programs=("/snap/bin/microk8s", "/var/lib/snapd/snap/bin/microk8s"),
        config="/var/snap/microk8s/current/args/containerd.toml",
        arguments="/var/snap/microk8s/current/args/containerd",
        unexpanded=(
            ("${SNAP_DATA}", "/var/snap/microk8s/current"),
            ("${SNAP_COMMON}", "/var/snap/microk8s/common"),
        ),
    ),
    "crio": Trace(programs=_programs("crio")),
    "docker": Trace(
        programs=_programs("dockerd"),
        parents=("dockerd",),
        config="/etc/containerd/config.toml",
    ),
    "podman": Trace(programs=_programs("podman")),
}
