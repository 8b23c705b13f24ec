"""Figures of tables: counts, sizes, groups, the largest datasets, and duplicates."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.arguments import check_argument
from polars_alf.display import Shown, describe_size
from polars_alf.errors import OptionError, TableError
from polars_alf.parallel.progress import Steps, show_no_step
from polars_alf.query.buckets import StorageOptions
from polars_alf.query.columns import join_dataset_paths
from polars_alf.query.duplicates import find_duplicates
from polars_alf.query.groups import GROUPS, OF_PATHS, SIZE, sum_by_path, sum_by_session
from polars_alf.query.scan import Tables, scan_pair


@dataclass(frozen=True, slots=True, repr=False)
class TableSummary(Shown):
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
    n_duplicates, n_bytes_spare
        Number of contents that several datasets have, listed or not, and the size of all but one
        dataset of each.
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
    n_duplicates: int = 0
    n_bytes_spare: int = 0

    def _list_figures(self) -> dict[str, object]:
        return {
            "sessions": self.n_sessions,
            "datasets": self.n_datasets,
            "size": describe_size(self.n_bytes),
            "not on disk": self.n_absent,
            "with a digest": self.n_with_hash,
            "contents there more than once": self.n_duplicates,
        }

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
            "n_duplicates": self.n_duplicates,
            "n_bytes_spare": self.n_bytes_spare,
        }


def summarize_tables(
    tables: Tables,
    *,
    n_largest: int = 10,
    n_duplicates: int | None = None,
    storage_options: StorageOptions | None = None,
    progress: Steps | None = None,
) -> TableSummary:
    """Count the sessions and datasets of tables, and their sizes.

    Parameters
    ----------
    tables
        Folders of tables as for `scan_sessions`, or a pair of frames ``(sessions, datasets)``.
    n_largest
        How many of the largest datasets to list.
    n_duplicates
        How many contents that several datasets have to list; all by default.
    storage_options
        As for `scan_sessions`.
    progress
        Called with the number of steps done, the number of all, and the next step in words.

    Returns
    -------
    TableSummary
        The figures.

    Raises
    ------
    OptionError
        `n_largest` or `n_duplicates` is negative, or no tables are given.
    ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of `scan_sessions`.
    """
    check_argument("n_largest", n_largest, int)
    check_argument("n_duplicates", n_duplicates, int, is_optional=True)
    for name, number in (("n_largest", n_largest), ("n_duplicates", n_duplicates)):
        if number is not None and number < 0:
            raise OptionError(f"{name} is {number}; give how many datasets to list")
    sessions, datasets = scan_pair(tables, storage_options=storage_options)
    totals = datasets.select(
        n_datasets=pl.len(),
        n_bytes=SIZE.sum(),
        n_absent=(~pl.col("exists")).sum(),
        n_with_hash=(pl.col("hash") != "").sum(),
    )
    # `sort` would hold all rows in memory; the largest come first here, too.
    largest = (
        datasets.select("eid", "id", "rel_path", "file_size")
        .top_k(n_largest, by="file_size")
        .sort("file_size", descending=True, nulls_last=True)
    )
    by_session = sum_by_session(sessions, datasets)
    queries = {
        "counting datasets": totals,
        "counting sessions": sessions.select(pl.len()),
        **{f"summing by {name}": found for name, found in by_session.items()},
        "counting by QC": datasets.group_by("qc").agg(datasets=pl.len()),
        "looking for the largest": largest,
    }
    show = progress or show_no_step
    n_steps = len(queries) + 2
    frames = []
    try:
        # One by one: together they would keep the table that they share in memory.
        for n, (step, query) in enumerate(queries.items()):
            show(n, n_steps, step)
            frames.append(query.collect(engine="streaming"))
        figures, n_sessions, *groups, qc, found_largest = frames
        show(n_steps - 2, n_steps, f"summing by {' and '.join(OF_PATHS)}")
        groups += sum_by_path(datasets, figures["n_datasets"].item(), OF_PATHS).values()
        show(n_steps - 1, n_steps, "looking for the same content")
        duplicates = find_duplicates(datasets, figures["n_with_hash"].item(), n_duplicates)
        paths = _add_paths(duplicates.rows, sessions)
        found_largest = _add_paths(found_largest, sessions)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the tables cannot be read: {error}") from error
    return TableSummary(
        n_sessions=n_sessions.item(),
        groups={
            name: narrow(frame, "n_bytes")
            .select(name, "sessions", "datasets", "n_bytes")
            .sort("n_bytes", "datasets", name, descending=[True, True, False])
            for name, frame in zip(GROUPS, groups, strict=True)
        },
        qc=_order_qc(qc),
        largest=found_largest.select("path", "file_size", "eid", "id"),
        duplicates=narrow(
            paths.select("hash", "file_size", "datasets", "n_bytes_spare", "path"), "n_bytes_spare"
        ),
        n_duplicates=duplicates.n_contents,
        n_bytes_spare=duplicates.n_bytes_spare,
        **figures.row(0, named=True),
    )


def _add_paths(rows: pl.DataFrame, sessions: pl.LazyFrame) -> pl.DataFrame:
    """Add ``path`` as `join_dataset_paths` does, without making those of all sessions."""
    named = sessions.filter(pl.col("id").is_in(rows["eid"].unique().implode()))
    return join_dataset_paths(rows.lazy(), named).collect(engine="streaming")


def narrow(frame: pl.DataFrame, column: str, dtype: type[pl.DataType] = pl.UInt64) -> pl.DataFrame:
    """Return a column in a type of 64 bits if all values fit: Arrow has no Int128."""
    narrow = frame[column].cast(dtype, strict=False)
    is_wide = narrow.null_count() > frame[column].null_count()
    return frame if is_wide else frame.with_columns(narrow)


def _order_qc(found: pl.DataFrame) -> pl.DataFrame:
    outcomes = pl.DataFrame({"qc": grammar.QC_NAMES}, schema={"qc": grammar.QC_DTYPE})
    return outcomes.join(found, on="qc", how="left", maintain_order="left").with_columns(
        pl.col("datasets").fill_null(0)
    )
