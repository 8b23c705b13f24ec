"""Histograms of latencies, in the manner of HDR histograms: each bin is as precise as the next.

A histogram is a frame of ``latency_ns`` and ``n_ops``. Values keep three significant digits, so
that whatever their range, a bin is at most 1 % wide and there are 900 to a decade; histograms of
threads, processes and repetitions add up.
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


CHUNK = 1 << 20

READ_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)


class TimeIsUpError(Exception):
    """The time of a meter is over."""


class Meter:
    """Times the calls of one thread, until the time is up or `stop` is called.

    Parameters
    ----------
    seconds
        From the first call on.

    Attributes
    ----------
    latencies : array of int
        Nanoseconds of each call.
    n_bytes : int
        That were read.
    begin_ns, end_ns : int
        Of the first call, and of the last.
    """

    def __init__(self, seconds: float) -> None:
        self._span_ns = int(min(seconds, 1e6) * 1e9)
        self._until_ns = 0
        self.latencies = array("q")
        self.n_bytes = 0
        self.begin_ns = self.end_ns = 0

    def stop(self) -> None:
        """End after the call that is under way."""
        self._until_ns = self._span_ns = 0

    def repeat(self, call: Callable[[Any], object], items: Iterable[Any]) -> None:
        """Call again and again. One call ends when the next begins, so the clock is read once."""
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
        """Read files by a function that calls `tick` for each piece."""
        self.begin_ns = self.end_ns = time.perf_counter_ns()
        self._until_ns = self.begin_ns + self._span_ns
        with suppress(TimeIsUpError):
            for path in paths:
                read(path)

    def tick(self, n_bytes: int) -> None:
        """Note that a piece was read.

        Raises
        ------
        TimeIsUpError
            No more of them.
        """
        before, self.end_ns = self.end_ns, time.perf_counter_ns()
        self.latencies.append(self.end_ns - before)
        self.n_bytes += n_bytes
        if self.end_ns >= self._until_ns:
            raise TimeIsUpError


Kind = Literal["loop", "stat", "open"]

_ROUNDS = 5

_FILES = 1000
"""So many that they fill the processor's caches about as those that are measured do."""

_MOST_NS = 5000.0
"""What Python never takes: beyond, its own library lies on storage that is slow itself."""

_STATUS_BYTES = 1024
"""Room for a ``struct stat`` of any system."""


class _Calls(NamedTuple):
    """The same call from Python and from C, and a call that does nothing in the place of that."""

    python: Callable[[str], object]
    direct: Callable[[bytes], object]
    empty: Callable[[bytes], object]


def measure_overhead(kind: Kind) -> float:
    """Return the nanoseconds of a call that are this program's own.

    Parameters
    ----------
    kind
        ``stat``, ``open`` (and close) or, for anything else, ``loop``: what is around every call.
        So it is also where the C library does not have these functions under these names.
    """
    paths = _list_paths()
    loops = statistics.median(_time(len, paths) for _ in range(_ROUNDS))
    calls = _find_calls().get(kind)
    if not calls:
        return loops
    names = [os.fsencode(path) for path in paths]
    shares = [
        _time(calls.python, paths) - _time(calls.direct, names) + _time(calls.empty, names)
        for _ in range(_ROUNDS)
    ]
    return min(max(statistics.median(shares), loops), _MOST_NS)


@functools.cache
def _list_paths() -> list[str]:
    folder = os.path.dirname(os.__file__)  # noqa: PTH120
    paths = (f"{above}/{name}" for above, _, names in os.walk(folder) for name in names)
    return list(islice(paths, _FILES))


@functools.cache
def _find_calls() -> dict[str, _Calls]:
    try:
        library = ctypes.CDLL(None)
        stat, open_, close = library.stat, library.open, library.close
        compare, absolute = library.memcmp, library.labs
    except (AttributeError, OSError, TypeError):
        return {}
    status = ctypes.create_string_buffer(_STATUS_BYTES)
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
    """Return the nanoseconds that a call takes, the loop around it included."""
    meter = Meter(seconds=60)
    meter.repeat(call, items)
    return statistics.median(meter.latencies)
