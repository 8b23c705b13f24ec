"""Sums of the rows of tables by lab, subject, year, collection and extension, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import polars as pl

from polars_alf.alf.paths import temporary_folder
from polars_alf.arrow import copy_texts
from polars_alf.query.columns import with_alf_parts
from polars_alf.query.spill import BUCKET, Spill, count_buckets, hash_ids, read_batches

OF_SESSIONS = ("lab", "subject", "year")

OF_PATHS = ("collection", "extension")

GROUPS = (*OF_SESSIONS, *OF_PATHS)

# In which sums and products go on where they would start again from 0 at 2^64.
SIZE = pl.col("file_size").cast(pl.Int128)

_SUMS = {"sessions": pl.UInt32(), "datasets": pl.UInt32(), "n_bytes": pl.Int128()}

_COUNTS = (pl.len().alias("datasets"), SIZE.sum().alias("n_bytes"))

_MOST_SUMS = 65_536
"""Rows of sums that wait to be added."""


def sum_group(sessions: pl.LazyFrame, datasets: pl.LazyFrame, name: str) -> pl.DataFrame:
    """Return ``sessions``, ``datasets`` and ``n_bytes`` (Int128) by one of `GROUPS`."""
    if name in OF_SESSIONS:
        return sum_by_session(sessions, datasets)[name].collect(engine="streaming")
    n_rows = datasets.select(pl.len()).collect(engine="streaming").item()
    return sum_by_path(datasets, n_rows, [name])[name]


def sum_by_session(sessions: pl.LazyFrame, datasets: pl.LazyFrame) -> dict[str, pl.LazyFrame]:
    """Return the sums by each of `OF_SESSIONS`, not read yet."""
    by_session = sessions.select(
        "lab",
        "subject",
        year=pl.col("date").dt.year(),
        sessions=pl.lit(1),
        key=hash_ids(pl.col("id")),
    ).join(
        datasets.group_by(key=hash_ids(pl.col("eid"))).agg(_COUNTS),
        on="key",
        how="full",
        coalesce=True,
    )
    return {name: by_session.group_by(name).agg(pl.col(*_SUMS).sum()) for name in OF_SESSIONS}


def sum_by_path(
    datasets: pl.LazyFrame, n_rows: int, names: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """Return the sums of so many rows by some of `OF_PATHS`.

    Which sessions have a group is written into the folder for temporary files, if they are many.
    """
    n_buckets = count_buckets(n_rows)
    key = hash_ids(pl.col("eid"))
    bucket = (pl.col("key").fill_null(0) % n_buckets).cast(pl.UInt32).alias(BUCKET)
    sums = {name: _Sums(name) for name in names}
    # Nothing of one bucket is ever written.
    with temporary_folder() if n_buckets > 1 else nullcontext(Path()) as folder:
        seen = Spill(folder)
        for rows in read_batches(with_alf_parts(datasets).select(*names, "file_size", key=key)):
            seen.add(copy_texts(rows.select("key", *names).unique()).with_columns(bucket))
            for name in names:
                sums[name].add(rows.group_by(name).agg(_COUNTS))
        for number in range(n_buckets):
            some = seen.read(number)
            for name in names:
                found = some.select("key", name).unique().group_by(name).agg(sessions=pl.len())
                sums[name].add(found)
    return {name: found.result() for name, found in sums.items()}


class _Sums:
    """Sums by a column, added up from those of parts of the rows."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._parts = [pl.DataFrame(schema={name: pl.String, **_SUMS})]
        self._n_waiting = 0

    def add(self, part: pl.DataFrame) -> None:
        """Add the sums of a part, which need not have all columns."""
        self._parts.append(copy_texts(part))
        self._n_waiting += len(part)
        if self._n_waiting > _MOST_SUMS:
            self._parts, self._n_waiting = [self.result()], 0

    def result(self) -> pl.DataFrame:
        """Return the sums up to now."""
        parts = pl.concat(self._parts, how="diagonal")
        return parts.group_by(self._name).agg(pl.col(*_SUMS).sum())
