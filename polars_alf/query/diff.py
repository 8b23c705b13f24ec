"""Differences of tables: the rows that were added, removed, changed or renamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import polars as pl
import pyarrow as pa

from polars_alf.alf.arguments import check_texts
from polars_alf.alf.paths import temporary_folder
from polars_alf.arrow import copy_texts
from polars_alf.display import Shown
from polars_alf.errors import OptionError
from polars_alf.parallel.progress import Steps, show_no_step
from polars_alf.query.columns import expr_session_folder
from polars_alf.query.scan import Tables, scan_pair
from polars_alf.query.sides import PLACE, Side, reading
from polars_alf.query.spill import count_buckets
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

Paths are [lab/Subjects/]subject/date/number, and for a dataset its rel_path after that."""

# Columns by which a row is found again, the surest first.
_SESSION_KEYS = (["id"], ["lab", "subject", "date", "number"])

_DATASET_KEYS = (
    ["eid", "id"],
    ["eid", "rel_path"],
    ["eid", "hash", "file_size"],
    ["hash", "file_size"],
)

_OLD, _NEW = "row_old", "row_new"

_ORDER = (pl.coalesce("new_path", "old_path"), pl.col("id"))
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
    tables = [scan_pair(old, "the old frames"), scan_pair(new, "the new frames")]
    known = {column for pair in tables for frame in pair for column in frame.collect_schema()}
    for column in sorted(ignored - known):
        raise OptionError(
            f"the tables have no column {column!r} to ignore; they have {', '.join(sorted(known))}"
        )
    (old_sessions, new_sessions), (old_datasets, new_datasets) = (
        _align(name, frames) for name, frames in zip(TABLES, zip(*tables, strict=True), strict=True)
    )
    old_rows, new_rows = Side("old", old_datasets), Side("new", new_datasets)
    n_buckets = count_buckets(max(old_rows.n_rows, new_rows.n_rows))
    with temporary_folder() as folder:
        show(0, _N_STEPS, "comparing sessions")
        before, after = _read_sessions(old_sessions, "old"), _read_sessions(new_sessions, "new")
        pairs = _match(before, after, _SESSION_KEYS)
        n_old, n_new = len(before), len(after)
        new_eids = _find_new_eids(before, after, pairs)
        old_rows.spill_paths(before, new_eids, folder, n_buckets)
        new_rows.spill_paths(after, new_eids.clear(), folder, n_buckets)
        may_be_apart = _are_apart(before, after)
        sessions = _describe("sessions", before, after, pairs, ignored)
        without_ids = sessions
        if may_be_apart:
            without_ids = _describe("sessions", before, after, pairs, ignored | {"id"})
        del before, after, pairs  # some 500 bytes a session, of which there may be millions
        show(1, _N_STEPS, "reading the old datasets")
        old_rows.spill(folder)
        show(2, _N_STEPS, "reading the new datasets")
        new_rows.spill(folder)
        show(3, _N_STEPS, "comparing datasets")
        are_apart = may_be_apart and _are_datasets_apart(old_rows, new_rows, folder)
        datasets = _compare_datasets(old_rows, new_rows, ignored | ({"id"} if are_apart else set()))
    return TableDifferences(
        differences=pl.concat([without_ids if are_apart else sessions, datasets]),
        n_old={"sessions": n_old, "datasets": old_rows.n_rows},
        n_new={"sessions": n_new, "datasets": new_rows.n_rows},
        are_ids_apart=are_apart and "id" not in ignored,
    )


def _are_apart(old: pl.DataFrame, new: pl.DataFrame) -> bool:
    """Whether both have rows, and no id in common."""
    return bool(len(old) and len(new)) and not old["id"].is_in(new["id"].implode()).any()


def _are_datasets_apart(old: Side, new: Side, folder: Path) -> bool:
    """Whether both have rows, and no id in common."""
    if not (old.n_rows and new.n_rows):
        return False
    ids = [side.spill_ids(folder) for side in (old, new)]
    pairs = ([some.read(bucket) for some in ids] for bucket in range(old.n_buckets))
    return all(_are_apart(*pair) for pair in pairs if all(map(len, pair)))


def _compare_datasets(old: Side, new: Side, ignored: set[str]) -> pl.DataFrame:
    """Return `DIFFERENCES` of the datasets."""
    found, left_old, left_new = [], [], []
    for bucket in range(old.n_buckets):
        before, after = old.complete(bucket), new.complete(bucket)
        # What is found again in its session is so within a bucket.
        pairs = _match(before, after, _DATASET_KEYS[:-1])
        differences = _describe("datasets", before, after, pairs, ignored, only_pairs=True)
        found.append(copy_texts(differences))
        left_old.append(copy_texts(_drop_rows(before, pairs[_OLD])))
        left_new.append(copy_texts(_drop_rows(after, pairs[_NEW])))
    before, after = (
        pl.concat(left).sort(PLACE, maintain_order=True) for left in (left_old, left_new)
    )
    pairs = _match(before, after, _DATASET_KEYS[-1:])
    found.append(_describe("datasets", before, after, pairs, ignored))
    return pl.concat(found).sort(_ORDER)


def _drop_rows(frame: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
    return frame.filter(~pl.int_range(pl.len(), dtype=pl.UInt32).is_in(rows.implode()))


def _read_sessions(sessions: pl.LazyFrame, name: str) -> pl.DataFrame:
    """Return sessions with their ``path``, sorted by it."""
    with reading(name):
        return sessions.with_columns(path=expr_session_folder()).sort("path", "id").collect()


def _align(name: str, frames: Sequence[pl.LazyFrame]) -> list[pl.LazyFrame]:
    """Give columns of one name a common type, in which they can be compared."""
    schemas = [frame.collect_schema() for frame in frames]
    aligned = align_columns(schemas, TABLES[name].names)
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


def _find_new_eids(old: pl.DataFrame, new: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return ``eid`` and ``new_eid`` of the sessions whose id is another in the new tables."""
    eids = pairs.select(
        eid=old["id"].gather(pairs[_OLD]),
        new_eid=new["id"].gather(pairs[_NEW]),
    )
    return eids.unique("eid", keep="first").filter(pl.col("eid") != pl.col("new_eid"))


def _describe(
    table: str,
    old: pl.DataFrame,
    new: pl.DataFrame,
    pairs: pl.DataFrame,
    ignored: set[str],
    *,
    only_pairs: bool = False,
) -> pl.DataFrame:
    """Return `DIFFERENCES` of a table from the pairs of its rows that were found again.

    Rows in no pair were added or removed, unless only pairs count.
    """
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
    changed = both.filter(pl.any_horizontal(*differs.values(), pl.lit(value=False)))
    others = [
        frame.head(0) if only_pairs else frame.join(pairs, on=row, how="anti")
        for frame, row in ((old, _OLD), (new, _NEW))
    ]
    rows = pl.concat([changed, *others], how="diagonal")
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
    return differences.cast(polars_schema(DIFFERENCES)).sort(_ORDER)
