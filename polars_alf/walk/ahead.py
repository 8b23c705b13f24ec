"""The first directories of an archive, listed while the libraries are loaded.

To load Polars and Arrow takes one processor a third of a second. Nothing that is loaded then is
needed to list directories in C, so that the others begin: they look for dated folders from the
root on, and list these, in the order of their paths, and the sessions in them. What there is by
the time that the walk begins is taken from here.

One thread does it as long as the storage answers at once; where it keeps that waiting, there are as
many as one processor has work for, and the walk knows from the start that the storage is slow.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import NamedTuple

from polars_alf import native
from polars_alf.alf.folder_names import is_number, looks_like_date
from polars_alf.alf.paths import STATE_DIR, join, path_key
from polars_alf.alf.process_limits import start_threads
from polars_alf.native.effort import make_steps
from polars_alf.walk.columns import EVERY, Columns, Steps, empty_columns, join_texts
from polars_alf.walk.concurrency import (
    CALLS_PER_DIRECTORY,
    CROWDED,
    IDLE,
    N_PROCESSORS,
    WINDOW_SECONDS,
    Concurrency,
    Meter,
    find_concurrency,
    is_nice,
)

_MOST_LEVELS = 4
"""Folders above dates: a lab, its Subjects and a subject, in the folder of an archive."""

_MOST_FOLDERS = 64
"""Folders of a level that are looked into for dates: they have more than there is time for."""

_SOME_THREADS = 16
"""Threads that look for dates where the storage seems slow."""

_SEEMS_SLOW_SECONDS = 0.002
"""Time that the first calls must take for the storage to seem slow."""

_DATED_AT_ONCE = 1024
"""Dated folders that are listed before the sessions in them: a matter of milliseconds."""

_MOST_AT_ONCE_SLOW = 4
"""The same where storage is slow, at most: each thread waits for Python's lock after so many."""

_MANY_LOTS = 128
"""Lots for more threads than there are soon."""

_MOST_FILES = 1 << 18
"""Files that may be in memory before anything takes them, some 30 bytes each."""

_MOST_EXAMINED = 1 << 14
"""Files of a directory from which on it is left to the walk."""

_PATIENCE_SECONDS = 0.25
"""Time that the walk waits for the directories that are being listed."""

_SWITCH_SECONDS = 0.0005
"""Time for which who loads libraries keeps Python's lock, where many threads wait for it."""


class Listed(NamedTuple):
    """Dated folders, and what lies in the sessions in them."""

    above: Columns
    """The dated folders."""
    within: Columns
    """Sessions that may be in them, and directories below each."""
    sessions: list[str]
    """The session of each of the latter, if it is one."""
    left: list[tuple[str, str]]
    """Directories below these sessions that were not listed, and the session of each."""


class _Lot:
    """Dated folders that were listed together, then the sessions in them as far as there was time.

    Parameters
    ----------
    above
        Columns of the dated folders, in the order of their paths.
    """

    def __init__(self, above: Columns) -> None:
        self.above = above
        self.positions = {path: position for position, path in enumerate(above.paths)}
        self.sessions: list[str] = []
        self.starts = [0]
        for directory, below in zip(above.paths, above.subdirectories, strict=True):
            names = sorted(filter(is_number, below.split("/")))
            self.sessions += (join(directory, name) for name in names)
            self.starts.append(len(self.sessions))
        self.within = empty_columns()
        self._left: list[tuple[int, str]] = []

    def add(self, within: Columns) -> None:
        """Add the columns of the sessions, and of what lies below them."""
        left = zip(within.left_origins, within.left, strict=True)
        # A session that was not begun is one of those in a dated folder.
        self._left = [row for row in left if row[1] != self.sessions[row[0]]]
        if within.unexamined:  # the last session is left to the walk as a whole
            last = within.origins[-1]
            self._left = [row for row in self._left if row[0] != last]
            within = within.cut(0, bisect_left(within.origins, last))
        self.within = within

    def cut(self, start: int, stop: int) -> Listed:
        """Return what there is of the dated folders from one position up to another."""
        first, last = self.starts[start], self.starts[stop]
        origins = self.within.origins
        within = self.within.cut(bisect_left(origins, first), bisect_left(origins, last))
        sessions = [*map(self.sessions.__getitem__, within.origins)]
        left = [(path, self.sessions[n]) for n, path in self._left if first <= n < last]
        return Listed(self.above.cut(start, stop), within, sessions, left)


class Ahead:
    """Directories that threads list ahead of the walk of an archive.

    Parameters
    ----------
    root
        Path of the archive, links resolved; also an attribute.

    Attributes
    ----------
    begun_ns : int
        When it began, in nanoseconds since the epoch.
    """

    def __init__(self, root: str) -> None:
        self.begun_ns = time.time_ns()
        self.root = root
        self._prefix = os.fsencode(root if root.endswith(os.sep) else root + os.sep)
        self._steps = [make_steps()]
        self._waiting: deque[list[str]] = deque()
        self._lots: list[_Lot] = []
        self._n_files = 0
        self._is_enough = threading.Event()
        self._lock = threading.Lock()
        self._is_taken = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="list-ahead")
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(MemoryError):  # the walk will tell, if there is none for it
            dated, concurrency = self._find_dated()
            n_at_once = _DATED_AT_ONCE
            if concurrency:
                n_at_once = min(max(len(dated) // _MANY_LOTS, 1), _MOST_AT_ONCE_SLOW)
            self._waiting += (
                dated[start : start + n_at_once] for start in range(0, len(dated), n_at_once)
            )
            if concurrency:
                self._list_by_many(concurrency)
            else:
                self._list_sessions(self._steps[0])

    def _list_sessions(self, steps: Steps) -> None:
        while self._n_files < _MOST_FILES and not self._is_enough.is_set():
            try:
                some = self._waiting.popleft()
            except IndexError:
                return
            most = _MOST_FILES - self._n_files
            lot = _Lot(self._list(some, steps, in_sessions=False))
            lot.add(self._list(lot.sessions, steps, in_sessions=True, most_files=most))
            self._n_files += len(lot.within.sizes)
            self._lots.append(lot)

    def _list(
        self, folders: Sequence[str], steps: Steps, *, in_sessions: bool, most_files: int = EVERY
    ) -> Columns:
        return Columns(
            native.list_directories(
                self._prefix,
                join_texts(folders),
                in_sessions,
                in_sessions,
                False,
                True,
                most_files,
                _MOST_EXAMINED,
                steps,
            )
        )

    # Where the storage is slow

    def _list_by_many(self, concurrency: Concurrency) -> None:
        """List by as many threads as the storage asks for, and the libraries leave room for."""
        meter, seen = Meter(), self._count_effort()
        threads: list[threading.Thread] = []
        n_most = _count_threads(seen[1] / (seen[1] + seen[2]))
        with _switching_soon():
            while self._waiting and not self._is_enough.is_set():
                n_wanted = min(concurrency.size, n_most)
                threads += self._start(self._list_sessions, n_wanted - len(threads))
                self._is_enough.wait(WINDOW_SECONDS)
                before, seen = seen, self._count_effort()
                work, blocked = seen[1] - before[1], seen[2] - before[2]
                if meter.count(seen[0] - before[0], work, blocked) and work > 0:
                    share, rate = meter.read()
                    concurrency.note(share * n_wanted, rate, n_wanted)
                    n_most = _count_threads(share)
            for thread in threads:
                thread.join()

    def _start(self, serve: Callable[[Steps], None], n_threads: int) -> list[threading.Thread]:
        """Start threads that call a function, as many as can be."""
        steps = [make_steps() for _ in range(n_threads)]
        self._steps += steps
        if self._is_enough.is_set():
            return []
        return start_threads(
            [threading.Thread(target=serve, args=(own,), daemon=True) for own in steps], least=0
        )

    def _count_effort(self) -> tuple[int, float, float]:
        """Return the calls of all threads, their seconds of work, and those that calls blocked."""
        n_calls, work, blocked = (sum(steps[n] for steps in self._steps) for n in (0, 4, 5))
        return n_calls, work / 1e9, blocked / 1e9

    # Above the sessions

    def _find_dated(self) -> tuple[list[str], Concurrency | None]:
        """Return dated folders, the first of the archive; and what was learned of slow storage."""
        level, dated = [""], list[str]()
        n_calls = 0
        for _ in range(_MOST_LEVELS):
            found = [*self._list_level(level[:_MOST_FOLDERS])]
            level = []
            for columns in found:
                n_calls += CALLS_PER_DIRECTORY * len(columns.paths)
                for directory, below in zip(columns.paths, columns.subdirectories, strict=True):
                    names = below.split("/") if below else []
                    dated += (join(directory, n) for n in names if looks_like_date(n))
                    others = (n for n in names if n != STATE_DIR and not looks_like_date(n))
                    level += (join(directory, n) for n in others)
            level.sort(key=path_key)
            if dated or not level or self._is_enough.is_set():
                break
        dated.sort(key=path_key)
        _, work, blocked = self._count_effort()
        seconds = work + blocked
        if seconds < WINDOW_SECONDS or work / seconds >= IDLE:
            return dated, None
        concurrency = find_concurrency(self.root)
        concurrency.note(work / seconds, n_calls / seconds, 1)
        return dated, concurrency

    def _list_level(self, folders: Sequence[str]) -> Iterator[Columns]:
        _, work, blocked = self._count_effort()
        n_threads = min(len(folders), _SOME_THREADS)
        if blocked < _SEEMS_SLOW_SECONDS or work >= IDLE * (work + blocked) or n_threads == 1:
            yield self._list(folders, self._steps[0], in_sessions=False)
            return
        waiting = deque(folders)
        found: list[Columns] = []

        def serve(steps: Steps) -> None:
            with contextlib.suppress(IndexError):
                while True:
                    found.append(self._list([waiting.popleft()], steps, in_sessions=False))

        with _switching_soon():
            for thread in self._start(serve, n_threads):
                thread.join()
        yield from found

    # For the walk

    def take(self, folders: Collection[str]) -> list[Listed]:
        """Take what was listed of some dated folders. The first call ends the listing."""
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                self.stop()
                self.wait(_PATIENCE_SECONDS)
        taken = []
        for lot in [*self._lots]:
            positions = sorted(lot.positions[path] for path in folders if path in lot.positions)
            for _, run in groupby(enumerate(positions), key=lambda place: place[1] - place[0]):
                places = [position for _, position in run]
                taken.append(lot.cut(places[0], places[-1] + 1))
        return taken

    def stop(self) -> None:
        """Have no further directory begun."""
        self._is_enough.set()
        for steps in [*self._steps]:
            steps[6] = 1

    def wait(self, seconds: float | None = None) -> None:
        """Wait until nothing is listed any more, at most for some seconds."""
        self._thread.join(seconds)


def _count_threads(share: float) -> int:
    """Return how many threads the processors have work for that do not load the libraries.

    `share` is that of its time that a call gives a processor work.
    """
    return max(int(CROWDED * max(N_PROCESSORS - 1, 1) / max(share, 0.001)), 1)


@contextmanager
def _switching_soon() -> Iterator[None]:
    """Have whoever loads libraries give way soon to threads that have listed something."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


_ahead: dict[str, Ahead] = {}


@contextmanager
def listing_ahead(path: str) -> Iterator[None]:
    """List the first directories of an archive within the context, for a walk in it."""
    own = _begin(path)
    try:
        yield
    finally:
        if own:
            own.stop()
            _ahead.pop(own.root, None)


def _begin(path: str) -> Ahead | None:
    """Begin to list, if that is of use, and can be done."""
    # Python lists one at a time, and would be in the way; so would a program that is to give way.
    if native.IMPLEMENTATION != "native" or is_nice() or not path or "://" in path:
        return None
    try:
        root = os.path.realpath(path)
        if root not in _ahead:
            own = _ahead[root] = Ahead(root)
            return own
    except (OSError, ValueError, RuntimeError):  # no such path, or no further thread
        pass
    return None


def find_ahead(root: str) -> Ahead | None:
    """Return what is listed ahead of an archive by this process, if anything is."""
    return _ahead.get(root)
