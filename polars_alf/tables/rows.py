"""Rows of SESSIONS and DATASETS from the directories and files of a walk. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.ids import expr_uuid3
from polars_alf.schema import DATASETS, DIGEST_COLUMNS, SESSIONS, polars_schema

SESSION_KEY = ("lab", "subject", "date", "number")
"""What ONE makes the path of a session from; ``number`` has no zeros before it."""

_IN_LAB = r"(^|/)Subjects/[^/]+/[^/]+/[^/]+$"

ROWS_PER_GROUP = 131_072
"""About how many rows are in memory at a time, and in one row group of a table."""


def assemble_sessions(
    directories: pl.LazyFrame, root: str, *, lab: str = "", namespace: UUID | None = None
) -> pl.LazyFrame:
    """Return the rows of the sessions among DIRECTORIES.

    `root` is the POSIX path of the archive, whose components complete a session's where it lies
    inside them; `lab` the lab of the sessions that lie in no lab's folder. Without a `namespace`
    for UUIDs, ids are paths. SESSIONS has three more columns: ``session``, the directory relative
    to the root, ``name``, which the ids are made from, and ``key``, by which the rows are sorted
    as ONE sorts them: the id where ids are UUIDs, else the components of the path.
    """
    path = pl.concat_str(pl.lit(f"{root}/"), "session").str.strip_suffix("/")
    name = pl.concat_str(
        "lab", "subject", "date", path.str.extract(r"([^/]+)$"), separator="/", ignore_nulls=True
    )
    return (
        directories.filter(pl.col("directory") == pl.col("session"))
        .select("session", parts=grammar.expr_session_parts(path))
        .unnest("parts")
        .with_columns(name=name)
        .with_columns(
            pl.col("lab").fill_null(lab),
            id=expr_uuid3(pl.col("name"), namespace) if namespace else "name",
            task_protocol=pl.lit(""),
            projects=pl.lit(""),
        )
        .with_columns(key="id" if namespace else _expr_path_key(pl.col("session")))
        .select(*SESSIONS.names, "session", "name", "key")
        .sort("key")
    )


def assemble_datasets(
    entries: pl.LazyFrame,
    directories: pl.LazyFrame,
    sessions: pl.LazyFrame,
    *,
    namespace: UUID | None = None,
) -> pl.LazyFrame:
    """Return the rows of the datasets among ENTRIES with digests, names as strings.

    `sessions` is what `assemble_sessions` made of the same DIRECTORIES with the same `namespace`.
    The columns are ``session``, ``id``, ``rel_path``, and those of `entries`; the rows are in the
    order of the sessions, and within each in that of ONE (`assemble_sessions`).
    """
    within = pl.col("directory").str.slice(pl.col("session").str.len_chars())
    prefix = within.str.strip_prefix("/")
    folders = (
        directories.join(sessions.with_row_index("rank"), on="session", how="inner")
        .with_columns(prefix=pl.when(prefix == "").then(prefix).otherwise(prefix + "/"))
        .select("directory", "session", "rank", "prefix", session_name="name")
    )
    datasets = entries.join(folders, on="directory", how="inner").with_columns(
        rel_path=pl.concat_str("prefix", pl.col("name"))
    )
    rel_path = pl.col("rel_path")
    name = pl.concat_str("session_name", "rel_path", separator="/")
    datasets = datasets.with_columns(id=expr_uuid3(name, namespace) if namespace else rel_path)
    order = "id" if namespace else _expr_path_key(rel_path)
    wanted = ("session", "id", "rel_path", "directory", "name", "file_size")
    return datasets.sort("rank", order).select(*wanted, *DIGEST_COLUMNS.values())


def complete_datasets(datasets: pl.LazyFrame, more: Sequence[str] = ()) -> pl.LazyFrame:
    """Add the columns of DATASETS that are the same for every file on disk.

    Returns those of DATASETS in their order, then those of `datasets` that `more` names.
    """
    schema = polars_schema(DATASETS)
    return datasets.with_columns(
        exists=pl.lit(value=True), qc=pl.lit("NOT_SET", dtype=schema["qc"])
    ).select(*schema.names(), *more)


def drop_duplicate_sessions(
    sessions: pl.LazyFrame, key: Sequence[str] = SESSION_KEY
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Return one of the sessions that share a key, and the others, in their order.

    By default these are the sessions that ONE cannot tell apart. It opens the one that lies in its
    lab's folder, which is kept; then the one with the fewest components in ``session``, as the copy
    in ``backup/`` yields to the original; then ``001``, where ONE looks, before ``01`` and ``1``;
    then the first by path. The others have one more column, ``kept``: the session that was kept
    instead.
    """
    session = pl.col("session")
    ranks = (
        ~session.str.contains(_IN_LAB),
        session.str.count_matches("/"),
        -session.str.extract(r"([^/]*)$").str.len_chars().cast(pl.Int64),
        session,
    )
    first = session.sort_by(*ranks).first().over(*key)
    marked = sessions.with_columns(kept=first)
    is_kept = pl.col("kept") == pl.col("session")
    return marked.filter(is_kept).drop("kept"), marked.filter(~is_kept)


def _expr_path_key(path: pl.Expr) -> pl.Expr:
    # NUL sorts before any other character, so that texts sort as their lists of components do.
    return path.str.replace_all("/", "\0", literal=True)


def sum_bytes(sizes: pl.Series) -> int:
    """Return the sum of sizes; that of Polars starts again from 0 at 2^64."""
    return int(sizes.cast(pl.Int128).sum())
