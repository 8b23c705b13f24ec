"""List directories: what is taken, passed over, and reported.

A `Lister` adds what it finds to a `Listing`. Several threads may list at once, each into a
listing of its own; only the codes of names are common to all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from polars_alf import native
from polars_alf.alf.paths import BENCH_FOLDER, BENCH_PREFIX, STATE_DIR, join, list_folders_above
from polars_alf.alf.root import Root
from polars_alf.errors import ScanError
from polars_alf.native.effort import Effort, make_steps
from polars_alf.native.twin import UNKNOWN_TIME, Odd
from polars_alf.parallel.pacer import NO_PACER, Pacer
from polars_alf.schema import SCHEMAS, IssueKind
from polars_alf.walk.batches import Listing, Names
from polars_alf.walk.columns import EVERY, Columns, Examined, OddEntry, Steps, join_texts
from polars_alf.walk.known import KnownListings
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.selection import Selection

_DENIED = (errno.EACCES, errno.EPERM)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)

LEFT_OUT = {
    Odd.COPIES: (
        "a folder of snapshots, or of what was deleted or copied in part, was not entered; "
        "--include-snapshots (include_snapshots=True) indexes it"
    ),
    Odd.INVALID_NAME: "the name is not UTF-8 or has control characters; rename it",
    Odd.SPECIAL_FILE: (
        "neither a file nor a directory, but a FIFO, socket or device; move it away"
    ),
}
"""Messages about what is left out, by its kind."""


class Lister:
    """List directories of one archive.

    Parameters
    ----------
    root
        The archive.
    options
        What to list.
    is_session
        Tells from a path relative to the root whether it is that of a session.
    pacer
        Gives calls to the storage their turns.

    Attributes
    ----------
    names : Names
        Codes of the names in new listings.
    known : KnownListings or None
        Listings of an earlier walk: directories that have not changed are not read again.
    steps : array
        Those of calls that are given none.
    """

    def __init__(
        self,
        root: Root,
        options: WalkOptions,
        is_session: Callable[[str], bool],
        pacer: Pacer = NO_PACER,
    ) -> None:
        self.root = root
        self.pacer = pacer
        self.names = Names()
        self.known: KnownListings | None = None
        self.steps = make_steps()
        self._prefix = os.fsencode(root.prefix)
        self._is_session = is_session
        self._follow_links = options.follow_links
        self._include_snapshots = options.include_snapshots
        self._selection = Selection(options.own_files, options.exclusion)

    @property
    def takes_all(self) -> bool:
        """Whether a session is all that lies below it, but for what is our own, and no more."""
        return not self._follow_links and self._selection.takes_all

    def has_own_in(self, folders: Sequence[str]) -> bool:
        """Whether something of our own may lie in some folders, or below."""
        return any(
            not folder or f"{directory}/".startswith(f"{folder}/")
            for directory in self._selection.own_files
            for folder in folders
        )

    def list_directory(
        self,
        directory: str,
        session: str | None,
        into: Listing,
        *,
        most_examined: int = EVERY,
        steps: Steps | None = None,
    ) -> list[str]:
        """Add a directory, relative to the root, to a listing.

        `session` is the session that it lies in, or is; None outside of every session. If reading
        stops with an error, what was read before is kept. Returns the names of files that were not
        examined, beyond `most_examined`, for `examine`.
        """
        if self.known is not None and self.recall(directory, into, steps):
            return []
        columns = self.read(
            [directory],
            in_session=session is not None,
            tell_others=self._selection.tells_others([directory]),
            most_examined=most_examined,
            steps=steps,
        )
        mtime_ns, ctime_ns = columns.mtimes[0], columns.ctimes[0]
        if mtime_ns != UNKNOWN_TIME:
            into.fingerprint = mtime_ns, ctime_ns, columns.inodes[0]
        all_below = columns.subdirectories[0]
        self._selection.apply(columns)
        self.enter_odd(columns, [session])
        into.subdirectories += split_names(columns.subdirectories[0], session)
        into.linked += columns.linked.get(0, ())
        into.issues += columns.reported.get(0, ())
        into.n_others += columns.n_others[0]
        self._add_files(columns, session, into)
        self.take_odd(columns, columns.odd, into)
        if session is None:
            into.n_others -= self.count_tables(directory, all_below)
        if columns.errors[0]:
            self.report_stop(directory, columns.errors[0], into)
        if into.linked and self.known is not None:
            self.known.note_links(join(directory, name) for name in into.linked)
        return [columns.names[code] for code in columns.unexamined]

    def has_own(self, directory: str, subdirectories: str) -> bool:
        """Whether something of our own may lie in a directory."""
        if directory in self._selection.own_files:
            return True
        return STATE_DIR in subdirectories or BENCH_PREFIX in subdirectories

    def count_tables(self, directory: str, subdirectories: str) -> int:
        """Return how many files beside a folder of our state are tables, which are our own, too.

        They are those of an index of a part of the archive, or of one into another folder.
        """
        if STATE_DIR not in subdirectories.split("/"):
            return 0
        names = [
            name
            for table in SCHEMAS
            if not self._selection.leaves_out(directory, name := f"{table}.pqt")
        ]
        return sum(Path(self.root.locate(join(directory, name))).is_file() for name in names)

    def read_selected(
        self,
        directories: Sequence[str],
        *,
        in_session: bool,
        most_files: int = EVERY,
        most_examined: int = EVERY,
        steps: Steps | None = None,
    ) -> Columns:
        """Return the columns of some directories, without what is left out, and not counted."""
        columns = self.read(
            directories,
            in_session=in_session,
            tell_others=self._selection.tells_others(directories),
            most_files=most_files,
            most_examined=most_examined,
            steps=steps,
        )
        self._selection.apply(columns)
        return columns

    def read(
        self,
        directories: Sequence[str],
        *,
        in_session: bool,
        recurse: bool = False,
        tell_others: bool = False,
        most_files: int = EVERY,
        most_examined: int = EVERY,
        steps: Steps | None = None,
    ) -> Columns:
        """Return the columns of some directories: see `native.twin.list_directories`."""
        return Columns(
            native.list_directories(
                self._prefix,
                join_texts(directories),
                recurse,
                in_session,
                tell_others,
                not self._include_snapshots,
                most_files,
                most_examined,
                steps or self.steps,
                self.pacer.turns,
            )
        )

    def examine(
        self, directory: str, names: Sequence[str], into: Listing, steps: Steps | None = None
    ) -> None:
        """Add files of a directory in a session that `list_directory` did not examine."""
        found = self.examine_names(directory, names, steps)
        for name, error, size, mtime_ns, inode in zip(
            names, found.errors, found.sizes, found.mtimes, found.inodes, strict=True
        ):
            code = into.names.classify(name)
            if code < 0:
                into.n_others += 1
            elif error:
                kind = Odd.SPECIAL_FILE if error < 0 else Odd.UNREAD_FILE
                self._report_odd(directory, name, kind, max(error, 0), into)
            else:
                into.add(code, size, mtime_ns, inode)

    def examine_names(
        self, directory: str, names: Sequence[str], steps: Steps | None = None
    ) -> Examined:
        """Return the columns of some files of a directory: see `native.twin.examine_files`."""
        path = os.fsencode(self.root.locate(directory))
        columns = native.examine_files(
            path, join_texts(names), steps or self.steps, self.pacer.turns
        )
        return Examined(columns)

    def recall(self, directory: str, into: Listing, steps: Steps | None = None) -> bool:
        """Add a directory as an earlier walk has listed it; return whether it is as it was."""
        if self.known is None:
            return False
        path = self.root.locate(directory)
        steps = steps or self.steps
        with Effort(steps):
            return self.known.recall(directory, path, into, lambda: self.pacer.wait(1, steps))

    def _is_asked_for(self, directory: str, name: str) -> bool:
        """Whether a pattern that begins with ! names a directory."""
        return self._selection.exclusion.takes_back(f"{join(directory, name)}/")

    def enter_odd(self, columns: Columns, sessions: Sequence[str | None]) -> None:
        """Take the odd entries that are directories to enter, or links, out of the others.

        `sessions` are those of the directories.
        """
        left: list[OddEntry] = []
        for row in columns.odd:
            directory, name = columns.paths[row.directory], columns.names[row.code]
            if row.kind == Odd.COPIES and self._is_asked_for(directory, name):
                below = columns.subdirectories[row.directory]
                columns.subdirectories[row.directory] = f"{below}/{name}" if below else name
            elif row.kind == Odd.LINKED_DIRECTORY:
                listing = Listing(self.names)
                if self._follow(directory, name, sessions[row.directory], listing):
                    columns.linked.setdefault(row.directory, []).append(name)
                elif listing.issues:
                    columns.reported.setdefault(row.directory, []).extend(listing.issues)
            else:
                left.append(row)
        columns.odd = left

    def _add_files(self, columns: Columns, session: str | None, into: Listing) -> None:
        """Add the files of one directory."""
        codes = into.names.classify_all(columns.names)
        if session is None:
            n_strays = sum(codes[code] >= 0 for code in columns.codes)
            into.n_strays += n_strays
            into.n_others += len(columns.codes)
            return
        if codes and min(codes) < 0:
            n_before = len(columns.codes)
            columns.keep([codes[code] >= 0 for code in columns.codes])
            into.n_others += n_before - len(columns.codes)
        into.name_codes.extend([codes[code] for code in columns.codes])
        into.sizes.extend(columns.sizes)
        into.times.extend(columns.file_mtimes)
        into.inodes.extend(columns.file_inodes)

    def take_odd(self, columns: Columns, rows: Iterable[OddEntry], into: Listing) -> None:
        """Take odd entries of one directory that `enter_odd` has left."""
        for row in rows:
            directory, name = columns.paths[row.directory], columns.names[row.code]
            if row.kind == Odd.UNREAD_FILE and into.names.classify(name) < 0:
                into.n_others += 1
            else:
                self._report_odd(directory, name, row.kind, row.error, into)

    def _follow(self, directory: str, name: str, session: str | None, into: Listing) -> bool:
        """Whether to enter a linked directory; report it where not."""
        path = join(directory, name)
        if self._selection.leaves_out(directory, name):
            return False
        above = list_folders_above(directory)
        target = Path(self.root.locate(path))
        self.pacer.wait(2 * len(above))
        try:
            is_loop = any(target.samefile(self.root.locate(other)) for other in above)
        except OSError as error:
            self._report_odd(directory, name, Odd.UNREAD_LINK, error.errno or errno.EIO, into)
            return False
        if is_loop:
            into.report(path, IssueKind.LINK_LOOP, "the link leads to a directory that it lies in")
            return False
        if self._follow_links or (session is None and self._is_session(path)):
            return True
        into.report(
            path,
            IssueKind.LINKED_DIRECTORY,
            "a linked directory that is no session was not entered; follow links to index it",
        )
        return False

    def _report_odd(self, directory: str, name: str, kind: int, number: int, into: Listing) -> None:
        """Report an entry that is neither a file nor a directory, or cannot be examined."""
        path = join(directory, name)
        if kind == Odd.INVALID_NAME:
            into.report(path, IssueKind.INVALID_NAME, LEFT_OUT[Odd.INVALID_NAME])
        elif kind == Odd.COPIES:
            into.report(path, IssueKind.SNAPSHOT, LEFT_OUT[Odd.COPIES])
        elif kind == Odd.SPECIAL_FILE:
            into.report(path, IssueKind.SPECIAL_FILE, LEFT_OUT[Odd.SPECIAL_FILE])
        elif kind == Odd.UNREAD_LINK and number in (*_GONE, errno.ELOOP):
            message = "the link leads nowhere; mend or remove it"
            into.report(path, IssueKind.BROKEN_LINK, message, number)
        elif number in _GONE:
            into.report(path, IssueKind.VANISHED, "gone since it was listed", number)
        else:
            message = f"cannot be examined: {os.strerror(number)}; see to it, and index again"
            into.report(path, IssueKind.UNREADABLE_FILE, message, number)

    def report_stop(self, directory: str, number: int, into: Listing) -> None:
        """Report a directory that was not read to its end; raise ScanError for the root."""
        if not directory:
            # Without its root, an archive is not empty but out of reach.
            raise ScanError(
                f"the archive {self.root} can no longer be listed: {os.strerror(number)}; tables "
                "that were there are as they were; see to the storage"
            ) from OSError(number, os.strerror(number), str(self.root))
        kind = IssueKind.VANISHED if number in _GONE else IssueKind.UNREADABLE_DIRECTORY
        cure = "see to its permissions" if number in _DENIED else "see to the storage"
        message = f"listing stopped: {os.strerror(number)}; {cure}, and index again"
        into.report(directory, kind, message, number)


def split_names(subdirectories: str, session: str | None) -> list[str]:
    """Return the names in a column of subdirectories, without our own folders above sessions."""
    names = subdirectories.split("/") if subdirectories else []
    if session is not None:
        return names
    return [name for name in names if name != STATE_DIR and not BENCH_FOLDER.fullmatch(name)]
