"""Compare tables: what was added, removed, changed or renamed. Pure but for opening them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import polars as pl
import pyarrow as pa

from polars_alf.errors import OptionError, TableError
from polars_alf.query.scan import Tables, expr_session_path, scan_pair
from polars_alf.schema import _field, polars_schema

# How a row is found again, the surest way first.
_SESSION_KEYS = (["id"], ["lab", "subject", "date", "number"])

_DATASET_KEYS = (
    ["eid", "id"],
    ["eid", "rel_path"],
    ["eid", "hash", "file_size"],
    ["hash", "file_size"],
)

_PATH = "path"

_OLD, _NEW = "row_old", "row_new"


@dataclass(frozen=True, slots=True)
class TableDifferences:
    """What changed from one pair of tables to another.

    Parameters
    ----------
    differences
        DIFFERENCES.
    n_old, n_new
        Rows of the old and of the new tables, by table.
    """

    differences: pl.DataFrame
    n_old: dict[str, int]
    n_new: dict[str, int]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of differences, by table and by every `Change`."""
        found = self.differences.group_by("table", "change").len().rows()
        counts = {table: dict.fromkeys(map(str, Change), 0) for table in self.n_old}
        for table, change, count in found:
            counts[table][change] = count
        return counts

    def to_dict(self) -> dict[str, object]:
        """Return the counts in values that JSON has."""
        return {"counts": self.counts, "n_old": self.n_old, "n_new": self.n_new}


def compare_tables(
    old: Tables, new: Tables, *, ignore: str | Sequence[str] = ()
) -> TableDifferences:
    """Find what changed from one pair of tables to another.

    A session is found again by its id, or else by its lab, subject, date and number; a dataset by
    its id, its rel_path, or else size and digest: in the same session, or else, by the latter, in
    any. Of several that are alike the first in the order of their paths is taken for the first.

    Parameters
    ----------
    old, new
        Folders of tables as for `scan_sessions`, or pairs of frames ``(sessions, datasets)``.
    ignore
        Columns whose changes do not count. ``id`` is one where the ids of the tables were made
        in different namespaces.

    Returns
    -------
    TableDifferences
        What changed. Only columns that both tables have are compared.

    Raises
    ------
    OptionError
        There is no such column to ignore, or no tables are given.
    ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of `scan_sessions`.
    """
    ignored = {ignore} if isinstance(ignore, str) else set(ignore)
    pairs = [_collect(tables, name) for tables, name in ((old, "old"), (new, "new"))]
    known = {column for pair in pairs for frame in pair for column in frame.columns}
    for column in sorted(ignored - known):
        raise OptionError(
            f"the tables have no column {column!r} to ignore; they have {', '.join(sorted(known))}"
        )
    (old_sessions, old_datasets), (new_sessions, new_datasets) = pairs
    sessions = _match(old_sessions, new_sessions, _SESSION_KEYS)
    renewed = _renew_eids(old_datasets, old_sessions, new_sessions, sessions)
    datasets = _match(renewed, new_datasets, _DATASET_KEYS)
    return TableDifferences(
        differences=pl.concat(
            [
                _describe("sessions", old_sessions, new_sessions, sessions, ignored),
                _describe("datasets", renewed, new_datasets, datasets, ignored),
            ]
        ),
        n_old={"sessions": len(old_sessions), "datasets": len(old_datasets)},
        n_new={"sessions": len(new_sessions), "datasets": len(new_datasets)},
    )


def _collect(tables: Tables, name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return both tables with the ``path`` of every row, in the order of those."""
    lazy_sessions, lazy_datasets = scan_pair(tables, f"the {name} frames")
    lazy_sessions = lazy_sessions.with_columns(expr_session_path().alias(_PATH)).sort(_PATH, "id")
    try:
        sessions, datasets = pl.collect_all([lazy_sessions, lazy_datasets])
    except pl.exceptions.PolarsError as error:
        raise TableError(f"the {name} tables cannot be read: {error}") from error
    paths = sessions.select("id", _PATH).unique("id", keep="first")
    datasets = datasets.join(paths, left_on="eid", right_on="id", how="left").with_columns(
        # Of a session that is in no table, its id at least.
        pl.concat_str(pl.coalesce(_PATH, "eid"), "rel_path", separator="/").alias(_PATH)
    )
    return sessions, datasets.sort(_PATH, "id")


def _match(old: pl.DataFrame, new: pl.DataFrame, ways: Sequence[list[str]]) -> pl.DataFrame:
    """Find rows again.

    Parameters
    ----------
    ways
        Columns by which to look, the surest first. Rows whose digest is not known are not found
        by that.

    Returns
    -------
    polars.DataFrame
        ``row_old`` and ``row_new``, of each pair that was found; both at most once.
    """
    columns = sorted({column for way in ways for column in way})
    left = [frame.select(columns).with_row_index(row) for frame, row in ((old, _OLD), (new, _NEW))]
    pairs = []
    for way in ways:
        sides = []
        for frame in left:
            some = frame.filter(pl.col("hash") != "") if "hash" in way else frame
            # The second of rows that are alike is found as the second.
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
    """Return DIFFERENCES of a table."""
    old, new = old.with_row_index(_OLD), new.with_row_index(_NEW)
    # The eid is that of the session, whose own row tells if it has another one.
    compared = [
        column
        for column in old.columns
        if column in new.columns and column not in {_OLD, _PATH, "eid", *ignored}
    ]
    both = pairs.join(old, on=_OLD).join(new, on=_NEW, suffix="_new")
    differs = {column: pl.col(column).ne_missing(pl.col(f"{column}_new")) for column in compared}
    names = [pl.when(differ).then(pl.lit(column)) for column, differ in differs.items()]
    changed = both.filter(pl.any_horizontal(*differs.values(), pl.lit(value=False)))
    is_renamed = pl.col(_PATH).ne_missing(pl.col(f"{_PATH}_new"))
    return pl.concat(
        [
            _shape(
                changed,
                table,
                suffix="_new",
                change=pl.when(is_renamed)
                .then(pl.lit(Change.RENAMED.value))
                .otherwise(pl.lit(Change.CHANGED.value)),
                columns=pl.concat_list(names).list.drop_nulls() if names else None,
                paths=(_PATH, f"{_PATH}_new"),
                sizes=("file_size", "file_size_new"),
            ),
            _shape(
                old.join(pairs, on=_OLD, how="anti"),
                table,
                change=pl.lit(Change.REMOVED.value),
                paths=(_PATH, None),
                sizes=("file_size", None),
            ),
            _shape(
                new.join(pairs, on=_NEW, how="anti"),
                table,
                change=pl.lit(Change.ADDED.value),
                paths=(None, _PATH),
                sizes=(None, "file_size"),
            ),
        ]
    ).sort(pl.coalesce("new_path", "old_path"), "id")


def _shape(
    rows: pl.DataFrame,
    table: str,
    *,
    suffix: str = "",
    change: pl.Expr,
    columns: pl.Expr | None = None,
    paths: tuple[str | None, str | None],
    sizes: tuple[str | None, str | None],
) -> pl.DataFrame:
    """Return rows in the columns of DIFFERENCES."""
    is_session = table == "sessions"
    old_size, new_size = (None, None) if is_session else sizes
    return rows.select(
        table=pl.lit(table),
        change=change,
        eid=pl.col(f"id{suffix}" if is_session else f"eid{suffix}"),
        id=pl.lit(None) if is_session else pl.col(f"id{suffix}"),
        old_path=paths[0] and pl.col(paths[0]),
        new_path=paths[1] and pl.col(paths[1]),
        columns=columns,
        old_size=old_size and pl.col(old_size),
        new_size=new_size and pl.col(new_size),
    ).select(pl.col(name).cast(dtype) for name, dtype in polars_schema(DIFFERENCES).items())


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
"""What changed from one pair of tables to another, sessions before datasets, sorted by path.

Paths are [lab/]subject/date/number, and those of datasets have their rel_path after that."""


class Change(StrEnum):
    """What became of a row from one pair of tables to another."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    RENAMED = "renamed"
    """It has another path: by its id, or by size and digest, it is still the same."""
