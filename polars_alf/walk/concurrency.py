"""Number of calls to the storage to have under way, learned from the last ones."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

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

_NEITHER = (IDLE + CROWDED) / 2
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
    """Number of threads that follows the storage, or is fixed.

    The aim is that the processor always has something to do: with fewer calls under way it waits
    for the storage, with more the threads wait for the processor. A larger number is kept only
    if more gets done.

    Parameters
    ----------
    threads
        A number to keep to; None starts with 1 and follows the storage.
    backoff
        What a crowded storage takes of the number, unless that is fixed.
    gives_way
        Whether anything is taken. A trial that shows nothing costs time.

    Attributes
    ----------
    learned : int
        The number of threads that the storage asks for; 1 where it answers at once.
    least : int
        The number of threads that there are processors for.
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
        self.learned = min(threads or 1, _most_threads())
        self.least = 1
        self._is_fixed = threads is not None
        self._trial: tuple[int, float, int] | None = None
        self._rest = 0

    @property
    def wanted(self) -> int:
        """The number of threads for a storage that is not crowded; 1 is a plain loop."""
        return self.learned if self._is_fixed else max(self.learned, self.least)

    @property
    def size(self) -> int:
        """The number of threads now."""
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

    def note(self, busy: float, rate: float) -> None:
        """Learn from a time in which there was work for all threads.

        `busy` is how many processors were at work, or would have been on a machine without other
        load, `rate` the calls per second.
        """
        if self._is_fixed:
            return
        busy /= min(self.size * max(visits.number, 1), N_PROCESSORS)
        if self.wanted == 1 and busy < IDLE and rate:
            self.backoff.learn_alone(1 / rate)
        self._rest = max(self._rest - 1, 0)
        if self.backoff.is_active:
            if self._trial:
                self.learned, self._trial = self._trial[0], None
            self._rest = WINDOWS_WITHOUT_GROWTH
        if self._trial:
            size, enough, left = self._trial
            if rate >= enough:
                self._trial = None
            elif left:
                self._trial = size, enough, left - 1
                return
            else:
                self.learned, self._rest, self._trial = size, WINDOWS_WITHOUT_GROWTH, None
                return
        if busy > CROWDED:
            self.learned = max(self.learned // 2, 1)
        elif busy < IDLE and not self._rest:
            self._trial = self.size, LEAST_GAIN * rate, WINDOWS_OF_TRIAL
            growth = min(CROWDED / max(busy, 0.01), FASTEST_GROWTH)
            self.learned = min(int(self.size * growth), _most_threads())


class _Learned(threading.local):
    """The concurrency that each thread that walks has learned, by archive."""

    def __init__(self) -> None:
        self.by_root: dict[str, Concurrency] = {}


_learned = _Learned()
_latest: dict[str, Concurrency] = {}
_backoffs: dict[str, Backoff] = {}


def find_concurrency(root: str) -> Concurrency:
    """Return the concurrency that this thread has learned for an archive, to go on from there.

    A thread that has learned nothing begins with what another has.
    """
    own = _learned.by_root.get(root)
    if own is None:
        # The walks of all threads crowd the same storage, and back off together.
        backoff = _backoffs.setdefault(root, Backoff())
        own = Concurrency(backoff=backoff, gives_way=is_nice())
        _learned.by_root[root] = own
        if root in _latest:
            own.learned = min(_latest[root].learned, _most_threads())
    _latest[root] = own
    return own


def is_nice() -> bool:
    """Whether this process has a lower priority than others, as by ``--nice`` or nice(1)."""
    return hasattr(os, "getpriority") and os.getpriority(os.PRIO_PROCESS, 0) > 0


def is_slow(root: str) -> bool:
    """Whether the storage of an archive kept the last walk of it waiting."""
    return root in _latest and _latest[root].learned > 1


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
        return share * max(visits.number, 1), rate

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
        n_calls = n_threads * max(visits.number, 1)
        if share > CROWDED:
            return max(busy, share * n_calls), rate
        most = min(n_calls, N_PROCESSORS)
        if share >= IDLE or share * n_calls >= CROWDED * most:
            return max(busy, _NEITHER * most), rate
        return busy, rate


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


def _most_threads() -> int:
    most = MOST_THREADS
    if resource is not None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit != resource.RLIM_INFINITY:
            most = min(most, limit // 2 // DESCRIPTORS_PER_THREAD)
    most = min(most, count_stacks() or most, count_spare_threads() or most)
    return max(most // max(visits.number, 1), 1)
