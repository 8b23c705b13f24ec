"""What a walk meets, as columns that become Arrow tables without a Python object for each row."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from polars_alf.schema import (
    DIRECTORIES,
    ENTRIES,
    LISTINGS,
    make_columns_table,
    polars_schema,
    to_arrow,
    to_arrow_array,
)
from polars_alf.sources.listing import Listing, Names
from polars_alf.sources.stamps import Stamp

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
