"""Counts of files, sessions and bytes across workers, and the progress of a run.

Each shard counts in a slot of one small memory-mapped file, so that threads, processes and the
caller see the same figures without a message between them.
"""

from __future__ import annotations

import logging
import math
import mmap
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

from polars_alf.alf.process_limits import start_threads
from polars_alf.errors import OptionError
from polars_alf.parallel.threads import StoppedError

Steps: TypeAlias = Callable[[int, int, str], None]
"""Callback for the number of steps done, the number of all, and the next step in words."""

_logger = logging.getLogger(__name__)

_FIELDS = 5
"""Files, sessions, bytes, back-offs, and threads to each that was left at the furthest of them."""

_SLOT = _FIELDS * 8


def show_no_step(done: int, total: int, text: str) -> None:
    """Show nothing: the `Steps` of who wants none."""


class Counter:
    """Files, sessions and digested bytes of one shard, by default in memory of its own.

    Once `stop` is set, whoever counts learns that the run has ended.
    """

    def __init__(self, view: memoryview | None = None, stop: threading.Event | None = None) -> None:
        self._view = memoryview(bytearray(_SLOT)).cast("Q") if view is None else view
        self._stop = stop

    def add(self, files: int = 0, sessions: int = 0, n_bytes: int = 0) -> None:
        """Add to the figures; raise `StoppedError` where the run has ended."""
        # Called for every directory, mostly with one figure of the three.
        if self._stop is not None and self._stop.is_set():
            raise StoppedError
        view = self._view
        if files:
            view[0] += files
        if sessions:
            view[1] += sessions
        if n_bytes:
            view[2] += n_bytes

    def note_backoff(self, share: float) -> None:
        """Count a back-off from a crowded storage, which left a share of the threads."""
        self._view[3] += 1
        self._view[4] = max(self._view[4], math.ceil(1 / share))

    def include(self, figures: Sequence[int]) -> None:
        """Add the `figures` of another counter."""
        self.add(*figures[:3])
        self._view[3] += figures[3]
        self._view[4] = max(self._view[4], figures[4])

    def figures(self) -> list[int]:
        """Return all figures, for `include`."""
        return self._view.tolist()

    def total(self) -> tuple[int, int, int]:
        """Return files, sessions and bytes."""
        return self._view[0], self._view[1], self._view[2]


class CounterFile:
    """The counters of all shards of a run, in one file.

    On a network file system, figures of another machine may show late.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._view = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls, path: Path, n_slots: int) -> Self:
        """Make the file, all figures zero, and open it."""
        # An empty file cannot be mapped.
        path.write_bytes(bytes(max(n_slots, 1) * _SLOT))
        return cls(path)

    def slot(self, index: int, stop: threading.Event | None = None) -> Counter:
        """Return the counter of one shard, its figures set back to zero."""
        view = self._view[index * _FIELDS : (index + 1) * _FIELDS]
        view[:] = memoryview(bytes(_SLOT)).cast("Q")
        return Counter(view, stop)

    def total(self) -> tuple[int, int, int]:
        """Return files, sessions and bytes of all shards together."""
        files, sessions, n_bytes, *_ = self.figures()
        return files, sessions, n_bytes

    def figures(self) -> list[int]:
        """Return all figures of all shards together, for `Counter.include`."""
        values = self._view.tolist()
        *sums, furthest = (values[field::_FIELDS] for field in range(_FIELDS))
        return [*map(sum, sums), max(furthest)]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Parameters
    ----------
    stage
        ``inventory`` (which is read), ``survey``, ``scan``, ``compare`` (with tables) or ``write``.
    files, sessions
        Counts up to now; of an inventory, its rows are counted as files.
    n_bytes
        Bytes digested up to now; 0 where no digests are wanted.
    shards, n_shards
        Shards finished up to now, and in all (0 before they are known).
    n_resumed
        Shards that an interrupted run had finished, whose files are not counted here.
    seconds
        Time since the start, or since an inventory was read.
    n_backoffs
        How often half of the threads were stopped, as the storage was crowded.
    least_share
        Share of the threads that was left when they were fewest.
    """

    stage: str
    files: int
    sessions: int
    n_bytes: int
    shards: int
    n_shards: int
    n_resumed: int
    seconds: float
    n_backoffs: int = 0
    least_share: float = 1.0

    @property
    def seconds_left(self) -> float | None:
        """Time that the shards still need at the rate up to now, None where that is not known."""
        done = self.shards - self.n_resumed
        if self.stage != "scan" or not done:
            return None
        return self.seconds / done * (self.n_shards - self.shards)


class Monitor:
    """A context that calls back with the `Progress` of a run, a few times a second and at its end.

    The calls come from a thread of the monitor's own. An error in one is logged, and ends the
    calls, not the run. `survey` counts in the first stage, which is `stage`.
    """

    def __init__(
        self,
        callback: Callable[[Progress], None] | None,
        survey: Counter | None = None,
        interval: float = 0.1,
        stage: str = "survey",
    ) -> None:
        self.stage = stage
        self.shards = 0
        self.n_shards = 0
        self.n_resumed = 0
        self._survey = survey or Counter()
        self._counters: Counter | CounterFile = Counter()
        self._earlier = Counter()
        if callback is not None and not callable(callback):
            raise OptionError(f"progress is {callback!r}; give a function of a Progress, or None")
        self._callback = callback
        self._interval = interval
        self._start = time.perf_counter()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        if self._callback:
            start_threads([self._thread])
        return self

    def __exit__(self, *error: object) -> None:
        if self._thread.is_alive():
            self._done.set()
            self._thread.join()
            self._call()

    def begin_scan(self, counters: CounterFile, n_shards: int, n_resumed: int = 0) -> None:
        """Begin the stage in which shards count, beside `n_resumed` that are finished already."""
        # Files are counted by stage, but back-offs in all.
        self._earlier.include([0, 0, 0, *self._counters.figures()[3:]])
        self.stage, self._counters = "scan", counters
        self.n_shards, self.shards, self.n_resumed = n_shards + n_resumed, n_resumed, n_resumed

    def measure(self) -> Progress:
        """Return how far the run has come."""
        counter = Counter()
        for figures in (self._survey, self._earlier, self._counters):
            counter.include(figures.figures())
        files, sessions, n_bytes, n_backoffs, furthest = counter.figures()
        return Progress(
            self.stage,
            files,
            sessions,
            n_bytes,
            self.shards,
            self.n_shards,
            self.n_resumed,
            time.perf_counter() - self._start,
            n_backoffs,
            1 / max(furthest, 1),
        )

    def _run(self) -> None:
        while not self._done.wait(self._interval):
            self._call()

    def _call(self) -> None:
        try:
            if self._callback:
                self._callback(self.measure())
        except Exception:
            self._callback = None
            _logger.exception("showing progress failed; the run goes on without")
