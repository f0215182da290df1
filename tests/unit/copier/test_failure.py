"""Words for errors."""

from __future__ import annotations

import errno
import json

import pytest

from nodestoraged.copier.failure import of_error, printable


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EIO, "IoError"),
        (errno.ENOSPC, "NoSpace"),
        (errno.EDQUOT, "NoSpace"),
        (errno.ENODEV, "Gone"),
        (errno.EROFS, "ReadOnly"),
        (errno.EPERM, "CopyFailed"),
    ],
)
def test_the_errno_gives_the_reason(number: int, reason: str):
    failure = of_error(OSError(number, "words"), "/a/b")
    assert (failure.reason, failure.message, failure.number) == (reason, "/a/b: words", number)


def test_a_name_that_is_no_text_can_be_told():
    answer = of_error(OSError(errno.EIO, "words"), "/a\udcff\x1b").answer()
    assert answer["message"] == "/a\\xff\\x1b: words"
    json.dumps(answer).encode()
    assert printable("plain é") == "plain é"
