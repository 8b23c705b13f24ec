"""Datasets of many tables, a range of sessions at a time, so that memory stays bounded.

Every table is read once, from its beginning, and its rows are spilled into one file for each
range. A range then has all rows of its sessions, from whatever table, however that was sorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from polars_alf.errors import TableError
from polars_alf.merge.choose import RANK
from polars_alf.merge.sources import Source
from polars_alf.tables.rows import ROWS_PER_GROUP

_BUCKET = "bucket"


@dataclass(frozen=True, slots=True)
class Plan:
    """The ranges.

    Parameters
    ----------
    eids
        Sessions that stay and have datasets, sorted.
    places
        ``rank`` and ``eid`` of every table's sessions that have datasets; ``place``, where the
        session that stays in their stead is among `eids`; and ``bucket``, its range, from 0 on.
    """

    eids: pl.Series
    places: pl.DataFrame


def count_datasets(sources: Sequence[Source], eids: pl.DataFrame) -> pl.DataFrame:
    """Count the datasets of every session in every table.

    Parameters
    ----------
    sources
        In the order of preference.
    eids
        ``eid``, ``kept_eid``: which session stays in the place of which.

    Returns
    -------
    polars.DataFrame
        ``rank``, ``eid``, ``kept_eid`` and ``n_datasets``. Sessions that are in no sessions table
        stay what they are.

    Raises
    ------
    TableError
        A row has no eid.
    """
    counts = [
        source.datasets.group_by("eid")
        .len("n_datasets")
        .select(pl.lit(rank, pl.UInt32).alias(RANK), "eid", pl.col("n_datasets").cast(pl.UInt64))
        for rank, source in enumerate(sources)
    ]
    found = pl.concat(counts).collect(engine="streaming")
    for rank in found.filter(pl.col("eid").is_null())[RANK]:
        raise TableError(
            f"datasets of {sources[rank].name} has rows without eid; index that archive again"
        )
    return (
        found.lazy()
        .join(eids.lazy(), on="eid", how="left")
        .with_columns(pl.coalesce("kept_eid", "eid").alias("kept_eid"))
        .collect()
    )


def plan_buckets(counts: pl.DataFrame, size: int = ROWS_PER_GROUP) -> Plan:
    """Cut the sessions, in their order, into ranges of about as many datasets.

    Parameters
    ----------
    counts
        What `count_datasets` gave.
    size
        Rows of a range. One with a session that has more by itself is larger.
    """
    before = pl.col("n_datasets").cum_sum() - pl.col("n_datasets")
    sessions = (
        counts.group_by("kept_eid")
        .agg(pl.col("n_datasets").sum())
        .sort("kept_eid")
        .with_row_index("place")
        .with_columns((before // size).cast(pl.UInt32).alias(_BUCKET))
    )
    places = counts.join(sessions, on="kept_eid").select(RANK, "eid", "place", _BUCKET)
    return Plan(sessions["kept_eid"], places)


def iter_buckets(
    sources: Sequence[Source], plan: Plan, folder: Path | None
) -> Iterator[pl.DataFrame]:
    """Yield the datasets of each range in turn.

    Parameters
    ----------
    sources
        In the order of preference.
    plan
        What `plan_buckets` gave.
    folder
        Where to spill, about as many bytes as the tables have when they are not compressed. None
        yields all rows at once.

    Yields
    ------
    polars.DataFrame
        DATASETS and ``rank``, with ``place`` in the stead of ``eid``; in the order of preference.

    Raises
    ------
    TableError
        A row has no id or no path.
    """
    if plan.eids.is_empty():
        return
    rows = [_place(source, rank, plan) for rank, source in enumerate(sources)]
    last = int(plan.places[_BUCKET].max() or 0)  # type: ignore[arg-type]
    if folder is None or last == 0:
        yield _check([frame.drop(_BUCKET).collect() for frame in rows], sources)
        return
    for rank, frame in enumerate(rows):
        target = pl.PartitionBy(folder / str(rank), key=_BUCKET, include_key=False)
        frame.sink_ipc(target, mkdir=True, engine="streaming")
    for bucket in range(last + 1):
        files = [
            file
            for rank in range(len(sources))
            for file in sorted((folder / str(rank) / f"{_BUCKET}={bucket}").glob("*"))
        ]
        if files:
            yield _check([pl.read_ipc(file) for file in files], sources)
        for file in files:
            file.unlink()


def _place(source: Source, rank: int, plan: Plan) -> pl.LazyFrame:
    """Put numbers in the place of eids, so that rows are smaller on their way, and their range."""
    known = plan.places.lazy().filter(pl.col(RANK) == rank)
    return source.datasets.join(known, on="eid", how="left", maintain_order="left").drop("eid")


def _check(frames: list[pl.DataFrame], sources: Sequence[Source]) -> pl.DataFrame:
    rows = pl.concat(frames)
    for column in ("id", "rel_path"):
        if rows[column].null_count():
            rank = rows.filter(pl.col(column).is_null())[RANK][0]
            raise TableError(
                f"datasets of {sources[rank].name} has a row without {column}; index that archive "
                "again"
            )
    return rows
