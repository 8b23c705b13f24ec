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
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from polars_alf.alf.process_limits import start_threads
from polars_alf.errors import ScanError
from polars_alf.walk.batches import Listing
from polars_alf.walk.concurrency import Concurrency, ThreadsMeter
from polars_alf.walk.directory import Directory, Part
from polars_alf.walk.helper import Helper
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
        Whether to list a directory in a session with what lies below it. Where one of these hangs,
        each is listed alone instead.
    check
        Called while the visit waits; raises an error where it is to end.
    on_backoff
        Called with the share of the threads that is left when a crowded storage takes some.
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
        on_backoff: Callable[[float], None] = lambda _: None,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._lister = lister
        self._below = below
        self._concurrency = concurrency
        self._op_timeout = op_timeout
        self._at_once = at_once
        self._check = check
        self._on_backoff = on_backoff
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
        self._helpers: list[Helper] = []
        self._n_wanted = 0
        self._meter = ThreadsMeter()
        self._n_measured = concurrency.size
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

    def request(self, path: str, session: str | None, *, is_alone: bool = False) -> Directory:
        """Have a directory listed, and all below it: with it, or each alone."""
        is_alone = is_alone or session is None or not self._at_once
        directory = Directory(path, session, is_alone=is_alone)
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
        looks = [helper.look_at(now) for helper in helpers]
        n_calls = sum(calls for calls, _, _ in looks)
        work, paused = sum(work for _, work, _ in looks), sum(paused for _, _, paused in looks)
        efforts = [helper.take_effort() for helper in helpers]
        self._meter.count(n_calls, *map(sum, zip(*efforts, strict=True)))
        if self._concurrency.count(n_calls, max(work - paused, 0.0)):
            self._on_backoff(self._concurrency.backoff.share)
        # Threads that wait for their turn tell nothing of the storage.
        is_full = bool(self._jobs) and paused < work / 2
        if not (is_full and self._was_full):
            self._meter.read()  # threads without work tell nothing of the storage
            self._n_measured = self._concurrency.size
        elif self._meter.n_calls >= self._n_measured and self._meter.knows_enough:
            self._concurrency.note(*self._meter.read_at(self._n_measured), self._n_measured)
            self._n_measured = self._concurrency.size
        self._was_full = is_full
        if since_last > SLOW_SECONDS:
            # Stopped, perhaps, and the threads with it: what they do now is yet to be seen.
            for helper in helpers:
                helper.since = now
        for helper in helpers:
            if self._op_timeout is not None and now - helper.since > self._op_timeout:
                self._give_up(helper)
        n_slow = sum(now - helper.since > SLOW_SECONDS for helper in [*self._helpers])
        n_wanted = self._concurrency.size + n_slow
        self._keep(n_wanted)
        # A job may take long: those that began last pause in it. They go on where others end.
        working = sorted((h for h in helpers if h.work[1]), key=lambda h: h.work[1] or 0.0)
        for position, helper in enumerate(working):
            is_surplus = self._concurrency.backoff.is_active and position >= n_wanted
            helper.steps[3] = is_surplus

    def _keep(self, n_wanted: int) -> None:
        """Start threads that are missing; those beyond the number leave by themselves."""
        with self._lock:
            self._n_wanted = n_wanted
            new = [Helper(self._serve) for _ in range(n_wanted - len(self._helpers))]
            self._helpers += start_threads(new, least=0 if self._helpers else 1)

    def _give_up(self, helper: Helper) -> None:
        directory = helper.directory
        if directory is None or helper.has_moved():
            return
        with self._lock:
            if helper not in self._helpers:
                return
            helper.is_dismissed = True
            self._helpers.remove(helper)
        with directory.lock:
            if directory.n_left and not directory.is_lost:
                if not directory.is_alone:
                    directory.instead = self.request(
                        directory.path, directory.session, is_alone=True
                    )
                directory.is_lost = directory.is_done = True
        if not directory.is_alone:
            return  # only the next to hang tells which of its directories it is
        _hung[:] = [thread for thread in _hung if thread.is_alive()]
        _hung.append(helper)
        if len(_hung) > MOST_HUNG:
            raise ScanError(
                f"the archive {self._lister.root} does not answer: {len(_hung)} directories hang "
                f"at once, {directory.path!r} for one; tables that were there are as they were; "
                "see to the storage"
            )

    # In the threads that list

    def _serve(self, helper: Helper) -> None:
        while self._tokens.get() and not self._is_closed:
            try:
                directory, part = self._jobs.pop()
            except IndexError:  # cleared at this moment
                return
            helper.begin(directory)
            try:
                if part is not None:
                    self._examine(helper, directory, part)
                elif directory.is_alone:
                    self._list(helper, directory)
                else:
                    self._list_at_once(helper, directory)
                self._finish(directory)
            except BaseException as error:  # for the visiting thread, which waits
                self._error = error
                self._wakeups.put(None)
            helper.finish()
            with self._lock:
                if helper.is_dismissed:
                    return
                if len(self._helpers) > self._n_wanted:
                    self._helpers.remove(helper)
                    return

    def _list(self, helper: Helper, directory: Directory) -> None:
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
            is_alone = directory.is_alone and directory.session is not None
            directory.below = [self.request(*each, is_alone=is_alone) for each in wanted]

    def _list_at_once(self, helper: Helper, directory: Directory) -> None:
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
        if directory.is_lost:
            return
        directory.columns = columns
        codes = columns.unexamined
        # Some parts for each thread, so that all end at about the same time.
        size = max(len(codes) // (4 * self._concurrency.size), FILES_PER_PART if is_slow else most)
        lots = [codes[i : i + size] for i in range(0, len(codes), size)]
        names = columns.names
        nothing = Listing(self._lister.names)
        self._share(directory, [Part([names[c] for c in lot], nothing, lot) for lot in lots])
        # In the order of a visit, which is from the last one on.
        directory.below = [self.request(path, directory.session) for path in columns.left[::-1]]

    def _share(self, directory: Directory, parts: list[Part]) -> None:
        """Leave parts of a directory to whichever threads are free."""
        directory.parts += parts
        with directory.lock:
            directory.n_left += len(parts)
        for part in parts:
            self._jobs.append((directory, part))
            self._tokens.put(True)

    def _examine(self, helper: Helper, directory: Directory, part: Part) -> None:
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
