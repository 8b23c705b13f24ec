"""Deduplication of the rows of several tables. Pure: frames in, frames out.

Rows come in the order of preference. A row is a duplicate if a row before it that is kept has its
id, or its path: for a session ``[lab/]subject/date/number``, for a dataset the rel_path in its
session. What others wrote in a duplicate is taken along where the row that is kept has nothing.
A duplicate is a conflict if it contradicts the row that is kept, as completed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from polars_alf.arrow import copy_texts
from polars_alf.merge.sources import RANK
from polars_alf.query.columns import expr_session_folder
from polars_alf.schema import DATASETS, DIGEST_COLUMNS, SESSIONS, _field, polars_schema
from polars_alf.tables.foreign import Columns, list_marked, name_column, restore_columns

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

The path of a session is [lab/Subjects/]subject/date/number, that of a dataset its rel_path."""

_PATH = ["lab", "subject", "date", "number"]

# Columns that make two rows of a session, or of a dataset, a conflict, as do those that follow.
_SESSION_CLAIMS = ["id", *_PATH]
_DATASET_CLAIMS = ["rel_path", "file_size", "hash"]

# Columns that others write, and that rows are completed in. Those that are not ours are more.
_SESSION_WRITTEN = ["task_protocol", "projects"]
_DATASET_WRITTEN = ["qc"]

_DIGESTS = ["hash", *list_marked({*DIGEST_COLUMNS.values()} - {"hash"})]

_NOTHING = {"task_protocol": "", "projects": "", "qc": "NOT_SET", **dict.fromkeys(_DIGESTS, "")}
"""Values by which a row says nothing, where that is not null."""


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


def deduplicate_sessions(
    sessions: pl.DataFrame, foreign: Columns
) -> tuple[Deduplicated, pl.DataFrame]:
    """Deduplicate SESSIONS with ``rank``; those kept are sorted by id.

    `foreign` are the columns that are not ours, whose names are marked, and are restored.

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
    dropped = rows.filter(~is_kept).join(kept, on="kept_eid", suffix="_kept", maintain_order="left")
    written = [*_SESSION_WRITTEN, *list_marked(foreign)]
    claims = [*_SESSION_CLAIMS, *written]
    kept, dropped = _fill_gaps(kept, dropped, {"kept_eid": "kept_eid"}, written)
    result = Deduplicated(
        kept=kept.sort("id").select(*SESSIONS.names, *restore_columns(foreign)),
        conflicts=_describe_conflicts(
            dropped,
            claims,
            table=pl.lit("sessions"),
            eid=pl.col("kept_eid"),
            kept_path=expr_session_folder("_kept"),
            dropped_path=expr_session_folder(),
        ),
        counts=_count_dropped(dropped, claims),
    )
    return result, eids


def deduplicate_datasets(datasets: pl.DataFrame, eids: pl.Series, foreign: Columns) -> Deduplicated:
    """Deduplicate the datasets of whole sessions; those kept are sorted by eid and id.

    `datasets` has the columns of DATASETS but ``eid``, those of `foreign` with marked names, and
    ``rank`` and ``session``: the index of the kept session in `eids`, which is sorted. The rows of
    a session are in order of preference.
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
            dropped.append(
                rest.join(first, on=on, suffix="_kept", coalesce=False, maintain_order="left")
            )
            rest = rest.join(first, on=on, how="anti", maintain_order="left")
    duplicates = pl.concat(dropped)
    eid = pl.lit(eids).gather(pl.col("session")).alias("eid")
    written = [*_DATASET_WRITTEN, *list_marked(foreign)]
    claims = [*_DATASET_CLAIMS, *written]
    # What was read of one content says nothing of another.
    gaps = [column for column in written if column not in _DIGESTS]
    key = {"session": "session", "id": "id_kept"}
    filled, duplicates = _fill_gaps(pl.concat(kept), duplicates, key, gaps)
    return Deduplicated(
        kept=filled.sort("session", "id")
        .with_columns(eid)
        .select(*DATASETS.names, *restore_columns(foreign)),
        conflicts=copy_texts(
            _describe_conflicts(
                duplicates,
                claims,
                table=pl.lit("datasets"),
                eid=eid,
                id=pl.col("id_kept"),
                kept_path=pl.col("rel_path_kept"),
                dropped_path=pl.col("rel_path"),
                kept_size=pl.col("file_size_kept"),
                dropped_size=pl.col("file_size"),
            )
        ),
        counts=_count_dropped(duplicates, claims),
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


def _fill_gaps(
    kept: pl.DataFrame, dropped: pl.DataFrame, key: Mapping[str, str], columns: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Give rows what they do not say themselves and a duplicate does, the most preferred first.

    `key` has the columns by which a row is found among those kept, and by which among the dropped.
    The dropped rows come back beside the completed ones, which they may contradict.
    """
    if dropped.is_empty():
        return kept, dropped
    taken = (
        dropped.sort(RANK, maintain_order=True)
        .group_by(pl.col(name).alias(column) for column, name in key.items())
        .agg(_says(column).drop_nulls().first().alias(f"{column}_taken") for column in columns)
    )
    filled = (
        kept.join(taken, on=[*key], how="left", maintain_order="left")
        .with_columns(
            pl.coalesce(_says(column), f"{column}_taken", column).alias(column)
            for column in columns
        )
        .select(kept.columns)
    )
    beside = filled.select(*key, *(pl.col(column).alias(f"{column}_kept") for column in columns))
    return filled, dropped.drop(f"{column}_kept" for column in columns).join(
        beside, left_on=[*key.values()], right_on=[*key], maintain_order="left"
    )


def _says(column: str, suffix: str = "") -> pl.Expr:
    """Return a column, null where its value says nothing."""
    value = pl.col(f"{column}{suffix}")
    return pl.when(value != _NOTHING[column]).then(value) if column in _NOTHING else value


def _differs(column: str) -> pl.Expr:
    if column in (*_SESSION_CLAIMS, "rel_path"):
        return pl.col(column).ne_missing(pl.col(f"{column}_kept"))
    dropped, kept = _says(column), _says(column, "_kept")
    return dropped.ne_missing(kept) & dropped.is_not_null() & kept.is_not_null()


def _describe_conflicts(
    dropped: pl.DataFrame, claims: Sequence[str], **columns: pl.Expr
) -> pl.DataFrame:
    """Make CONFLICTS of rows beside those kept; columns that are not given are null."""
    names = [pl.when(_differs(column)).then(pl.lit(name_column(column))) for column in claims]
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
