"""The twins in Python of the functions in C that keep calls to the storage to a rate."""

from __future__ import annotations

import threading
import time
from array import array
from typing import Self

from polars_alf.native.effort import Effort, make_steps

ENTRIES_PER_READ = 500
"""Entries that one call reads, about: C libraries ask the system for 32 KiB of them at a time."""

_LONGEST_SLEEP_NS = 20_000_000
"""Time between two looks at whether to stop."""

_booking = threading.Lock()


def book_calls(pacer: array[int], n_calls: int, /) -> int:
    """Book calls to the storage; return the nanoseconds until the first of them may be made.

    `pacer` is three numbers of 64 bits that all threads share: when the next call may be made, in
    nanoseconds of the monotonic clock; nanoseconds between two calls; and by how many nanoseconds a
    caller that was late may catch up.
    """
    with _booking:
        now = time.monotonic_ns()
        turn = max(pacer[0], now - pacer[2])
        pacer[0] = turn + n_calls * pacer[1]
    return max(turn - now, 0)


def wait_for_turn(duration: int, steps: array[int]) -> None:
    """Wait for some nanoseconds; `steps` are as for `native.twin.list_directories`."""
    if not (duration or steps[3]):
        return
    now = time.monotonic_ns()
    end = now + duration
    while (now < end or steps[3]) and not steps[1]:
        piece = _LONGEST_SLEEP_NS if steps[3] else min(end - now, _LONGEST_SLEEP_NS)
        time.sleep(piece / 1e9)
        begin, now = now, time.monotonic_ns()
        steps[2] += now - begin  # a machine that is busy sleeps for longer


class Calls:
    """A context: count calls to the storage, and wait for their turns where they are paced."""

    def __init__(self, steps: array[int] | None, pacer: array[int] | None) -> None:
        self._steps = make_steps() if steps is None else steps
        self._pacer = pacer
        self._effort = Effort(self._steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._effort.look()

    @property
    def is_stopped(self) -> bool:
        """Whether the caller wants no more."""
        return self._steps[1] != 0

    @property
    def is_enough(self) -> bool:
        """Whether the caller wants no further directory."""
        return self._steps[6] != 0

    def begin(self, n_calls: int) -> None:
        """Count calls that are about to be made, after a wait for their turn."""
        steps = self._steps
        steps[0] += n_calls
        self._effort.look_now_and_then()
        if self._pacer is not None or steps[3]:
            wait_for_turn(book_calls(self._pacer, n_calls) if self._pacer else 0, steps)
