"""Deduplication of the rows of several tables. Pure: frames in, frames out.

Rows come in the order of preference. A row is a duplicate if a row before it that is kept has its
id, or its path: for a session ``[lab/]subject/date/number``, for a dataset the rel_path in its
session. A duplicate is a conflict if it contradicts the row that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from polars_alf.merge.sources import RANK
from polars_alf.query.columns import expr_session_path
from polars_alf.schema import _field, polars_schema

CONFLICTS = pa.schema(
    [
        _field("table", pa.string(), "sessions or datasets"),
        _field("eid", pa.string(), "id of the session that was kept"),
        _field("id", pa.string(), "id of the dataset that was kept, null for a session"),
        _field("differs", pa.list_(pa.string()), "columns in which the two differ"),
        _field("kept", pa.string(), "tables of the row that was kept"),
        _field("dropped", pa.string(), "tables of the row that was dropped"),
        _field("kept_path", pa.string(), "path of the row that was kept"),
        _field("dropped_path", pa.string(), "path of the row that was dropped"),
        _field("kept_size", pa.uint64(), "size of the dataset that was kept", unit="bytes"),
        _field("dropped_size", pa.uint64(), "size of the dataset that was dropped", unit="bytes"),
    ]
)
"""One row per row that was left out of merged tables although it contradicts the one kept.

The path of a session is [lab/]subject/date/number, that of a dataset its rel_path."""

_PATH = ["lab", "subject", "date", "number"]

# Columns that make two rows of a session, or of a dataset, a conflict.
_SESSION_CLAIMS = ["id", *_PATH]
_DATASET_CLAIMS = ["rel_path", "file_size", "hash"]


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """Rows after deduplication.

    Parameters
    ----------
    kept
        One row for each session or dataset.
    conflicts
        CONFLICTS, with ranks in place of the names of tables.
    counts
        ``rank``, and how many of its rows were dropped (``n_dropped``), and of these how many are
        conflicts (``n_conflicts``); only ranks that lost any.
    """

    kept: pl.DataFrame
    conflicts: pl.DataFrame
    counts: pl.DataFrame


def deduplicate_sessions(sessions: pl.DataFrame) -> tuple[Deduplicated, pl.DataFrame]:
    """Deduplicate SESSIONS with ``rank``; those kept are sorted by id.

    The second frame has ``eid``, each id among the sessions, and ``kept_eid``, the id of the
    session that is kept for it.
    """
    distinct = sessions.filter(pl.col("id").is_first_distinct())
    has_path = [pl.col(column).is_not_null() for column in _PATH]
    eids = distinct.join(_find_ambiguous(sessions, distinct), on=_PATH, how="left").select(
        eid="id",
        # Two folders of one session in one archive, `1` and `001`, must not become one.
        kept_eid=pl.when(pl.col("ambiguous").is_null(), *has_path)
        .then(pl.col("id").first().over(_PATH))
        .otherwise("id"),
    )
    rows = sessions.join(eids, left_on="id", right_on="eid", maintain_order="left")
    is_kept = (pl.col("id") == pl.col("kept_eid")) & pl.col("id").is_first_distinct()
    kept = rows.filter(is_kept)
    dropped = rows.filter(~is_kept).join(kept, on="kept_eid", suffix="_kept")
    result = Deduplicated(
        kept=kept.select(sessions.columns).sort("id"),
        conflicts=_describe_conflicts(
            dropped,
            _SESSION_CLAIMS,
            table=pl.lit("sessions"),
            eid=pl.col("kept_eid"),
            kept_path=expr_session_path("_kept"),
            dropped_path=expr_session_path(),
        ),
        counts=_count_dropped(dropped, _SESSION_CLAIMS),
    )
    return result, eids


def deduplicate_datasets(datasets: pl.DataFrame, eids: pl.Series) -> Deduplicated:
    """Deduplicate the datasets of whole sessions; those kept are sorted by eid and id.

    `datasets` has the columns of DATASETS but ``eid``, and ``rank`` and ``session``: the index of
    the kept session in `eids`, which is sorted. The rows of a session are in order of preference.
    """
    kept = [datasets.clear()]
    dropped = [kept[0].join(kept[0], on="session", suffix="_kept", coalesce=False)]
    rest = datasets
    while not rest.is_empty():
        is_first = rest.select(_is_first("id") & _is_first("rel_path")).to_series()
        first, rest = rest.filter(is_first), rest.filter(~is_first)
        kept.append(first)
        # Duplicates of these rows are dropped. Other rows wait for the next round: the rows
        # before them may be duplicates themselves.
        for column in ("id", "rel_path") if len(rest) else ():
            on = ["session", column]
            dropped.append(rest.join(first, on=on, suffix="_kept", coalesce=False))
            rest = rest.join(first, on=on, how="anti", maintain_order="left")
    duplicates = pl.concat(dropped)
    eid = pl.lit(eids).gather(pl.col("session")).alias("eid")
    return Deduplicated(
        kept=pl.concat(kept).sort("session", "id").select(eid, pl.exclude("session")),
        conflicts=_describe_conflicts(
            duplicates,
            _DATASET_CLAIMS,
            table=pl.lit("datasets"),
            eid=eid,
            id=pl.col("id_kept"),
            kept_path=pl.col("rel_path_kept"),
            dropped_path=pl.col("rel_path"),
            kept_size=pl.col("file_size_kept"),
            dropped_size=pl.col("file_size"),
        ),
        counts=_count_dropped(duplicates, _DATASET_CLAIMS),
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


def _is_first(column: str) -> pl.Expr:
    return pl.struct("session", column).is_first_distinct()


def _differs(column: str) -> pl.Expr:
    dropped, kept = pl.col(column), pl.col(f"{column}_kept")
    differs = dropped.ne_missing(kept)
    if column == "hash":  # "" is a checksum that was not computed
        return differs & (dropped != "") & (kept != "")
    if column == "file_size":
        return differs & dropped.is_not_null() & kept.is_not_null()
    return differs


def _describe_conflicts(
    dropped: pl.DataFrame, claims: Sequence[str], **columns: pl.Expr
) -> pl.DataFrame:
    """Make CONFLICTS of rows beside those kept; columns that are not given are null."""
    names = [pl.when(_differs(column)).then(pl.lit(column)) for column in claims]
    values: dict[str, pl.Expr] = {
        "differs": pl.concat_list(names).list.drop_nulls(),
        "kept": pl.col(f"{RANK}_kept"),
        "dropped": pl.col(RANK),
        **columns,
    }
    schema = polars_schema(CONFLICTS) | {"kept": pl.UInt32(), "dropped": pl.UInt32()}
    return (
        dropped.filter(pl.any_horizontal(map(_differs, claims)))
        .select(
            values.get(name, pl.lit(None)).cast(dtype).alias(name) for name, dtype in schema.items()
        )
        .sort("eid", "id", "dropped", nulls_last=False)
    )


def _count_dropped(dropped: pl.DataFrame, claims: Sequence[str]) -> pl.DataFrame:
    is_conflict = pl.any_horizontal(map(_differs, claims))
    return dropped.group_by(RANK).agg(n_dropped=pl.len(), n_conflicts=is_conflict.sum())
