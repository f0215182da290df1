"""Rules for where a disk is sampled: no true capacity may escape."""

from __future__ import annotations

import pytest

from nodestoraged.worker import operations_measure as module

MIB = 1 << 20
BLOCK = 4096


def places(size: int) -> tuple[tuple[int, ...], range]:
    unit, step = module._steps(size)
    start, length = module._run(size, unit, step)
    run = range(start, start + length)
    return module._samples(size, unit, step, run), run


@pytest.mark.parametrize("size_mib", [8, 17, 100, 777, 1024])
def test_every_smaller_capacity_makes_two_samples_meet(size_mib: int) -> None:
    samples, _ = places(size_mib * MIB)
    run = range(0)
    for true_mib in range(1, size_mib):
        met = {at % (true_mib * MIB) for at in samples}
        meeting = len(met) < len(samples)
        if not meeting:  # then the sequential run falls upon a sample
            _, run = places(size_mib * MIB)
            meeting = any(at % (true_mib * MIB) in met for at in run[::BLOCK])
        assert meeting, f"{true_mib} MiB of {size_mib} would pass"


@pytest.mark.parametrize("size", [8 * MIB, 100 * MIB + 12288, 16 << 30, 3 << 40])
def test_samples_are_few_lie_on_the_disk_and_off_the_run(size: int) -> None:
    samples, run = places(size)
    assert len(samples) < 1000
    assert len(set(samples)) == len(samples)
    assert {0, size - BLOCK} <= set(samples)
    assert all(0 <= at <= size - BLOCK and at % BLOCK == 0 for at in samples)
    assert all(at not in run for at in samples)
    assert 0 < run.start < run.stop <= size
    assert len(run) % MIB == 0
