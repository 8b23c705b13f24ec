"""Figures of tables: counts, sizes, groups, the largest datasets, and duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.arguments import check_argument
from polars_alf.errors import OptionError, TableError
from polars_alf.query.columns import join_dataset_paths, with_alf_parts
from polars_alf.query.scan import Tables, scan_pair

# In which sums and products go on where they would start again from 0 at 2^64.
_SIZE = pl.col("file_size").cast(pl.Int128)

GROUPS = ("lab", "subject", "year", "collection", "extension")


@dataclass(frozen=True, slots=True)
class TableSummary:
    """Figures of tables.

    Parameters
    ----------
    n_sessions, n_datasets
        Rows of the tables.
    n_bytes
        Size of all datasets together, in bytes; a size that is unknown counts as 0.
    n_absent
        Number of datasets that are not on disk, according to the tables.
    groups
        By ``lab``, ``subject``, ``year``, ``collection`` and ``extension``: a frame with a column
        of that name, ``sessions``, ``datasets`` and ``n_bytes``, the largest first. The group of
        datasets in no collection, or that are not ALF, is null. ``n_bytes`` is UInt64, or Int128
        where a sum reaches 2^64, as does ``n_bytes_spare`` below.
    qc
        ``qc`` and ``datasets``, every outcome in ascending order.
    largest
        ``path``, ``file_size``, ``eid`` and ``id`` of the largest datasets.
    duplicates
        Datasets that have the same content, by size and digest: ``hash``, ``file_size``,
        ``datasets``, ``n_bytes_spare`` (the size of all but one) and the ``path`` of one; the most
        to spare first.
    n_with_hash
        Number of datasets that have a digest: only among these are duplicates found.
    """

    n_sessions: int
    n_datasets: int
    n_bytes: int
    n_absent: int
    groups: dict[str, pl.DataFrame]
    qc: pl.DataFrame
    largest: pl.DataFrame
    duplicates: pl.DataFrame
    n_with_hash: int

    def to_dict(self) -> dict[str, object]:
        """Return the summary in values that JSON has."""
        return {
            "n_sessions": self.n_sessions,
            "n_datasets": self.n_datasets,
            "n_bytes": self.n_bytes,
            "n_absent": self.n_absent,
            **{name: frame.to_dicts() for name, frame in self.groups.items()},
            "qc": dict(self.qc.rows()),
            "largest": self.largest.to_dicts(),
            "duplicates": self.duplicates.to_dicts(),
            "n_with_hash": self.n_with_hash,
        }


def summarize_tables(tables: Tables, *, n_largest: int = 10) -> TableSummary:
    """Count the sessions and datasets of tables, and their sizes.

    Parameters
    ----------
    tables
        Folders of tables as for `scan_sessions`, or a pair of frames ``(sessions, datasets)``.
    n_largest
        How many of the largest datasets to list.

    Returns
    -------
    TableSummary
        The figures.

    Raises
    ------
    OptionError
        `n_largest` is negative, or no tables are given.
    ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of `scan_sessions`.
    """
    if check_argument("n_largest", n_largest, int) < 0:
        raise OptionError(f"n_largest is {n_largest}; give how many datasets to list")
    sessions, datasets = scan_pair(tables)
    totals = datasets.select(
        n_datasets=pl.len(),
        n_bytes=_SIZE.sum(),
        n_absent=(~pl.col("exists")).sum(),
        n_with_hash=(pl.col("hash") != "").sum(),
    )
    largest = datasets.sort("file_size", descending=True, nulls_last=True).head(n_largest)
    duplicates = (
        datasets.filter(pl.col("hash") != "")
        .group_by("hash", "file_size")
        .agg(pl.len().alias("datasets"), pl.col("eid", "rel_path").first())
        .filter(pl.col("datasets") > 1)
        .with_columns(n_bytes_spare=_SIZE * (pl.col("datasets") - 1))
        .sort(
            *("n_bytes_spare", "hash", "file_size"),
            descending=[True, False, False],
            nulls_last=True,
        )
    )
    queries = [
        totals,
        sessions.select(pl.len()),
        *_group(sessions, datasets),
        datasets.group_by("qc").agg(datasets=pl.len()),
        join_dataset_paths(largest, sessions).select("path", "file_size", "eid", "id"),
        join_dataset_paths(duplicates, sessions).select(
            "hash", "file_size", "datasets", "n_bytes_spare", "path"
        ),
    ]
    try:
        frames = pl.collect_all(queries, engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables cannot be read: {error}") from error
    figures, n_sessions, *groups, qc, found_largest, found_duplicates = frames
    return TableSummary(
        n_sessions=n_sessions.item(),
        groups={
            name: _narrow(frame, "n_bytes")
            .select(name, "sessions", "datasets", "n_bytes")
            .sort("n_bytes", "datasets", name, descending=[True, True, False])
            for name, frame in zip(GROUPS, groups, strict=True)
        },
        qc=_order_qc(qc),
        largest=found_largest,
        duplicates=_narrow(found_duplicates, "n_bytes_spare"),
        **figures.row(0, named=True),
    )


def _group(sessions: pl.LazyFrame, datasets: pl.LazyFrame) -> list[pl.LazyFrame]:
    """Return sums by each of `GROUPS`: first those of sessions, then those of paths."""
    counts = [pl.len().alias("datasets"), _SIZE.sum().alias("n_bytes")]
    by_session = sessions.select(
        "id", "lab", "subject", year=pl.col("date").dt.year(), sessions=pl.lit(1)
    ).join(
        datasets.group_by("eid").agg(counts),
        left_on="id",
        right_on="eid",
        how="full",
        coalesce=True,
    )
    parts = with_alf_parts(datasets)
    return [
        *(
            by_session.group_by(name).agg(pl.col("sessions", "datasets", "n_bytes").sum())
            for name in GROUPS[:3]
        ),
        *(
            parts.group_by(name).agg(pl.col("eid").n_unique().alias("sessions"), *counts)
            for name in GROUPS[3:]
        ),
    ]


def _narrow(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return sums as UInt64 if they all are below 2^64: Arrow has no Int128."""
    narrow = frame[column].cast(pl.UInt64, strict=False)
    is_wide = narrow.null_count() > frame[column].null_count()
    return frame if is_wide else frame.with_columns(narrow)


def _order_qc(found: pl.DataFrame) -> pl.DataFrame:
    outcomes = pl.DataFrame({"qc": grammar.QC_NAMES}, schema={"qc": grammar.QC_DTYPE})
    return outcomes.join(found, on="qc", how="left", maintain_order="left").with_columns(
        pl.col("datasets").fill_null(0)
    )
