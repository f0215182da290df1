"""Text for a terminal: nothing acts, nothing is misaligned, numbers read well."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodestoraged.cli import text, times

_ANY_TEXT = st.text(st.characters(codec=None), max_size=60)


@given(_ANY_TEXT)
def test_safe_text_is_printable_and_says_which_text_it_was(raw: str) -> None:
    shown = text.safe(raw)
    assert shown.isprintable()
    back = bytearray()
    rest = shown
    while rest:
        if rest.startswith("\\x"):
            back.append(int(rest[2:4], 16))
            rest = rest[4:]
        else:
            back += rest[0].encode()
            rest = rest[1:]
    assert bytes(back) == raw.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("blue", "blue"), ("données", "données"), ("a b", "a b"), ("\x1b[2J", "\\x1b[2J"),
        ("a\nb", "a\\x0ab"), ("\u202eevil", "\\xe2\\x80\\xaeevil"), ("\\x41", "\\x5cx41"),
        ("\u3164", "\\xe3\\x85\\xa4"), ("\u00a0", "\\xc2\\xa0"), ("\x9b", "\\xc2\\x9b"),
    ],
)  # fmt: skip
def test_safe(raw: str, shown: str) -> None:
    assert text.safe(raw) == shown


@given(_ANY_TEXT, st.integers(4, 40))
def test_clipped_text_fits(raw: str, columns: int) -> None:
    assert text.width(text.clip(text.safe(raw), columns)) <= columns


@given(_ANY_TEXT, st.integers(10, 40))
def test_wrapped_lines_fit(raw: str, columns: int) -> None:
    assert all(text.width(line) <= columns for line in text.wrap(text.safe(raw), columns, "  "))


def test_wrapping_keeps_leading_and_inner_blanks() -> None:
    assert text.wrap("  Next: a  b", 80, "") == ["  Next: a  b"]
    assert text.wrap("  one two three", 9, "    ") == ["  one two", "    three"]


@given(st.lists(st.text("0123456789abcdef-", min_size=4, max_size=12), max_size=12))
def test_short_uuids_are_unique_prefixes_as_short_as_can_be(uuids: list[str]) -> None:
    short = text.short_uuids(uuids)
    assert set(short) == set(uuids)
    for uuid, prefix in short.items():
        others = {other for other in uuids if other != uuid}
        assert str(uuid).startswith(prefix)
        assert len(prefix) >= 4
        # A UUID that begins another one cannot be told apart by any prefix.
        if not any(other.startswith(str(uuid)) for other in others):
            assert not any(other.startswith(prefix) for other in others)
        if len(prefix) > 4:
            assert any(other.startswith(prefix[:-1]) for other in others)


def test_missing_uuids_are_left_out() -> None:
    assert text.short_uuids([None, "", "abcdef"]) == {"abcdef": "abcd"}


@pytest.mark.parametrize(
    ("size", "long", "short"),
    [
        (0, "0 MiB", "0B"), (1023, "0 MiB", "1023B"), (14 << 30, "14.0 GiB", "14G"),
        (1 << 40, "1024.0 GiB", "1.0T"), (512 << 20, "512 MiB", "512M"), (None, "?", "-"),
        ("x", "?", "-"), (1_900_000_000_000, "1769.5 GiB", "1.7T"),
    ],
)  # fmt: skip
def test_sizes(size: object, long: str, short: str) -> None:
    assert (text.gib(size), text.short_size(size)) == (long, short)


@given(st.integers(0, 13_569_465_600_000_000))
def test_times_are_read_as_the_standard_library_reads_them(microseconds: int) -> None:
    told = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(microseconds=microseconds)
    assert times.epoch(told.strftime("%Y-%m-%dT%H:%M:%S.%fZ")) == pytest.approx(told.timestamp())
    whole = told.replace(microsecond=0)
    assert times.epoch(times.rfc3339(whole.timestamp())) == whole.timestamp()


@given(st.text("0123456789T:-Z .", max_size=30) | st.none() | st.integers())
def test_what_is_no_time_is_none_or_a_number(value: object) -> None:
    seen = times.epoch(value)
    assert seen is None or isinstance(seen, float)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0 s"), (0, "0 s"), (41, "41 s"), (119, "119 s"), (120, "2 min"), (3599, "59 min"),
     (3600, "1 h"), (8040, "2 h 14 min"), (172799, "47 h 59 min"), (172800, "2 days")],
)  # fmt: skip
def test_ages(seconds: float, shown: str) -> None:
    assert times.age(seconds) == shown
