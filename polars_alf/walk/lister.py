"""List one directory with `os.scandir`: what is taken, passed over, and reported.

A `Lister` adds what it finds to a `Listing`. Several threads may list at once, each into a
listing of its own; only the codes of names are common to all.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from polars_alf.alf.paths import BENCH_FOLDER, join, list_folders_above
from polars_alf.alf.root import Root
from polars_alf.errors import ScanError
from polars_alf.schema import IssueKind
from polars_alf.walk.batches import INVALID, NOT_A_DATASET, KnownListings, Listing, Names
from polars_alf.walk.fingerprint import fingerprint_directory
from polars_alf.walk.options import WalkOptions

LIST_BY_DESCRIPTOR = os.scandir in os.supports_fd
"""Whether `os.scandir` takes a directory descriptor, which spares the kernel the long path of
every file on `stat` (Linux and macOS do, Windows does not)."""

_OPEN_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


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

    Attributes
    ----------
    names : Names
        Codes of the names in new listings.
    known : KnownListings or None
        Listings of an earlier walk: directories that have not changed are not read again.
    """

    def __init__(self, root: Root, options: WalkOptions, is_session: Callable[[str], bool]) -> None:
        self.root = root
        self.names = Names()
        self.known: KnownListings | None = None
        self._is_session = is_session
        self._follow_links = options.follow_links
        self._own_files = options.own_files
        self._excluded = options.patterns

    def list(self, directory: str, session: str | None, into: Listing) -> None:
        """Add a directory, relative to the root, to a listing.

        `session` is the session that it lies in, or is; None outside of every session. If reading
        stops with an error, what was read before is kept.
        """
        if self.known is not None and self.recall(directory, into):
            return
        try:
            target = self.open(directory, into)
            try:
                with os.scandir(target) as entries:
                    self.take(entries, directory, session, into)
            finally:
                close(target)
        except OSError as error:
            self.report_stop(directory, error, into)

    def recall(self, directory: str, into: Listing) -> bool:
        """Add a directory as an earlier walk has listed it; return whether it is as it was."""
        if self.known is None:
            return False
        return self.known.recall(directory, self.root.locate(directory), into)

    def open(self, directory: str, into: Listing) -> int | str:
        """Return what `os.scandir` takes, to be given to `close` when no entry is used any more."""
        path = self.root.locate(directory)
        target = os.open(path, _OPEN_DIRECTORY) if LIST_BY_DESCRIPTOR else path
        into.fingerprint = fingerprint_directory(target)
        return target

    def take(
        self,
        entries: Iterable[os.DirEntry[str]],
        directory: str,
        session: str | None,
        into: Listing,
    ) -> None:
        """Add what a directory's entries are, or some of them; parameters as for `list`."""
        # This loop runs once for every file of the archive: names of its own for what it needs,
        # one stat for a dataset and none for anything else.
        names, known_codes = into.names, into.names.codes
        codes, sizes = into.name_codes.append, into.sizes.append
        times, inodes = into.times.append, into.inodes.append
        is_regular = stat.S_ISREG
        plain = session is not None and self._excluded is None and directory not in self._own_files
        for entry in entries:
            name = entry.name
            code = known_codes.get(name)
            if code is None:
                code = names.classify(name)
            try:
                if plain and code >= 0:
                    status = entry.stat()
                    if is_regular(status.st_mode):
                        times(status.st_mtime_ns)
                        inodes(status.st_ino)
                        sizes(status.st_size)
                        codes(code)
                        continue
                elif plain and code == NOT_A_DATASET:
                    if entry.is_dir(follow_symlinks=False):
                        into.subdirectories.append(name)
                        continue
                    if entry.is_file(follow_symlinks=False):
                        into.n_others += 1
                        continue
                self._take_odd(entry, directory, session, code, into)
            except OverflowError:
                into.drop_incomplete()
                into.add(code, status)
            except OSError as error:
                _report_entry(entry, directory, error, into)

    def _take_odd(
        self,
        entry: os.DirEntry[str],
        directory: str,
        session: str | None,
        code: int,
        into: Listing,
    ) -> None:
        """Take an entry that is not simply a dataset."""
        name = entry.name
        if name in self._own_files.get(directory, ()):
            return
        if session is None and BENCH_FOLDER.fullmatch(name):
            return
        path = join(directory, name)
        is_directory = entry.is_dir(follow_symlinks=False)
        if self._excluded and self._excluded.match_file(path + "/" * is_directory):
            return
        if code == INVALID:
            into.report(
                path,
                IssueKind.INVALID_NAME,
                "the name is not UTF-8 or has control characters; rename it",
            )
        elif is_directory:
            into.subdirectories.append(name)
        elif entry.is_symlink() and entry.is_dir():
            if self._follow(directory, name, session, into):
                into.linked.append(name)
        elif not stat.S_ISREG((status := entry.stat()).st_mode):
            into.report(
                path,
                IssueKind.SPECIAL_FILE,
                "neither a file nor a directory, but a FIFO, socket or device; move it away",
            )
        elif session is not None and code >= 0:
            into.add(code, status)
        else:
            into.n_others += 1
            into.n_strays += session is None and code >= 0

    def _follow(self, directory: str, name: str, session: str | None, into: Listing) -> bool:
        """Whether to enter a linked directory; report it where not."""
        path = join(directory, name)
        above = list_folders_above(directory)
        target = Path(self.root.locate(path))
        if any(target.samefile(self.root.locate(other)) for other in above):
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

    def report_stop(self, directory: str, error: OSError, into: Listing) -> None:
        """Report a directory that was not read to its end; raise ScanError for the root."""
        if not directory:
            # Without its root, an archive is not empty but out of reach.
            raise ScanError(
                f"the archive {self.root} can no longer be listed: {error.strerror}; tables "
                "that were there are as they were; see to the storage"
            ) from error
        kind = IssueKind.VANISHED if error.errno in _GONE else IssueKind.UNREADABLE_DIRECTORY
        into.report(directory, kind, f"listing stopped: {error.strerror}", error.errno)


def close(target: int | str) -> None:
    """Close what `Lister.open` gave."""
    if isinstance(target, int):
        os.close(target)


def _report_entry(entry: os.DirEntry[str], directory: str, error: OSError, into: Listing) -> None:
    path = join(directory, entry.name)
    if entry.is_symlink() and error.errno in (*_GONE, errno.ELOOP):
        message = "the link leads nowhere; mend or remove it"
        into.report(path, IssueKind.BROKEN_LINK, message, error.errno)
    elif error.errno in _GONE:
        into.report(path, IssueKind.VANISHED, "gone since it was listed", error.errno)
    else:
        message = f"cannot be examined: {error.strerror}"
        into.report(path, IssueKind.UNREADABLE_FILE, message, error.errno)
