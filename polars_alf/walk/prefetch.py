"""Prefetch listings: threads list directories ahead of a visit, so that calls overlap.

A visit requests its first directories and waits for each in its own order; directories below one
that was listed are listed without a request, widest first. The threads are daemons and are never
joined: a call that hangs must keep neither the visit nor the end of the process waiting.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from polars_alf.alf.process_limits import start_threads
from polars_alf.errors import ScanError
from polars_alf.walk.batches import Listing
from polars_alf.walk.columns import Columns, Examined
from polars_alf.walk.concurrency import Concurrency, Meter
from polars_alf.walk.lister import Lister

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


FILES_PER_JOB = 128
"""Files of a session after which others go on with the rest of it, where storage is slow."""

FILES_PER_FAST_JOB = 1024
"""The same where it is fast: enough for a job to outweigh its own cost."""


class Part:
    """Some files of a directory: their names until they are examined, then their listing.

    Of a session that is listed at once, ``codes`` of the names, and then ``examined``.
    """

    __slots__ = ("codes", "examined", "listing", "names")

    def __init__(self, names: list[str], listing: Listing, codes: array[int] | None = None) -> None:
        self.names = names
        self.listing = listing
        self.codes = codes
        self.examined: Examined | None = None


class Directory:
    """A directory that is listed ahead.

    Attributes
    ----------
    parts : list of Part
        The directory's own listing, then files that others examined.
    below : list of Directory
        The directories in it that are listed by themselves.
    columns : Columns or None
        The directory with what lies below it, where it was listed at once.
    is_lost : bool
        Whether the directory was given up, as it did not answer: its parts are worth nothing.
    """

    __slots__ = (
        *("below", "columns", "is_done", "is_lost", "lock", "n_left", "parts", "path", "session"),
    )

    def __init__(self, path: str, session: str | None) -> None:
        self.path = path
        self.session = session
        self.parts: list[Part] = []
        self.below: list[Directory] = []
        self.columns: Columns | None = None
        self.is_done = False
        self.is_lost = False
        self.lock = threading.Lock()
        self.n_left = 1  # parts that are not examined yet; the first one is there from the start


class _Helper(threading.Thread):
    """A thread that lists.

    Attributes
    ----------
    directory : Directory or None
        The directory that it lists now.
    steps : array
        The steps since it began, of which each call takes one or more: as long as this rises it is
        not hung. See `native.twin.list_directories`.
    """

    def __init__(self, serve: Callable[[_Helper], None]) -> None:
        super().__init__(name="polars_alf-lists-ahead", daemon=True)
        self.directory: Directory | None = None
        self.steps = array("q", [0, 0])
        self._seen = 0
        self.since = time.monotonic()
        self.is_dismissed = False
        self._serve = serve

    def run(self) -> None:
        self._serve(self)

    def look_at(self, now: float) -> int:
        """Return the number of steps since the last look; note when it last took one."""
        before, self._seen = self._seen, self.steps[0]
        if self._seen != before or self.directory is None:
            self.since = now
        return self._seen - before

    def has_moved(self) -> bool:
        """Whether it took a step since the last look."""
        return self.steps[0] != self._seen


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
    at_once
        Whether to list a directory in a session with what lies below it; one that hangs would then
        keep the others, so not with an `op_timeout`.
    check
        Called while the visit waits; raises an error where it is to end.
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
        at_once: bool = False,
        check: Callable[[], None] = lambda: None,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._lister = lister
        self._below = below
        self._concurrency = concurrency
        self._op_timeout = op_timeout
        self._at_once = at_once
        self._check = check
        self._most_waiting = most_waiting
        self._jobs: deque[tuple[Directory, Part | None]] = deque()
        # One for each job. The queue waits without Python's lock, but has no two ends: files go
        # to the end where jobs are taken, as the visit waits for them first; directories to the
        # other.
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
        for helper in [*self._helpers]:
            helper.steps[1] = 1
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
            self._check()
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
            self._helpers += start_threads(new, least=0 if self._helpers else 1)

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
            helper.steps[0] += 1
            helper.directory = directory
            try:
                if part is not None:
                    self._examine(helper, directory, part)
                elif self._at_once and directory.session is not None:
                    self._list_at_once(helper, directory, directory.session)
                else:
                    self._list(helper, directory)
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
        """List a directory, and leave most of its files to other threads."""
        lister = self._lister
        own = Part([], Listing(lister.names))
        directory.parts.append(own)
        names = lister.list_directory(
            directory.path,
            directory.session,
            own.listing,
            most_examined=FILES_PER_PART,
            steps=helper.steps,
        )
        self._share(
            directory,
            [
                Part(names[i : i + FILES_PER_PART], Listing(lister.names))
                for i in range(0, len(names), FILES_PER_PART)
            ],
        )
        below = [*own.listing.subdirectories, *own.listing.linked]
        if below and not directory.is_lost:
            wanted = self._below(directory.path, directory.session, below)
            directory.below = [self.request(path, session) for path, session in wanted]

    def _list_at_once(self, helper: _Helper, directory: Directory, session: str) -> None:
        """List a directory with what lies below it, and leave to others what is beyond a job."""
        is_slow = self._concurrency.learned > 1
        most = FILES_PER_JOB if is_slow else FILES_PER_FAST_JOB
        columns = self._lister.read(
            [directory.path],
            in_session=True,
            recurse=True,
            most_files=most,
            most_examined=most,
            steps=helper.steps,
        )
        directory.columns = columns
        codes = columns.unexamined
        # Some parts for each thread, so that all end at about the same time.
        size = max(len(codes) // (4 * self._concurrency.size), FILES_PER_PART if is_slow else most)
        lots = [codes[i : i + size] for i in range(0, len(codes), size)]
        names = columns.names
        nothing = Listing(self._lister.names)
        self._share(directory, [Part([names[c] for c in lot], nothing, lot) for lot in lots])
        # In the order of a visit, which is from the last one on.
        directory.below = [self.request(path, session) for path in columns.left[::-1]]

    def _share(self, directory: Directory, parts: list[Part]) -> None:
        """Leave parts of a directory to whichever threads are free."""
        directory.parts += parts
        with directory.lock:
            directory.n_left += len(parts)
        for part in parts:
            self._jobs.append((directory, part))
            self._tokens.put(True)

    def _examine(self, helper: _Helper, directory: Directory, part: Part) -> None:
        if directory.columns is None:
            self._lister.examine(directory.path, part.names, part.listing, helper.steps)
        else:
            path = directory.columns.paths[-1]
            part.examined = self._lister.examine_names(path, part.names, helper.steps)

    def _finish(self, directory: Directory) -> None:
        """Count a part of a directory as done, perhaps its last."""
        with directory.lock:
            directory.n_left -= 1
            if directory.n_left:
                return
        directory.is_done = True
        if directory is self._awaited:
            self._wakeups.put(None)
