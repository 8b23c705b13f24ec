"""The first directories of an archive, listed while the libraries are loaded.

To load Polars and Arrow takes one processor a third of a second. Nothing that is loaded then is
needed to list directories in C, so that the other one begins: it looks for dated folders from the
root on, and lists these, in the order of their paths, and the sessions in them. What it has by the
time that the walk begins is taken from here. Where the storage is slow, one thread would not
have much; that it is slow is what the walk then knows from the start.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import NamedTuple

from polars_alf import native
from polars_alf.alf.folder_names import is_number, looks_like_date
from polars_alf.alf.paths import STATE_DIR, join, path_key
from polars_alf.native.effort import make_steps
from polars_alf.walk.columns import EVERY, Columns, empty_columns, join_texts
from polars_alf.walk.concurrency import (
    CALLS_PER_DIRECTORY,
    IDLE,
    Meter,
    Stopwatch,
    find_concurrency,
    is_nice,
)

_MOST_LEVELS = 4
"""Folders above dates: a lab, its Subjects and a subject, in the folder of an archive."""

_MOST_FOLDERS = 64
"""Folders of a level that are looked into for dates: they have more than there is time for."""

_DATED_AT_ONCE = 1024
"""Dated folders that are listed before the sessions in them: a matter of milliseconds."""

_MOST_FILES = 1 << 18
"""Files that may be in memory before anything takes them, some 30 bytes each."""

_MOST_EXAMINED = 1 << 14
"""Files of a directory from which on it is left to the walk."""

_PATIENCE_SECONDS = 0.05
"""Time that the walk waits for the directory that is being listed."""


class Listed(NamedTuple):
    """Dated folders, and what lies in the sessions in them."""

    above: Columns
    """The dated folders."""
    within: Columns
    """Sessions that may be in them, and all directories below each."""
    sessions: list[str]
    """The session of each of the latter, if it is one."""


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
        self.n_complete = 0

    def add(self, within: Columns) -> None:
        """Add the columns of the sessions, and of all below them."""
        self.within = within
        self.n_complete = within.left_origins[0] if within.left_origins else len(self.sessions)
        if within.unexamined:
            self.n_complete = min(self.n_complete, within.origins[-1])

    def cut(self, start: int, stop: int) -> Listed:
        """Return what there is of the dated folders from one position up to another."""
        first, last = (min(self.starts[n], self.n_complete) for n in (start, stop))
        origins = self.within.origins
        within = self.within.cut(bisect_left(origins, first), bisect_left(origins, last))
        sessions = [*map(self.sessions.__getitem__, within.origins)]
        return Listed(self.above.cut(start, stop), within, sessions)


class Ahead:
    """Directories that one thread lists ahead of the walk of an archive.

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
        self._steps = make_steps()
        self._lots: list[_Lot] = []
        self._lock = threading.Lock()
        self._is_taken = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="list-ahead")
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(MemoryError):  # the walk will tell, if there is none for it
            self._list_sessions()

    def _list_sessions(self) -> None:
        dated = self._find_dated()
        n_files = 0
        for start in range(0, len(dated), _DATED_AT_ONCE):
            if self._is_enough or n_files >= _MOST_FILES:
                return
            some = dated[start : start + _DATED_AT_ONCE]
            most = _MOST_FILES - n_files
            lot = _Lot(self._list(some, in_sessions=False))
            lot.add(self._list(lot.sessions, in_sessions=True, most_files=most))
            n_files += len(lot.within.sizes)
            self._lots.append(lot)

    def _list(
        self, folders: Sequence[str], *, in_sessions: bool, most_files: int = EVERY
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
                self._steps,
            )
        )

    def _find_dated(self) -> list[str]:
        """Return dated folders, the first of the archive; none where the storage is slow."""
        meter = Meter(Stopwatch(self._steps))
        level, dated, is_measured = [""], list[str](), False
        for _ in range(_MOST_LEVELS):
            columns = self._list(level[:_MOST_FOLDERS], in_sessions=False)
            is_measured = meter.count(CALLS_PER_DIRECTORY * len(columns.paths))
            level = []
            for directory, below in zip(columns.paths, columns.subdirectories, strict=True):
                names = below.split("/") if below else []
                dated += (join(directory, n) for n in names if looks_like_date(n))
                others = (n for n in names if n != STATE_DIR and not looks_like_date(n))
                level += (join(directory, n) for n in others)
            level.sort(key=path_key)
            if dated or not level or self._is_enough:
                break
        busy, rate = meter.read()
        if is_measured and busy < IDLE:
            find_concurrency(self.root).note(busy, rate)
            return []
        return sorted(dated, key=path_key)

    def take(self, folders: Collection[str]) -> list[Listed]:
        """Return what was listed of some dated folders. The first call ends the listing."""
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

    @property
    def _is_enough(self) -> bool:
        return self._steps[6] != 0

    def stop(self) -> None:
        """Have no further directory begun."""
        self._steps[6] = 1

    def wait(self, seconds: float | None = None) -> None:
        """Wait until nothing is listed any more, at most for some seconds."""
        self._thread.join(seconds)


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
