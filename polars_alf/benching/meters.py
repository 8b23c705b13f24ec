"""Time the calls of one thread."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

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
