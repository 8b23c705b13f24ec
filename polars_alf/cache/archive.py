"""The functions of `one.alf.cache` on an archive: index it, and remove what its tables lack."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from polars_alf import apply_removals, index_archive, plan_removals
from polars_alf.alf.paths import temporary_folder
from polars_alf.cache.frames import COLUMNS
from polars_alf.cache.walks import list_datasets, list_sessions
from polars_alf.errors import NoSessionsWarning
from polars_alf.prune.examine import RemovalKind, RemovalResult

# Callers of `one.alf.cache` watch this logger.
_logger = logging.getLogger("one.alf.cache")


def make_parquet_db(
    root_dir: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    hash_ids: bool = True,
    hash_files: bool = False,
    lab: str | None = None,
) -> tuple[Path, Path]:
    """Index an archive into ``sessions.pqt`` and ``datasets.pqt``.

    `polars_alf.index_archive` does the same with more options, and returns a report.

    ONE's replaces any tables without a word. This one refuses where `polars_alf.index_archive` does
    by default: most of the rows would go, as where storage is not mounted, or ids of paths would
    replace UUIDs. Who calls it every night would notice only when ids and QC are lost; who means it
    can move the tables away first, or call `index_archive` with ``max_removed=1.0``.

    Parameters
    ----------
    root_dir : str, os.PathLike
        An archive, a lab, a Subjects folder, a subject, a date or a session.
    out_dir : str, os.PathLike, optional
        Existing folder for the tables; by default the root.
    hash_ids : bool
        Whether ids are UUIDs, as ONE needs them, or paths. Unlike ONE's, UUIDs are the same in
        every run over the same tables.
    hash_files : bool
        Whether to read every dataset for its MD5.
    lab : str, optional
        Lab of the sessions that are in no lab folder.

    Returns
    -------
    sessions_path, datasets_path : pathlib.Path
        The tables.

    Raises
    ------
    PolarsAlfError
        As from `polars_alf.index_archive`, `MassRemovalError` among them. The error for a lab that
        contradicts the folders is also an `AssertionError`, as in ONE.

    Warns
    -----
    RuntimeWarning
        There are no sessions, or no datasets.
    """
    report = index_archive(
        root_dir,
        out_dir,
        hash_ids=hash_ids,
        hash_files=hash_files,
        lab=lab,
        default_revisions=False,  # ONE's own tables have no such column
    )
    return report.sessions_path, report.datasets_path


def _make_sessions_df(root_dir: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the sessions of an archive as `SESSIONS_COLUMNS`, with paths as ids, sorted by path.

    The index counts the rows.
    """
    # Most callers ask for one session, for which the machinery of an index takes far longer.
    found = list_sessions(root_dir)
    return _index_into_frame(root_dir, "sessions") if found is None else found


def _make_datasets_df(root_dir: str | os.PathLike[str], hash_files: bool = False) -> pd.DataFrame:
    """Return the datasets of an archive as `DATASETS_COLUMNS`, with paths as ids, sorted by path.

    The index counts the rows.
    """
    found = None if hash_files else list_datasets(root_dir)
    return _index_into_frame(root_dir, "datasets", hash_files) if found is None else found


def _index_into_frame(
    root: str | os.PathLike[str], name: str, hash_files: bool = False
) -> pd.DataFrame:
    with temporary_folder() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", NoSessionsWarning)
        index_archive(root, folder, hash_ids=False, hash_files=hash_files, default_revisions=False)
        return pd.read_parquet(folder / f"{name}.pqt").astype(COLUMNS[name])


def remove_missing_datasets(
    cache_dir: str | os.PathLike[str],
    tables: Mapping[str, pd.DataFrame] | None = None,
    remove_empty_sessions: bool = True,
    dry: bool = True,
) -> list[Path]:
    """Remove dataset files and session folders that are not in the tables.

    A file is kept if a row could mean it, if it is a link or behind one, and if it is not ALF; see
    `polars_alf.plan_removals`. What the last index skipped is kept, whatever the tables.
    ``.polars_alf/removals.jsonl`` in `cache_dir` records removals.

    Parameters
    ----------
    cache_dir : str, os.PathLike
        The archive.
    tables : dict of pandas.DataFrame, optional
        ``sessions`` and ``datasets``, with their ids as the index or as columns; by default those
        in `cache_dir`.
    remove_empty_sessions : bool
        Whether to remove empty session folders that are not in the table, and the date and
        subject folders that held nothing else.
    dry : bool
        Whether to print the paths instead of removing them.

    Returns
    -------
    list of pathlib.Path
        Datasets and session folders that were removed, or would be; sorted.

    Raises
    ------
    ForeignTablesError
        The tables are missing or empty, or none of their sessions is in the archive.
    MassRemovalError
        More would go than may go unasked, and `dry` is False: nothing was removed.
        `polars_alf.apply_removals` takes the limit.
    """
    plan = plan_removals(
        cache_dir,
        sessions=_convert_table("sessions", tables),
        datasets=_convert_table("datasets", tables),
        remove_empty_sessions=remove_empty_sessions,
    )
    if dry:
        paths = _list_paths(cache_dir, plan)
        print("These datasets and session folders would be removed:", *paths, sep="\n\t")
        return paths
    outcomes = apply_removals(cache_dir, plan)
    is_kept = pl.col("result").is_in([RemovalResult.CHANGED, RemovalResult.FAILED])
    for path, message in outcomes.filter(is_kept).select("path", "message").iter_rows():
        _logger.warning("%s was not removed: %s", path, message)
    removed = outcomes.filter(~is_kept)
    for path in removed["path"]:
        _logger.debug("Removed %s", path)
    return _list_paths(cache_dir, removed)


def _list_paths(cache_dir: str | os.PathLike[str], removals: pl.DataFrame) -> list[Path]:
    listed = removals.filter(pl.col("kind").is_in([RemovalKind.DATASET, RemovalKind.SESSION]))
    return sorted(Path(cache_dir, path) for path in listed["path"])


# Columns that tell which file a row means.
_COLUMNS = {"sessions": ("id", "lab", "subject", "date", "number"), "datasets": ("eid", "rel_path")}


def _convert_table(name: str, tables: Mapping[str, pd.DataFrame] | None) -> pl.DataFrame | None:
    """Return the columns that `polars_alf.plan_removals` needs, as text."""
    if tables is None:
        return None
    table = tables[name]
    columns = {}
    for column in _COLUMNS[name]:
        if column in table.columns:
            columns[column] = _format_values(table[column])
        elif column in table.index.names:
            columns[column] = _format_values(table.index.get_level_values(column))
        elif column in ("id", "eid"):  # an index that lost its names
            columns[column] = _format_values(table.index.get_level_values(0))
    return pl.DataFrame(columns, schema_overrides=dict.fromkeys(columns, pl.String))


def _format_values(values: Iterable[Any]) -> pl.Series:
    # Each distinct value once: the many datasets of a session have one eid.
    codes, distinct = pd.factorize(values)  # type: ignore[call-overload]
    texts = pl.Series([str(value) for value in distinct], dtype=pl.String)
    return texts.gather(pl.Series(codes).replace(-1, None).cast(pl.UInt32))
