"""List one directory with `os.scandir`: what is taken, passed over, and reported.

A `Lister` adds what it finds to a `Listing`. Several threads may list at once, each into a
listing of its own; only the codes of names are common to all.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import pathspec

from polars_alf import spec
from polars_alf.errors import ScanError
from polars_alf.paths import BENCH_FOLDER, CONTROL, join, printable
from polars_alf.schema import IssueKind
from polars_alf.sources.stamps import Stamp, read_stamp, stamp

LIST_BY_DESCRIPTOR = os.scandir in os.supports_fd
"""Whether `os.scandir` takes a directory descriptor, which spares the kernel the long path of
every file on `stat` (Linux and macOS do, Windows does not)."""

MOST_VERDICTS = 65_536
"""Names that are no datasets are remembered up to so many: they need not repeat."""

_OPEN_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NOT_A_DATASET = -1
_INVALID = -2
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)

Issue = tuple[str, str, int | None, str]
"""A row of `polars_alf.schema.ISSUES`."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a walk looks at, and how patiently.

    Parameters
    ----------
    follow_links
        Whether to enter linked directories that are not sessions.
    exclude
        Patterns as in .gitignore, matched against paths relative to the root.
    ignored
        Names to pass over without a word, by the directory (relative to the root) they lie in:
        the tables themselves, and the folder of our own state.
    threads
        Number of calls to the storage that each worker has under way; None measures how many
        are worth it.
    op_timeout
        Seconds after which a directory that does not answer is given up; None waits for ever.
    """

    follow_links: bool = False
    exclude: tuple[str, ...] = ()
    ignored: Mapping[str, frozenset[str]] = field(default_factory=dict)
    threads: int | None = None
    op_timeout: float | None = None


class Known(Protocol):
    """What an earlier walk met, see `polars_alf.sources.known`."""

    def __contains__(self, directory: str) -> bool:
        """Tell whether a directory was met, and may be as it was."""

    def fill(self, directory: str, stamp: Stamp, into: Listing) -> bool:
        """Add what is known of a directory, if it has the stamp that it had then."""


class Names:
    """Codes for the names of datasets, and why other names have none. Names repeat."""

    def __init__(self) -> None:
        self.datasets: list[str] = []
        self.verdicts: dict[str, int] = {}
        self._lock = threading.Lock()

    def judge(self, name: str) -> int:
        """Return the code of a dataset's name, from 0 on, or a negative number if it is none."""
        try:
            name.encode()
            valid = not CONTROL.search(name)
        except UnicodeEncodeError:
            valid = False
        verdict = _NOT_A_DATASET if valid else _INVALID
        if valid and spec.is_dataset_name(name):
            return self.encode(name)
        if len(self.verdicts) < MOST_VERDICTS:
            self.verdicts[name] = verdict
        return verdict

    def encode(self, name: str) -> int:
        """Return the code of what is known to be a dataset's name."""
        with self._lock:
            if name not in self.verdicts:
                self.verdicts[name] = len(self.datasets)
                self.datasets.append(name)
            return self.verdicts[name]


class Listing:
    """What was met: datasets as columns, and the rest of the last directory.

    Parameters
    ----------
    names
        What the codes of names refer to.

    Attributes
    ----------
    name_codes, sizes, times, inodes : array
        One item per dataset: ``file_size``, ``mtime_ns`` and ``inode`` of ENTRIES.
    subdirectories, linked : list of str
        Names to go down to: of directories, and of links to some.
    n_others : int
        Files that are not ALF datasets, or lie outside every session.
    n_strays : int
        Those of them that have names of datasets.
    issues : list of Issue
    stamp : Stamp or None
        Of the directory before it was listed.
    """

    __slots__ = (
        "inodes",
        "issues",
        "linked",
        "n_others",
        "n_strays",
        "name_codes",
        "names",
        "sizes",
        "stamp",
        "subdirectories",
        "times",
    )

    def __init__(self, names: Names) -> None:
        self.names = names
        self.name_codes = array("i")
        self.sizes = array("Q")
        self.times = array("q")
        self.inodes = array("Q")
        self.subdirectories: list[str] = []
        self.linked: list[str] = []
        self.issues: list[Issue] = []
        self.n_others = self.n_strays = 0
        self.stamp: Stamp | None = None

    def begin_directory(self) -> int:
        """Forget all of the last directory but its datasets; return the number of those."""
        self.subdirectories = []
        if self.linked:
            self.linked = []
        if self.issues:
            self.issues = []
        self.n_others = self.n_strays = 0
        self.stamp = None
        return len(self.sizes)

    def extend(self, other: Listing) -> None:
        """Add what another listing has."""
        codes = other.name_codes
        if other.names is not self.names:
            encode, datasets = self.names.encode, other.names.datasets
            codes = array("i", [encode(datasets[code]) for code in codes])
        self.name_codes.extend(codes)
        self.sizes.extend(other.sizes)
        self.times.extend(other.times)
        self.inodes.extend(other.inodes)
        self.subdirectories += other.subdirectories
        self.linked += other.linked
        self.issues += other.issues
        self.n_others += other.n_others
        self.n_strays += other.n_strays
        self.stamp = self.stamp or other.stamp

    def add(self, verdict: int, status: os.stat_result) -> None:
        """Add a dataset."""
        mtime_ns, inode = stamp(status)
        self.name_codes.append(verdict)
        self.sizes.append(status.st_size)
        self.times.append(mtime_ns)
        self.inodes.append(inode)

    def mend(self) -> None:
        """Remove what was added of a dataset whose last column was not."""
        for column in (self.times, self.inodes, self.sizes):
            del column[len(self.name_codes) :]

    def report(self, path: str, kind: IssueKind, message: str, number: int | None = None) -> None:
        """Add an issue."""
        self.issues.append((printable(path) or ".", str(kind), number, printable(message)))


class Lister:
    """List directories of one archive.

    Parameters
    ----------
    root
        Absolute path of the archive, links resolved.
    options
        What to look at.
    is_session
        Tells from a path relative to the root whether it is that of a session.
    known
        Listings that need not be read again where the directory has the stamp that it had.

    Attributes
    ----------
    names : Names
        What new listings refer to.
    """

    def __init__(
        self,
        root: str,
        options: Options,
        is_session: Callable[[str], bool],
        known: Known | None = None,
    ) -> None:
        self.root = root
        self._known = known
        self.names = Names()
        self._is_session = is_session
        self._follow_links = options.follow_links
        self._ignored = options.ignored
        self._excluded = (
            pathspec.GitIgnoreSpec.from_lines(options.exclude) if options.exclude else None
        )
        self._prefix = root if root.endswith(os.sep) else root + os.sep

    def list(self, directory: str, session: str | None, into: Listing) -> None:
        """List a directory.

        Parameters
        ----------
        directory
            Path relative to the root, "" for the root itself.
        session
            Path of the session that it lies in, or is; None outside of every session.
        into
            What to add to. If listing stops with an error, what was read before is kept.
        """
        if self._known is not None and self.recall(directory, into):
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
        """Add what is known of a directory, and return whether that is all there is.

        Parameters
        ----------
        directory, into
            As for `list`.
        """
        if self._known is None or directory not in self._known:
            return False
        stamp = read_stamp(self._prefix + directory if directory else self.root)
        if stamp is None or not self._known.fill(directory, stamp, into):
            return False
        into.stamp = stamp
        return True

    def open(self, directory: str, into: Listing) -> int | str:
        """Return what `os.scandir` takes, to be given to `close` when no entry is used any more."""
        path = self._prefix + directory if directory else self.root
        target = os.open(path, _OPEN_DIRECTORY) if LIST_BY_DESCRIPTOR else path
        into.stamp = read_stamp(target)
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
        names, verdicts = into.names, into.names.verdicts
        codes, sizes = into.name_codes.append, into.sizes.append
        times, inodes = into.times.append, into.inodes.append
        is_regular = stat.S_ISREG
        plain = session is not None and self._excluded is None and directory not in self._ignored
        for entry in entries:
            name = entry.name
            verdict = verdicts.get(name)
            if verdict is None:
                verdict = names.judge(name)
            try:
                if plain and verdict >= 0:
                    status = entry.stat()
                    if is_regular(status.st_mode):
                        times(status.st_mtime_ns)
                        inodes(status.st_ino)
                        sizes(status.st_size)
                        codes(verdict)
                        continue
                elif plain and verdict == _NOT_A_DATASET:
                    if entry.is_dir(follow_symlinks=False):
                        into.subdirectories.append(name)
                        continue
                    if entry.is_file(follow_symlinks=False):
                        into.n_others += 1
                        continue
                self._take_odd(entry, directory, session, verdict, into)
            except OverflowError:
                into.mend()
                into.add(verdict, status)
            except OSError as error:
                _report_entry(entry, directory, error, into)

    def _take_odd(
        self,
        entry: os.DirEntry[str],
        directory: str,
        session: str | None,
        verdict: int,
        into: Listing,
    ) -> None:
        """Take an entry that is not simply a dataset."""
        name = entry.name
        if name in self._ignored.get(directory, ()):
            return
        if session is None and BENCH_FOLDER.fullmatch(name):
            return
        path = join(directory, name)
        is_directory = entry.is_dir(follow_symlinks=False)
        if self._excluded and self._excluded.match_file(path + "/" * is_directory):
            return
        if verdict == _INVALID:
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
        elif session is not None and verdict >= 0:
            into.add(verdict, status)
        else:
            into.n_others += 1
            into.n_strays += session is None and verdict >= 0

    def _follow(self, directory: str, name: str, session: str | None, into: Listing) -> bool:
        """Tell whether to enter a linked directory; report it where not."""
        path = join(directory, name)
        above = ["", *accumulate(directory.split("/"), join)]
        target = Path(self._prefix + path)
        if any(target.samefile(self._prefix + other) for other in above):
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
        """Report a directory that could not be opened, or not be read to its end.

        Raises
        ------
        ScanError
            It is the root.
        """
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
