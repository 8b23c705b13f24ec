"""The files of many shards, mapped: only what is asked for comes into memory."""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa

_MOST_MAPS = 16_384
"""Files that are mapped at a time: a process may have 65,530 maps (vm.max_map_count)."""

_FILES_AT_ONCE = 8
"""How many files may be in memory: of each, the system brings in more than was asked for."""

_DONTNEED = getattr(mmap, "MADV_DONTNEED", None)  # Windows has none


class MappedFile(NamedTuple):
    """A file, and its rows."""

    content: pa.Buffer
    rows: pa.Table


class MappedFiles:
    """Arrow files as tables whose rows stay on disk; any thread may ask for them.

    None of the files is open: of an archive's shards there are more than a process may open.

    Parameters
    ----------
    paths
        Of the files, which do not change.
    prepare
        Makes of the rows of a file, without reading them, what is asked for.
    """

    def __init__(
        self, paths: Sequence[Path], prepare: Callable[[pa.Table], pa.Table] = lambda rows: rows
    ) -> None:
        self._paths = [*paths]
        self._prepare = prepare
        self._mapped: OrderedDict[int, MappedFile] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, position: int) -> pa.Table:
        with self._lock:
            mapped = self._mapped.get(position)
            if mapped is None:
                content, rows = map_file(self._paths[position])
                mapped = self._mapped[position] = MappedFile(content, self._prepare(rows))
                if len(self._mapped) > _MOST_MAPS:
                    self._mapped.popitem(last=False)
            return mapped.rows

    def take(self, places: pl.DataFrame, columns: Sequence[str] = ()) -> pl.DataFrame:
        """Take ``n`` rows from each ``offset`` of each ``shard``, in that order.

        `columns` are those to take, by default all.
        """
        tables = []
        runs = _find_runs(places).select("shard", "offset", "n").iter_rows()
        while some := list(islice(runs, _FILES_AT_ONCE)):
            chosen = {shard: self[shard] for shard, _, _ in some}
            if columns:
                chosen = {shard: rows.select(columns) for shard, rows in chosen.items()}
            slices = [chosen[shard].slice(offset, n) for shard, offset, n in some]
            tables.append(_join(slices).combine_chunks())
            for shard in chosen:
                self.release(shard)
        return pl.DataFrame(_join(tables))

    def append(self, path: Path) -> None:
        """Add a file as the last one."""
        self._paths.append(path)

    def release(self, position: int) -> None:
        """Give back the memory that a file's rows have taken; the rows stay readable."""
        with self._lock:
            mapped = self._mapped.get(position)
        if mapped is not None and _DONTNEED is not None:
            _madvise(mapped.content.address, mapped.content.size, _DONTNEED)


def map_file(path: Path) -> MappedFile:
    """Map an Arrow file."""
    with pa.memory_map(str(path)) as file:  # the map stays, as long as something of it is in use
        content = file.read_buffer()
    return MappedFile(content, pa.ipc.open_file(pa.BufferReader(content)).read_all())


def _join(tables: Sequence[pa.Table]) -> pa.Table:
    """Join rows of shards; null in the columns that some have not."""
    first = tables[0].schema
    if all(table.schema.equals(first) for table in tables):
        return pa.concat_tables(tables)
    return pa.concat_tables(tables, promote_options="default")  # which loads pyarrow.compute


def _find_runs(places: pl.DataFrame) -> pl.DataFrame:
    """Return places with neighbours taken together."""
    end = pl.col("offset") + pl.col("n")
    goes_on = (pl.col("shard") == pl.col("shard").shift(1)) & (pl.col("offset") == end.shift(1))
    return (
        places.with_columns(run=(~goes_on).fill_null(value=True).cum_sum())
        .group_by("run", maintain_order=True)
        .agg(pl.col("shard", "offset").first(), pl.col("n").sum())
        .drop("run")
    )


if _DONTNEED is not None:
    _madvise = ctypes.CDLL(None).madvise  # that of mmap needs an object that holds a file open
    _madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
