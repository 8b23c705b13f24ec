"""List directories ahead of a visit, in threads, so that calls to the storage overlap.

A visit asks for its first directories and waits for each in its own order; what lies below one
that was listed is listed without being asked for, widest first. The threads are daemons and are
never joined: a call that hangs must keep neither the visit nor the end of the process waiting.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from polars_alf.errors import ScanError
from polars_alf.walk.batches import Listing
from polars_alf.walk.concurrency import CALLS_PER_DIRECTORY, Meter, Pace
from polars_alf.walk.lister import Lister, close

FILES_PER_PIECE = 8
"""Files of a directory that one thread examines at a time: several share a large directory."""

MOST_WAITING = 4096
"""Pieces and folders to put off at most: beyond, memory matters more than who is free."""

LOOK_SECONDS = 0.025
"""How often to look after the threads while waiting."""

SLOW_SECONDS = 1.0
"""After so long in one call a thread no longer counts: another takes its place meanwhile."""

MOST_HUNG = 256
"""Threads that one process gives up before it takes all of the storage to be gone."""

Below = Callable[[str, str | None, Sequence[str]], list[tuple[str, str | None]]]
"""From a directory, its session and names in it, to directories to list below it."""

_hung: list[threading.Thread] = []


class Piece:
    """Some entries of a directory: what they are, and the folders among them to go down to."""

    __slots__ = ("below", "entries", "listing")

    def __init__(self, entries: list[os.DirEntry[str]], listing: Listing) -> None:
        self.entries = entries
        self.listing = listing
        self.below: list[Folder] = []


class Folder:
    """A directory that is listed ahead.

    Parameters
    ----------
    path, session
        As for `Lister.list`.

    Attributes
    ----------
    pieces : list of Piece
        What was met, in the order of the entries. Whole once it was waited for.
    is_lost : bool
        Whether it was given up, as it did not answer; its pieces are then worth nothing.
    """

    __slots__ = ("is_done", "is_lost", "lock", "n_left", "path", "pieces", "session", "target")

    def __init__(self, path: str, session: str | None) -> None:
        self.path = path
        self.session = session
        self.pieces: list[Piece] = []
        self.is_done = False
        self.is_lost = False
        self.lock = threading.Lock()
        self.n_left = 1  # pieces that are not examined yet; the last one is there from the start
        self.target: int | str = ""

    def __del__(self) -> None:
        # When its last piece is examined, or when a visit that ended early is forgotten.
        close(self.target)


class _Helper(threading.Thread):
    """A thread that lists.

    Attributes
    ----------
    folder : Folder or None
        What it is at.
    n_steps : int
        Steps since it began, one for each call at least: as long as this rises it is not hung.
    n_calls : int
        Calls that took it forward, about.
    """

    def __init__(self, serve: Callable[[_Helper], None]) -> None:
        super().__init__(name="polars_alf-lists-ahead", daemon=True)
        self.folder: Folder | None = None
        self.n_steps = 0
        self.n_calls = 0
        self._seen = 0, 0
        self.since = time.monotonic()
        self.is_dismissed = False
        self._serve = serve

    def run(self) -> None:
        self._serve(self)

    def look_at(self, now: float) -> int:
        """Return the number of calls since the last look; note when it last took a step."""
        n_steps, n_calls = self._seen
        self._seen = self.n_steps, self.n_calls
        if self.n_steps != n_steps or self.folder is None:
            self.since = now
        return self.n_calls - n_calls

    def has_moved(self) -> bool:
        """Tell whether it took a step since the last look."""
        return self.n_steps != self._seen[0]

    def counting(self, entries: Iterable[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        """Yield entries, each a step."""
        for entry in entries:
            self.n_steps += 1
            yield entry


class Ahead:
    """List directories ahead of a visit. A context manager: at its end threads are let go.

    Parameters
    ----------
    lister
        What lists them.
    below
        Which directories to list below one; called from all threads.
    pace
        How many threads; told how they do.
    op_timeout
        Seconds without an answer after which a directory is lost; None waits for ever.
    """

    def __init__(
        self, lister: Lister, below: Below, pace: Pace, op_timeout: float | None = None
    ) -> None:
        self._lister = lister
        self._below = below
        self._pace = pace
        self._op_timeout = op_timeout
        self._jobs: deque[tuple[Folder, Piece | None]] = deque()
        # One for each job. The queue waits without Python's lock, but has no two ends: files
        # go to the end where jobs are taken, as each keeps a directory open, folders to the other.
        self._tokens: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._awaited: Folder | None = None
        self._error: BaseException | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self._helpers: list[_Helper] = []
        self._n_wanted = 0
        self._meter = Meter()
        self._was_full = True
        self._last_look = time.monotonic()

    def __enter__(self) -> Self:
        self._keep(self._pace.size)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_closed = True
        self._jobs.clear()
        for _ in self._helpers:
            self._tokens.put(False)

    def ask(self, path: str, session: str | None) -> Folder:
        """Have a directory listed, and all below it."""
        folder = Folder(path, session)
        if len(self._jobs) < MOST_WAITING:
            # Widest first: a deep folder that is begun last would keep the visit waiting.
            self._jobs.appendleft((folder, None))
        else:
            self._jobs.append((folder, None))
        self._tokens.put(True)
        return folder

    def wait(self, folder: Folder) -> None:
        """Wait until a directory is listed, or lost.

        Raises
        ------
        ScanError
            It is the root and cannot be listed, or the storage as a whole does not answer.
        """
        # First this, then a look at whether it is done: a helper does it the other way round.
        self._awaited = folder
        self._look_after()
        while not folder.is_done:
            with contextlib.suppress(queue.Empty):
                self._wakeups.get(timeout=LOOK_SECONDS)
            if self._error:
                raise self._error
            self._look_after()

    # What the visiting thread does

    def _look_after(self) -> None:
        """See how the threads do: set their number, and give up what hangs."""
        now = time.monotonic()
        since_last = now - self._last_look
        if since_last < LOOK_SECONDS:
            return
        self._last_look = now
        helpers = [*self._helpers]
        self._meter.count(sum(helper.look_at(now) for helper in helpers))
        is_full = bool(self._jobs)
        if not (is_full and self._was_full):
            self._meter.read()  # threads without work tell nothing of the storage
        elif self._meter.n_calls >= self._pace.size:
            self._pace.note(*self._meter.read())
        self._was_full = is_full
        if since_last > SLOW_SECONDS:
            # Stopped, perhaps, and the threads with it: what they do now is yet to be seen.
            for helper in helpers:
                helper.since = now
        for helper in helpers:
            if self._op_timeout is not None and now - helper.since > self._op_timeout:
                self._give_up(helper)
        n_slow = sum(now - helper.since > SLOW_SECONDS for helper in [*self._helpers])
        self._keep(self._pace.size + n_slow)

    def _keep(self, n_wanted: int) -> None:
        """Start threads that are missing; those beyond the number leave by themselves."""
        with self._lock:
            self._n_wanted = n_wanted
            new = [_Helper(self._serve) for _ in range(n_wanted - len(self._helpers))]
            self._helpers += new
        for helper in new:
            helper.start()

    def _give_up(self, helper: _Helper) -> None:
        folder = helper.folder
        if folder is None or helper.has_moved():
            return
        with self._lock:
            if helper not in self._helpers:
                return
            helper.is_dismissed = True
            self._helpers.remove(helper)
        with folder.lock:
            if folder.n_left:
                folder.is_lost = folder.is_done = True
        _hung[:] = [thread for thread in _hung if thread.is_alive()]
        _hung.append(helper)
        if len(_hung) > MOST_HUNG:
            raise ScanError(
                f"the archive {self._lister.root} does not answer: {len(_hung)} directories hang "
                f"at once, {folder.path!r} for one; tables that were there are as they were; see "
                "to the storage"
            )

    # What the threads do

    def _serve(self, helper: _Helper) -> None:
        while self._tokens.get() and not self._is_closed:
            try:
                folder, piece = self._jobs.pop()
            except IndexError:  # cleared at this moment
                return
            helper.n_steps += 1
            helper.folder = folder
            try:
                if piece is None:
                    self._list(helper, folder)
                else:
                    self._take(helper, folder, piece)
                    self._finish(folder)
            except BaseException as error:  # for the visiting thread, which waits
                self._error = error
                self._wakeups.put(None)
            helper.folder = None
            with self._lock:
                if helper.is_dismissed:
                    return
                if len(self._helpers) > self._n_wanted:
                    self._helpers.remove(helper)
                    return

    def _list(self, helper: _Helper, folder: Folder) -> None:
        """Read a directory's entries, and leave most of those that are files to others."""
        lister = self._lister
        stop = None
        # Directories first: each costs nothing to tell, and may have work for all threads in it.
        directories = Piece([], Listing(lister.names))
        folder.pieces.append(directories)
        if lister.recall(folder.path, directories.listing):
            self._ask_below(folder, directories, directories.listing.subdirectories)
            self._finish(folder)
            return
        files: list[os.DirEntry[str]] = []
        try:
            folder.target = lister.open(folder.path, directories.listing)
            with os.scandir(folder.target) as entries:
                for entry in helper.counting(entries):
                    if _is_directory(entry):
                        directories.entries = [entry]
                        self._take(helper, folder, directories)
                        continue
                    if len(files) == FILES_PER_PIECE:
                        self._share(helper, folder, files)
                        files = []
                    files.append(entry)
        except OSError as error:
            stop = error
        helper.n_calls += CALLS_PER_DIRECTORY
        rest = Piece(files, Listing(lister.names))
        folder.pieces.append(rest)
        self._take(helper, folder, rest)
        if stop:
            lister.report_stop(folder.path, stop, rest.listing)
        self._finish(folder)

    def _share(self, helper: _Helper, folder: Folder, files: list[os.DirEntry[str]]) -> None:
        """Have some files of a directory examined by whoever is free."""
        piece = Piece(files, Listing(self._lister.names))
        folder.pieces.append(piece)
        if len(self._jobs) > MOST_WAITING:
            # A large directory is read faster than its files are examined.
            self._take(helper, folder, piece)
            return
        with folder.lock:
            folder.n_left += 1
        self._jobs.append((folder, piece))
        self._tokens.put(True)

    def _take(self, helper: _Helper, folder: Folder, piece: Piece) -> None:
        """Examine some entries of a directory, and have listed what lies below them."""
        listing = piece.listing
        n_before = len(listing.sizes), len(listing.subdirectories), len(listing.linked)
        entries = helper.counting(piece.entries)
        self._lister.take(entries, folder.path, folder.session, listing)
        helper.n_calls += len(listing.sizes) - n_before[0]
        names = [*listing.subdirectories[n_before[1] :], *listing.linked[n_before[2] :]]
        self._ask_below(folder, piece, names)

    def _ask_below(self, folder: Folder, piece: Piece, names: Sequence[str]) -> None:
        if names and not folder.is_lost:
            below = self._below(folder.path, folder.session, names)
            piece.below += [self.ask(path, session) for path, session in below]

    def _finish(self, folder: Folder) -> None:
        """Note that a part of a directory is done, perhaps its last."""
        with folder.lock:
            folder.n_left -= 1
            if folder.n_left:
                return
        target, folder.target = folder.target, ""
        folder.is_done = True
        if folder is self._awaited:
            self._wakeups.put(None)
        close(target)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
