"""Rules of the mount system calls themselves, in a process with a mount namespace of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = str(Path(__file__).resolve().parents[2])
PROLOGUE = f"""
import errno, os, sys
sys.path.append({ROOT!r})
from nodestoraged.linux import mount, mountinfo
mount.unshare_mounts()
mount.set_propagation("/", mount.MS_REC | mount.MS_PRIVATE)
here = sys.argv[1]
"""


def in_own_namespace(script: str, directory: Path) -> str:
    command = [sys.executable, "-c", PROLOGUE + script, str(directory)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_cloned_tree_can_be_made_read_only_before_it_is_seen(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    said = in_own_namespace(
        """
fd = mount.clone_tree(here + "/source")
mount.set_attributes(fd, set_mask=mount.ATTR_RDONLY | mount.ATTR_NOSUID)
target = os.open(here + "/target", os.O_PATH)
mount.attach(fd, target)
(row,) = mountinfo.mounts_at(mountinfo.read(), here + "/target")
assert row.mount_id == mount.mount_id_of_fd(fd)
assert row.read_only and "nosuid" in row.options, row
open(here + "/source/written", "w").close()
try:
    open(here + "/target/refused", "w")
except OSError as error:
    print(errno.errorcode[error.errno])
mount.set_attributes(fd, clear_mask=mount.ATTR_RDONLY)
open(here + "/target/allowed", "w").close()
os.close(fd)  # an open mount fd counts as a user
mount.umount(here + "/target")
assert not mountinfo.mounts_at(mountinfo.read(), here + "/target")
""",
        tmp_path,
    )
    assert said == "EROFS\n"
    names = {path.name for path in (tmp_path / "source").iterdir()}
    assert names == {"allowed", "written"}


def test_the_context_says_what_the_kernel_did_not_like(tmp_path: Path) -> None:
    said = in_own_namespace(
        """
fd = mount.fsopen("ext4")
try:
    mount.fsconfig_string(fd, "errors", "bogus")
except OSError as error:
    print(errno.errorcode[error.errno])
print(mount.kernel_messages(fd))
xfs = mount.fsopen("xfs")
try:
    mount.fsconfig_string(xfs, "errors", "remount-ro")
except OSError as error:
    print(errno.errorcode[error.errno])
print(mount.kernel_messages(xfs))
""",
        tmp_path,
    )
    ext4_errno, ext4_said, xfs_errno, xfs_said = said.splitlines()
    assert (ext4_errno, xfs_errno) == ("EINVAL", "EINVAL")
    assert "Bad value for 'errors'" in ext4_said
    assert "Unknown parameter 'errors'" in xfs_said


def test_a_mount_that_lost_a_race_for_its_target_is_taken_away_again(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    said = in_own_namespace(
        """
from nodestoraged.worker import operations_mount
from nodestoraged.worker.failure import OperationFailed
place = here + "/target"
ids = []
for turn in range(2):
    fd, target = mount.clone_tree(here), os.open(place, os.O_PATH)
    if turn == 0:
        first = os.dup(target)  # what a worker opened before somebody else mounted
    mount.attach(fd, first)
    try:
        ids.append(operations_mount._verified_id(fd, place))
    except OperationFailed as error:
        print(error.reason)
assert [row.mount_id for row in mountinfo.mounts_at(mountinfo.read(), place)] == ids
""",
        tmp_path,
    )
    assert said == "TargetBusy\n"


def test_shared_propagation_is_seen_in_the_table(tmp_path: Path) -> None:
    in_own_namespace(
        """
mount.set_propagation("/", mount.MS_SHARED)
row = mountinfo.covering(mountinfo.read(), "/")
assert any(tag.startswith("shared:") for tag in row.propagation), row
""",
        tmp_path,
    )
