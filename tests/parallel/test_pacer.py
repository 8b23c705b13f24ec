"""Turns of calls: a rate that all threads keep to together."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time

import pytest

from polars_alf.errors import OptionError
from polars_alf.parallel.pacer import BURST_SECONDS, Pacer, check_max_rate


@pytest.mark.parametrize("n_threads", [1, 8])
def test_calls_of_all_threads_keep_to_the_rate(n_threads: int) -> None:
    pacer = Pacer(400)
    begin = time.monotonic()
    threads = [
        threading.Thread(target=lambda: [pacer.wait() for _ in range(200 // n_threads)])
        for _ in range(n_threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begin >= 199 / 400 - BURST_SECONDS


def test_time_without_calls_is_not_saved_up() -> None:
    pacer = Pacer(100)
    time.sleep(0.3)  # of which 30 calls could have come
    begin = time.monotonic()
    for _ in range(20):
        pacer.wait()
    assert time.monotonic() - begin >= 19 / 100 - BURST_SECONDS


def test_requests_keep_to_the_rate() -> None:
    async def make_requests() -> None:
        pacer = Pacer(100)
        await asyncio.gather(*(pacer.wait_for_request() for _ in range(20)))

    begin = time.monotonic()
    asyncio.run(make_requests())
    assert time.monotonic() - begin >= 19 / 100 - BURST_SECONDS


def test_a_share_is_of_the_rate_alone() -> None:
    pacer = Pacer(100)
    pacer.wait(1_000_000)  # booked far ahead
    share = pickle.loads(pickle.dumps(pacer.divide(4)))
    assert share.max_rate == 25
    begin = time.monotonic()
    share.wait(10)
    share.wait()
    assert 10 / 25 - BURST_SECONDS <= time.monotonic() - begin < 1000


def test_without_a_rate_nothing_waits() -> None:
    pacer = Pacer().divide(3)
    assert pacer.turns is None
    check_max_rate(None)
    begin = time.monotonic()
    pacer.wait(10**9)
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_is_above_zero(rate: float) -> None:
    with pytest.raises(OptionError, match="calls a second; give a number above 0"):
        check_max_rate(rate)
