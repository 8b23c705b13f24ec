"""Take directories that were listed many at a time into the rows of a walk.

The walk itself has listed them, or an earlier one, or the thread that lists ahead. They are taken
in the order that the walk would have, so that nothing after it can tell how they were listed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import compress, groupby
from operator import attrgetter, sub

from polars_alf.parallel.progress import Counter
from polars_alf.walk.ahead import Ahead
from polars_alf.walk.batches import Batch, Directories, Listing
from polars_alf.walk.columns import Columns
from polars_alf.walk.folders import Folders
from polars_alf.walk.layout import Layout
from polars_alf.walk.lister import Lister, split_names
from polars_alf.walk.recalled import Unchanged

Wanted = tuple[str, str | None]
"""A directory to list, and the session that it lies in."""


class Intake:
    """Take columns of directories into the rows of a walk.

    Parameters
    ----------
    folders
        Takes those that lie in no session.
    lister, layout, counter, walked
        Those of `folders`.

    Attributes
    ----------
    batch : Batch
        Takes the datasets.
    """

    def __init__(
        self,
        folders: Folders,
        *,
        lister: Lister,
        layout: Layout,
        counter: Counter,
        walked: Directories,
    ) -> None:
        self._folders = folders
        self._lister = lister
        self._layout = layout
        self._counter = counter
        self._walked = walked
        self.batch = Batch(lister.names)

    def take_known(self, folders: Sequence[str], known: Unchanged) -> list[Wanted]:
        """Take what is known of dated folders; return the directories that are not."""
        above, within, sessions = known.list_columns(self._layout.find_sessions)
        wanted = [(folder, self._layout.find_session(folder)) for folder in folders]
        for below in self.take_folders(above):
            wanted += below
        rows = [*zip(within.paths, sessions, strict=True)]
        self.take_sessions(within, sessions, {path for path, session in rows if path == session})
        # A directory that did not answer has no row, and is one of those that lie in another.
        for (directory, session), names in zip(rows, within.subdirectories, strict=True):
            wanted += self._layout.list_below(directory, session, split_names(names, session))
        there = {*above.paths, *within.paths}
        return [(path, session) for path, session in wanted if path not in there]

    def take_ahead(self, wanted: Sequence[Wanted], ahead: Ahead) -> tuple[list[Wanted], bool]:
        """Take what was listed ahead of dated folders; return what is left, and whether any was."""
        left: list[Wanted] = []
        taken: set[str] = set()
        for found in ahead.take([path for path, _ in wanted]):
            for below in self.take_folders(found.above):
                left += below
            taken.update(found.above.paths)
            begun = {*found.sessions}
            if begun.issubset(path for path, session in left if session is not None):
                self.take_sessions(found.within, found.sessions, begun)
                taken |= begun
                left += found.left
        return [row for row in (*left, *wanted) if row[0] not in taken], bool(taken)

    def take_folders(self, columns: Columns) -> list[list[Wanted]]:
        """Take directories that lie in no session; return those in each."""
        found = []
        for directory, names in self._folders.take(columns):
            self._layout.report_no_session(directory)
            found.append(self._layout.list_below(directory, None, names))
        return found

    def take_sessions(
        self,
        columns: Columns,
        sessions: Sequence[str],
        begun: Collection[str],
    ) -> None:
        """Take directories in the sessions given; `begun` are the sessions that begin with them."""
        batch = self.batch
        codes = batch.names.classify_all(columns.names)
        if codes and min(codes) < 0:
            columns.drop_files([code < 0 for code in codes])
        lengths = [*map(sub, columns.ends, (0, *columns.ends))]
        directories = [*compress(columns.paths, lengths)]
        batch.directories += directories
        batch.lengths += filter(None, lengths)
        self._layout.check_collections(directories, [*compress(sessions, lengths)])
        if columns.odd:
            self._lister.enter_odd(columns, sessions)
        below = [*columns.subdirectories] if columns.linked else columns.subdirectories
        for position in columns.linked:
            below[position] = "/".join(columns.list_below(position))
            columns.forget_fingerprint(position)
        self._layout.check_sessions(columns.paths, sessions, below, begun)
        batch.name_codes.extend(map(codes.__getitem__, columns.codes))
        batch.sizes.extend(columns.sizes)
        batch.times.extend(columns.file_mtimes)
        batch.inodes.extend(columns.file_inodes)
        for position, issues in columns.reported.items():
            self._layout.issues += issues
            columns.forget_fingerprint(position)
        for position, rows in groupby(columns.odd, key=attrgetter("directory")):
            listing = Listing(batch.names)
            self._lister.take_odd(columns, rows, listing)
            columns.n_others[position] += listing.n_others
            self._record_issues(columns, position, listing)
        for position, number in compress(enumerate(columns.errors), columns.errors):
            listing = Listing(batch.names)
            self._lister.report_stop(columns.paths[position], number, listing)
            self._record_issues(columns, position, listing)
        self._walked.extend(columns, sessions)
        self._counter.add(len(columns.sizes) + sum(columns.n_others), len(begun))

    def _record_issues(self, columns: Columns, position: int, listing: Listing) -> None:
        """Record the issues of one directory, which a quick refresh lists again."""
        if listing.issues:
            self._layout.issues += listing.issues
            columns.forget_fingerprint(position)
