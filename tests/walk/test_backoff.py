"""Threads stop where the storage is crowded, and come back when it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from polars_alf.walk import backoff, concurrency
from polars_alf.walk.backoff import Backoff
from polars_alf.walk.concurrency import Concurrency


class Server:
    """A server that takes some time for a call, and serves so many at a time, those of others too.

    With more calls under way than that, each takes longer in proportion.
    """

    def __init__(self, latency: float, at_a_time: float = float("inf"), others: float = 0) -> None:
        self.latency, self.at_a_time, self.others = latency, at_a_time, others

    def measure(self, n_threads: float) -> float:
        """Return the latency of a call while so many of ours are under way."""
        return self.latency * max((n_threads + self.others) / self.at_a_time, 1)


def follow(found: Backoff, server: Server, n_threads: int, n_periods: int) -> tuple[int, float]:
    """Return how often threads were stopped in some periods, and how many were left at the end."""
    n_stopped = 0
    for _ in range(n_periods):
        n = max(int(n_threads * found.share), 1)
        n_stopped += found.judge(n, server.measure(n))
    return n_stopped, n_threads * found.share


def make_backoff(latency: float) -> Backoff:
    found = Backoff()
    found.learn_alone(latency)
    return found


@pytest.mark.parametrize("milliseconds", [0.01, 1, 5, 100])
def test_steady_latency_stops_no_thread(milliseconds: float) -> None:
    found = make_backoff(milliseconds / 1000)
    assert follow(found, Server(milliseconds / 1000), 256, 1000) == (0, 256)


def test_a_queue_of_our_own_is_shortened() -> None:
    found = make_backoff(0.001)
    n_stopped, n_threads = follow(found, Server(0.001, at_a_time=16), 256, 12)
    assert n_stopped >= 3
    # The server is as busy as before.
    assert 16 <= n_threads < 2.5 * 16


def test_others_get_their_share_and_threads_come_back_when_they_leave() -> None:
    found = make_backoff(0.001)
    server = Server(0.001, at_a_time=32)
    assert follow(found, server, 32, 10) == (0, 32)
    server.others = 64
    n_stopped, n_threads = follow(found, server, 32, 30)
    assert n_stopped == 0, "they have twice as much under way: fewer of ours would not help them"
    server.others = 16
    assert follow(found, server, 32, 40)[1] == 32
    found = make_backoff(0.001)
    server.at_a_time = 8
    n_stopped, n_threads = follow(found, server, 32, 8)
    assert n_stopped >= 1
    assert 16 <= n_threads <= 24, "about as much as the others"
    server.others, server.at_a_time = 0, 32
    assert follow(found, server, 32, 40) == (0, 32)


def test_storage_that_is_slower_in_itself_keeps_its_threads() -> None:
    found = make_backoff(0.001)
    n_stopped, n_threads = follow(found, Server(0.02), 64, 400)
    assert (n_stopped, n_threads) == (0, 64)


def test_trials_in_vain_become_rare() -> None:
    found = make_backoff(0.001)
    n_halved = 0
    for period in range(2000):  # now slow, now fast
        latency = 0.02 if period % 40 < 20 else 0.001
        found.judge(int(64 * found.share), latency)
        n_halved += found.is_active
    assert n_halved < 40


def test_calls_that_go_on_are_waited_for() -> None:
    found = make_backoff(0.001)
    assert not found.judge(64, 0.01)
    for _ in range(backoff.PERIODS_TO_SETTLE // 2):
        assert not found.judge(64, 0.01)
        assert found.share == 0.5
    assert found.judge(32, 0.005)
    assert found.share == 0.5


def test_a_processor_that_is_busy_tells_nothing() -> None:
    found = make_backoff(0.001)
    found.judge(64, 0.01)
    assert found.is_active
    assert not found.judge(32, 0.0)
    assert not found.is_active


def test_the_number_of_threads_follows_the_share() -> None:
    found = Backoff()
    measured, fixed = Concurrency(backoff=found), Concurrency(8, found)
    measured.note(0.01, 1000)
    wanted = measured.size
    assert wanted > 2
    found.learn_alone(0.001)
    found.judge(wanted, 1.0)
    assert measured.size == wanted // 2
    assert measured.wanted == wanted
    for _ in range(concurrency.WINDOWS_OF_TRIAL):
        measured.note(0.01, 1e6)
    assert measured.wanted <= wanted, "it does not grow while others are to have room"
    assert fixed.size == 8


class Clock:
    """The clocks of a process whose threads wait for a server most of the time."""

    def __init__(self, patch: pytest.MonkeyPatch, busy: float = 0.1) -> None:
        self.now = 1000.0
        clocks = SimpleNamespace(
            time=lambda: self.now,
            perf_counter=lambda: self.now,
            process_time=lambda: self.now * busy,
        )
        patch.setattr(backoff, "time", clocks)


def walk(found: Concurrency, server: Server, clock: Clock, seconds: float) -> list[float]:
    """Walk for some time; return the share of the threads after each back-off."""
    shares = []
    end = clock.now + seconds
    while clock.now < end:
        clock.now += 0.025
        work = found.size * 0.025
        if found.count(round(work / server.measure(found.size)), work):
            shares.append(found.backoff.share)
    return shares


def make_measured(n_threads: int) -> Concurrency:
    """Return a concurrency that one call of a millisecond at a time has shown to want threads."""
    measured = Concurrency(backoff=make_backoff(0.001))
    measured.learned = n_threads
    return measured


def test_latency_follows_from_the_calls_that_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, server = Clock(monkeypatch), Server(0.001, at_a_time=64)
    found = make_measured(64)
    assert walk(found, server, clock, 20) == []
    server.at_a_time = 8
    assert walk(found, server, clock, 20)[:2] == [0.5, 0.25]
    assert 8 <= found.size <= 20
    server.at_a_time = 64
    assert walk(found, server, clock, 20) == []
    assert found.size == 64


def test_a_busy_processor_and_a_fixed_number_stop_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(0.001, at_a_time=8)
    clock = Clock(monkeypatch, busy=0.5 * concurrency.N_PROCESSORS)
    assert walk(make_measured(64), server, clock, 60) == []
    clock = Clock(monkeypatch)
    assert walk(Concurrency(64, make_backoff(0.001)), server, clock, 60) == []


def test_a_pause_begins_a_new_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, server = Clock(monkeypatch), Server(0.001, at_a_time=8)
    found = make_measured(64)
    clock.now += 0.1
    for _ in range(20):
        clock.now += 99.95  # and 0.05 below: a period ends in no walk
        assert walk(found, server, clock, 0.05) == []


@pytest.mark.skipif(not hasattr(os, "nice"), reason="no nice values there")
@pytest.mark.parametrize(("nice", "gives_way"), [("0", False), ("5", True)])
def test_only_a_run_of_low_priority_gives_way(nice: str, gives_way: bool) -> None:
    code = """
import os, sys, time
from polars_alf.walk import backoff
from polars_alf.walk.concurrency import find_concurrency

os.nice(int(sys.argv[1]))
backoff.PERIOD_SECONDS = 0.01
found = find_concurrency("/archive")
found.backoff.learn_alone(0.001)
seen = set()
for _ in range(20):
    time.sleep(0.01)
    found.count(1000, 10.0)  # of 10 ms each
    seen.add(found.backoff.is_active)
print(True in seen)
"""
    ended = subprocess.run([sys.executable, "-c", code, nice], capture_output=True, text=True)
    assert ended.stdout == f"{gives_way}\n", ended.stderr
