"""Histograms of latencies, in the manner of HDR histograms: each bin is as precise as the next.

A histogram is a frame of ``latency_ns`` and ``n_ops``. Values keep three significant digits, so
that whatever their range, a bin is at most 1 % wide and there are 900 to a decade; histograms of
threads, processes and repetitions add up.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import polars as pl
import pyarrow as pa

DIGITS = 3
PERCENTILES = (50.0, 90.0, 99.0, 99.9)
SCHEMA = pl.Schema({"latency_ns": pl.Int64, "n_ops": pl.Int64})


def count_latencies(latencies: Iterable[array[int]], overhead_ns: float = 0.0) -> pl.DataFrame:
    """Return the histogram of some latencies.

    Parameters
    ----------
    latencies
        Nanoseconds, in arrays of 64-bit integers.
    overhead_ns
        What to take off each, down to 1 ns.
    """
    columns = [
        pa.Array.from_buffers(pa.int64(), len(part), [None, pa.py_buffer(part)])
        for part in latencies
    ]
    every = pl.Series("latency_ns", pa.chunked_array(columns, pa.int64()))
    net = (pl.col("latency_ns") - round(overhead_ns)).clip(1)
    rounded = net.cast(pl.Float64).round_sig_figs(DIGITS).cast(pl.Int64)
    return _add_up(every.to_frame().select(rounded, n_ops=pl.lit(1, pl.Int64)))


def merge_histograms(histograms: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return one histogram of all."""
    return _add_up(pl.concat([SCHEMA.to_frame(), *histograms]))


def find_percentiles(histogram: pl.DataFrame) -> dict[str, float | None]:
    """Return ``p50`` to ``p99.9``, ``max`` and ``mean`` of a histogram, in nanoseconds.

    A percentile is null where fewer than ten values lie above it: such a one says more about
    chance than about the storage.
    """
    n_ops = int(histogram["n_ops"].sum())
    if not n_ops:
        return dict.fromkeys([*(f"p{level:g}" for level in PERCENTILES), "max", "mean"])
    upto = histogram["n_ops"].cum_sum()
    values = histogram["latency_ns"]
    found: dict[str, float | None] = {}
    for level in PERCENTILES:
        is_sure = level <= 50 or n_ops * (100 - level) / 100 >= 10
        at = upto.search_sorted(n_ops * level / 100)
        found[f"p{level:g}"] = float(values[int(at)]) if is_sure else None
    found["max"] = float(values[-1])
    found["mean"] = float((values * histogram["n_ops"]).sum()) / n_ops
    return found


def _add_up(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("latency_ns").agg(pl.col("n_ops").sum()).sort("latency_ns")
