"""RESULTS.md and the benchmarks speak of the same numbers, and every known miss has its reason."""

from __future__ import annotations

import re
from collections import Counter

from benchmarks import __main__ as bench
from benchmarks.results import PATH


def measured() -> dict[str, str]:
    """Row to its verdict, from the tables of RESULTS.md."""
    lines = re.findall(r"(?m)^\| `([\w.]+)` \|.* \| ([\w?-]+) \|$", PATH.read_text())
    return dict(lines)


def test_every_row_of_the_results_is_a_benchmark_and_every_benchmark_has_its_row():
    assert sorted(measured()) == sorted(target.name for target in bench.targets())


def test_a_row_is_named_once_and_after_its_topic():
    names = [target.name for target in bench.targets()]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    for topic in bench.topics():
        assert {t.name.partition(".")[0] for t in bench.topic(topic).TARGETS} == {topic}


def test_a_known_miss_is_a_promise_and_has_a_reason():
    promised = {target.name for target in bench.targets() if target.promises()}
    assert set(bench.known()) <= promised
    assert all(len(reason) > 40 for reason in bench.known().values())


def test_no_promise_is_broken_without_a_reason():
    broken = {name for name, verdict in measured().items() if verdict in {"NO", "?"}}
    assert broken - set(bench.known()) == set()


def test_the_results_name_their_machine_and_their_day():
    text = PATH.read_text()
    assert re.search(r"(?m)^Machine class: \d+ CPUs .*, Linux .*, Python 3\.", text)
    assert re.search(r"(?m)Last run: 20\d\d-\d\d-\d\d\.$", text)
    days = re.findall(r"(?m)^Measured (20\d\d-\d\d-\d\d) \d\d:\d\d UTC; load average", text)
    assert len(days) == len(bench.topics())
