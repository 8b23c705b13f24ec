"""Prefetch listings: threads list directories ahead of a visit, so that calls overlap.

A visit requests its first directories and waits for each in its own order; directories below one
that was listed are listed without a request, widest first. The threads are daemons and are never
joined: a call that hangs must keep neither the visit nor the end of the process waiting.
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
from polars_alf.walk.concurrency import CALLS_PER_DIRECTORY, Concurrency, Meter
from polars_alf.walk.lister import Lister, close

FILES_PER_PART = 8
"""Files of a directory that one thread examines at a time: several share a large directory."""

MOST_WAITING = 4096
"""Parts and directories that wait at most: beyond, memory matters more than who is free."""

LOOK_SECONDS = 0.025
"""Time between two checks of the threads."""

SLOW_SECONDS = 1.0
"""Time in one call after which a thread does not count: another takes its place meanwhile."""

MOST_HUNG = 256
"""Threads that one process gives up before it takes all of the storage to be gone."""

ListBelow = Callable[[str, str | None, Sequence[str]], list[tuple[str, str | None]]]
"""Function from a directory, its session and the names in it to the directories to list next."""

_hung: list[threading.Thread] = []


class Part:
    """Some entries of a directory, their listing, and the directories among them to enter."""

    __slots__ = ("below", "entries", "listing")

    def __init__(self, entries: list[os.DirEntry[str]], listing: Listing) -> None:
        self.entries = entries
        self.listing = listing
        self.below: list[Directory] = []


class Directory:
    """A directory that is listed ahead.

    Attributes
    ----------
    parts : list of Part
        The entries in their order; complete once the directory was waited for.
    is_lost : bool
        Whether the directory was given up, as it did not answer: its parts are worth nothing.
    """

    __slots__ = ("is_done", "is_lost", "lock", "n_left", "parts", "path", "session", "target")

    def __init__(self, path: str, session: str | None) -> None:
        self.path = path
        self.session = session
        self.parts: list[Part] = []
        self.is_done = False
        self.is_lost = False
        self.lock = threading.Lock()
        self.n_left = 1  # parts that are not examined yet; the last one is there from the start
        self.target: int | str = ""

    def __del__(self) -> None:
        # When its last part is examined, or when a visit that ended early is forgotten.
        close(self.target)


class _Helper(threading.Thread):
    """A thread that lists.

    Attributes
    ----------
    directory : Directory or None
        The directory that it lists now.
    n_steps : int
        Steps since it began, at least one for each call: as long as this rises it is not hung.
    n_calls : int
        Calls to the storage, about.
    """

    def __init__(self, serve: Callable[[_Helper], None]) -> None:
        super().__init__(name="polars_alf-lists-ahead", daemon=True)
        self.directory: Directory | None = None
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
        if self.n_steps != n_steps or self.directory is None:
            self.since = now
        return self.n_calls - n_calls

    def has_moved(self) -> bool:
        """Whether it took a step since the last look."""
        return self.n_steps != self._seen[0]

    def counting(self, entries: Iterable[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        """Yield entries, each a step."""
        for entry in entries:
            self.n_steps += 1
            yield entry


class Prefetch:
    """List directories ahead of a visit. A context manager: at its end threads are let go.

    Parameters
    ----------
    lister
        Lists one directory.
    below
        Chooses the directories to list next; called from all threads.
    concurrency
        Number of threads, which it learns from their work.
    op_timeout
        Seconds without an answer after which a directory is lost; None waits for ever.
    most_waiting
        Parts and directories that wait at most; beyond, the latest is taken first.
    """

    def __init__(
        self,
        lister: Lister,
        below: ListBelow,
        concurrency: Concurrency,
        op_timeout: float | None = None,
        *,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._lister = lister
        self._below = below
        self._concurrency = concurrency
        self._op_timeout = op_timeout
        self._most_waiting = most_waiting
        self._jobs: deque[tuple[Directory, Part | None]] = deque()
        # One for each job. The queue waits without Python's lock, but has no two ends: files go
        # to the end where jobs are taken, as each keeps a directory open; directories to the other.
        self._tokens: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._awaited: Directory | None = None
        self._error: BaseException | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self._helpers: list[_Helper] = []
        self._n_wanted = 0
        self._meter = Meter()
        self._was_full = True
        self._last_look = time.monotonic()

    def __enter__(self) -> Self:
        self._keep(self._concurrency.size)
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

    def request(self, path: str, session: str | None) -> Directory:
        """Have a directory listed, and all below it."""
        directory = Directory(path, session)
        if len(self._jobs) < self._most_waiting:
            # Widest first: a deep directory that is begun last would keep the visit waiting.
            self._jobs.appendleft((directory, None))
        else:
            self._jobs.append((directory, None))
        self._tokens.put(True)
        return directory

    def wait(self, directory: Directory) -> None:
        """Wait until a directory is listed, or lost.

        Raises
        ------
        ScanError
            It is the root and cannot be listed, or the storage as a whole does not answer.
        """
        # First this, then a look at whether it is done: a helper does it the other way round.
        self._awaited = directory
        self._look_after()
        while not directory.is_done:
            with contextlib.suppress(queue.Empty):
                self._wakeups.get(timeout=LOOK_SECONDS)
            if self._error:
                raise self._error
            self._look_after()

    # In the visiting thread

    def _look_after(self) -> None:
        """Set the number of threads from their work, and give up directories that hang."""
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
        elif self._meter.n_calls >= self._concurrency.size:
            self._concurrency.note(*self._meter.read())
        self._was_full = is_full
        if since_last > SLOW_SECONDS:
            # Stopped, perhaps, and the threads with it: what they do now is yet to be seen.
            for helper in helpers:
                helper.since = now
        for helper in helpers:
            if self._op_timeout is not None and now - helper.since > self._op_timeout:
                self._give_up(helper)
        n_slow = sum(now - helper.since > SLOW_SECONDS for helper in [*self._helpers])
        self._keep(self._concurrency.size + n_slow)

    def _keep(self, n_wanted: int) -> None:
        """Start threads that are missing; those beyond the number leave by themselves."""
        with self._lock:
            self._n_wanted = n_wanted
            new = [_Helper(self._serve) for _ in range(n_wanted - len(self._helpers))]
            self._helpers += new
        for helper in new:
            helper.start()

    def _give_up(self, helper: _Helper) -> None:
        directory = helper.directory
        if directory is None or helper.has_moved():
            return
        with self._lock:
            if helper not in self._helpers:
                return
            helper.is_dismissed = True
            self._helpers.remove(helper)
        with directory.lock:
            if directory.n_left:
                directory.is_lost = directory.is_done = True
        _hung[:] = [thread for thread in _hung if thread.is_alive()]
        _hung.append(helper)
        if len(_hung) > MOST_HUNG:
            raise ScanError(
                f"the archive {self._lister.root} does not answer: {len(_hung)} directories hang "
                f"at once, {directory.path!r} for one; tables that were there are as they were; "
                "see to the storage"
            )

    # In the threads that list

    def _serve(self, helper: _Helper) -> None:
        while self._tokens.get() and not self._is_closed:
            try:
                directory, part = self._jobs.pop()
            except IndexError:  # cleared at this moment
                return
            helper.n_steps += 1
            helper.directory = directory
            try:
                if part is None:
                    self._list(helper, directory)
                else:
                    self._take(helper, directory, part)
                    self._finish(directory)
            except BaseException as error:  # for the visiting thread, which waits
                self._error = error
                self._wakeups.put(None)
            helper.directory = None
            with self._lock:
                if helper.is_dismissed:
                    return
                if len(self._helpers) > self._n_wanted:
                    self._helpers.remove(helper)
                    return

    def _list(self, helper: _Helper, directory: Directory) -> None:
        """Read a directory's entries, and leave most of the files to other threads."""
        lister = self._lister
        stop = None
        # Directories first: each costs nothing to tell, and may have work for all threads in it.
        directories = Part([], Listing(lister.names))
        directory.parts.append(directories)
        if lister.recall(directory.path, directories.listing):
            helper.n_calls += 1
            self._request_below(directory, directories, directories.listing.subdirectories)
            self._finish(directory)
            return
        files: list[os.DirEntry[str]] = []
        try:
            directory.target = lister.open(directory.path, directories.listing)
            with os.scandir(directory.target) as entries:
                for entry in helper.counting(entries):
                    if _is_directory(entry):
                        directories.entries = [entry]
                        self._take(helper, directory, directories)
                        continue
                    if len(files) == FILES_PER_PART:
                        self._share(helper, directory, files)
                        files = []
                    files.append(entry)
        except OSError as error:
            stop = error
        helper.n_calls += CALLS_PER_DIRECTORY
        rest = Part(files, Listing(lister.names))
        directory.parts.append(rest)
        self._take(helper, directory, rest)
        if stop:
            lister.report_stop(directory.path, stop, rest.listing)
        self._finish(directory)

    def _share(self, helper: _Helper, directory: Directory, files: list[os.DirEntry[str]]) -> None:
        """Have some files of a directory examined by any thread that is free."""
        part = Part(files, Listing(self._lister.names))
        directory.parts.append(part)
        if len(self._jobs) > self._most_waiting:
            # A large directory is read faster than its files are examined.
            self._take(helper, directory, part)
            return
        with directory.lock:
            directory.n_left += 1
        self._jobs.append((directory, part))
        self._tokens.put(True)

    def _take(self, helper: _Helper, directory: Directory, part: Part) -> None:
        """Examine some entries of a directory, and request the directories below them."""
        listing = part.listing
        n_before = len(listing.sizes), len(listing.subdirectories), len(listing.linked)
        entries = helper.counting(part.entries)
        self._lister.take(entries, directory.path, directory.session, listing)
        helper.n_calls += len(listing.sizes) - n_before[0]
        names = [*listing.subdirectories[n_before[1] :], *listing.linked[n_before[2] :]]
        self._request_below(directory, part, names)

    def _request_below(self, directory: Directory, part: Part, names: Sequence[str]) -> None:
        if names and not directory.is_lost:
            below = self._below(directory.path, directory.session, names)
            part.below += [self.request(path, session) for path, session in below]

    def _finish(self, directory: Directory) -> None:
        """Count a part of a directory as done, perhaps its last."""
        with directory.lock:
            directory.n_left -= 1
            if directory.n_left:
                return
        target, directory.target = directory.target, ""
        directory.is_done = True
        if directory is self._awaited:
            self._wakeups.put(None)
        close(target)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
