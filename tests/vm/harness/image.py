"""Root images of the test machines: from a recipe to a cached ext4 image, kernel and initramfs.

Owns the building of the two cached stages and their locks. Knows nothing of QEMU or tests.

Stage one is a *tree*: debootstrap, then apt in the chroot. It takes a minute and depends on the
list of packages only. Stage two is the *image*: files of the recipe, the kubelet stand-in and the
container images over the tree (an overlay mount), then `mke2fs -d`. It takes seconds, so that a
change of a unit file or of the stand-in is cheap.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fakes.oci_archive import write_default_archives
from tests.vm.harness.errors import HarnessError
from tests.vm.harness.recipe import (
    FAKES,
    Recipe,
    image_key,
    load_recipe,
    recipe_names,
    tree_key,
)

_HERE: Final = Path(__file__).resolve().parent
_ROOT_IMAGE_SIZE: Final = "6G"  # sparse: only what is used costs space
_COMMAND_SECONDS: Final = 900

# Runs a command in a root of its own namespaces: no mount and no process outlives it.
_IN_ROOT: Final = (
    'mount -t proc proc "$1/proc" && mount -t sysfs sysfs "$1/sys"'
    ' && mount -t tmpfs tmpfs "$1/run" && mount --rbind /dev "$1/dev"'
    ' && root="$1" && shift && exec chroot "$root" "$@"'
)
_INITRAMFS: Final = "MODULES=list\nCOMPRESS=zstd\nFSTYPE=ext4\n"
_MODULES_IN_INITRAMFS: Final = "virtio_pci\nvirtio_blk\next4\n"
_DPKG: Final = "force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\n"
# The first process: nothing but what finds the root, which is checked by its journal alone.
_INIT: Final = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc -o nosuid,nodev,noexec proc /proc
$b mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
for module in /modules/*.ko; do $b insmod $module; done
$b mount -t ext4 -o ro /dev/vda /root
$b mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /root/run
for each in dev proc sys; do $b mount --move /$each /root/$each; done
exec $b switch_root /root /sbin/init
"""
# `containerd` without CRI imports and unpacks the images, then goes.
_IMPORT_IMAGES: Final = """set -eu
mkdir -p /run/import
printf 'version = 2\\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\\n' >/run/import/config.toml
containerd -c /run/import/config.toml --root /var/lib/containerd --state /run/import/state \\
    --address /run/import/sock --log-level warn & pid=$!
n=0
until ctr -a /run/import/sock version >/dev/null 2>&1; do
    n=$((n + 1)); [ $n -lt 100 ] || exit 1; sleep 0.1
done
for archive in /usr/share/nodestorage-test/*.tar; do
    ctr -a /run/import/sock -n k8s.io images import "$archive"
done
kill $pid; wait $pid || true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A finished image: a directory that nobody writes to any more."""

    recipe: str
    directory: Path

    @property
    def root_image(self) -> Path:
        """Raw ext4 image of `/`, labelled `rootfs`; the base of each machine's overlay."""
        return self.directory / "root.img"

    @property
    def kernel(self) -> Path:
        """The guest's kernel."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The guest's initramfs."""
        return self.directory / "initrd.img"

    @property
    def ssh_key(self) -> Path:
        """Private key of the guest's root, mode 0600."""
        return self.directory / "id_ed25519"

    @property
    def containerd_root(self) -> Path:
        """A runtime root that holds the pause and the app image: content for a primed stick."""
        return self.directory / "containerd-root"

    @property
    def archives(self) -> tuple[Path, ...]:
        """The OCI archives (pause, app) that the image's runtime root was made from."""
        return (self.directory / "pause.tar", self.directory / "app.tar")


def cache_root() -> Path:
    """The cache directory: $NODESTORAGED_VM_CACHE, or /var/cache/nodestoraged-vm."""
    return Path(os.environ.get("NODESTORAGED_VM_CACHE", "/var/cache/nodestoraged-vm"))


def ensure(name: str) -> Image:
    """Return the finished image of the recipe `name`, building what is missing.

    Builds of the same thing by several processes are made one after the other (flock); an
    unfinished build is never seen under its final name. Needs root. Raises HarnessError, with the
    tail of the log, when a command fails.
    """
    recipe = load_recipe(name)
    cache = cache_root()
    final = cache / f"image-{recipe.name}-{image_key(recipe)}"
    if not final.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f".lock-{recipe.name}"):
            tree = _ensure_tree(recipe, cache)
            if not final.is_dir():
                _build_image(recipe, tree, final)
    return Image(recipe=name, directory=final)


def prune() -> list[Path]:
    """Remove the cached stages that no present recipe leads to, and return them.

    Not for a time at which machines of an older recipe may be running.
    """
    recipes = [load_recipe(name) for name in recipe_names()]
    wanted = {f"image-{recipe.name}-{image_key(recipe)}" for recipe in recipes}
    wanted |= {f"tree-{recipe.suite}-{tree_key(recipe)}" for recipe in recipes}
    states = {f"state-{name}" for name in wanted}
    stale = [
        path
        for path in sorted(cache_root().glob("*"))
        if path.is_dir()
        and path.name.startswith(("image-", "tree-", "state-"))
        and path.name not in wanted
        and path.name.rpartition("-")[0] not in states
    ]
    for path in stale:
        shutil.rmtree(path)
    return stale


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` (made if absent); released when the process dies."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _work_directory(final: Path) -> Iterator[Path]:
    work = final.with_name(f".building-{final.name}")
    shutil.rmtree(work, ignore_errors=True)  # of a build that was killed; we hold the lock
    work.mkdir()
    try:
        yield work
        (work / "build.log").replace(final.with_name(final.name + ".log"))
        work.rename(final)
    except BaseException:
        log = work / "build.log"
        if log.exists():
            log.replace(final.with_name(final.name + ".failed.log"))
        shutil.rmtree(work, ignore_errors=True)
        raise


def _run(log: Path, *command: str, env: dict[str, str] | None = None) -> None:
    with log.open("ab") as sink:
        sink.write(f"+ {' '.join(command)}\n".encode())
        sink.flush()
        try:
            result = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=env,
                check=False,
                timeout=_COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise HarnessError(f"{command[0]} took longer than {_COMMAND_SECONDS} s") from error
    if result.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
        raise HarnessError(f"exit {result.returncode} of: {' '.join(command)}\n{tail}")


def _isolated(*command: str) -> tuple[str, ...]:
    namespaces = ("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child")
    return ("unshare", *namespaces, *command)


def _in_root(log: Path, root: Path, *command: str) -> None:
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
    }
    script = ("sh", "-c", _IN_ROOT, "in-root", str(root))
    _run(log, *_isolated(*script, *command), env=env)


def _ensure_tree(recipe: Recipe, cache: Path) -> Path:
    final = cache / f"tree-{recipe.suite}-{tree_key(recipe)}"
    if final.is_dir():
        return final
    with _work_directory(final) as work:
        root, log = work / "root", work / "build.log"
        options = ["--variant=minbase", f"--include={','.join(recipe.debootstrap_include)}"]
        if recipe.debootstrap_exclude:
            options.append(f"--exclude={','.join(recipe.debootstrap_exclude)}")
        _run(log, *_isolated("debootstrap", *options, recipe.suite, str(root)))
        policy = root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        # Nothing here survives its build unless finished: fsync in dpkg would only cost time.
        dpkg = root / "etc/dpkg/dpkg.cfg.d/unsafe-io"
        dpkg.write_text(_DPKG)
        install = ("apt-get", "install", "-q", "-y", "--no-install-recommends")
        _in_root(log, root, *install, *recipe.packages)
        # The kernel last. Its initramfs is not what the machines boot, and made in little time.
        (root / "etc/initramfs-tools/conf.d/vm").write_text(_INITRAMFS)
        with (root / "etc/initramfs-tools/modules").open("a") as modules:
            modules.write(_MODULES_IN_INITRAMFS)
        _in_root(log, root, *install, recipe.kernel)
        _in_root(log, root, "apt-get", "clean")
        policy.unlink()
        shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
    return final


def _build_image(recipe: Recipe, tree: Path, final: Path) -> None:
    with _work_directory(final) as work:
        log, upper = work / "build.log", work / "upper"
        upper.mkdir()
        _fill_upper(recipe, upper, work)
        shutil.copyfile((tree / "root/vmlinuz").resolve(), work / "vmlinuz")
        # One shell in its own namespaces: the overlay mount cannot outlive it.
        script = _HERE / "make-image.sh"
        arguments = (str(tree / "root"), str(work), _ROOT_IMAGE_SIZE)
        (work / "import.sh").write_text(_IMPORT_IMAGES)
        (work / "init").write_text(_INIT)
        _run(log, *_isolated("sh", str(script), *arguments))
        shutil.rmtree(upper)


def _fill_upper(recipe: Recipe, upper: Path, work: Path) -> None:
    for overlay in recipe.overlays:
        shutil.copytree(overlay, upper, dirs_exist_ok=True)
    archives = upper / "usr/share/nodestorage-test"
    archives.mkdir(parents=True)
    for archive in write_default_archives(work):
        shutil.copyfile(archive, archives / archive.name)
    kubelet = upper / "usr/bin/kubelet"
    kubelet.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(FAKES / "kubelet_standin.py", kubelet)
    kubelet.chmod(0o755)
    shutil.copyfile(recipe.setup, upper / "setup.sh")
    key = work / "id_ed25519"
    command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(key))
    _run(work / "build.log", *command)
    authorized = upper / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(parents=True, mode=0o700)
    shutil.copyfile(key.with_suffix(".pub"), authorized)
    for directory in (upper / "root", authorized.parent):
        directory.chmod(0o700)
