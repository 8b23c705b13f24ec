"""The pace of calls: rates over time, and stalls."""

from __future__ import annotations

from array import array

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polars_alf.bench.crew import Outcome
from polars_alf.bench.meters import Meter, count_done, count_latencies
from polars_alf.bench.timeline import describe_pace

MS = 1_000_000


def make_outcome(latencies: list[list[int]], begin: int = 10**12, delay: float = 0) -> Outcome:
    meters = []
    for values in latencies:
        meter = Meter(1)
        meter.latencies = array("q", values)
        meter.begin_ns, meter.end_ns = begin, begin + sum(values)
        meters.append(meter)
    return Outcome(
        counts=[len(values) for values in latencies],
        n_bytes=0,
        begin_ns=begin,
        end_ns=max(meter.end_ns for meter in meters),
        work_seconds=0,
        delay_seconds=delay,
        histogram=count_latencies(meter.latencies for meter in meters),
        timeline=count_done(meters),
    )


def test_a_stall_is_seen_where_nobody_goes_on() -> None:
    steady, stalled = [MS] * 1000, [MS] * 300 + [400 * MS] + [MS] * 300
    alone = describe_pace([make_outcome([stalled])], 1)
    assert alone.n_stalls == 1
    assert alone.stall_seconds == pytest.approx(0.4, abs=0.021)
    is_stalled = pl.col("at_seconds").is_between(0.33, 0.66)
    assert alone.rates.filter(is_stalled)["rate"].to_list() == [0.0] * 17
    assert describe_pace([make_outcome([steady, stalled])], 1).n_stalls == 0
    assert describe_pace([make_outcome([stalled]), make_outcome([steady])], 1).n_stalls == 0
    both = describe_pace([make_outcome([stalled]), make_outcome([stalled])], 1)
    assert both.n_stalls == 1


def test_slow_calls_and_a_busy_machine_are_no_stalls() -> None:
    assert describe_pace([make_outcome([[150 * MS] * 6])], 1).n_stalls == 0
    stalled = [MS] * 300 + [400 * MS] + [MS] * 300
    assert describe_pace([make_outcome([stalled], delay=0.5)], 1).n_stalls == 0


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 50 * MS), min_size=1, max_size=60), min_size=1, max_size=4))
def test_rates_over_time_add_up(latencies: list[list[int]]) -> None:
    outcome = make_outcome(latencies)
    assert outcome.timeline["n_ops"].sum() == sum(map(len, latencies))
    pace = describe_pace([outcome], 0.5)
    assert pace.rates["at_seconds"].is_sorted()
    assert (pace.rates["rate"] * 0.01).sum() <= sum(map(len, latencies)) + 1e-6
    assert pace.stall_seconds == 0 or pace.n_stalls > 0
