"""Number of calls to the storage to have under way, learned from the last ones."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from polars_alf.alf.process_limits import count_processors, count_spare_threads, count_stacks
from polars_alf.native import IMPLEMENTATION
from polars_alf.walk.backoff import Backoff
from polars_alf.walk.columns import Steps

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


N_PROCESSORS = count_processors() if IMPLEMENTATION == "native" else 1
"""Processors that threads can use: in Python, they work one at a time."""

WINDOW_SECONDS = 0.02
"""Least time that one measurement spans: tens of slow calls, or a thousand fast ones."""

MOST_THREADS = 512
"""Threads of a process beyond which they cost more than they bring."""

DESCRIPTORS_PER_THREAD = 4
"""A directory under way has two, and as much again may wait for its last files."""

CALLS_PER_DIRECTORY = 2
"""Calls for a directory beside those for its datasets, as a server sees them: open and read."""

IDLE = 0.6
"""Share of the time that the processor is at work below which more calls go under way."""

CROWDED = 0.95
"""Share above which fewer do: threads would only wait for each other."""

_X = float(os.environ.get("XX", "0.6"))
_Y = float(os.environ.get("YY", "0.95"))
_MANY_TIMES = 2.0
"""Times that calls could give work to all processors at which there are too many under way."""

_NEITHER = (max(_X, IDLE) + CROWDED) / 2
"""Share at which the number stays as it is."""

FASTEST_GROWTH = 16
"""Most that the number is multiplied by at once."""

LEAST_GAIN = 1.2
"""Factor by which the rate must grow for a larger number to be kept."""

WINDOWS_OF_TRIAL = 5
"""Windows in which to look for that gain: directories differ in the calls that they need."""

WINDOWS_WITHOUT_GROWTH = 20
"""Windows to stay with a number that a larger one did not improve on."""


class Concurrency:
    """Number of threads for an archive that follows the storage, or is fixed for each visit.

    The aim is that the processor always has something to do: with fewer calls under way it waits
    for the storage, with more the threads wait for the processor. A larger number is kept only
    if more gets done. All visits of a process learn one number, and share it evenly: none is left
    with a few threads while the others have all that there is work for.

    Parameters
    ----------
    threads
        A number to keep to, of each visit; None starts with 1 and follows the storage.
    backoff
        What a crowded storage takes of the number, unless that is fixed.
    gives_way
        Whether anything is taken. A trial that shows nothing costs time.

    Attributes
    ----------
    learned : int
        The number of threads that the storage asks for, of all visits; 1 where it answers at once.
    least : int
        The number of threads of a visit that there are processors for.
    """

    def __init__(
        self,
        threads: int | None = None,
        backoff: Backoff | None = None,
        *,
        gives_way: bool = True,
    ) -> None:
        self.backoff = backoff or Backoff()
        self._gives_way = gives_way and threads is None
        self.learned = min(threads or 1, max(_most_threads() // _count_visits(), 1))
        self.least = 1
        self._is_fixed = threads is not None
        self._trial: _Trial | None = None
        self._n_rests = 0
        self._lock = threading.Lock()

    @property
    def wanted(self) -> int:
        """The threads of a visit where the storage is not crowded; 1 is a plain loop."""
        if self._is_fixed:
            return self.learned
        # A plain loop would only be heard of at the end of its session.
        n_shared = max(self.learned // _count_visits(), min(self.learned, 2))
        return max(n_shared, self.least)

    @property
    def size(self) -> int:
        """The threads of a visit now."""
        if self._is_fixed:
            return self.learned
        return max(int(self.wanted * self.backoff.share), 1)

    def count(self, n_calls: int, waited: float) -> bool:
        """Count calls for the back-off, and the seconds that threads spent on them.

        Returns whether it has just stopped threads.
        """
        if not self._gives_way:
            return False
        return self.backoff.count(n_calls, waited, N_PROCESSORS)

    def note(self, busy: float, rate: float, n_threads: int | None = None) -> None:
        """Learn from a time in which a visit had work for all its threads.

        `busy` is how many processors were at work, or would have been on a machine without other
        load, `rate` the calls of the visit per second. With another number of threads than there
        are now, by default the same, they tell nothing.
        """
        with self._lock:
            if not self._is_fixed and n_threads in (None, self.size):
                self._learn(busy, rate)

    def _learn(self, busy: float, rate: float) -> None:
        n_visits = _count_visits()
        size = self.size * n_visits
        busy /= min(size, N_PROCESSORS)
        rate *= n_visits
        if self.wanted == 1 and busy < IDLE and rate:
            self.backoff.learn_alone(n_visits / rate)
        self._n_rests = max(self._n_rests - 1, 0)
        if self.backoff.is_active:
            if self._trial:
                self.learned, self._trial = self._trial.before, None
            self._n_rests = WINDOWS_WITHOUT_GROWTH * n_visits
        if self._trial:
            if rate >= self._trial.enough:
                self._trial = None
            elif self._trial.n_left:
                self._trial.n_left -= 1
                return
            else:
                self.learned, self._trial = self._trial.before, None
                self._n_rests = WINDOWS_WITHOUT_GROWTH * n_visits
                return
        if busy > CROWDED:
            self.learned = max(self.learned // 2, 1)
        elif busy < IDLE and not self._n_rests:
            self._trial = _Trial(self.learned, LEAST_GAIN * rate, WINDOWS_OF_TRIAL * n_visits)
            growth = min(CROWDED / max(busy, 0.01), FASTEST_GROWTH)
            self.learned = min(int(size * growth), _most_threads())


@dataclass(slots=True)
class _Trial:
    """A larger number of threads: that of before, the rate that is worth it, windows for that."""

    before: int
    enough: float
    n_left: int


_by_root: dict[str, Concurrency] = {}
_finding = threading.Lock()


def find_concurrency(root: str) -> Concurrency:
    """Return the concurrency that this process has learned for an archive, to go on from there."""
    with _finding:
        if root not in _by_root:
            _by_root[root] = Concurrency(gives_way=is_nice())
        return _by_root[root]


def is_nice() -> bool:
    """Whether this process has a lower priority than others, as by ``--nice`` or nice(1)."""
    return hasattr(os, "getpriority") and os.getpriority(os.PRIO_PROCESS, 0) > 0


def is_slow(root: str) -> bool:
    """Whether the storage of an archive kept the last walk of it waiting."""
    return root in _by_root and _by_root[root].learned > 1


class Stopwatch:
    """How long this thread worked, and how long calls to the storage blocked it.

    Parameters
    ----------
    steps
        What the calls of this thread count in, see `native.twin.list_directories`.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._last = self._look()

    def _look(self) -> tuple[float, float]:
        return time.thread_time(), self._steps[5] / 1e9

    def read(self) -> tuple[float, float]:
        """Return the seconds of both since the last reading."""
        last, self._last = self._last, self._look()
        return self._last[0] - last[0], self._last[1] - last[1]


class Meter:
    """Measure calls, and how many processors they give work to: see `Concurrency.note`.

    How long threads wait for a processor does not matter, and so neither does what else the
    machine does.

    Parameters
    ----------
    stopwatch
        Of the thread that makes the calls, where the times of these are not given to `count`.

    Attributes
    ----------
    n_calls : int
        Calls since the last reading.
    """

    def __init__(self, stopwatch: Stopwatch | None = None) -> None:
        self._stopwatch = stopwatch
        self._restart()

    def _restart(self) -> None:
        self._start = time.perf_counter()
        self._work = self._blocked = 0.0
        self.n_calls = 0

    def count(self, n_calls: int, work: float = 0.0, blocked: float = 0.0) -> bool:
        """Add to the calls since the last reading, and to the seconds that threads spent on them.

        Returns whether it is time for a reading.
        """
        self.n_calls += n_calls
        self._work += work
        self._blocked += blocked
        return time.perf_counter() - self._start >= WINDOW_SECONDS

    def read(self) -> tuple[float, float]:
        """Return how many processors one call a walk gives work to, and calls per second."""
        share, rate = self._read_share()
        return share * _count_visits(), rate

    def _read_share(self) -> tuple[float, float]:
        """Return the share of their time that calls give a processor work, and calls per second."""
        start, n_calls = self._start, self.n_calls
        work, blocked = self._stopwatch.read() if self._stopwatch else (0.0, 0.0)
        work, blocked = work + self._work, blocked + self._blocked
        self._restart()
        share = work / (work + blocked) if work + blocked > 0 else 1.0
        return share, n_calls / (self._start - start)


class ThreadsMeter(Meter):
    """Measure the calls of threads, and how many processors are at work for them."""

    def _restart(self) -> None:
        super()._restart()
        self._process = time.process_time()

    @property
    def knows_enough(self) -> bool:
        """Whether threads have told since the last reading how long their calls took."""
        return self._work + self._blocked > 0

    def read_at(self, n_threads: int) -> tuple[float, float]:
        """Return how many processors are at work for so many threads, and calls per second.

        It is as many as there is work for where calls hardly wait for the storage. Where others
        have the processors, it is a number by which there are neither more threads nor fewer.
        """
        start, process = self._start, self._process
        share, rate = self._read_share()
        busy = (self._process - process) / (self._start - start)
        n_calls = n_threads * _count_visits()
        most = min(n_calls, N_PROCESSORS)
        if share > CROWDED or share * n_calls > _MANY_TIMES * most:
            return max(busy, share * n_calls), rate
        if share >= IDLE or share * n_calls >= CROWDED * most:
            return _NEITHER * most, rate
        # What else the process does is no reason for fewer: it ends, and calls would be missing.
        return min(busy, _NEITHER * most), rate


class _Visits:
    """The visits of shards by this process that are under way."""

    def __init__(self) -> None:
        self.number = 0
        self._lock = threading.Lock()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        with self._lock:
            self.number += 1
        try:
            yield
        finally:
            with self._lock:
                self.number -= 1


visits = _Visits()
"""They share the processors, the threads and the descriptors of the process."""


def _count_visits() -> int:
    return max(visits.number, 1)


def _most_threads() -> int:
    """Return the most threads of the process, for all visits."""
    most = MOST_THREADS
    if resource is not None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit != resource.RLIM_INFINITY:
            most = min(most, limit // 2 // DESCRIPTORS_PER_THREAD)
    return max(min(most, count_stacks() or most, count_spare_threads() or most), 1)
