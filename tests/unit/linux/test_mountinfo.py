"""Rules of the mount table's text."""

from hypothesis import given
from hypothesis import strategies as st

from nodestoraged.linux import mountinfo

TABLE = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 8:1 / /var/lib/containerd rw,nosuid,nodev,noatime shared:9 master:2 - ext4 /dev/sda1 rw
41 40 0:50 / /var/lib/containerd/tmp\040mounts/a\134b rw - overlay overlay rw,lowerdir=/a:/b
42 40 8:2 /sub /var/lib/containerd ro,noatime - xfs /dev/sda2 rw
43 42 8:2 / /var/lib/containerd/x//deleted rw - xfs /dev/sda2 ro
"""
ROWS = mountinfo.parse(TABLE)


def test_every_field_is_read() -> None:
    row = ROWS[2]
    assert (row.mount_id, row.parent_id, row.major, row.minor) == (40, 27, 8, 1)
    assert (row.root, row.target, row.fstype, row.source) == (
        "/",
        "/var/lib/containerd",
        "ext4",
        "/dev/sda1",
    )
    assert row.options == ("rw", "nosuid", "nodev", "noatime")
    assert row.propagation == ("shared:9", "master:2")
    assert row.super_options == ("rw",)


def test_octal_escapes_become_the_characters_they_stand_for() -> None:
    assert ROWS[3].target == "/var/lib/containerd/tmp mounts/a\\b"


def test_bytes_that_are_no_utf8_survive() -> None:
    row = mountinfo.parse(b"1 0 0:1 / /mnt/\xff rw - tmpfs none rw\n")[0]
    assert row.target.encode(errors="surrogateescape") == b"/mnt/\xff"


def test_an_empty_source_is_kept() -> None:
    assert mountinfo.parse(b"1 0 0:1 / /mnt rw - tmpfs  rw\n")[0].source == ""


def test_the_last_mount_at_a_target_is_on_top() -> None:
    assert [row.mount_id for row in mountinfo.mounts_at(ROWS, "/var/lib/containerd")] == [40, 42]
    covering = mountinfo.covering(ROWS, "/var/lib/containerd/io.containerd")
    assert covering is not None
    assert covering.mount_id == 42


def test_a_path_is_covered_by_whole_components_only() -> None:
    covering = mountinfo.covering(ROWS, "/var/lib/containerd-other")
    assert covering is not None
    assert covering.target == "/"


def test_unmount_order_is_deepest_and_newest_first() -> None:
    below = mountinfo.below(ROWS, "/var/lib/containerd")
    assert [row.mount_id for row in below] == [43, 41]


def test_read_only_is_told_by_mount_or_superblock() -> None:
    assert [row.mount_id for row in ROWS if row.read_only] == [42, 43]


def test_our_own_table_has_a_root() -> None:
    covering = mountinfo.covering(mountinfo.read(), "/")
    assert covering is not None
    assert covering.target == "/"


@given(st.binary(max_size=400))
def test_strange_lines_are_left_out_and_never_raise(junk: bytes) -> None:
    rows = mountinfo.parse(junk.replace(b"\n", b"?") + b"\n" + TABLE)
    assert rows[-len(ROWS) :] == ROWS
