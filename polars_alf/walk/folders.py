"""Directories outside of sessions, many at once: as long as the storage answers at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from polars_alf.alf.paths import join
from polars_alf.native.effort import make_steps
from polars_alf.parallel.executors import map_ahead
from polars_alf.parallel.progress import Counter
from polars_alf.walk.batches import Directories
from polars_alf.walk.columns import Columns
from polars_alf.walk.concurrency import CALLS_PER_DIRECTORY, Concurrency, Meter, Stopwatch
from polars_alf.walk.layout import Layout
from polars_alf.walk.lister import Lister

FOLDERS_AT_ONCE = 64
"""Directories that are asked for at once: enough for one call to outweigh its own cost."""

SECONDS_AT_ONCE = 0.02
"""Time below which a call may ask for more: what the storage is like must soon be known."""

_MOST_THREADS = 16
"""Threads that list; what Python does with what they find is done by one."""


class Folders:
    """List directories outside of sessions.

    Parameters
    ----------
    lister, layout, counter
        Those of the walk.
    walked
        Takes the directories.
    list_alone
        Lists and takes one of which there is something to report, and returns the names of those
        in it.
    """

    def __init__(
        self,
        lister: Lister,
        layout: Layout,
        counter: Counter,
        walked: Directories,
        list_alone: Callable[[str], list[str]],
    ) -> None:
        self._lister = lister
        self._layout = layout
        self._counter = counter
        self._walked = walked
        self._list_alone = list_alone

    def survey(
        self, concurrency: Concurrency, n_threads: int
    ) -> tuple[list[str], list[tuple[str, str | None]]]:
        """List what lies above the dates, level by level; some threads list ahead.

        Returns the dated folders, and the directories that are left where the storage is slow.
        """
        concurrency.least = 1  # what an earlier walk of this thread had to share is gone
        meter = Meter()
        dated: list[str] = []
        level = [""]
        n_folders = 1

        def cut(folders: Sequence[str]) -> Iterator[list[str]]:
            start = 0
            while start < len(folders):
                lot = [*folders[start : start + n_folders]]
                start += len(lot)
                yield lot

        while level:
            above, level, n_taken = level, [], 0
            read = partial(_read_timed, self._lister)
            for columns, seconds, effort in map_ahead(
                read, cut(above), min(n_threads, _MOST_THREADS)
            ):
                n_taken += len(columns.paths)
                for directory, names in self.take(columns):
                    self._layout.check_lab(directory)
                    dates, others = self._layout.divide(directory, names)
                    dated += (join(directory, name) for name in dates)
                    level += (join(directory, name) for name in others)
                if seconds < SECONDS_AT_ONCE:
                    n_folders = min(2 * n_folders, FOLDERS_AT_ONCE)
                if meter.count(CALLS_PER_DIRECTORY * len(columns.paths), *effort):
                    concurrency.note(*meter.read(), 1)
                if concurrency.wanted > 1:
                    left = [*above[n_taken:], *level]
                    return dated, [(directory, None) for directory in left]
        return dated, []

    def take(self, columns: Columns) -> Iterator[tuple[str, list[str]]]:
        """Take directories that were listed; yield each with the names of those in it."""
        odd = self._find_odd(columns)
        if not odd:  # nearly always; one by one a survey takes a tenth longer
            self._walked.extend(columns, [None] * len(columns.paths))
            self._counter.add(sum(columns.n_others))
        rows = zip(columns.paths, columns.subdirectories, strict=True)
        for position, (directory, below) in enumerate(rows):
            if position in odd:
                yield directory, self._list_alone(directory)
                continue
            if odd:
                times = columns.mtimes[position], columns.ctimes[position]
                n_others = columns.n_others[position]
                fingerprint = *times, columns.inodes[position]
                self._walked.add(directory, None, fingerprint, n_others, below)
                self._counter.add(n_others)
            yield directory, below.split("/") if below else []

    def _find_odd(self, columns: Columns) -> set[int]:
        """Return the positions of directories that have more than directories and other files."""
        odd = {row.directory for row in columns.odd}
        if any(columns.errors):
            odd |= {i for i, number in enumerate(columns.errors) if number}
        if columns.sizes:
            starts = [0, *columns.ends]
            odd |= {i for i, end in enumerate(columns.ends) if end > starts[i]}
        rows = zip(columns.paths, columns.subdirectories, strict=True)
        return odd | {i for i, row in enumerate(rows) if self._lister.has_own(*row)}


def _read_timed(
    lister: Lister, directories: Sequence[str]
) -> tuple[Columns, float, tuple[float, float]]:
    """Return the columns of some directories, the seconds that they took, and the effort."""
    begin, steps = time.perf_counter(), make_steps()
    stopwatch = Stopwatch(steps)
    columns = lister.read_selected(directories, in_session=False, steps=steps)
    return columns, time.perf_counter() - begin, stopwatch.read()
