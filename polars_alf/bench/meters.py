"""Timers of calls, histograms of their latencies, and when calls were done.

A histogram is a frame of ``latency_ns`` and ``n_ops``. As in HDR histograms, values keep three
significant digits, so a bin is at most 1 % wide whatever the range. Histograms of threads,
processes and repetitions add up.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import polars as pl
import pyarrow as pa

HISTOGRAM = pl.Schema({"latency_ns": pl.Int64, "n_ops": pl.Int64})
"""A row for each bin, in rising order."""

PERCENTILES = (50.0, 90.0, 99.0, 99.9)

_SIGNIFICANT_DIGITS = 3

SLOT_NS = 10_000_000
"""Nanoseconds of a slot of a timeline."""

TIMELINE = pl.Schema({"slot": pl.Int64, "n_ops": pl.Int64})
"""Calls that were done in a slot, counted from the zero of the machine's clock."""


class TimeIsUpError(BaseException):
    """The time of a meter is over. No Exception, so that nothing tries the call again."""


class Meter:
    """Timer of the calls of one thread, for some seconds or until `stop` is called."""

    def __init__(self, seconds: float) -> None:
        self._span_ns = int(min(seconds, 1e6) * 1e9)
        self._until_ns = 0
        self.latencies = array("q")  # nanoseconds of each call
        self.n_bytes = 0  # read
        self.begin_ns = self.end_ns = 0  # of the first call, and of the last

    def stop(self) -> None:
        """End after the call that is under way."""
        self._until_ns = self._span_ns = 0

    def repeat(self, call: Callable[[Any], object], items: Iterable[Any]) -> None:
        """Time a call with each item. One ends when the next begins: the clock is read once."""
        add, now = self.latencies.append, time.perf_counter_ns
        self.begin_ns = before = now()
        self._until_ns = before + self._span_ns
        for item in items:
            call(item)
            after = now()
            add(after - before)
            before = after
            if after >= self._until_ns:
                break
        self.end_ns = before

    def stream(self, read: Callable[[str], object], paths: Iterable[str]) -> None:
        """Time the pieces of files, read by a function that calls `tick` after each piece."""
        self.begin_ns = self.end_ns = time.perf_counter_ns()
        self._until_ns = self.begin_ns + self._span_ns
        with suppress(TimeIsUpError):
            for path in paths:
                read(path)

    def tick(self, n_bytes: int) -> None:
        """Record that a piece was read; raise TimeIsUpError after the last one."""
        before, self.end_ns = self.end_ns, time.perf_counter_ns()
        self.latencies.append(self.end_ns - before)
        self.n_bytes += n_bytes
        if self.end_ns >= self._until_ns:
            raise TimeIsUpError


def count_latencies(latencies: Iterable[array[int]]) -> pl.DataFrame:
    """Return the histogram of latencies in nanoseconds."""
    series = pl.concat([pl.Series("latency_ns", [], pl.Int64), *map(_to_series, latencies)])
    rounded = (
        pl.col("latency_ns")
        .clip(1)
        .cast(pl.Float64)
        .round_sig_figs(_SIGNIFICANT_DIGITS)
        .cast(pl.Int64)
    )
    return _add_up(series.to_frame().select(rounded, n_ops=_ONE))


def merge_histograms(histograms: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the sum of histograms."""
    return _add_up(pl.concat([HISTOGRAM.to_frame(), *histograms]))


def find_percentiles(histogram: pl.DataFrame) -> dict[str, float | None]:
    """Return ``p50`` to ``p99.9``, ``max`` and ``mean`` of a histogram, in nanoseconds.

    A percentile with fewer than ten values beyond it is null: it would say more about chance than
    about the storage.
    """
    n_ops = int(histogram["n_ops"].sum())
    if not n_ops:
        return dict.fromkeys([*(f"p{level:g}" for level in PERCENTILES), "max", "mean"])
    cumulative = histogram["n_ops"].cum_sum()
    values = histogram["latency_ns"]
    found: dict[str, float | None] = {}
    for level in PERCENTILES:
        is_certain = level <= 50 or n_ops * (100 - level) / 100 >= 10
        position = int(cumulative.search_sorted(n_ops * level / 100))
        found[f"p{level:g}"] = float(values[position]) if is_certain else None
    found["max"] = float(values[-1])
    found["mean"] = float((values * histogram["n_ops"]).sum()) / n_ops
    return found


def count_done(meters: Iterable[Meter]) -> pl.DataFrame:
    """Return the TIMELINE of the calls of meters."""
    done = [
        _to_series(meter.latencies).cum_sum() + meter.begin_ns
        for meter in meters
        if meter.latencies
    ]
    times = pl.concat([pl.Series("latency_ns", [], pl.Int64), *done]).alias("slot")
    return merge_timelines([times.to_frame().select(pl.col("slot") // SLOT_NS, n_ops=_ONE)])


def merge_timelines(timelines: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the sum of timelines of the same machine."""
    rows = pl.concat([TIMELINE.to_frame(), *timelines])
    return rows.group_by("slot").agg(pl.col("n_ops").sum()).sort("slot")


_ONE = pl.lit(1, pl.Int64)


def _to_series(latencies: array[int]) -> pl.Series:
    buffers = [None, pa.py_buffer(latencies)]
    return pl.Series("latency_ns", pa.Array.from_buffers(pa.int64(), len(latencies), buffers))


def _add_up(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("latency_ns").agg(pl.col("n_ops").sum()).sort("latency_ns")
