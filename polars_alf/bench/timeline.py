"""How steadily calls were done: their rates over the time of a measurement, and its stalls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from polars_alf.bench.crew import Outcome
from polars_alf.bench.meters import SLOT_NS, find_percentiles, merge_histograms, merge_timelines

STALL_SECONDS = 0.1
"""Shortest time without a call done that is a stall: what a person would notice."""

STALL_CALLS = 10
"""Median latencies that a stall lasts at least: calls that are slow throughout do not stall."""

_MOST_INTERVALS = 50
"""Intervals of a measurement for which rates are kept."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Rates over time, and stalls.

    A stall is a time of `STALL_SECONDS` and `STALL_CALLS` median latencies at least in which no
    call was done, in any thread. It is also longer than threads waited for a processor in all: the
    wait may have been then.
    """

    rates: pl.DataFrame  # at_seconds, the begin of an interval from the first call on, and rate
    n_stalls: int
    stall_seconds: float  # the longest; 0 without one


def describe_pace(outcomes: Sequence[Outcome], seconds: float) -> Pace:
    """Return the pace of a measurement that was to take so many seconds."""
    begin = min(outcome.begin_ns for outcome in outcomes) // SLOT_NS
    end = max(outcome.end_ns for outcome in outcomes) // SLOT_NS
    timeline = merge_timelines(outcome.timeline for outcome in outcomes)
    width = max(round(seconds * 1e9 / SLOT_NS / _MOST_INTERVALS), 1)
    each = pl.int_range((end - begin) // width + 1, dtype=pl.Int64, eager=True).alias("interval")
    counted = timeline.group_by((pl.col("slot") - begin) // width).agg(pl.col("n_ops").sum())
    rates = (
        each.to_frame()
        .join(counted, left_on="interval", right_on="slot", how="left", maintain_order="left")
        .select(
            at_seconds=pl.col("interval") * (width * SLOT_NS / 1e9),
            rate=pl.col("n_ops").fill_null(0) / (width * SLOT_NS / 1e9),
        )
        # The last one ends before its time is over.
        .head(max(len(each) - 1, 1))
    )
    latency = find_percentiles(merge_histograms(outcome.histogram for outcome in outcomes))["p50"]
    n_threads = sum(len(outcome.counts) for outcome in outcomes)
    waited = sum(outcome.delay_seconds for outcome in outcomes) / n_threads
    least = max(STALL_SECONDS, STALL_CALLS * (latency or 0) / 1e9, waited)
    slots = pl.concat([pl.Series([begin]), timeline["slot"], pl.Series([end])])
    gaps = (slots.diff().drop_nulls() - 1) * (SLOT_NS / 1e9)
    stalls = gaps.filter(gaps >= least)
    return Pace(rates, len(stalls), float(stalls.sort()[-1]) if len(stalls) else 0.0)
