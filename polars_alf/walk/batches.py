"""The results of a walk, as columns that become Arrow without a Python object for each row."""

from __future__ import annotations

import operator
import sys
import threading
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, compress, islice, repeat
from typing import cast

import pyarrow as pa

from polars_alf.alf import grammar
from polars_alf.alf.grammar import UUID_LENGTH
from polars_alf.alf.paths import printable
from polars_alf.native.twin import UNKNOWN_TIME
from polars_alf.schema import DIRECTORIES, ENTRIES, LISTINGS, IssueKind
from polars_alf.walk.columns import Columns
from polars_alf.walk.fingerprint import Fingerprint

NOT_A_DATASET = -1

_MOST_NAMES = 65_536

_MANY_NAMES = 512
"""New names from which a call of Polars takes less time than a loop in Python."""

Issue = tuple[str, str, int | None, str]
"""A row of `polars_alf.schema.ISSUES`."""


class Names:
    """Names, which repeat, and their codes: from 0 on for datasets.

    Parameters
    ----------
    most
        How many names that are no datasets to remember; they need not repeat.

    Attributes
    ----------
    datasets : list of str
        Names of datasets, by their codes.
    codes : dict of str to int
        Codes of the names that were classified, NOT_A_DATASET for others.
    """

    def __init__(self, most: int = _MOST_NAMES) -> None:
        self.datasets: list[str] = []
        self.codes: dict[str, int] = {}
        self._most = most
        self._plain: dict[str, bool] = {}
        self._lock = threading.Lock()

    def classify(self, name: str) -> int:
        """Return the code of a name: that of a dataset, or NOT_A_DATASET."""
        code = self.codes.get(name)
        if code is not None:
            return code
        if grammar.is_dataset_name(name):
            return self.encode(name)
        if len(self.codes) < self._most:
            self.codes[name] = NOT_A_DATASET
        return NOT_A_DATASET

    def classify_all(self, names: Sequence[str]) -> list[int]:
        """Return the code of each of some distinct names, as `classify` does."""
        codes = [*map(self.codes.get, names)]
        if None not in codes:
            return cast("list[int]", codes)
        new = [name for name, code in zip(names, codes, strict=True) if code is None]
        is_dataset = self._are_datasets(new)
        with self._lock:
            datasets = [*compress(new, is_dataset)]
            if not self.codes.keys().isdisjoint(datasets):
                datasets = [name for name in datasets if name not in self.codes]
            first = len(self.datasets)
            self.codes.update(zip(datasets, range(first, first + len(datasets)), strict=True))
            self.datasets += datasets
            if len(datasets) < len(new):
                others = compress(new, map(operator.not_, is_dataset))
                room = max(self._most - len(self.codes), 0)
                self.codes.update(dict.fromkeys(islice(others, room), NOT_A_DATASET))
        return [*map(self.codes.get, names, repeat(NOT_A_DATASET))]

    def _are_datasets(self, names: Sequence[str]) -> list[bool]:
        # Names with UUIDs never repeat, but what is before and after these does: the pattern of the
        # whole name would take longer than the walk.
        if len(names) >= _MANY_NAMES and "".join(names).isascii():
            return grammar.are_dataset_names(names)
        found = []
        plain_names, is_extra = self._plain, grammar.match_extra
        for name in names:
            end = name.rfind(".")
            start = end - UUID_LENGTH
            if start > 0 and name[start - 1] == ".":
                plain = name[: start - 1] + name[end:]
                is_dataset = plain_names.get(plain)
                if is_dataset is None:
                    is_dataset = grammar.is_dataset_name(plain)
                    if len(plain_names) < self._most:
                        plain_names[plain] = is_dataset
                if is_dataset and is_extra(name, start, end):
                    found.append(True)
                    continue
            found.append(grammar.is_dataset_name(name))
        return found

    def encode(self, name: str) -> int:
        """Return the code of a name that is known to be a dataset's."""
        with self._lock:
            if name not in self.codes:
                self.codes[name] = len(self.datasets)
                self.datasets.append(name)
            return self.codes[name]


class Listing:
    """The datasets of some directories as columns, and the rest of the last directory.

    Attributes
    ----------
    name_codes, sizes, times, inodes : array
        One item per dataset: ``file_size``, ``mtime_ns`` and ``inode`` of ENTRIES.
    subdirectories, linked : list of str
        Names of directories to enter, and of links to some.
    n_others : int
        Files that are not ALF datasets, or lie outside every session.
    n_strays : int
        Files with names of datasets outside every session.
    issues : list of Issue
    fingerprint : Fingerprint or None
        Fingerprint of the directory before it was listed.
    """

    __slots__ = (
        "fingerprint",
        "inodes",
        "issues",
        "linked",
        "n_others",
        "n_strays",
        "name_codes",
        "names",
        "sizes",
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
        self.fingerprint: Fingerprint | None = None

    def begin_directory(self) -> int:
        """Forget all of the last directory but its datasets; return the number of those."""
        self.subdirectories = []
        if self.linked:
            self.linked = []
        if self.issues:
            self.issues = []
        self.n_others = self.n_strays = 0
        self.fingerprint = None
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
        self.fingerprint = self.fingerprint or other.fingerprint

    def add(self, code: int, size: int, mtime_ns: int, inode: int) -> None:
        """Add a dataset."""
        self.name_codes.append(code)
        self.sizes.append(size)
        self.times.append(mtime_ns)
        self.inodes.append(inode)

    def report(self, path: str, kind: IssueKind, message: str, number: int | None = None) -> None:
        """Add an issue."""
        self.issues.append((printable(path) or ".", str(kind), number, printable(message)))


class Batch(Listing):
    """A listing with the directories of its datasets.

    Attributes
    ----------
    directories : list of str
        Directories that have datasets, in the order of the walk.
    lengths : list of int
        Number of datasets of each.
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
    """The directories that a walk has listed: LISTINGS, and the sessions that they lie in."""

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._sessions: list[str | None] = []
        self._mtimes = array("q")
        self._ctimes = array("q")
        self._inodes = array("Q")
        self.n_others = array("Q")
        self._subdirectories: list[str] = []
        self._path_column = _strings([])

    def add(
        self,
        path: str,
        session: str | None,
        fingerprint: Fingerprint | None,
        n_others: int,
        subdirectories: str,
    ) -> None:
        """Add a directory; the parameters are columns of LISTINGS, and its session."""
        mtime_ns, ctime_ns, inode = fingerprint or (UNKNOWN_TIME, UNKNOWN_TIME, 0)
        self._paths.append(path)
        self._sessions.append(session)
        self._mtimes.append(mtime_ns)
        self._ctimes.append(ctime_ns)
        self._inodes.append(inode)
        self.n_others.append(n_others)
        self._subdirectories.append(subdirectories)

    def extend(self, columns: Columns, sessions: Sequence[str | None]) -> None:
        """Add directories as they were listed, with the session of each."""
        self._paths += columns.paths
        self._sessions += sessions
        self._mtimes.extend(columns.mtimes)
        self._ctimes.extend(columns.ctimes)
        self._inodes.extend(columns.inodes)
        self.n_others.extend(columns.n_others)
        self._subdirectories += columns.subdirectories

    def in_sessions(self) -> pa.Table:
        """Return DIRECTORIES."""
        sessions = [session for session in self._sessions if session is not None]
        if len(sessions) < len(self._sessions):
            inside = [session is not None for session in self._sessions]
            paths = _strings([*compress(self._paths, inside)])
        else:
            paths = self._make_paths()
        return pa.Table.from_arrays([paths, _strings(sessions)], schema=DIRECTORIES)

    def listings(self) -> pa.Table:
        """Return LISTINGS."""
        is_known = None
        if UNKNOWN_TIME in self._mtimes:
            is_known = pa.py_buffer(_pack(time != UNKNOWN_TIME for time in self._mtimes))
        columns = [
            self._make_paths(),
            _column(self._mtimes[:], pa.int64(), is_known),
            _column(self._ctimes[:], pa.int64(), is_known),
            _column(self._inodes[:], pa.uint64(), is_known),
            _column(self.n_others[:], pa.uint64()),
            _strings(self._subdirectories),
        ]
        return pa.Table.from_arrays(columns, schema=LISTINGS)

    def _make_paths(self) -> pa.Array:
        if len(self._path_column) < len(self._paths):
            self._path_column = _strings(self._paths)
        return self._path_column


def _pack(bits: Iterable[bool]) -> bytes:
    """Return bits as Arrow has them, the lowest first."""
    digits = "".join("1" if bit else "0" for bit in bits)
    return int(digits[::-1], 2).to_bytes(len(digits) // 8 + 1, "little")


def _strings(texts: Sequence[str]) -> pa.Array:
    joined = "".join(texts)
    lengths = map(len, texts if joined.isascii() else [text.encode() for text in texts])
    offsets = array("i", accumulate(lengths, initial=0))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(joined.encode())]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


def _column(values: array[int], dtype: pa.DataType, is_known: pa.Buffer | None = None) -> pa.Array:
    return pa.Array.from_buffers(dtype, len(values), [is_known, pa.py_buffer(values)])


def _repeat_codes(lengths: Sequence[int]) -> pa.Array:
    """Return 0 as many times as the first length tells, 1 as the second does, and so on."""
    # An array would take them one at a time, for all files of an archive.
    parts = [code.to_bytes(4, sys.byteorder) * length for code, length in enumerate(lengths)]
    return _column(array("i", b"".join(parts)), pa.int32())


def _names(codes: pa.Array, names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(codes, _strings(names))
