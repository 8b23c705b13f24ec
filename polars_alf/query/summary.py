"""What tables have in them, in figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from polars_alf.alf import grammar
from polars_alf.errors import OptionError, TableError
from polars_alf.query.columns import with_alf_parts
from polars_alf.query.scan import Tables, expr_session_path, scan_pair

GROUPS = ("lab", "subject", "year", "collection", "extension")

_PATH = pl.concat_str(pl.coalesce("path", "eid"), "rel_path", separator="/")


@dataclass(frozen=True, slots=True)
class TableSummary:
    """What tables have in them.

    Parameters
    ----------
    n_sessions, n_datasets
        Rows of the tables.
    n_bytes
        Size of all datasets together, in bytes; those of unknown size count nothing.
    n_absent
        Datasets that the tables say are not on disk.
    groups
        By ``lab``, ``subject``, ``year``, ``collection`` and ``extension``: a frame with a column
        of that name, ``sessions``, ``datasets`` and ``n_bytes``, the largest first. Null stands
        for what has none: datasets beside no collection, or that are not ALF.
    qc
        ``qc`` and ``datasets``, every outcome in its order.
    largest
        ``path``, ``file_size``, ``eid`` and ``id`` of the largest datasets.
    duplicates
        Datasets that have the same content, by size and digest: ``hash``, ``file_size``,
        ``datasets``, ``n_bytes_spare`` (what all but one of them take) and ``path``, that of one;
        those that would spare most first.
    n_with_hash
        Datasets that have a digest, and so could be found to be duplicates.
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
    """Count what tables have in them.

    Parameters
    ----------
    tables
        Folders of tables as for `scan_sessions`, or a pair of frames ``(sessions, datasets)``.
    n_largest
        How many of the largest datasets to list.

    Returns
    -------
    TableSummary
        Figures as frames.

    Raises
    ------
    OptionError
        `n_largest` is negative, or no tables are given.
    ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of `scan_sessions`.
    """
    if n_largest < 0:
        raise OptionError(f"n_largest is {n_largest}; give how many datasets to list")
    sessions, datasets = scan_pair(tables)
    paths = sessions.select("id", path=expr_session_path()).unique("id", keep="any")
    sums = datasets.group_by("eid").agg(_count(pl.len().alias("datasets")))
    by_session = sessions.select(
        "id", "lab", "subject", year=pl.col("date").dt.year(), sessions=pl.lit(1)
    ).join(sums, left_on="id", right_on="eid", how="full", coalesce=True)
    parts = with_alf_parts(datasets)
    hashed = datasets.filter(pl.col("hash") != "")
    try:
        frames = pl.collect_all(
            [
                datasets.select(
                    n_datasets=pl.len(),
                    n_bytes=pl.col("file_size").sum(),
                    n_absent=(~pl.col("exists")).sum(),
                    n_with_hash=(pl.col("hash") != "").sum(),
                ),
                sessions.select(pl.len()),
                *(
                    by_session.group_by(name).agg(pl.col("sessions", "datasets", "n_bytes").sum())
                    for name in GROUPS[:3]
                ),
                *(
                    parts.group_by(name).agg(
                        pl.col("eid").n_unique().alias("sessions"),
                        *_count(pl.len().alias("datasets")),
                    )
                    for name in GROUPS[3:]
                ),
                datasets.group_by("qc").agg(datasets=pl.len()),
                datasets.sort("file_size", descending=True, nulls_last=True)
                .head(n_largest)
                .join(paths, left_on="eid", right_on="id", how="left", maintain_order="left")
                .select(_PATH.alias("path"), "file_size", "eid", "id"),
                hashed.group_by("hash", "file_size")
                .agg(pl.len().alias("datasets"), pl.col("eid", "rel_path").first())
                .filter(pl.col("datasets") > 1)
                .join(paths, left_on="eid", right_on="id", how="left")
                .select(
                    "hash",
                    "file_size",
                    "datasets",
                    n_bytes_spare=pl.col("file_size") * (pl.col("datasets") - 1),
                    path=_PATH,
                )
                .sort("n_bytes_spare", "hash", descending=[True, False], nulls_last=True),
            ],
            engine="streaming",
        )
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables cannot be read: {error}") from error
    totals, rows, *groups, qc, largest, duplicates = frames
    figures = totals.row(0, named=True)
    return TableSummary(
        n_sessions=rows.item(),
        groups={
            name: frame.select(name, "sessions", "datasets", "n_bytes").sort(
                "n_bytes", "datasets", name, descending=[True, True, False]
            )
            for name, frame in zip(GROUPS, groups, strict=True)
        },
        qc=_order_qc(qc),
        largest=largest,
        duplicates=duplicates,
        **figures,
    )


def _count(n_datasets: pl.Expr) -> Iterable[pl.Expr]:
    return [n_datasets, pl.col("file_size").sum().alias("n_bytes")]


def _order_qc(found: pl.DataFrame) -> pl.DataFrame:
    outcomes = pl.DataFrame({"qc": grammar.QC_NAMES}, schema={"qc": grammar.QC_DTYPE})
    return outcomes.join(found, on="qc", how="left", maintain_order="left").with_columns(
        pl.col("datasets").fill_null(0)
    )
