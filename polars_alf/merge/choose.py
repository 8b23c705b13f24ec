"""Which rows of several tables stay when they are merged. Pure: frames in, frames out.

Rows come in the order of preference. A row stays unless one before it has its id, or its path: a
session is its id and its ``[lab/]subject/date/number``, a dataset its id and its rel_path in its
session.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from polars_alf.query.columns import expr_session_path
from polars_alf.schema import _field, polars_schema

RANK = "rank"
"""The column that says which tables a row is from: the smallest is preferred."""

_PATH = ["lab", "subject", "date", "number"]

_PATH_IS_KNOWN = [pl.col(column).is_not_null() for column in _PATH]

_SAYS = ["rel_path", "file_size", "hash"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of rows.

    Parameters
    ----------
    kept
        Those that stay.
    conflicts
        CONFLICTS with ranks in the place of the names of tables: rows that did not stay and say
        something else than the row that has their place.
    n_dropped
        ``rank``, ``n_dropped`` and ``n_conflicts``: of all that did not stay.
    """

    kept: pl.DataFrame
    conflicts: pl.DataFrame
    n_dropped: pl.DataFrame


def choose_sessions(sessions: pl.DataFrame) -> tuple[Choice, pl.DataFrame]:
    """Choose among sessions.

    Parameters
    ----------
    sessions
        SESSIONS and ``rank``, in the order of preference.

    Returns
    -------
    choice : Choice
        Sorted by id.
    eids : polars.DataFrame
        ``eid``, ``kept_eid``: each id that there is, and the one that stays in its place.
    """
    distinct = sessions.filter(pl.col("id").is_first_distinct())
    eids = distinct.join(_find_ambiguous(sessions, distinct), on=_PATH, how="left").select(
        eid="id",
        # Two folders of one session in one archive, `1` and `001`, are not to become one.
        kept_eid=pl.when(pl.col("ambiguous").is_null(), *_PATH_IS_KNOWN)
        .then(pl.col("id").first().over(_PATH))
        .otherwise("id"),
    )
    rows = sessions.with_row_index("row").join(
        eids, left_on="id", right_on="eid", maintain_order="left"
    )
    stays = (pl.col("id") == pl.col("kept_eid")) & pl.col("id").is_first_distinct()
    kept = rows.filter(stays)
    dropped = rows.filter(~stays).join(kept, on="kept_eid", suffix="_kept")
    choice = Choice(
        kept=kept.select(sessions.columns).sort("id"),
        conflicts=_describe_conflicts(
            dropped,
            "sessions",
            ["id", *_PATH],
            eid=pl.col("kept_eid"),
            id=None,
            kept_path=expr_session_path("_kept"),
            dropped_path=expr_session_path(),
            kept_size=None,
            dropped_size=None,
        ),
        n_dropped=_count_dropped(dropped, ["id", *_PATH]),
    )
    return choice, eids


def choose_datasets(datasets: pl.DataFrame, eids: pl.Series) -> Choice:
    """Choose among datasets.

    Parameters
    ----------
    datasets
        DATASETS and ``rank``, and in the stead of ``eid`` ``place``, where the session that
        stays is among `eids`; sessions whole, the rows of each in the order of preference.
    eids
        Sorted.

    Returns
    -------
    Choice
        Sorted by eid and id.
    """
    kept, dropped = [], []
    left = datasets
    while True:
        is_first = _first_of("place", "id") & _first_of("place", "rel_path")
        marked = left.with_columns(stays=is_first)
        first, others = marked.filter("stays").drop("stays"), marked.filter(~pl.col("stays"))
        kept.append(first)
        if others.is_empty():
            break
        others = others.drop("stays")
        # The others yield to one that stays, or else wait for the next round: what is in their
        # way now may have to yield itself.
        by_id = others.join(first, on=["place", "id"], suffix="_kept", coalesce=False)
        waiting = others.join(first, on=["place", "id"], how="anti", maintain_order="left")
        by_path = waiting.join(first, on=["place", "rel_path"], suffix="_kept", coalesce=False)
        dropped += [by_id, by_path]
        left = waiting.join(first, on=["place", "rel_path"], how="anti", maintain_order="left")
        if left.is_empty():
            break
    if not dropped:
        none = datasets.clear()
        dropped = [none.join(none, on="place", suffix="_kept", coalesce=False)]
    lost = pl.concat(dropped)
    eid = pl.lit(eids).gather(pl.col("place")).alias("eid")
    return Choice(
        kept=pl.concat(kept).sort("place", "id").select(eid, pl.exclude("place")),
        conflicts=_describe_conflicts(
            lost,
            "datasets",
            _SAYS,
            eid=eid,
            id=pl.col("id_kept"),
            kept_path=pl.col("rel_path_kept"),
            dropped_path=pl.col("rel_path"),
            kept_size=pl.col("file_size_kept"),
            dropped_size=pl.col("file_size"),
        ),
        n_dropped=_count_dropped(lost, _SAYS),
    )


def _find_ambiguous(sessions: pl.DataFrame, distinct: pl.DataFrame) -> pl.DataFrame:
    """Return the paths that have several ids in the tables of one rank, with a mark."""
    return (
        sessions.select("id", RANK)
        .unique()
        .join(distinct.select("id", *_PATH), on="id")
        .group_by(*_PATH, RANK)
        .len()
        .filter(pl.col("len") > 1)
        .select(*_PATH, ambiguous=pl.lit(value=True))
        .unique()
    )


def _first_of(*columns: str) -> pl.Expr:
    return pl.struct(columns).is_first_distinct()


def _differs(column: str) -> pl.Expr:
    differs = pl.col(column).ne_missing(pl.col(f"{column}_kept"))
    if column == "hash":
        # Nobody has computed one of them.
        return differs & ((pl.col(column) != "") & (pl.col(f"{column}_kept") != ""))
    if column == "file_size":
        return differs & pl.col(column).is_not_null() & pl.col(f"{column}_kept").is_not_null()
    return differs


def _describe_conflicts(
    dropped: pl.DataFrame, table: str, says: list[str], **columns: pl.Expr | None
) -> pl.DataFrame:
    names = [pl.when(_differs(column)).then(pl.lit(column)) for column in says]
    schema = polars_schema(CONFLICTS) | {"kept": pl.UInt32(), "dropped": pl.UInt32()}
    return (
        dropped.filter(pl.any_horizontal(_differs(column) for column in says))
        .select(
            table=pl.lit(table),
            differs=pl.concat_list(names).list.drop_nulls(),
            kept=pl.col(f"{RANK}_kept"),
            dropped=pl.col(RANK),
            **columns,
        )
        .select(pl.col(name).cast(dtype) for name, dtype in schema.items())
        .sort("eid", "id", "dropped", nulls_last=False)
    )


def _count_dropped(dropped: pl.DataFrame, says: list[str]) -> pl.DataFrame:
    in_conflict = pl.any_horizontal(_differs(column) for column in says)
    return dropped.group_by(RANK).agg(n_dropped=pl.len(), n_conflicts=in_conflict.sum())


CONFLICTS = pa.schema(
    [
        _field("table", pa.string(), "sessions or datasets"),
        _field("eid", pa.string(), "id of the session that was kept"),
        _field("id", pa.string(), "id of the dataset that was kept, null for a session"),
        _field("differs", pa.list_(pa.string()), "columns in which the two differ"),
        _field("kept", pa.string(), "tables of the row that was kept"),
        _field("dropped", pa.string(), "tables of the row that was not"),
        _field("kept_path", pa.string(), "the path of the row that was kept"),
        _field("dropped_path", pa.string(), "the path of the row that was not"),
        _field("kept_size", pa.uint64(), "size of the dataset that was kept", unit="bytes"),
        _field("dropped_size", pa.uint64(), "size of the one that was not", unit="bytes"),
    ]
)
"""One row per row that was left out of merged tables although it says something else.

The path of a session is [lab/]subject/date/number, that of a dataset its rel_path."""
