"""Frames: cut at NUL, bounded, strict."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodestoraged.api import codec

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(st.text(), _JSON, max_size=3), max_size=5), st.integers(1, 40))
def test_frames_survive_any_cutting_of_the_stream(
    messages: list[dict[str, object]], piece: int
) -> None:
    stream = b"".join(codec.encode(message) for message in messages)
    buffer = codec.FrameBuffer(codec.MAX_REQUEST_BYTES)
    seen = []
    for begin in range(0, len(stream), piece):
        buffer.feed(stream[begin : begin + piece])
        while (frame := buffer.next_frame()) is not None:
            seen.append(codec.decode(frame))
    assert seen == messages
    assert len(buffer) == 0


@pytest.mark.parametrize(("length", "fits"), [(100, True), (101, False)])
@pytest.mark.parametrize("ended", [True, False])
def test_a_frame_over_the_limit_is_refused_whether_ended_or_not(
    length: int, fits: bool, ended: bool
) -> None:
    buffer = codec.FrameBuffer(100)
    buffer.feed(b"x" * length + (b"\0" if ended else b""))
    if fits:
        assert buffer.next_frame() == (b"x" * length if ended else None)
    else:
        with pytest.raises(codec.BadFrameError):
            buffer.next_frame()


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"[]", b"1", b"null", b'"x"', b"{", b"{'a':1}", b'{"a":NaN}', b'{"a":-Infinity}',
        b'{"a":1,"a":2}', b'{"a":{"b":1,"b":1}}', b"\xff\xfe", b"\xef\xbb\xbf{}",
        b'{"a":' + b"[" * 30000 + b"]" * 30000 + b"}", b'{"a":' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_is_not_exactly_one_object_is_refused(frame: bytes) -> None:
    with pytest.raises(codec.BadFrameError):
        codec.decode(frame)


@given(st.binary(max_size=200))
def test_garbage_gives_an_object_or_a_bad_frame_and_nothing_else(frame: bytes) -> None:
    with contextlib.suppress(codec.BadFrameError):
        assert codec.decode(frame) == json.loads(frame)


def test_encoded_text_is_ascii_and_keeps_what_is_not_unicode() -> None:
    frame = codec.encode({"label": "\ud800\x1b\u202e\0é"})
    assert frame.isascii()
    assert frame.count(b"\0") == 1
    assert codec.decode(frame[:-1]) == {"label": "\ud800\x1b\u202e\0é"}
