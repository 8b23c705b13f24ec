"""What tells a file or a directory that has changed from one that has not."""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import polars as pl
import pyarrow as pa

from polars_alf.alf import grammar
from polars_alf.alf.paths import CONTROL, printable
from polars_alf.arrow import make_columns_table, to_arrow, to_arrow_array
from polars_alf.schema import DIRECTORIES, ENTRIES, LISTINGS, IssueKind, polars_schema

MOST_VERDICTS = 65_536
"""Names that are no datasets are remembered up to so many: they need not repeat."""

_NOT_A_DATASET = -1

_INVALID = -2

Issue = tuple[str, str, int | None, str]
"""A row of `polars_alf.schema.ISSUES`."""


class Known(Protocol):
    """What an earlier walk met, see `polars_alf.walk.batches`."""

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
        if valid and grammar.is_dataset_name(name):
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


_MOST_NS = 2**63 - 1

_INODE_BITS = 2**64 - 1

Stamp = tuple[int, int, int]
"""``mtime_ns``, ``ctime_ns`` and ``inode`` of a directory, which change with its entries."""


def stamp(status: os.stat_result) -> tuple[int, int]:
    """Return what tells a changed file: mtime_ns and inode, as far as 64 bits hold them.

    File systems have times beyond the year 2262, and inodes of 128 bits.
    """
    mtime_ns = status.st_mtime_ns
    if not -_MOST_NS <= mtime_ns <= _MOST_NS:
        mtime_ns = _MOST_NS if mtime_ns > 0 else -_MOST_NS
    return mtime_ns, status.st_ino & _INODE_BITS


def read_stamp(directory: str | int) -> Stamp | None:
    """Return the stamp of a directory, None where the system does not tell."""
    try:
        status = os.stat(directory)  # noqa: PTH116  may be a descriptor
    except OSError:
        return None
    exact = status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    if max(exact) <= _MOST_NS and min(exact) >= -_MOST_NS:
        return exact
    mtime_ns, inode = stamp(status)
    return mtime_ns, max(min(exact[1], _MOST_NS), -_MOST_NS), inode


_NO_STAMP = (None, None, None)


class Batch(Listing):
    """Datasets of some directories.

    Parameters
    ----------
    names
        What the codes of names refer to.

    Attributes
    ----------
    directories : list of str
        Those that have datasets, in the order in which they were met.
    lengths : list of int
        How many datasets each of them has.
    """

    __slots__ = ("directories", "lengths")

    def __init__(self, names: Names) -> None:
        super().__init__(names)
        self.directories: list[str] = []
        self.lengths: list[int] = []

    def entries(self) -> pa.RecordBatch:
        """Return ENTRIES."""
        columns = [
            _names(_repeat_codes(self.lengths), self.directories),
            _names(_column(self.name_codes, pa.int32()), self.names.datasets),
            _column(self.sizes, pa.uint64()),
            _column(self.times, pa.int64()),
            _column(self.inodes, pa.uint64()),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=ENTRIES)


class Directories:
    """Directories that were met.

    Attributes
    ----------
    n_others : array
        Files in each that are no datasets, or lie outside every session.
    """

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._sessions: list[str | None] = []
        self._stamps: list[Stamp | tuple[None, None, None]] = []
        self.n_others = array("Q")
        self._subdirectories: list[str] = []

    def add(
        self,
        path: str,
        session: str | None,
        stamp: Stamp | None,
        n_others: int,
        subdirectories: str,
    ) -> None:
        """Add a directory; the parameters are columns of LISTINGS, and its session."""
        self._paths.append(path)
        self._sessions.append(session)
        self._stamps.append(stamp or _NO_STAMP)
        self.n_others.append(n_others)
        self._subdirectories.append(subdirectories)

    def in_sessions(self) -> pa.Table:
        """Return DIRECTORIES."""
        columns = {"directory": self._paths, "session": self._sessions}
        met = pl.DataFrame(columns, polars_schema(DIRECTORIES))
        return to_arrow(met.drop_nulls("session"), DIRECTORIES)

    def listings(self) -> pa.Table:
        """Return LISTINGS."""
        stamps = zip(*self._stamps, strict=True) if self._stamps else ([], [], [])
        columns = [self._paths, *stamps, self.n_others, self._subdirectories]
        return make_columns_table(columns, LISTINGS)


def _column(values: array[int], dtype: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(dtype, len(values), [None, pa.py_buffer(values)])


def _repeat_codes(lengths: Sequence[int]) -> pa.Array:
    """Return 0 as many times as the first length tells, 1 as the second does, and so on."""
    counts = pl.Series(lengths, dtype=pl.Int64)
    codes = pl.int_range(len(counts), dtype=pl.Int32, eager=True).repeat_by(counts).explode()
    return codes.to_arrow()


def _names(codes: pa.Array, names: Sequence[str]) -> pa.DictionaryArray:
    strings = to_arrow_array(pl.Series(names, dtype=pl.String), pa.string())
    return pa.DictionaryArray.from_arrays(codes, strings)


class _Directory(NamedTuple):
    stamp: Stamp
    n_others: int
    subdirectories: list[str]
    start: int
    stop: int


class KnownListings:
    """Listings of directories, each with the stamp that it had.

    Parameters
    ----------
    listings
        LISTINGS.
    entries
        ENTRIES in the order of a walk, names as strings.
    """

    def __init__(self, listings: pl.DataFrame, entries: pl.DataFrame) -> None:
        sizes = entries.group_by("directory", maintain_order=True).len("n")
        end = pl.col("n").cum_sum()
        ranges = sizes.select("directory", start=end - pl.col("n"), stop=end)
        joined = listings.drop_nulls("mtime_ns").join(ranges, on="directory", how="left")
        self._directories = {
            directory: _Directory(
                (mtime_ns, ctime_ns, inode),
                n_others,
                subdirectories.split("/") if subdirectories else [],
                start or 0,
                stop or 0,
            )
            for directory, mtime_ns, ctime_ns, inode, n_others, subdirectories, start, stop in (
                joined.select(
                    "directory",
                    "mtime_ns",
                    "ctime_ns",
                    "inode",
                    "n_others",
                    "subdirectories",
                    "start",
                    "stop",
                ).iter_rows()
            )
        }
        self._datasets = entries["name"].unique(maintain_order=True).to_list()
        codes = {name: code for code, name in enumerate(self._datasets)}
        self._codes = array("i", entries["name"].replace_strict(codes, return_dtype=pl.Int32))
        self._sizes = array("Q", entries["file_size"])
        self._times = array("q", entries["mtime_ns"])
        self._inodes = array("Q", entries["inode"])
        self._names: Names | None = None
        self._new_codes: list[int] = []

    def __contains__(self, directory: str) -> bool:
        return directory in self._directories

    def fill(self, directory: str, stamp: Stamp, into: Listing) -> bool:
        """Add what is known of a directory, if it has the stamp that it had then.

        Parameters
        ----------
        directory
            Path relative to the root.
        stamp
            What it has now.
        into
            What to add to.
        """
        known = self._directories.get(directory)
        if known is None or known.stamp != stamp:
            return False
        rows = slice(known.start, known.stop)
        codes = self._translate(into.names)
        into.name_codes.extend([codes[code] for code in self._codes[rows]])
        into.sizes.extend(self._sizes[rows])
        into.times.extend(self._times[rows])
        into.inodes.extend(self._inodes[rows])
        into.subdirectories += known.subdirectories
        into.n_others += known.n_others
        return True

    def _translate(self, names: Names) -> list[int]:
        """Return the codes that names have in a listing."""
        if names is not self._names:
            self._new_codes = [names.encode(name) for name in self._datasets]
            self._names = names
        return self._new_codes


def join_batches(batches: Iterable[pa.RecordBatch]) -> pl.DataFrame:
    """Return batches as ENTRIES, names as strings."""
    names = pl.col("directory", "name").cast(pl.String)
    frames = [pl.DataFrame(batch).with_columns(names) for batch in batches]
    return pl.concat([polars_schema(ENTRIES).to_frame(), *frames])
