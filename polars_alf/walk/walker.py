"""Walk a file system: directories to ENTRIES, and what else there is to say of them.

`Walker.survey` lists what lies above the dates and finds the *dated folders*: those called like a
date, or the sessions where the root is a date or a session itself. `Walker.walk` goes through
some of them.

Directories are visited depth first, so that memory stays low. As long as the storage answers at
once they are also listed one at a time, in a plain loop; where it keeps the processor waiting,
threads list them ahead of the visit (`polars_alf.walk.prefetch`), which stays the same. What
cannot be read becomes a row of ISSUES; what was read of the same directory before is kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pyarrow as pa

from polars_alf.alf.paths import join
from polars_alf.alf.root import Root
from polars_alf.arrow import make_table
from polars_alf.parallel.pacer import NO_PACER, Pacer
from polars_alf.parallel.progress import Counter
from polars_alf.schema import ISSUES
from polars_alf.walk.ahead import find_ahead
from polars_alf.walk.at_once import read_at_once
from polars_alf.walk.batches import Batch, Directories, Listing, Names
from polars_alf.walk.columns import Columns
from polars_alf.walk.concurrency import (
    CALLS_PER_DIRECTORY,
    Concurrency,
    Meter,
    Stopwatch,
    find_concurrency,
    visits,
)
from polars_alf.walk.directory import Directory
from polars_alf.walk.folders import FOLDERS_AT_ONCE, SECONDS_AT_ONCE, Folders
from polars_alf.walk.intake import Intake, Wanted
from polars_alf.walk.known import Known, KnownListings
from polars_alf.walk.layout import Layout
from polars_alf.walk.lister import Lister
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.prefetch import ListBelow, Prefetch
from polars_alf.walk.recalled import Unchanged

ROWS_PER_BATCH = 65_536

_FILES_AT_ONCE = 65_536
"""Files after which a call ends, so that progress shows and an interrupt is heard."""


class Walker:
    """Walk one archive, or some dated folders of it.

    Parameters
    ----------
    root
        The archive.
    options
        What to walk, and how.
    counter
        Counts files and sessions as they are found.
    rows_per_batch
        Least number of rows after which a batch is handed on, at the end of a directory.
    n_threads
        Processors that this and the other walks under way may use.
    pacer
        Gives calls to the storage their turns.

    Attributes
    ----------
    begun_ns : int
        When the first of what was walked may have been listed, in nanoseconds since the epoch.
    """

    def __init__(
        self,
        root: Root,
        options: WalkOptions,
        counter: Counter | None = None,
        *,
        rows_per_batch: int = ROWS_PER_BATCH,
        n_threads: int = 1,
        pacer: Pacer = NO_PACER,
    ) -> None:
        self.root = root
        self.options = options
        self.counter = counter or Counter()
        self.pacer = pacer
        self.begun_ns = time.time_ns()
        self._rows_per_batch = rows_per_batch
        self._n_threads = n_threads
        self._layout = Layout(root)
        self._lister = self._open_lister()
        self._walked = Directories()
        self._folders = Folders(
            self._lister, self._layout, self.counter, self._walked, self._list_alone
        )
        self._intake = Intake(
            self._folders,
            lister=self._lister,
            layout=self._layout,
            counter=self.counter,
            walked=self._walked,
        )

    def _open_lister(self) -> Lister:
        return Lister(self.root, self.options, self._layout.is_session, self.pacer)

    def survey(self, known: KnownListings | None = None) -> list[str]:
        """List everything above the dates; return the dated folders, in no particular order.

        `known` are listings of an earlier survey.
        """
        if self._layout.is_dated(""):
            return [""]
        self._lister.known = known
        dated: list[str] = []
        left: list[Wanted] = [("", None)]
        has_timeout = self.options.op_timeout is not None
        if known is None and not has_timeout and not self._lister.pacer.turns:
            dated, left = self._folders.survey(self._find_concurrency(), self._n_threads)
        for visited in self._visit(left, self._layout.list_above_dates):
            if visited is not None:
                directory, _, names = visited
                self._layout.check_lab(directory)
                dated += (join(directory, n) for n in self._layout.divide(directory, names)[0])
        return dated

    def walk(self, folders: Sequence[str], known: Known | None = None) -> Iterator[pa.RecordBatch]:
        """Walk some dated folders.

        Parameters
        ----------
        folders
            Paths relative to the root, as `survey` gave them.
        known
            Of an earlier walk: directories that have not changed are not listed again.

        Yields
        ------
        pyarrow.RecordBatch
            ENTRIES, at least `rows_per_batch` rows each but for the last; never empty.
        """
        if isinstance(known, Unchanged):
            wanted, known = self._intake.take_known(folders, known), None
        else:
            wanted = [(folder, self._layout.find_session(folder)) for folder in folders]
        self._lister.known = known
        at_once = known is None and not self._lister.has_own_in([path for path, _ in wanted])
        if at_once and self._lister.takes_all:
            wanted = self._take_ahead(wanted)
        stack = wanted[::-1]
        if at_once and self.options.op_timeout is None:
            yield from self._walk_at_once(stack)
        for visited in self._visit(stack, self._layout.list_below, at_once=at_once):
            if visited is not None:
                self._check(*visited)
            if len(self._intake.batch.sizes) >= self._rows_per_batch:
                yield self._hand_on_batch()
        if self._intake.batch.sizes:
            yield self._hand_on_batch()

    def _take_ahead(self, wanted: list[Wanted]) -> list[Wanted]:
        """Take what was listed before the walk began; return what is left."""
        ahead = find_ahead(str(self.root))
        if ahead is None:
            return wanted
        left, is_any_taken = self._intake.take_ahead(wanted, ahead)
        if is_any_taken:
            self.begun_ns = min(self.begun_ns, ahead.begun_ns)
        return left

    def _check(self, directory: str, session: str | None, names: Sequence[str]) -> None:
        """Judge a directory that was visited."""
        if session is None:
            self._layout.report_no_session(directory)
        else:
            self._layout.check_in_session(directory, session, names)
            self.counter.add(sessions=directory == session)

    def directories(self) -> pa.Table:
        """Return DIRECTORIES: those inside sessions, each before what lies below it."""
        return self._walked.in_sessions()

    def listings(self) -> pa.Table:
        """Return LISTINGS of all directories that were walked."""
        return self._walked.listings()

    @property
    def n_other_files(self) -> int:
        """Files that are not ALF datasets, or lie outside every session."""
        return sum(self._walked.n_others)

    def issues(self) -> pa.Table:
        """Return ISSUES up to now, in the order of the walk."""
        return make_table(self._layout.issues, ISSUES)

    # Many directories at once

    def _walk_at_once(self, stack: list[Wanted]) -> Iterator[pa.RecordBatch]:
        """Walk as long as the storage answers at once; the stack keeps what is left.

        Directories come in the order of `_visit`, but for what a call left to the next.
        """
        concurrency = self._find_concurrency()
        meter = Meter(Stopwatch(self._lister.steps))
        n_folders = 1
        while stack:
            concurrency.least = max(self._n_threads // max(visits.number, 1), 1)
            if concurrency.wanted > 1 or self._lister.pacer.turns:
                return  # this thread is to hear of an interrupt while others wait for a turn
            in_session = stack[-1][1] is not None
            taken = [stack.pop()]
            while stack and len(taken) < n_folders and (stack[-1][1] is not None) == in_session:
                taken.append(stack.pop())
            begin = time.perf_counter()
            columns = read_at_once(
                self._lister,
                taken,
                most_files=min(_FILES_AT_ONCE, self._rows_per_batch),
                most_examined=_FILES_AT_ONCE,
                check=self.counter.add,
            )
            if time.perf_counter() - begin < SECONDS_AT_ONCE:
                n_folders = min(2 * n_folders, FOLDERS_AT_ONCE)
            left = zip(columns.left, columns.left_origins, strict=True)
            stack += [(directory, taken[origin][1]) for directory, origin in left][::-1]
            if in_session:
                sessions = [session or "" for _, session in taken]
                begun = {directory for directory, session in taken if directory == session}
                within = [*map(sessions.__getitem__, columns.origins)]
                self._intake.take_sessions(columns, within, begun)
            else:
                for below in reversed(self._intake.take_folders(columns)):
                    stack += below
            n_calls = CALLS_PER_DIRECTORY * len(columns.paths) + len(columns.sizes)
            if meter.count(n_calls):
                concurrency.note(*meter.read(), 1)
            if len(self._intake.batch.sizes) >= self._rows_per_batch:
                yield self._hand_on_batch()

    def _list_alone(self, directory: str) -> list[str]:
        """List and take a directory that lies in no session; return the names of those in it."""
        n_before = self._intake.batch.begin_directory()
        self._lister.list_directory(directory, None, self._intake.batch)
        return self._end_directory(directory, None, n_before)

    def _find_concurrency(self) -> Concurrency:
        threads = self.options.threads
        return find_concurrency(str(self.root)) if threads is None else Concurrency(threads)

    # The visit, directory by directory

    def _visit(
        self, first: Sequence[Wanted], below: ListBelow, *, at_once: bool = False
    ) -> Iterator[tuple[str, str | None, list[str]] | None]:
        """List directories and all below them, the last one first, datasets into the batch.

        Yields each directory, its session, and the names of the directories in it; None for what
        was listed, and judged, `at_once`.
        """
        op_timeout = self.options.op_timeout
        concurrency = self._find_concurrency()
        if not at_once:
            concurrency.least = 1  # what an earlier walk of this thread had to share is gone
        meter = Meter(Stopwatch(self._lister.steps))
        stack = [*first]
        while stack:
            if concurrency.wanted > 1 or op_timeout is not None or self._lister.pacer.turns:
                yield from self._visit_prefetched(stack, below, concurrency, at_once=at_once)
                return
            directory, session = stack.pop()
            batch = self._intake.batch
            n_before = batch.begin_directory()
            self._lister.list_directory(directory, session, batch)
            names = self._end_directory(directory, session, n_before)
            n_calls = CALLS_PER_DIRECTORY + len(batch.sizes) - n_before
            yield directory, session, names
            if names:
                stack += below(directory, session, names)
            if meter.count(n_calls):
                concurrency.note(*meter.read(), 1)

    def _visit_prefetched(
        self,
        first: Sequence[Wanted],
        below: ListBelow,
        concurrency: Concurrency,
        *,
        at_once: bool,
    ) -> Iterator[tuple[str, str | None, list[str]] | None]:
        """Visit directories in the order of `_visit`, listed ahead by threads."""
        with Prefetch(
            self._lister,
            below,
            concurrency,
            self.options.op_timeout,
            at_once=at_once and self._lister.takes_all,
            check=self.counter.add,
            on_backoff=self.counter.note_backoff,
        ) as prefetch:
            # In the order of the visit, which is from the last one on.
            stack = [prefetch.request(*wanted) for wanted in reversed(first)][::-1]
            while stack:
                folder = stack.pop()
                prefetch.wait(folder)
                if folder.instead is not None:
                    stack.append(folder.instead)
                    continue
                if folder.is_lost:
                    self._layout.report_lost(folder.path, self.options.op_timeout)
                    continue
                stack += folder.below
                if folder.columns is not None and folder.session is not None:
                    self._take_listed(folder, folder.columns, folder.session)
                    yield None
                    continue
                n_before = self._intake.batch.begin_directory()
                for part in folder.parts:
                    self._intake.batch.extend(part.listing)
                names = self._end_directory(folder.path, folder.session, n_before)
                yield folder.path, folder.session, names

    def _take_listed(self, folder: Directory, columns: Columns, session: str) -> None:
        """Take a directory that was listed with what lies below it."""
        for part in folder.parts:
            if part.codes is not None and part.examined is not None:
                columns.add_examined(part.codes, part.examined)
        begun = {session} & {folder.path}
        self._intake.take_sessions(columns, [session] * len(columns.paths), begun)

    def _end_directory(self, directory: str, session: str | None, n_before: int) -> list[str]:
        """Record a directory that was listed; return the names of those to enter."""
        # This runs once for every directory: nothing here that most of them do not need.
        listing = self._intake.batch
        n_datasets = len(listing.sizes) - n_before
        n_others, names = listing.n_others, listing.subdirectories
        if n_datasets and session is not None:
            listing.directories.append(directory)
            listing.lengths.append(n_datasets)
            self._layout.check_collection(directory, session)
        fingerprint = listing.fingerprint
        below = "/".join(names) if names else ""
        if listing.issues or listing.linked or listing.n_strays:
            fingerprint = None
            self._record_odd(directory, listing)
            names += listing.linked
        self._walked.add(directory, session, fingerprint, n_others, below)
        self.counter.add(n_datasets + n_others)
        return names

    def _record_odd(self, directory: str, listing: Listing) -> None:
        """Record what few directories have."""
        self._layout.issues += listing.issues
        if listing.n_strays:
            self._layout.report_strays(directory, listing.n_strays)

    def _hand_on_batch(self) -> pa.RecordBatch:
        entries = self._intake.batch.entries()
        if len(self._intake.batch.names.datasets) > ROWS_PER_BATCH:
            self._lister.names = Names()  # those that never repeat must not pile up
        self._intake.batch = Batch(self._lister.names)
        return entries
