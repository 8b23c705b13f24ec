"""The number of threads that storage of any speed gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polars_alf.walk import concurrency
from polars_alf.walk.concurrency import Concurrency


class Storage:
    """A storage that needs some time for a call, and serves so many calls at a time."""

    def __init__(self, latency: float, at_a_time: int = 10_000) -> None:
        self.latency, self.at_a_time = latency, at_a_time

    def serve(self, threads: int) -> tuple[float, float]:
        """Return how many processors are at work, for 20 µs a call, and calls a second."""
        cost = 20e-6
        n_processors = concurrency.N_PROCESSORS
        rate = min(min(threads, self.at_a_time) / (self.latency + cost), n_processors / cost)
        return rate * cost, rate


def follow(concurrency: Concurrency, storage: Storage, n_windows: int) -> list[int]:
    sizes = []
    for _ in range(n_windows):
        concurrency.note(*storage.serve(concurrency.size))
        sizes.append(concurrency.size)
    return sizes


def test_fast_storage_gets_a_plain_loop() -> None:
    assert set(follow(Concurrency(), Storage(2e-6), 100)) == {1}


@pytest.mark.parametrize("milliseconds", [0.2, 1, 5, 50])
def test_slow_storage_gets_threads_soon(milliseconds: float) -> None:
    storage = Storage(milliseconds / 1000)
    sizes = follow(Concurrency(), storage, 100)
    assert sizes[5] == sizes[-1] > 1
    busy, _ = storage.serve(sizes[-1])
    assert busy >= concurrency.IDLE or sizes[-1] == concurrency.MOST_THREADS


def test_storage_that_serves_one_at_a_time_gets_one() -> None:
    sizes = follow(Concurrency(), Storage(0.001, at_a_time=1), 1000)
    assert sizes.count(1) > 700


def test_storage_that_becomes_fast_gets_a_plain_loop_again() -> None:
    concurrency = Concurrency()
    follow(concurrency, Storage(0.001), 10)
    assert concurrency.size > 16
    assert follow(concurrency, Storage(0), 10)[-1] == 1


@given(st.lists(st.tuples(st.floats(0, 4), st.floats(0, 1e6))))
def test_pace_stays_in_its_bounds(windows: list[tuple[float, float]]) -> None:
    measured, fixed = Concurrency(), Concurrency(7)
    for busy, rate in windows:
        measured.note(busy, rate)
        fixed.note(busy, rate)
        assert 1 <= measured.size <= concurrency.MOST_THREADS
    assert fixed.size == 7
