"""How many calls to the storage to have under way, from how the last ones went."""

from __future__ import annotations

import threading
import time

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

WINDOW_SECONDS = 0.02
"""Least time that one measurement spans: tens of slow calls, or a thousand fast ones."""

MOST_THREADS = 128
"""Threads beyond which they cost more than they bring, and a server may take offence."""

DESCRIPTORS_PER_THREAD = 4
"""A directory under way has two, and as much again may wait for its last files."""

IDLE = 0.4
"""Share of the time that the processor is at work below which more calls go under way."""

CROWDED = 0.95
"""Share above which fewer do: threads would only wait for each other."""

FASTEST_GROWTH = 8
"""Most that the number grows at once: the less is known, the smaller the step."""

LEAST_GAIN = 1.2
"""What must become of the rate for growth to be kept."""

WINDOWS_WITHOUT_GROWTH = 50
"""How long to stay with a number that more did not improve on."""


class Pace:
    """A number of threads that follows the storage, or one that is fixed.

    The aim is that the processor always has something to do: with fewer calls under way it waits
    for the storage, with more the threads wait for the processor. A larger number is kept only
    if more gets done.

    Parameters
    ----------
    threads
        A number to keep to; None starts with 1 and follows the storage.

    Attributes
    ----------
    size : int
        The number of threads now; 1 is a plain loop.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.size = min(threads or 1, _most_threads())
        self.is_fixed = threads is not None
        self._before: tuple[int, float] | None = None
        self._rest = 0

    def note(self, busy: float, rate: float | None = None) -> None:
        """Learn from a time in which there was work for all threads.

        Parameters
        ----------
        busy
            Share of the time that the processor was at work.
        rate
            What was done in a second; None if that is not known.
        """
        if self.is_fixed:
            return
        before, self._before = self._before, None
        self._rest = max(self._rest - 1, 0)
        if before and rate is not None and rate < LEAST_GAIN * before[1]:
            self.size, self._rest = before[0], WINDOWS_WITHOUT_GROWTH
        elif busy > CROWDED:
            self.size = max(self.size // 2, 1)
        elif busy < IDLE and not self._rest:
            if rate is not None:
                self._before = self.size, rate
            growth = min(CROWDED / max(busy, 0.01), FASTEST_GROWTH)
            self.size = min(int(self.size * growth), _most_threads())


class _Paces(threading.local):
    """What each thread that walks has learned, by archive."""

    def __init__(self) -> None:
        self.known: dict[str, Pace] = {}


_paces = _Paces()


def find_pace(root: str) -> Pace:
    """Return the pace that this thread has found for an archive, for it to go on from there."""
    return _paces.known.setdefault(root, Pace())


class Meter:
    """Measure the time between two readings, and how much of it the processor was at work."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin to measure anew."""
        self._start = time.perf_counter()
        self._cpu = time.process_time()
        self._switches = _count_switches()

    def is_due(self) -> bool:
        """Tell whether it is time for a reading."""
        return time.perf_counter() - self._start >= WINDOW_SECONDS

    def read(self) -> tuple[float, float]:
        """Return seconds since the last reading, and the share that the processor was at work.

        At work for other processes counts as well: where those take the processor away, there is
        nothing to be gained by threads.
        """
        start, cpu, switches = self._start, self._cpu, self._switches
        self.restart()
        seconds = self._start - start
        given_up, taken_away = (
            now - then for now, then in zip(self._switches, switches, strict=True)
        )
        # All of the process' time, not of one thread: what waits for Python's lock is at work.
        busy = (self._cpu - cpu) / seconds
        return seconds, max(busy, 1.0) if taken_away > given_up else busy


def _count_switches() -> tuple[int, int]:
    """Return how often the process gave the processor up to wait, and how often it was taken."""
    if resource is None:
        return 0, 0
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw, usage.ru_nivcsw


def _most_threads() -> int:
    if resource is None:
        return MOST_THREADS
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return MOST_THREADS
    return max(min(MOST_THREADS, limit // 2 // DESCRIPTORS_PER_THREAD), 1)
