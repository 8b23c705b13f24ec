"""The datasets of a walk as a frame, with codes in the place of names that repeat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from polars_alf.schema import ENTRIES, polars_schema

CODED = pl.Schema({**polars_schema(ENTRIES), **dict.fromkeys(("directory", "name"), pl.UInt32())})
"""ENTRIES with codes."""


class Entries(NamedTuple):
    """ENTRIES whose directories and names are codes: positions in the texts.

    Parameters
    ----------
    files
        The columns CODED, and perhaps more.
    directories, names
        The texts, each once.
    """

    files: pl.DataFrame
    directories: pl.Series
    names: pl.Series

    @classmethod
    def join(cls, batches: Iterable[pa.RecordBatch]) -> Entries:
        """Return batches of ENTRIES, perhaps with more columns; they share no directory."""
        return cls.concat([cls._read(batch) for batch in batches], CODED)

    @classmethod
    def _read(cls, batch: pa.RecordBatch) -> Entries:
        texts = {name: batch.column(name) for name in ("directory", "name")}
        columns = {name: _read_codes(column.indices) for name, column in texts.items()}
        names = [name for name in batch.schema.names if name not in texts]
        columns |= {name: _to_series(name, batch.column(name)) for name in names}
        return cls(
            pl.DataFrame(columns),
            *(_to_series(name, column.dictionary) for name, column in texts.items()),
        )

    @classmethod
    def concat(cls, parts: Sequence[Entries], schema: pl.Schema) -> Entries:
        """Return parts that share no directory, one after the other; their files have a schema."""
        if len(parts) == 1:
            return parts[0]
        nothing = pl.Series(dtype=pl.String)
        directories = pl.concat([nothing, *(part.directories for part in parts)])
        names = pl.concat([nothing, *(part.names for part in parts)]).unique(maintain_order=True)
        frames, n_before = [schema.to_frame()], 0
        for part in parts:
            name = find_codes(part.names, names).gather(part.files["name"])
            frames.append(part.files.with_columns(pl.col("directory") + n_before, name=name))
            n_before += len(part.directories)
        return cls(pl.concat(frames), directories, names)

    def decode(self, files: pl.DataFrame | None = None) -> pl.DataFrame:
        """Return files, by default all, with texts instead of codes."""
        files = self.files if files is None else files
        return files.with_columns(
            directory=self.directories.gather(files["directory"]),
            name=self.names.gather(files["name"]),
        )


def find_codes(values: pl.Series, distinct: pl.Series) -> pl.Series:
    """Return the position of each value among distinct ones, UInt32, null where it is none."""
    if distinct.is_empty():
        return pl.repeat(None, len(values), dtype=pl.UInt32, eager=True)
    codes = pl.int_range(len(distinct), dtype=pl.UInt32, eager=True)
    return values.replace_strict(distinct, codes, default=None, return_dtype=pl.UInt32)


def _read_codes(codes: pa.Array) -> pl.Series:
    buffers = codes.buffers()
    numbers = pa.Array.from_buffers(pa.uint32(), len(codes), buffers, offset=codes.offset)
    return _to_series("code", numbers)


def _to_series(name: str, array: pa.Array) -> pl.Series:
    # Not by pl.Series, which loads pyarrow.compute.
    return pl.DataFrame(pa.RecordBatch.from_arrays([array], [name])).to_series()


def join_batches(batches: Iterable[pa.RecordBatch]) -> pl.DataFrame:
    """Return the batches of one walk as ENTRIES, names as strings."""
    return Entries.join([*batches]).decode()
