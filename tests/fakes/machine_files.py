"""The files of a node below a directory, for what reads a machine by its files.

Owns: a systemd node with containerd and kubelet on which every check of `doctor` passes; a test
then changes one thing.  Needs no privilege and mounts nothing.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

TOP = Path(__file__).parents[2]

#: mountinfo of the well node: `/` on sda1, kernel file systems, nothing on the runtime root.
PLAIN = """\
25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
26 25 0:24 / /run rw,nosuid shared:2 - tmpfs tmpfs rw
"""
PROGRAMS = ("e2fsck", "mkfs.ext4", "tune2fs", "mkfs.xfs", "xfs_db")


class MachineFiles:
    """A node's files below `root`; each method changes one thing and returns nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._kernel_and_udev()
        for name in PROGRAMS:
            self.program(f"usr/sbin/{name}")
        self.program("usr/bin/ctr")
        self._services()
        self.write("etc/nodestoraged/config.toml", "schema = 1\n")
        self.write("etc/group", "root:x:0:\nnodestorage:x:998:\n")
        self.write("etc/fstab", "# nothing\nUUID=aaaa / ext4 errors=remount-ro 0 1\n")
        self.write("var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\n")
        self.write(
            "var/lib/kubelet/kubeadm-flags.env",
            'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint='
            'unix:///var/run/containerd/containerd.sock"\n',
        )
        (root / "var/lib/containerd").mkdir(parents=True)
        self.archive(1)

    def write(self, path: str, text: str) -> None:
        """The file holds the text."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def program(self, path: str) -> None:
        """A program that does nothing lies there."""
        self.write(path, "#!/bin/sh\n")
        (self.root / path).chmod(0o755)

    def remove(self, path: str) -> None:
        """The file is gone."""
        (self.root / path).unlink()

    def link(self, path: str, target: str) -> None:
        """The path is a link; an empty directory in its place goes."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            place.rmdir()
        place.symlink_to(target)

    def mounts(self, *lines: str) -> None:
        """mountinfo has these lines after those of the well node."""
        self.write("proc/self/mountinfo", PLAIN + "".join(f"{line}\n" for line in lines))

    def fstab(self, *lines: str) -> None:
        """/etc/fstab is these lines."""
        self.write("etc/fstab", "".join(f"{line}\n" for line in lines))

    def archive(self, images: int) -> None:
        """So many images are kept on the root disk."""
        index = {"images": [{"name": str(number)} for number in range(images)]}
        self.write("var/lib/nodestoraged/images/index.json", json.dumps(index))

    def openrc(self) -> None:
        """OpenRC runs the node, with our scripts as they ship, and without the fence."""
        (self.root / "run/systemd/system").rmdir()
        (self.root / "run/openrc").mkdir()
        self.write("etc/init.d/nodestoraged", (TOP / "init/openrc/nodestoraged").read_text())
        for name in ("containerd", "kubelet"):
            self.write(f"etc/init.d/{name}", "#!/sbin/openrc-run\n")
        self.link("etc/runlevels/default/nodestoraged", "/etc/init.d/nodestoraged")

    def openrc_fence(self) -> None:
        """The fence is installed by the script that ships."""
        subprocess.run(
            ["/bin/sh", str(TOP / "init/openrc/fence"), "install"],
            env={"PATH": "/usr/bin:/bin", "NODESTORAGED_ETC": str(self.root / "etc")},
            check=True,
        )

    def _kernel_and_udev(self) -> None:
        self.write("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
        self.mounts()
        self.write("run/udev/control", "")
        (self.root / "run/systemd/system").mkdir(parents=True)
        self.write("sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
        rules = TOP / "init/udev/61-nodestoraged.rules"
        self.write("usr/lib/udev/rules.d/61-nodestoraged.rules", rules.read_text())

    def _services(self) -> None:
        units = "usr/lib/systemd/system"
        shipped = TOP / "init/systemd"
        ours = (shipped / "nodestoraged.service").read_text()
        fence = (shipped / "10-nodestoraged.conf").read_text()
        self.write(f"{units}/nodestoraged.service", ours)
        for name in ("containerd", "kubelet"):
            self.write(f"{units}/{name}.service", "[Service]\nExecStart=/bin/true\n")
            self.write(f"{units}/{name}.service.d/10-nodestoraged.conf", fence)
        self.link(
            "etc/systemd/system/multi-user.target.wants/nodestoraged.service",
            f"/{units}/nodestoraged.service",
        )
