"""Datasets of many tables in buckets, so that memory stays bounded.

A bucket is a range of sessions with all their datasets, in whatever table and order these are.
Every table is read once, and its rows are spilled into one file for each bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from polars_alf.merge.sources import RANK, Source, check_present
from polars_alf.tables.rows import ROWS_AT_ONCE, ROWS_PER_GROUP


@dataclass(frozen=True, slots=True)
class Buckets:
    """The bucket of each session.

    Parameters
    ----------
    eids
        Kept sessions that have datasets, sorted.
    sessions
        Every table's sessions that have datasets, by ``rank`` and ``eid``; with ``session``, the
        index of the kept session in `eids`, and ``bucket``, from 0 on.
    """

    eids: pl.Series
    sessions: pl.DataFrame


def count_datasets(sources: Sequence[Source], eids: pl.DataFrame) -> pl.DataFrame:
    """Count the datasets of every session in every table.

    `eids` has ``eid`` and ``kept_eid``, the session that is kept for it. The result has ``rank``,
    ``eid``, ``kept_eid`` and ``n_datasets``; an eid of no session is its own ``kept_eid``.
    """
    counts = [
        source.datasets.group_by("eid")
        .agg(n_datasets=pl.len().cast(pl.UInt64))
        .with_columns(pl.lit(rank, pl.UInt32).alias(RANK))
        for rank, source in enumerate(sources)
    ]
    found = pl.concat(counts).collect(engine="streaming")
    check_present(found, "datasets", "eid", sources)
    return found.join(eids, on="eid", how="left").with_columns(
        kept_eid=pl.coalesce("kept_eid", "eid")
    )


def plan_buckets(counts: pl.DataFrame, rows_per_bucket: int = ROWS_AT_ONCE) -> Buckets:
    """Divide the sessions of `count_datasets`, in order, into buckets of about as many datasets.

    A session is never divided: one with more datasets makes its bucket larger.
    """
    before = pl.col("n_datasets").cum_sum() - pl.col("n_datasets")
    kept = (
        counts.group_by("kept_eid")
        .agg(pl.col("n_datasets").sum())
        .sort("kept_eid")
        .with_row_index("session")
        .with_columns(bucket=(before // rows_per_bucket).cast(pl.UInt32))
    )
    sessions = counts.join(kept, on="kept_eid").select(RANK, "eid", "session", "bucket")
    return Buckets(kept["kept_eid"], sessions)


def iter_buckets(
    sources: Sequence[Source], buckets: Buckets, folder: Path | None
) -> Iterator[pl.DataFrame]:
    """Yield the datasets of each bucket in turn, in the order of preference.

    They have the columns of the sources but ``eid``, and ``rank`` and ``session``. The rows are
    spilled into `folder`, about as many bytes as the tables have uncompressed; None yields all of
    them at once.
    """
    if buckets.eids.is_empty():
        return
    # A number in place of the eid makes rows smaller on their way.
    frames = [
        source.datasets.join(
            buckets.sessions.lazy().filter(pl.col(RANK) == rank),
            on="eid",
            how="left",
            maintain_order="left",
        ).drop("eid")
        for rank, source in enumerate(sources)
    ]
    n_buckets = 1 + buckets.sessions.select(pl.max("bucket")).item()
    if folder is None or n_buckets == 1:
        yield _join_tables([frame.drop("bucket").collect() for frame in frames], sources)
        return
    for rank, frame in enumerate(frames):
        target = pl.PartitionBy(folder / str(rank), key="bucket", include_key=False)
        frame.sink_ipc(target, mkdir=True, engine="streaming")
    for bucket in range(n_buckets):
        files = [
            file
            for rank in range(len(sources))
            for file in sorted((folder / str(rank) / f"bucket={bucket}").glob("*"))
        ]
        if files:
            yield _join_tables([pl.read_ipc(file) for file in files], sources)
        for file in files:
            file.unlink()


def _join_tables(frames: list[pl.DataFrame], sources: Sequence[Source]) -> pl.DataFrame:
    rows = pl.concat(frames)
    for column in ("id", "rel_path"):
        check_present(rows, "datasets", column, sources)
    return rows


def fill_groups(
    frames: Iterable[pl.DataFrame], rows_per_group: int = ROWS_PER_GROUP
) -> Iterator[pl.DataFrame]:
    """Concatenate small frames, which deduplication leaves, to row groups."""
    waiting: list[pl.DataFrame] = []
    n_rows = 0
    for frame in frames:
        if waiting and n_rows + len(frame) > rows_per_group:
            yield pl.concat(waiting, rechunk=True)
            waiting, n_rows = [], 0
        waiting.append(frame)
        n_rows += len(frame)
    if n_rows:
        yield pl.concat(waiting, rechunk=True)
