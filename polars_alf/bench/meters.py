"""Timers of calls, histograms of their latencies, and the share of a call that is Python's own.

A histogram is a frame of ``latency_ns`` and ``n_ops``. As in HDR histograms, values keep three
significant digits, so a bin is at most 1 % wide whatever the range. Histograms of threads,
processes and repetitions add up.
"""

from __future__ import annotations

import ctypes
import functools
import os
import statistics
import time
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from typing import Any, Literal, NamedTuple

import polars as pl
import pyarrow as pa

HISTOGRAM = pl.Schema({"latency_ns": pl.Int64, "n_ops": pl.Int64})
"""A row for each bin, in rising order."""

PERCENTILES = (50.0, 90.0, 99.0, 99.9)

_SIGNIFICANT_DIGITS = 3

_CALIBRATION_ROUNDS = 5

_CALIBRATION_FILES = 1000
"""Enough to fill the processor's caches about as much as the measured files do."""

_MAX_OVERHEAD_NS = 5000.0
"""Longer than Python ever takes: beyond it, Python's own library lies on slow storage."""

_STAT_BYTES = 1024
"""Room for a ``struct stat`` of any system."""


class TimeIsUpError(Exception):
    """The time of a meter is over."""


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


def count_latencies(latencies: Iterable[array[int]], overhead_ns: float = 0.0) -> pl.DataFrame:
    """Return the histogram of latencies in nanoseconds, each less an overhead, but at least 1."""
    chunks = [
        pa.Array.from_buffers(pa.int64(), len(part), [None, pa.py_buffer(part)])
        for part in latencies
    ]
    series = pl.Series("latency_ns", pa.chunked_array(chunks, pa.int64()))
    net = (pl.col("latency_ns") - round(overhead_ns)).clip(1)
    rounded = net.cast(pl.Float64).round_sig_figs(_SIGNIFICANT_DIGITS).cast(pl.Int64)
    return _add_up(series.to_frame().select(rounded, n_ops=pl.lit(1, pl.Int64)))


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


def _add_up(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("latency_ns").agg(pl.col("n_ops").sum()).sort("latency_ns")


OverheadKind = Literal["loop", "stat", "open"]


def measure_overhead(kind: OverheadKind) -> float:
    """Return the nanoseconds that Python itself takes for a call.

    ``stat`` and ``open`` (with close) compare the call from Python with the same one from C.
    ``loop`` is only what surrounds every call; so are the others where the C library does not have
    these functions under these names.
    """
    paths = _list_library_files()
    loop = statistics.median(_time(len, paths) for _ in range(_CALIBRATION_ROUNDS))
    calls = _load_calls().get(kind)
    if not calls:
        return loop
    names = [os.fsencode(path) for path in paths]
    differences = [
        _time(calls.python, paths) - _time(calls.direct, names) + _time(calls.empty, names)
        for _ in range(_CALIBRATION_ROUNDS)
    ]
    return min(max(statistics.median(differences), loop), _MAX_OVERHEAD_NS)


class _Calls(NamedTuple):
    """The same call from Python and from C, and one from C that does nothing instead."""

    python: Callable[[str], object]
    direct: Callable[[bytes], object]
    empty: Callable[[bytes], object]


@functools.cache
def _list_library_files() -> list[str]:
    library = os.path.dirname(os.__file__)  # noqa: PTH120
    paths = (f"{folder}/{name}" for folder, _, names in os.walk(library) for name in names)
    return list(islice(paths, _CALIBRATION_FILES))


@functools.cache
def _load_calls() -> dict[str, _Calls]:
    try:
        library = ctypes.CDLL(None)
        stat, open_, close = library.stat, library.open, library.close
        compare, absolute = library.memcmp, library.labs
    except (AttributeError, OSError, TypeError):
        return {}
    status = ctypes.create_string_buffer(_STAT_BYTES)
    stat.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    compare.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
    open_.argtypes, close.argtypes = [ctypes.c_char_p, ctypes.c_int], [ctypes.c_int]
    absolute.argtypes = [ctypes.c_int]

    def direct_stat(name: bytes) -> None:
        stat(name, status)

    def empty_stat(name: bytes) -> None:
        compare(name, status, 0)

    def python_open(path: str) -> None:
        os.close(os.open(path, os.O_RDONLY))

    def direct_open(name: bytes) -> None:
        close(open_(name, os.O_RDONLY))

    def empty_open(name: bytes) -> None:
        compare(name, status, 0)
        absolute(0)

    return {
        "stat": _Calls(os.stat, direct_stat, empty_stat),
        "open": _Calls(python_open, direct_open, empty_open),
    }


def _time(call: Callable[[Any], object], items: list[Any]) -> float:
    """Return the nanoseconds of a call, the loop around it included."""
    meter = Meter(seconds=60)
    meter.repeat(call, items)
    return statistics.median(meter.latencies)
