"""Rows of SESSIONS and DATASETS from the directories and files of a walk. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast
from uuid import UUID

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.ids import expr_uuid3, make_ids
from polars_alf.schema import DATASETS, DIGEST_COLUMNS, SESSIONS, polars_schema
from polars_alf.walk.entries import Entries, find_codes

SESSION_KEY = ("lab", "subject", "date", "number")
"""Columns that ONE makes the path of a session from; ``number`` has no zeros before it."""

_IN_LAB = r"(^|/)Subjects/[^/]+/[^/]+/[^/]+$"

ROWS_PER_GROUP = 65_536
"""About how many rows are in one row group of a table, and in memory for each thread."""

ROWS_AT_ONCE = 131_072
"""About how many rows are in memory where one thread takes part after part."""


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


class PlacedFiles(NamedTuple):
    """Files in their sessions, with codes in the place of rel_paths.

    Parameters
    ----------
    rows
        ``row``, the position among the entries; ``rank``, that among the sessions; ``file_size``
        and digests; ``path``, the position of the rel_path; and perhaps more.
    rel_paths
        The distinct rel_paths.
    """

    rows: pl.DataFrame
    rel_paths: pl.Series


def assemble_datasets(
    entries: Entries,
    directories: pl.DataFrame,
    sessions: pl.DataFrame,
    *,
    namespace: UUID | None = None,
) -> PlacedFiles:
    """Return the rows of the datasets among ENTRIES with digests.

    `sessions` is what `assemble_sessions` made of the same DIRECTORIES with the same `namespace`.
    Where ids are UUIDs there are two more columns, ``high`` and ``low``, the halves of the id. The
    rows are in the order of the sessions, and within each in that of ONE (`assemble_sessions`).
    """
    files, rel_paths = place_files(
        entries, directories, sessions, entries.names, entries.files["name"]
    )
    if namespace is None:
        keys = rel_paths.to_frame("path").select(_expr_path_key(pl.col("path"))).to_series()
        places = keys.rank("dense").gather(files["path"])
        return PlacedFiles(files.sort("rank", places), rel_paths)
    ids = make_ids(namespace, files["rank"], sessions["name"], files["path"], rel_paths)
    return PlacedFiles(sort_by_id(files.with_columns(ids)), rel_paths)


def sort_by_id(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort rows by ``rank``, and those of one rank by ``high`` and ``low``."""
    # One number, with 20 bits of the rank and 44 of the id, sorts twice as fast as three. The
    # columns decide where that leaves a tie, or a rank has more bits.
    n_ranks = 2**20
    shifted = pl.col("rank") * pl.lit(2**64 // n_ranks, pl.UInt64)
    key = rows.select(shifted + pl.col("high") // n_ranks).to_series()
    order = key.arg_sort()
    has_ties = len(rows) and key.gather(order).rle_id().last() != len(rows) - 1
    if has_ties or cast("int", rows["rank"].max() or 0) >= n_ranks:
        return rows.sort("rank", "high", "low")
    return rows[order]


def place_files(
    entries: Entries,
    directories: pl.DataFrame,
    sessions: pl.DataFrame,
    names: pl.Series,
    codes: pl.Series,
) -> PlacedFiles:
    """Place ENTRIES in their sessions, in their order, by the names that each file's code means."""
    # Texts are made once for each folder, and for each distinct rel_path; files have their codes.
    within = pl.col("directory").str.slice(pl.col("session").str.len_chars())
    prefix = within.str.strip_prefix("/")
    ranks = sessions.select("session", rank=pl.int_range(pl.len(), dtype=pl.UInt32))
    folders = (
        entries.directories.to_frame("directory")
        .join(directories, on="directory", how="left", maintain_order="left")
        .join(ranks, on="session", how="left", maintain_order="left")
        .select("rank", prefix=pl.when(prefix == "").then(prefix).otherwise(prefix + "/"))
    )
    prefixes, prefix_codes = encode(folders["prefix"])
    n_names = len(names)
    folder_codes = entries.files["directory"]
    pair = prefix_codes.cast(pl.UInt64).gather(folder_codes) * n_names + codes
    files = entries.files.select(
        row=pl.int_range(pl.len(), dtype=pl.UInt32),
        rank=folders["rank"].gather(folder_codes),
        file_size="file_size",
        **{name: pl.col(name) for name in DIGEST_COLUMNS.values()},
        pair=pair,
    )
    if folders["rank"].has_nulls():
        files = files.drop_nulls("rank")
    pairs, path_codes = encode(files["pair"])
    rel_paths = prefixes.gather(pairs // n_names) + names.gather(pairs % n_names)
    return PlacedFiles(files.drop("pair").with_columns(path=path_codes), rel_paths)


def encode(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return distinct values, and the code of each value."""
    distinct = values.unique(maintain_order=True)
    return distinct, find_codes(values, distinct)


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
