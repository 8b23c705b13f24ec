"""The number of threads that storage of any speed gets."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import slow_storage
from busy import keeping_processors_busy
from hypothesis import given
from hypothesis import strategies as st

from polars_alf.native import IMPLEMENTATION
from polars_alf.walk import concurrency
from polars_alf.walk.concurrency import Concurrency, Meter, ThreadsMeter


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


@pytest.mark.parametrize(("blocked", "busy"), [(0.0, 1.0), (3.0, 0.25), (99.0, 0.01)])
def test_calls_give_work_by_what_they_do_not_wait(blocked: float, busy: float) -> None:
    meter = Meter()
    meter.count(10, work=0.5)
    meter.count(20, work=0.5, blocked=blocked)
    assert meter.n_calls == 30
    assert meter.read()[0] == pytest.approx(busy)
    assert meter.n_calls == 0


def judge(threads: int, work: float, blocked: float) -> int:
    """Return how many threads there are to be, where their work was that of their calls."""
    found = Concurrency()
    found.learned = threads
    meter = ThreadsMeter()
    assert not meter.knows_enough
    meter.count(1000, work, blocked)
    assert meter.knows_enough
    time.sleep(0.05)  # in which no processor is at work
    found.note(*meter.read_at(threads))
    return found.learned


def test_threads_that_hardly_wait_become_fewer() -> None:
    assert judge(64, work=9.9, blocked=0.1) == 32


def test_threads_that_others_keep_from_their_work_stay_as_many() -> None:
    n_enough = 2 * concurrency.N_PROCESSORS
    assert judge(n_enough, work=5.0, blocked=5.0) == n_enough


def test_threads_that_wait_for_the_storage_become_more() -> None:
    assert judge(1, work=0.1, blocked=9.9) > 1


@pytest.mark.parametrize("n_visits", [1, 3, 16])
def test_visits_share_one_number_evenly(n_visits: int) -> None:
    shared = Concurrency()
    with ExitStack() as visits:
        for _ in range(n_visits):
            visits.enter_context(concurrency.visits.under_way())
        assert shared.size == 1
        busy = 0.1 * min(n_visits, concurrency.N_PROCESSORS)
        shared.note(busy, 100, 1)
        first = shared.size
        assert first > 1
        assert first * n_visits <= concurrency.MOST_THREADS
        # Those of which each listed alone up to now tell nothing of so many threads.
        for _ in range(20):
            shared.note(busy, 100, 1)
        assert shared.size == first
        shared.note(busy, 100 * first, first)
        assert shared.size > first
        learned = shared.learned
    assert shared.size == learned, "what a visit had is for those that are left"


def test_a_trial_of_more_threads_lasts_as_long_for_many_visits() -> None:
    shared = Concurrency()
    with ExitStack() as visits:
        for _ in range(16):
            visits.enter_context(concurrency.visits.under_way())
        shared.note(0.01, 100, 1)
        more = shared.learned
        # Windows of the visits come at about the same time: some are of the time before.
        for _ in range(16):
            shared.note(0.01, 50, shared.size)
        assert shared.learned == more
        for _ in range(100):
            shared.note(0.01, 100 / shared.size, shared.size)
        assert shared.learned == 1, "nothing was gained"


def test_work_beside_the_calls_is_no_reason_for_fewer() -> None:
    meter = ThreadsMeter()
    meter.count(1000, work=0.05, blocked=9.95)
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    busy, _ = meter.read_at(64)
    assert busy <= concurrency.CROWDED * concurrency.N_PROCESSORS


def test_calls_that_could_fill_the_processors_many_times_become_fewer() -> None:
    assert judge(256, work=5.0, blocked=5.0) == 128


INDEX = """
import sys, polars_alf
from polars_alf.walk.concurrency import Concurrency
numbers = {1}
note = Concurrency.note
def watch(self, *figures):
    note(self, *figures)
    numbers.add(self.learned)
Concurrency.note = watch
report = polars_alf.index_archive(sys.argv[1], sys.argv[2], jobs=2)
print(report.n_datasets, max(numbers))
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for n in range(300):
        session = tmp_path / f"archive/lab/Subjects/S{n % 5}/2020-01-{n // 15 + 1:02}/{n // 5 % 3}"
        (session / "alf").mkdir(parents=True)
        for i in range(30):
            (session / f"alf/object{i}.times.npy").touch()
    (tmp_path / "tables").mkdir()
    return tmp_path / "archive"


def count_most_threads(root: Path, environment: Mapping[str, str]) -> int:
    """Index on a machine that others keep busy; return the most threads that were asked for."""
    with keeping_processors_busy():
        run = subprocess.run(
            [sys.executable, "-c", INDEX, root, root.with_name("tables")],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
    n_datasets, most = map(int, run.stdout.split())
    assert n_datasets == 9000
    return most


@pytest.mark.slow
@pytest.mark.skipif(IMPLEMENTATION != "native", reason="the twin's processes tell nothing here")
def test_a_busy_machine_is_not_taken_for_slow_storage(many: Path) -> None:
    # A few windows may be as slow as they seem.
    assert count_most_threads(many, {}) <= 16


@pytest.mark.slow
@pytest.mark.skipif(IMPLEMENTATION != "native", reason="the twin's processes tell nothing here")
def test_slow_storage_is_found_on_a_busy_machine(many: Path, tmp_path: Path) -> None:
    if obstacle := slow_storage.find_obstacle():
        pytest.skip(obstacle)
    library = slow_storage.build_library(tmp_path)
    assert count_most_threads(many, slow_storage.slow_down(library, many, 5, "buffer")) > 16
