"""Rules of how failures are told: a reason for each errno, and nothing that a terminal obeys."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodestoraged.worker import arguments
from nodestoraged.worker.failure import OperationFailed, describe, printable, reason_of


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EIO, "IoError"),
        (errno.ENOMEDIUM, "Gone"),
        (errno.ENOENT, "Gone"),
        (errno.EROFS, "ReadOnly"),
        (errno.EUCLEAN, "FsckFailed"),
        (errno.ENOSPC, "NoSpace"),
        (errno.E2BIG, "OsError"),
    ],
)
def test_each_errno_has_its_reason(number: int, reason: str) -> None:
    assert reason_of(OSError(number, "x")) == reason


def test_the_cause_keeps_the_kernel_s_errno_and_details_stay() -> None:
    cause = OSError(16, "busy", "/mnt")
    failed = OperationFailed("Busy", "in use", cause=cause, details={"holders": [1]})
    assert describe(failed) == {
        "errno": 16,
        "strerror": "busy",
        "filename": "/mnt",
        "reason": "Busy",
        "message": "in use",
        "details": {"holders": [1]},
    }


@given(st.text() | st.binary().map(lambda raw: raw.decode(errors="surrogateescape")))
def test_what_is_printed_holds_no_control_character(text: str) -> None:
    assert all(char.isprintable() for char in printable(text))


def test_bad_bytes_keep_their_value_in_print() -> None:
    assert printable(b"a\xff\x1b".decode(errors="surrogateescape")) == "a\\xff\\x1b"


@pytest.mark.parametrize("value", [None, "", 7, "relative", "/with\0nul", True])
def test_a_path_is_an_absolute_string(value: object) -> None:
    with pytest.raises(OperationFailed) as caught:
        arguments.path({"path": value}, "path")
    assert caught.value.reason == "BadArguments"


@pytest.mark.parametrize("value", [None, "7", 7.5, -1, True])
def test_an_integer_is_zero_or_more(value: object) -> None:
    with pytest.raises(OperationFailed):
        arguments.integer({"n": value}, "n")


def test_slashes_at_the_end_of_a_path_mean_nothing() -> None:
    assert arguments.path({"path": "/var/lib/x//"}, "path") == "/var/lib/x"
    assert arguments.path({"path": "//"}, "path") == "/"
