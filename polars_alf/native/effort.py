"""How long a thread works in calls to the storage, and how long these block it.

A thread that is off the processor is blocked by a call, or waits for a processor that others have.
The system tells how long the latter was. What a function in Python waits for Python's lock counts
as blocked; in C there is no such wait.
"""

from __future__ import annotations

import os
import threading
import time
from array import array
from typing import Self

_LONG_OFF_NS = 200_000
"""Time off the processor from which it is worth asking how much of it was a wait for one."""

_LOOK_INTERVAL_NS = 25_000_000
"""Time between two looks in one function: each takes as long as several calls."""


def make_steps() -> array[int]:
    """Return steps as for `native.twin.list_directories`, all 0."""
    return array("q", [0] * 7)


class _Last(threading.local):
    delay = 0
    was_off = False


_last = _Last()


class Effort:
    """Context manager that counts, in steps, a thread's work and how long calls block it."""

    def __init__(self, steps: array[int]) -> None:
        self._steps = steps
        self._clock = time.monotonic_ns()
        self._worked = time.thread_time_ns()
        self._waited = steps[2]
        if _last.was_off:
            _take_delay()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.look()

    def look_now_and_then(self) -> None:
        """Add what came since the last look, if that was long ago."""
        if time.monotonic_ns() - self._clock > _LOOK_INTERVAL_NS:
            self.look()

    def look(self) -> None:
        """Add what came since the last look."""
        steps, clock, worked = self._steps, time.monotonic_ns(), time.thread_time_ns()
        off = clock - self._clock - (worked - self._worked)
        off -= steps[2] - self._waited  # a sleep until a turn is nobody's call
        steps[4] += worked - self._worked
        _last.was_off = off > _LONG_OFF_NS
        if _last.was_off:
            off -= _take_delay()
        steps[5] += max(off, 0)
        self._clock, self._worked, self._waited = clock, worked, steps[2]


def _take_delay() -> int:
    """Return how long this thread waited for a processor since the last look at that."""
    before = _last.delay
    _last.delay = read_delay() or before
    return _last.delay - before


def read_delay() -> int:
    """Return the nanoseconds that this thread waited for a processor; 0 where nobody tells."""
    try:
        descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:
        return 0
    try:
        return int(os.read(descriptor, 64).split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    finally:
        os.close(descriptor)
