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

from collections.abc import Iterator, Sequence

import pyarrow as pa

from polars_alf.alf import grammar
from polars_alf.alf.paths import join, printable
from polars_alf.alf.root import Root
from polars_alf.arrow import make_table
from polars_alf.errors import ScanError
from polars_alf.parallel.progress import Counter
from polars_alf.schema import ISSUES, IssueKind
from polars_alf.walk.batches import Batch, Directories, Issue, KnownListings, Listing, Names
from polars_alf.walk.concurrency import CALLS_PER_DIRECTORY, Concurrency, Meter, find_concurrency
from polars_alf.walk.lister import Lister
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.prefetch import ListBelow, Prefetch

ROWS_PER_BATCH = 65_536


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
    """

    def __init__(
        self,
        root: Root,
        options: WalkOptions,
        counter: Counter | None = None,
        *,
        rows_per_batch: int = ROWS_PER_BATCH,
    ) -> None:
        self.root = root
        self.options = options
        self.counter = counter or Counter()
        self._rows_per_batch = rows_per_batch
        self._root_parts = tuple(filter(None, root.posix.split("/")))
        self._lister = Lister(root, options, lambda path: self._is_session(self._parts(path)))
        self._issues: list[Issue] = []
        self._walked = Directories()
        self._valid: set[str] = set()  # ends of directories that are collections as ALF has them
        self._batch = Batch(self._lister.names)

    def survey(self) -> list[str]:
        """List everything above the dates; return the dated folders, in no particular order."""
        if self._is_dated(""):
            return [""]
        dated: list[str] = []
        for directory, _, names in self._visit([("", None)], self._list_above_dates):
            self._check_lab(directory)
            dated += filter(self._is_dated, (join(directory, name) for name in names))
        return dated

    def walk(
        self, folders: Sequence[str], known: KnownListings | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Walk some dated folders.

        Parameters
        ----------
        folders
            Paths relative to the root, as `survey` gave them.
        known
            Listings of an earlier walk: directories that have not changed are not listed again.

        Yields
        ------
        pyarrow.RecordBatch
            ENTRIES, at least `rows_per_batch` rows each but for the last; never empty.
        """
        self._lister.known = known
        first = [(folder, self._find_session(folder)) for folder in reversed(folders)]
        for directory, session, names in self._visit(first, self._list_below):
            if session is None:
                self._report_no_session(directory)
            else:
                self._enter(directory, session, names)
            if len(self._batch.sizes) >= self._rows_per_batch:
                yield self._hand_on_batch()
        if self._batch.sizes:
            yield self._hand_on_batch()

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
        return make_table(self._issues, ISSUES)

    # Classified by their paths alone

    def _parts(self, directory: str) -> list[str]:
        return [*self._root_parts, *directory.split("/")] if directory else [*self._root_parts]

    @staticmethod
    def _is_session(parts: Sequence[str]) -> bool:
        return (
            len(parts) > 2
            and grammar.is_number(parts[-1])
            and grammar.is_date(parts[-2])
            and grammar.is_subject(parts[-3])
        )

    def _is_dated(self, directory: str) -> bool:
        parts = self._parts(directory)
        return self._is_session(parts) or (bool(directory) and grammar.looks_like_date(parts[-1]))

    def _find_session(self, directory: str) -> str | None:
        """Return a directory that lies in no session, if it is one itself."""
        return directory if self._is_session(self._parts(directory)) else None

    def _list_above_dates(
        self, directory: str, session: str | None, names: Sequence[str]
    ) -> list[tuple[str, str | None]]:
        """Return the directories that a survey enters."""
        paths = (join(directory, name) for name in names)
        return [(path, None) for path in paths if not self._is_dated(path)]

    def _list_below(
        self, directory: str, session: str | None, names: Sequence[str]
    ) -> list[tuple[str, str | None]]:
        """Return the directories that a walk enters, and the session of each."""
        if session is None:
            paths = [join(directory, name) for name in names]
            return [(path, self._find_session(path)) for path in paths]
        above = f"{directory}/" if directory else ""
        return [(above + name, session) for name in names]

    # Issues

    def _enter(self, directory: str, session: str, names: Sequence[str]) -> None:
        """Check a directory in a session, or the session itself."""
        for name in names:
            if name.isdigit():
                self._check_nested(join(directory, name), session)
        if directory != session:
            return
        self.counter.add(sessions=1)
        name = self._parts(directory)[-1]
        if len(name) < 3:
            self._report(
                directory,
                IssueKind.UNPADDED_NUMBER,
                f"ONE looks for this session in {name.zfill(3)!r}; rename the folder "
                f"{name!r} to that, or to a free number if there is one of that name",
            )

    def _report_no_session(self, directory: str) -> None:
        """Report a directory that lies in no session where it nearly is one."""
        parts = self._parts(directory)
        name = parts[-1] if parts else ""
        if grammar.looks_like_date(name) and not grammar.is_date(name):
            self._report(
                directory,
                IssueKind.INVALID_DATE,
                f"{name!r} is no calendar date, so there are no sessions in it; rename it",
            )
        elif len(parts) > 2 and name.isdigit() and grammar.is_date(parts[-2]):
            if not grammar.is_number(name):
                self._report(
                    directory,
                    IssueKind.INVALID_NUMBER,
                    f"session number {name!r} is not one to three digits; rename it",
                )
            else:
                self._report(
                    directory,
                    IssueKind.INVALID_SUBJECT,
                    f"subject {parts[-3]!r} may have letters, digits, '_', '-' and '.' only; "
                    "rename it",
                )

    def _check_lab(self, directory: str) -> None:
        parts = self._parts(directory)
        if len(parts) > 1 and parts[-1] == "Subjects" and not grammar.is_usual_lab(parts[-2]):
            self._report(
                directory.rpartition("/")[0],
                IssueKind.UNUSUAL_LAB,
                f"lab {parts[-2]!r} has more than letters, digits and '_'; ONE opens its data, "
                "but some of its functions cut the name; rename the folder if you can",
            )

    def _check_collection(self, directory: str, session: str) -> None:
        within = directory[len(session) :]
        collection = within if not session else within[1:]
        if grammar.parse_collection(collection) is not None:
            self._valid.add(within)
        else:
            self._report(
                directory,
                IssueKind.INVALID_COLLECTION,
                f"ALF allows no collection {collection!r}; its datasets are in the table with "
                "their real path, but ONE may not find them; rename it",
            )

    def _check_nested(self, directory: str, session: str) -> None:
        if self._is_session(self._parts(directory)):
            self._report(
                directory,
                IssueKind.NESTED_SESSION,
                f"looks like a session inside the session {session!r}, to which its files were "
                "given; move it out",
            )

    def _report(self, path: str, kind: IssueKind, message: str) -> None:
        self._issues.append((printable(path) or ".", str(kind), None, printable(message)))

    # The visit

    def _visit(
        self, first: Sequence[tuple[str, str | None]], below: ListBelow
    ) -> Iterator[tuple[str, str | None, list[str]]]:
        """List directories and all below them, the last one first, datasets into the batch.

        Yields each directory, its session, and the names of the directories in it.
        """
        threads, op_timeout = self.options.threads, self.options.op_timeout
        concurrency = find_concurrency(str(self.root)) if threads is None else Concurrency(threads)
        meter = Meter()
        stack = [*first]
        while stack:
            if concurrency.size > 1 or op_timeout is not None:
                yield from self._visit_prefetched(stack, below, concurrency)
                return
            directory, session = stack.pop()
            batch = self._batch
            n_before = batch.begin_directory()
            self._lister.list(directory, session, batch)
            names = self._end_directory(directory, session, n_before)
            n_calls = CALLS_PER_DIRECTORY + len(batch.sizes) - n_before
            yield directory, session, names
            if names:
                stack += below(directory, session, names)
            if meter.count(n_calls):
                concurrency.note(*meter.read())

    def _visit_prefetched(
        self, first: Sequence[tuple[str, str | None]], below: ListBelow, concurrency: Concurrency
    ) -> Iterator[tuple[str, str | None, list[str]]]:
        """Visit directories in the order of `_visit`, listed ahead by threads."""
        with Prefetch(self._lister, below, concurrency, self.options.op_timeout) as prefetch:
            # In the order of the visit, which is from the last one on.
            stack = [prefetch.request(*wanted) for wanted in reversed(first)][::-1]
            while stack:
                folder = stack.pop()
                prefetch.wait(folder)
                if folder.is_lost:
                    self._report_lost(folder.path)
                    continue
                n_before = self._batch.begin_directory()
                for part in folder.parts:
                    self._batch.extend(part.listing)
                    stack += part.below
                names = self._end_directory(folder.path, folder.session, n_before)
                yield folder.path, folder.session, names

    def _report_lost(self, directory: str) -> None:
        patience = f"did not answer within {self.options.op_timeout:g} s"
        if not directory:
            raise ScanError(
                f"the archive {self.root} {patience}; tables that were there are as they were; "
                "see to the storage, or give it more time"
            )
        self._report(
            directory,
            IssueKind.TIMED_OUT,
            f"{patience}, so nothing in it was taken; see to the storage, or give it more time",
        )

    def _end_directory(self, directory: str, session: str | None, n_before: int) -> list[str]:
        """Record a directory that was listed; return the names of those to enter."""
        # This runs once for every directory: nothing here that most of them do not need.
        listing = self._batch
        n_datasets = len(listing.sizes) - n_before
        n_others, names = listing.n_others, listing.subdirectories
        if n_datasets and session is not None:
            listing.directories.append(directory)
            listing.lengths.append(n_datasets)
            if directory[len(session) :] not in self._valid:
                self._check_collection(directory, session)
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
        self._issues += listing.issues
        if listing.n_strays:
            self._report(
                directory,
                IssueKind.OUTSIDE_SESSION,
                f"{listing.n_strays} files with names of datasets lie in no session; move them "
                "into one, [lab/Subjects/]subject/yyyy-mm-dd/number, or exclude them",
            )

    def _hand_on_batch(self) -> pa.RecordBatch:
        entries = self._batch.entries()
        if len(self._batch.names.datasets) > ROWS_PER_BATCH:
            self._lister.names = Names()  # those that never repeat must not pile up
        self._batch = Batch(self._lister.names)
        return entries
