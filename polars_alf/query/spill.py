"""Rows on disk by the bucket that they belong to, so that memory stays bounded.

Rows come in any order. They wait in memory until there are enough for a file, in which each
bucket's rows lie together. What fits into memory never touches the disk.
"""

from __future__ import annotations

import tempfile
from array import array
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from polars_alf.alf.ids import identify
from polars_alf.arrow import copy_texts
from polars_alf.errors import OutputError

BUCKET = "bucket"
"""Column with the number of a row's bucket."""

ROWS_PER_BUCKET = 1 << 18
"""About how many rows are in memory at a time: in a bucket, and waiting for their file."""

ROWS_PER_SLICE = 1 << 16
"""About how many rows are in memory where each needs several times as much for a while, or Polars
reads many times as many ahead."""

_PLACES_PER_FILE = 1 << 32

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")

# Arrow's files have one list of categories for all batches, and these may differ; and it has no
# such large numbers.
_AS_TEXT = (pl.Categorical, pl.Enum, pl.Int128, pl.UInt128)


class Spill:
    """The rows of some frames by their bucket.

    Parameters
    ----------
    folder
        Existing folder, in which a new one takes the files, once there are some.
    """

    def __init__(self, folder: Path) -> None:
        self._above = folder
        self._folder: Path | None = None
        self._waiting: list[pl.DataFrame] = []
        self._n_waiting = 0
        self._files: list[Path] = []
        # A file and a batch of it in one number: there are as many as files times buckets.
        self._places: defaultdict[int, array[int]] = defaultdict(lambda: array("Q"))
        self._schema: pl.Schema | None = None

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows with ``bucket``, all of one schema; those without one are left out."""
        self._schema = rows.drop(BUCKET).schema
        rows = rows.drop_nulls(BUCKET)
        self._waiting.append(rows)
        self._n_waiting += len(rows)
        if self._n_waiting > ROWS_PER_BUCKET:
            self._write()

    def add_all(self, rows: pl.DataFrame) -> None:
        """Add a frame that is to be let go of: some rows at a time, which keep no others."""
        for some in (rows.clear(), *rows.iter_slices(ROWS_PER_SLICE)):
            self.add(copy_texts(some))

    def read(self, bucket: int) -> pl.DataFrame:
        """Return the rows of a bucket, in the order in which they were added."""
        parts = [] if self._schema is None else [self._schema.to_frame()]
        for place in self._places.get(bucket, ()):
            file, batch = divmod(place, _PLACES_PER_FILE)
            with pa.OSFile(str(self._files[file])) as source:
                found = pa.ipc.open_file(source).get_batch(batch)
                parts.append(pl.DataFrame(found).cast(self._schema))  # type: ignore[arg-type]
        waiting = (rows.filter(pl.col(BUCKET) == bucket) for rows in self._waiting)
        return pl.concat([*parts, *(rows.drop(BUCKET) for rows in waiting)])

    def _write(self) -> None:
        try:
            self._folder = self._folder or Path(tempfile.mkdtemp(dir=self._above))
            self._write_file(self._folder / f"{len(self._files)}.arrow")
        except OSError as error:
            raise OutputError(
                error.errno,
                f"rows cannot wait on disk in {self._above}: {error.strerror or error}; make room "
                "there, or set TMPDIR to a folder that has it",
            ) from error

    def _write_file(self, path: Path) -> None:
        rows = pl.concat(self._waiting)
        self._waiting, self._n_waiting = [], 0
        names = [name for name, dtype in rows.schema.items() if isinstance(dtype, _AS_TEXT)]
        order = rows.select(pl.arg_sort_by(BUCKET, maintain_order=True)).to_series()
        runs = rows[BUCKET].gather(order).rle().struct.unnest()
        rows = rows.drop(BUCKET)
        writer, start = None, 0
        try:
            for number, (n_rows, bucket) in enumerate(runs.iter_rows()):
                part = rows[order.slice(start, n_rows)].with_columns(pl.col(names).cast(pl.String))
                (batch,) = part.rechunk().to_arrow().to_batches()
                writer = writer or pa.ipc.new_file(str(path), batch.schema, options=_OPTIONS)
                writer.write_batch(batch)
                self._places[bucket].append(len(self._files) * _PLACES_PER_FILE + number)
                start += n_rows
        finally:
            if writer is not None:
                writer.close()
        self._files.append(path)


def count_buckets(n_rows: int) -> int:
    """Return how many buckets rows need, one at least."""
    return max(1, -(-n_rows // ROWS_PER_BUCKET))


def read_batches(frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield no rows with the columns of a lazy frame, then its rows in their order, some at a time.

    Errors are those of Polars.
    """
    yield frame.collect_schema().to_frame()
    yield from frame.collect_batches(
        chunk_size=ROWS_PER_SLICE, maintain_order=True, engine="streaming"
    )


def select_range(ordered: pl.DataFrame, column: str, values: pl.Series) -> pl.DataFrame:
    """Return the rows of a frame that are between the first and the last of some values.

    The frame is sorted by the column, without nulls. A join with rows of a sorted table, some at a
    time, has a few rows to look at then instead of all.
    """
    if ordered.is_empty() or values.null_count() == len(values):
        return ordered.clear()
    lowest: Any = values.min()
    highest: Any = values.max()
    start = ordered[column].search_sorted(lowest, "left")
    return ordered.slice(start, ordered[column].search_sorted(highest, "right") - start)


def hash_ids(ids: pl.Expr) -> pl.Expr:
    """Return hashes of ids of any form, UInt64 and null for null: a fifth of the memory.

    Two of 14 million ids share one with a probability of 5 in a million.
    """
    return pl.when(ids.is_not_null()).then(ids.hash())


def select_hashed(hashed: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """Return the rows of a frame that some ids have, with the ids instead of ``key``.

    That is what `identify` makes of them, and sorts the frame: a join would look at all of it for
    each lot of ids. It is for a frame of all sessions, whose ids would take most of the memory.
    """
    wanted = ids.drop_nulls().unique().to_frame()
    keys = wanted.select(identify(pl.col(ids.name))).to_series()
    places = pl.int_ranges(*(hashed["key"].search_sorted(keys, side) for side in ("left", "right")))
    found = wanted.with_columns(place=places).explode("place", empty_as_null=False)
    return found.drop("place").hstack(hashed[found["place"]].drop("key"))


def find_positions(values: pl.Series, ordered: pl.Series) -> pl.Series:
    """Return the position of each value in a sorted series without nulls, null where it is not.

    It takes no memory for a table of either, as a join does.
    """
    if ordered.is_empty():
        return pl.repeat(None, len(values), dtype=pl.UInt32, eager=True)
    positions = ordered.search_sorted(values).clip(upper_bound=len(ordered) - 1)
    return positions.set(ordered.gather(positions).ne_missing(values), None)


def spill_placed(
    rows: pl.LazyFrame, column: str, places: pl.DataFrame, buckets: pl.Series, folder: Path
) -> Spill:
    """Spill the rows of a lazy frame, with ``place`` instead of a column with ids.

    `places` has that of each id, and is as `select_hashed` takes it; rows of other ids are left
    out. It is a position in `buckets`.
    """
    spill = Spill(folder)
    for some in read_batches(rows):
        near = select_hashed(places, some[column])
        near = near.with_columns(buckets.gather(near["place"]).alias(BUCKET))
        spill.add(some.join(near, on=column, maintain_order="left").drop(column))
    return spill
