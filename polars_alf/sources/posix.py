"""Walk a file system with `os.scandir`.

A `Walker` works in two steps. `Walker.survey` lists everything above the dates and names the
*units*: the directories called like a date, or the sessions where the root is a date or a session
itself. Units are what shards are made of. `Walker.walk` goes through some units and yields
ENTRIES.

One directory is listed at a time, depth first, so that memory stays low. What cannot be read
becomes a row of ISSUES; what was read of the same directory before is kept.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import pathspec
import polars as pl
import pyarrow as pa

from polars_alf import spec
from polars_alf.errors import ScanError
from polars_alf.paths import CONTROL, join, printable
from polars_alf.progress import Counter
from polars_alf.schema import DIRECTORIES, ENTRIES, ISSUES, IssueKind, make_table

ROWS_PER_BATCH = 65_536
"""Least number of rows after which a batch is handed on, at the end of a directory."""

LIST_BY_DESCRIPTOR = os.scandir in os.supports_fd
"""Whether `os.scandir` takes a directory descriptor, which spares the kernel the long path of
every file on `stat` (Linux and macOS do, Windows does not)."""

_OPEN_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_MOST_NS = 2**63 - 1
_INODE_BITS = 2**64 - 1
_NOT_A_DATASET = -1
_INVALID = -2
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


@dataclass(frozen=True, slots=True)
class Options:
    """What a walk looks at.

    Parameters
    ----------
    follow_links
        Whether to enter linked directories that are not sessions.
    exclude
        Patterns as in .gitignore, matched against paths relative to the root.
    ignored
        Names to pass over without a word, by the directory (relative to the root) they lie in:
        the tables themselves, and the folder of our own state.
    """

    follow_links: bool = False
    exclude: tuple[str, ...] = ()
    ignored: Mapping[str, frozenset[str]] = field(default_factory=dict)


class Walker:
    """Walk one archive, or some units of it.

    Parameters
    ----------
    root
        Absolute path of the archive, links resolved.
    options
        What to look at.
    counter
        Told of files and sessions as they are met.

    Attributes
    ----------
    n_other_files : int
        Files that are not ALF datasets, or lie outside every session.
    """

    def __init__(self, root: str, options: Options, counter: Counter | None = None) -> None:
        self.root = root
        self.options = options
        self.counter = counter or Counter()
        self.n_other_files = 0
        self._prefix = root if root.endswith(os.sep) else root + os.sep
        self._above = tuple(part for part in root.replace(os.sep, "/").split("/") if part)
        self._excluded = (
            pathspec.GitIgnoreSpec.from_lines(options.exclude) if options.exclude else None
        )
        self._issues: list[tuple[str, str, int | None, str]] = []
        self._directories: list[tuple[str, str]] = []
        self._collections: dict[str, bool] = {"": True}
        self._start_names()
        self._start_batch()

    def survey(self) -> list[str]:
        """List everything above the dates.

        Returns
        -------
        list of str
            The units, relative to the root, in no particular order.
        """
        units = []
        stack = [""]
        while stack:
            directory = stack.pop()
            parts = self._parts(directory)
            if self._is_session(parts) or (directory and spec.looks_like_date(parts[-1])):
                units.append(directory)
                continue
            if parts and parts[-1] == "Subjects":
                self._check_lab(directory, parts)
            stack.extend(join(directory, name) for name in self._list(directory, None))
        return units

    def walk(self, units: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Walk some units.

        Parameters
        ----------
        units
            Directories relative to the root, as `survey` gave them.

        Yields
        ------
        pyarrow.RecordBatch
            ENTRIES, at least `ROWS_PER_BATCH` rows each but for the last; never empty.
        """
        stack: list[tuple[str, str | None]] = [(unit, None) for unit in reversed(units)]
        while stack:
            directory, session = stack.pop()
            if session is None:
                session = self._enter(directory)
            for name in self._list(directory, session):
                path = join(directory, name)
                if session is not None and name.isdigit():
                    self._check_nested(path, session)
                stack.append((path, session))
            if len(self._sizes) >= ROWS_PER_BATCH:
                yield self._take_batch()
        if self._sizes:
            yield self._take_batch()

    def directories(self) -> pa.Table:
        """Return DIRECTORIES: those inside sessions, each before what lies below it."""
        return make_table(self._directories, DIRECTORIES)

    def issues(self) -> pa.Table:
        """Return ISSUES found up to now, in the order in which they were met."""
        return make_table(self._issues, ISSUES)

    # What a directory is, from its path alone

    def _parts(self, directory: str) -> list[str]:
        return [*self._above, *directory.split("/")] if directory else [*self._above]

    @staticmethod
    def _is_session(parts: Sequence[str]) -> bool:
        return (
            len(parts) > 2
            and spec.is_number(parts[-1])
            and spec.is_date(parts[-2])
            and spec.is_subject(parts[-3])
        )

    def _enter(self, directory: str) -> str | None:
        """Return the directory where it is a session, and report where it nearly is one."""
        parts = self._parts(directory)
        name = parts[-1] if parts else ""
        if self._is_session(parts):
            self.counter.add(sessions=1)
            if len(name) < 3:
                self._report(
                    directory,
                    IssueKind.UNPADDED_NUMBER,
                    f"ONE looks for this session in {name.zfill(3)!r}; rename the folder "
                    f"{name!r} to that",
                )
            return directory
        if spec.looks_like_date(name) and not spec.is_date(name):
            self._report(
                directory,
                IssueKind.INVALID_DATE,
                f"{name!r} is no calendar date, so there are no sessions in it; rename it",
            )
        elif len(parts) > 2 and name.isdigit() and spec.is_date(parts[-2]):
            if not spec.is_number(name):
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
        return None

    def _check_lab(self, directory: str, parts: Sequence[str]) -> None:
        if len(parts) > 1 and not spec.is_usual_lab(parts[-2]):
            self._report(
                directory.rpartition("/")[0],
                IssueKind.UNUSUAL_LAB,
                f"lab {parts[-2]!r} has more than letters, digits and '_'; ONE opens its data, "
                "but some of its functions cut the name; rename the folder if you can",
            )

    def _check_collection(self, directory: str, session: str) -> None:
        collection = _within(directory, session)
        known = self._collections.get(collection)
        if known is None:
            known = self._collections[collection] = spec.parse_collection(collection) is not None
        if not known:
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

    # Listing one directory

    def _list(self, directory: str, session: str | None) -> list[str]:
        """List a directory: datasets into the batch, and the names to go down to returned."""
        if session is not None:
            self._directories.append((directory, session))
        before = len(self._sizes)
        others_before = self.n_other_files
        self._n_strays = 0
        subdirectories: list[str] = []
        path = self._prefix + directory if directory else self.root
        try:
            if LIST_BY_DESCRIPTOR:
                descriptor = os.open(path, _OPEN_DIRECTORY)
                try:
                    self._list_entries(descriptor, directory, session, subdirectories)
                finally:
                    os.close(descriptor)
            else:
                self._list_entries(path, directory, session, subdirectories)
        except OSError as error:
            if not directory:
                # Without its root, an archive is not empty but out of reach.
                raise ScanError(
                    f"the archive {self.root} can no longer be listed: {error.strerror}; tables "
                    "that were there are as they were; see to the storage"
                ) from error
            kind = IssueKind.VANISHED if error.errno in _GONE else IssueKind.UNREADABLE_DIRECTORY
            self._report(directory, kind, f"listing stopped: {error.strerror}", error.errno)
        if self._n_strays:
            self._report(
                directory,
                IssueKind.OUTSIDE_SESSION,
                f"{self._n_strays} files with names of datasets lie in no session; move them into "
                "one, [lab/Subjects/]subject/yyyy-mm-dd/number, or exclude them",
            )
        n_datasets = len(self._sizes) - before
        if n_datasets and session is not None:
            self._directory_codes.extend([len(self._batch_directories)] * n_datasets)
            self._batch_directories.append(directory)
            self._check_collection(directory, session)
        self.counter.add(files=n_datasets + self.n_other_files - others_before)
        return subdirectories

    def _list_entries(
        self, target: int | str, directory: str, session: str | None, subdirectories: list[str]
    ) -> None:
        # This loop runs once for every file of the archive: names of its own for what it needs,
        # one stat for a dataset and none for anything else.
        verdicts = self._verdicts
        codes, sizes = self._name_codes.append, self._sizes.append
        times, inodes = self._times.append, self._inodes.append
        plain = (
            session is not None and self._excluded is None and directory not in self.options.ignored
        )
        with os.scandir(target) as entries:
            for entry in entries:
                name = entry.name
                verdict = verdicts.get(name)
                if verdict is None:
                    verdict = self._judge(name)
                try:
                    if plain and verdict >= 0:
                        status = entry.stat()
                        if stat.S_ISREG(status.st_mode):
                            mtime_ns, inode = stamp(status)
                            codes(verdict)
                            sizes(status.st_size)
                            times(mtime_ns)
                            inodes(inode)
                            continue
                    elif plain and verdict == _NOT_A_DATASET:
                        if entry.is_dir(follow_symlinks=False):
                            subdirectories.append(name)
                            continue
                        if entry.is_file(follow_symlinks=False):
                            self.n_other_files += 1
                            continue
                    self._list_odd(entry, directory, session, verdict, subdirectories)
                except OSError as error:
                    self._report_entry(entry, directory, error)

    def _list_odd(
        self,
        entry: os.DirEntry[str],
        directory: str,
        session: str | None,
        verdict: int,
        subdirectories: list[str],
    ) -> None:
        """Take an entry that is not simply a dataset."""
        name = entry.name
        if name in self.options.ignored.get(directory, ()):
            return
        path = join(directory, name)
        is_directory = entry.is_dir(follow_symlinks=False)
        if self._excluded and self._excluded.match_file(path + "/" * is_directory):
            return
        if verdict == _INVALID:
            self._report(
                path,
                IssueKind.INVALID_NAME,
                "the name is not UTF-8 or has control characters; rename it",
            )
        elif is_directory:
            subdirectories.append(name)
        elif entry.is_symlink() and entry.is_dir():
            if self._follow(directory, name, session):
                subdirectories.append(name)
        elif not stat.S_ISREG((status := entry.stat()).st_mode):
            self._report(
                path,
                IssueKind.SPECIAL_FILE,
                "neither a file nor a directory, but a FIFO, socket or device; move it away",
            )
        elif session is not None and verdict >= 0:
            mtime_ns, inode = stamp(status)
            self._name_codes.append(verdict)
            self._sizes.append(status.st_size)
            self._times.append(mtime_ns)
            self._inodes.append(inode)
        else:
            self.n_other_files += 1
            self._n_strays += session is None and verdict >= 0

    def _follow(self, directory: str, name: str, session: str | None) -> bool:
        """Tell whether to enter a linked directory; report it where not."""
        path = join(directory, name)
        above = ["", *accumulate(directory.split("/"), join)]
        target = Path(self._prefix + path)
        if any(target.samefile(self._prefix + other) for other in above):
            self._report(path, IssueKind.LINK_LOOP, "the link leads to a directory that it lies in")
            return False
        is_session = session is None and self._is_session(self._parts(path))
        if is_session or self.options.follow_links:
            return True
        self._report(
            path,
            IssueKind.LINKED_DIRECTORY,
            "a linked directory that is no session was not entered; follow links to index it",
        )
        return False

    def _judge(self, name: str) -> int:
        """Return the code of a dataset's name, or why it has none. Remembered: names repeat."""
        try:
            name.encode()
            valid = not CONTROL.search(name)
        except UnicodeEncodeError:
            valid = False
        if not valid:
            verdict = _INVALID
        elif spec.is_dataset_name(name):
            verdict = len(self._names)
            self._names.append(name)
        else:
            verdict = _NOT_A_DATASET
        if verdict >= 0 or len(self._verdicts) < ROWS_PER_BATCH:
            self._verdicts[name] = verdict
        return verdict

    def _report_entry(self, entry: os.DirEntry[str], directory: str, error: OSError) -> None:
        path = join(directory, entry.name)
        if entry.is_symlink() and error.errno in (*_GONE, errno.ELOOP):
            message = "the link leads nowhere; mend or remove it"
            self._report(path, IssueKind.BROKEN_LINK, message, error.errno)
        elif error.errno in _GONE:
            self._report(path, IssueKind.VANISHED, "gone since it was listed", error.errno)
        else:
            message = f"cannot be examined: {error.strerror}"
            self._report(path, IssueKind.UNREADABLE_FILE, message, error.errno)

    def _report(self, path: str, kind: IssueKind, message: str, number: int | None = None) -> None:
        self._issues.append((printable(path) or ".", str(kind), number, printable(message)))

    # The batch under way, as columns

    def _start_names(self) -> None:
        self._names: list[str] = []
        self._verdicts: dict[str, int] = {}

    def _start_batch(self) -> None:
        self._batch_directories: list[str] = []
        self._directory_codes = array("i")
        self._name_codes = array("i")
        self._sizes = array("Q")
        self._times = array("q")
        self._inodes = array("Q")

    def _take_batch(self) -> pa.RecordBatch:
        columns = [
            _names(self._directory_codes, self._batch_directories),
            _names(self._name_codes, self._names),
            _column(self._sizes, pa.uint64()),
            _column(self._times, pa.int64()),
            _column(self._inodes, pa.uint64()),
        ]
        batch = pa.RecordBatch.from_arrays(columns, schema=ENTRIES)
        self._start_batch()
        if len(self._names) > ROWS_PER_BATCH:  # names that never repeat must not pile up
            self._start_names()
        return batch


def stamp(status: os.stat_result) -> tuple[int, int]:
    """Return what tells a changed file: mtime_ns and inode, as far as 64 bits hold them.

    File systems have times beyond the year 2262, and inodes of 128 bits.
    """
    mtime_ns = status.st_mtime_ns
    if not -_MOST_NS <= mtime_ns <= _MOST_NS:
        mtime_ns = _MOST_NS if mtime_ns > 0 else -_MOST_NS
    return mtime_ns, status.st_ino & _INODE_BITS


def _within(directory: str, session: str) -> str:
    return directory[len(session) + 1 :] if session else directory


def _column(values: array[int], dtype: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(dtype, len(values), [None, pa.py_buffer(values)])


def _names(codes: array[int], names: Sequence[str]) -> pa.DictionaryArray:
    strings = pl.Series(names, dtype=pl.String).to_arrow().cast(pa.string())
    return pa.DictionaryArray.from_arrays(_column(codes, pa.int32()), strings)
