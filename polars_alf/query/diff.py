"""Differences of tables: the rows that were added, removed, changed or renamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl
import pyarrow as pa

from polars_alf.alf.arguments import check_texts
from polars_alf.display import Shown
from polars_alf.errors import OptionError, TableError
from polars_alf.parallel.progress import Steps, show_no_step
from polars_alf.query.columns import expr_session_path, join_dataset_paths
from polars_alf.query.scan import Tables, scan_pair
from polars_alf.schema import TABLES, _field, polars_schema
from polars_alf.tables.foreign import align_columns

DIFFERENCES = pa.schema(
    [
        _field("table", pa.string(), "sessions or datasets"),
        _field("change", pa.string(), "a Change"),
        _field("eid", pa.string(), "id of the session, the new one where there is one"),
        _field("id", pa.string(), "id of the dataset, null for a session"),
        _field("old_path", pa.string(), "path in the old tables, null where it was added"),
        _field("new_path", pa.string(), "path in the new tables, null where it was removed"),
        _field("columns", pa.list_(pa.string()), "columns that changed"),
        _field("old_size", pa.uint64(), "size of the dataset in the old tables", unit="bytes"),
        _field("new_size", pa.uint64(), "size of the dataset in the new tables", unit="bytes"),
    ]
)
"""One row per difference of two pairs of tables, sessions before datasets, sorted by path.

Paths are [lab/]subject/date/number, and those of datasets have their rel_path after that."""

# Columns by which a row is found again, the surest first.
_SESSION_KEYS = (["id"], ["lab", "subject", "date", "number"])

_DATASET_KEYS = (
    ["eid", "id"],
    ["eid", "rel_path"],
    ["eid", "hash", "file_size"],
    ["hash", "file_size"],
)

_OLD, _NEW = "row_old", "row_new"

_N_STEPS = 4


class Change(StrEnum):
    """The kind of a difference."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    RENAMED = "renamed"
    """Found by its id, or by size and digest, at another path."""


@dataclass(frozen=True, slots=True, repr=False)
class TableDifferences(Shown):
    """The differences of two pairs of tables.

    Parameters
    ----------
    differences
        `DIFFERENCES`.
    n_old, n_new
        Number of rows of the old and of the new tables, by table.
    are_ids_apart
        Whether no id of one pair is in the other, as when each was made in a namespace of its own.
        Rows are compared by their paths then, and ids are no differences of theirs.
    """

    differences: pl.DataFrame
    n_old: dict[str, int]
    n_new: dict[str, int]
    are_ids_apart: bool = False

    @property
    def is_same(self) -> bool:
        """Whether there is no difference at all."""
        return self.differences.is_empty() and not self.are_ids_apart

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of differences, by table and by every `Change`."""
        found = self.differences.group_by("table", "change").len().rows()
        counts = {table: dict.fromkeys(map(str, Change), 0) for table in self.n_old}
        for table, change, count in found:
            counts[table][change] = count
        return counts

    def _list_figures(self) -> dict[str, object]:
        ids: dict[str, object] = {"ids": "none in both"} if self.are_ids_apart else {}
        return ids | {
            table: f"{self.n_old[table]:,} → {self.n_new[table]:,}, "
            + (", ".join(f"{n:,} {change}" for change, n in counts.items() if n) or "no difference")
            for table, counts in self.counts.items()
        }

    def to_dict(self) -> dict[str, object]:
        """Return the counts in values that JSON has."""
        return {
            "counts": self.counts,
            "n_old": self.n_old,
            "n_new": self.n_new,
            "are_ids_apart": self.are_ids_apart,
        }


def compare_tables(
    old: Tables,
    new: Tables,
    *,
    ignore: str | Sequence[str] = (),
    progress: Steps | None = None,
) -> TableDifferences:
    """Find the differences of two pairs of tables.

    A session is found again by its id, or else by its lab, subject, date and number; a dataset by
    its id, its rel_path, or its size and digest in the same session, or else by its size and
    digest in any session. Rows that are alike are paired in the order of their paths.

    Parameters
    ----------
    old, new
        Folders of tables as for `scan_sessions`, or pairs of frames ``(sessions, datasets)``.
    ignore
        Columns whose changes do not count. With ``id``, tables are the same whose ids alone are
        others.
    progress
        Called with the number of steps done, the number of all, and the next step in words.

    Returns
    -------
    TableDifferences
        The differences. Only columns that both tables have are compared.

    Raises
    ------
    OptionError
        There is no such column to ignore, or no tables are given.
    ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of `scan_sessions`.
    """
    ignored = {*check_texts("ignore", ignore)}
    show = progress or show_no_step
    pairs = []
    for n, (tables, name) in enumerate(((old, "old"), (new, "new"))):
        show(n, _N_STEPS, f"reading the {name} tables")
        pairs.append(_collect(tables, name))
    known = {column for pair in pairs for frame in pair for column in frame.columns}
    for column in sorted(ignored - known):
        raise OptionError(
            f"the tables have no column {column!r} to ignore; they have {', '.join(sorted(known))}"
        )
    (old_sessions, new_sessions), (old_datasets, new_datasets) = (
        _align(name, frames) for name, frames in zip(TABLES, zip(*pairs, strict=True), strict=True)
    )
    are_apart = _are_ids_apart(old_sessions, new_sessions) and _are_ids_apart(
        old_datasets, new_datasets
    )
    not_compared = ignored | ({"id"} if are_apart else set())
    show(2, _N_STEPS, "comparing sessions")
    sessions = _match(old_sessions, new_sessions, _SESSION_KEYS)
    renewed = _renew_eids(old_datasets, old_sessions, new_sessions, sessions)
    show(3, _N_STEPS, "comparing datasets")
    datasets = _match(renewed, new_datasets, _DATASET_KEYS)
    return TableDifferences(
        differences=pl.concat(
            [
                _describe("sessions", old_sessions, new_sessions, sessions, not_compared),
                _describe("datasets", renewed, new_datasets, datasets, not_compared),
            ]
        ),
        n_old={"sessions": len(old_sessions), "datasets": len(old_datasets)},
        n_new={"sessions": len(new_sessions), "datasets": len(new_datasets)},
        are_ids_apart=are_apart and "id" not in ignored,
    )


def _are_ids_apart(old: pl.DataFrame, new: pl.DataFrame) -> bool:
    """Whether both tables have ids, and none in common."""
    ids = old["id"], new["id"]
    return all(map(len, ids)) and not ids[0].is_in(ids[1].implode()).any()


def _collect(tables: Tables, name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return both tables with the ``path`` of every row, sorted by it."""
    lazy_sessions, lazy_datasets = scan_pair(tables, f"the {name} frames")
    try:
        sessions, datasets = pl.collect_all([lazy_sessions, lazy_datasets])
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the {name} tables cannot be read: {error}") from error
    sessions = sessions.with_columns(path=expr_session_path()).sort("path", "id")
    datasets = join_dataset_paths(datasets.lazy(), sessions.lazy()).collect()
    return sessions, datasets.sort("path", "id")


def _align(name: str, frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Give columns of one name a common type, in which they can be compared."""
    aligned = align_columns([frame.schema for frame in frames], TABLES[name].names)
    return [frame.with_columns(columns) for frame, columns in zip(frames, aligned, strict=True)]


def _match(old: pl.DataFrame, new: pl.DataFrame, ways: Sequence[list[str]]) -> pl.DataFrame:
    """Return ``row_old`` and ``row_new`` of the rows that are found again, each at most once.

    `ways` are the columns to compare, the surest first. Rows whose digest is not known are not
    found by it.
    """
    columns = sorted({column for way in ways for column in way})
    left = [frame.select(columns).with_row_index(row) for frame, row in ((old, _OLD), (new, _NEW))]
    pairs = []
    for way in ways:
        sides = []
        for frame in left:
            some = frame.filter(pl.col("hash") != "") if "hash" in way else frame
            # Of rows that are alike, the second pairs with the second.
            sides.append(some.with_columns(nth=pl.int_range(pl.len()).over(way)))
        found = sides[0].join(sides[1], on=[*way, "nth"]).select(_OLD, _NEW)
        pairs.append(found)
        left = [
            frame.join(found, on=row, how="anti")
            for frame, row in zip(left, (_OLD, _NEW), strict=True)
        ]
    return pl.concat(pairs)


def _renew_eids(
    datasets: pl.DataFrame, old: pl.DataFrame, new: pl.DataFrame, pairs: pl.DataFrame
) -> pl.DataFrame:
    """Give datasets the ids that their sessions have in the new tables."""
    eids = pairs.select(
        eid=old["id"].gather(pairs[_OLD]),
        new_eid=new["id"].gather(pairs[_NEW]),
    ).unique("eid", keep="first")
    return (
        datasets.join(eids, on="eid", how="left", maintain_order="left")
        .with_columns(eid=pl.coalesce("new_eid", "eid"))
        .drop("new_eid")
    )


def _describe(
    table: str, old: pl.DataFrame, new: pl.DataFrame, pairs: pl.DataFrame, ignored: set[str]
) -> pl.DataFrame:
    """Return `DIFFERENCES` of a table from the pairs of its rows that were found again."""
    # Another eid is a difference of the session, not of all its datasets.
    compared = (set(old.columns) & set(new.columns)) - {"path", "eid", *ignored}
    differs = {
        column: pl.col(column).ne_missing(pl.col(f"{column}_new"))
        for column in old.columns
        if column in compared
    }
    old = old.with_row_index(_OLD)
    new = new.rename(lambda column: f"{column}_new").with_row_index(_NEW)
    both = pairs.join(old, on=_OLD).join(new, on=_NEW)
    rows = pl.concat(
        [
            both.filter(pl.any_horizontal(*differs.values(), pl.lit(value=False))),
            old.join(pairs, on=_OLD, how="anti"),
            new.join(pairs, on=_NEW, how="anti"),
        ],
        how="diagonal",
    )
    is_added, is_removed = pl.col(_OLD).is_null(), pl.col(_NEW).is_null()
    change = (
        pl.when(is_added)
        .then(pl.lit(Change.ADDED.value))
        .when(is_removed)
        .then(pl.lit(Change.REMOVED.value))
        .when(pl.col("path").ne_missing(pl.col("path_new")))
        .then(pl.lit(Change.RENAMED.value))
        .otherwise(pl.lit(Change.CHANGED.value))
    )
    names = [pl.when(differ).then(pl.lit(column)) for column, differ in differs.items()]
    changed_columns = pl.concat_list(names).list.drop_nulls() if names else pl.lit(None)
    is_session = table == "sessions"
    differences = rows.select(
        table=pl.lit(table),
        change=change,
        eid=pl.coalesce("id_new", "id") if is_session else pl.coalesce("eid_new", "eid"),
        id=None if is_session else pl.coalesce("id_new", "id"),
        old_path="path",
        new_path="path_new",
        columns=pl.when(~is_added & ~is_removed).then(changed_columns),
        old_size=None if is_session else "file_size",
        new_size=None if is_session else "file_size_new",
    )
    return differences.cast(polars_schema(DIFFERENCES)).sort(
        pl.coalesce("new_path", "old_path"), "id"
    )
