"""The two sides of a comparison of tables: their datasets, in buckets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from polars_alf.errors import TableError
from polars_alf.query.columns import join_paths
from polars_alf.query.spill import BUCKET, Spill, read_batches

PLACE = ("path", "id", "eid")
"""The order in which rows that are alike are paired."""


class Side:
    """The datasets of the old or the new tables, in buckets by the new eids of their sessions."""

    def __init__(self, name: str, datasets: pl.LazyFrame) -> None:
        self._name = name
        self._datasets = datasets
        with reading(name):
            self.n_rows = int(datasets.select(pl.len()).collect().item())

    def spill_paths(
        self, sessions: pl.DataFrame, new_eids: pl.DataFrame, folder: Path, n_buckets: int
    ) -> None:
        """Write the paths of sessions into buckets.

        `new_eids` has ``eid`` and ``new_eid`` of those that have another one in the new tables.
        """
        self.n_buckets = n_buckets
        self._new_eids = new_eids
        self._paths = Spill(folder)
        paths = sessions.select(eid="id", session_path="path").unique("eid", keep="first")
        self._paths.add_all(self._put_in_buckets(paths))

    def spill(self, folder: Path) -> None:
        """Write all rows into the buckets of their sessions."""
        self._rows = Spill(folder)
        with reading(self._name):
            for rows in read_batches(self._datasets):
                self._rows.add(self._put_in_buckets(rows))

    def _put_in_buckets(self, rows: pl.DataFrame) -> pl.DataFrame:
        renewed = _renew_eids(rows.select("eid"), self._new_eids)["eid"]
        bucket = (renewed.hash() % self.n_buckets).cast(pl.UInt32)
        return rows.with_columns(bucket.alias(BUCKET))

    def spill_ids(self, folder: Path) -> Spill:
        """Return the ids in buckets of their own."""
        spill = Spill(folder)
        bucket = (pl.col("id").hash() % self.n_buckets).cast(pl.UInt32).alias(BUCKET)
        with reading(self._name):
            for rows in read_batches(self._datasets.select("id")):
                spill.add(rows.with_columns(bucket))
        return spill

    def complete(self, bucket: int) -> pl.DataFrame:
        """Return the rows of a bucket with ``path`` and new eid, sorted by path and id."""
        rows, paths = self._rows.read(bucket).lazy(), self._paths.read(bucket).lazy()
        with_paths = join_paths(rows, paths).collect()
        return _renew_eids(with_paths, self._new_eids).sort(PLACE, maintain_order=True)


def _renew_eids(datasets: pl.DataFrame, new_eids: pl.DataFrame) -> pl.DataFrame:
    """Give datasets the ids that their sessions have in the new tables."""
    return (
        datasets.join(new_eids, on="eid", how="left", maintain_order="left")
        .with_columns(eid=pl.coalesce("new_eid", "eid"))
        .drop("new_eid")
    )


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Re-raise errors of Polars as TableError."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the {name} tables cannot be read: {error}") from error
