"""Tables from an archive, by the names of `one.alf.cache`."""

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
from polars_alf.cache.frames import DATASETS_COLUMNS, SESSIONS_COLUMNS
from polars_alf.errors import NoSessionsWarning
from polars_alf.prune.examine import RemovalKind, RemovalResult


def make_parquet_db(
    root_dir: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    hash_ids: bool = True,
    hash_files: bool = False,
    lab: str | None = None,
) -> tuple[Path, Path]:
    """Index an archive into ``sessions.pqt`` and ``datasets.pqt``.

    `polars_alf.index_archive` does the same with more to choose, and reports what it found.

    Parameters
    ----------
    root_dir : str, os.PathLike
        An archive, a lab, a Subjects folder, a subject, a date or a session.
    out_dir : str, os.PathLike, optional
        Existing folder for the tables; by default the root.
    hash_ids : bool
        Whether ids are UUIDs, as ONE needs them; else they are paths. Unlike ONE's, they are
        the same in every run over the same tables.
    hash_files : bool
        Whether to read every dataset for its MD5.
    lab : str, optional
        Lab of the sessions that lie in no lab's folder.

    Returns
    -------
    sessions_path, datasets_path : pathlib.Path
        The tables.

    Raises
    ------
    PolarsAlfError
        As `polars_alf.index_archive`. A lab that contradicts the folders is an `AssertionError`
        too, as in ONE.

    Warns
    -----
    RuntimeWarning
        There are no sessions, or no datasets.
    """
    report = index_archive(root_dir, out_dir, hash_ids=hash_ids, hash_files=hash_files, lab=lab)
    return report.sessions_path, report.datasets_path


def _make_sessions_df(root_dir: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the sessions of an archive with paths as ids, in the order of their paths.

    Columns are those of `SESSIONS_COLUMNS`; the index counts.
    """
    return _index_in_passing(root_dir, "sessions", SESSIONS_COLUMNS)


def _make_datasets_df(root_dir: str | os.PathLike[str], hash_files: bool = False) -> pd.DataFrame:
    """Return the datasets of an archive with paths as ids, in the order of their paths.

    Columns are those of `DATASETS_COLUMNS`; the index counts.
    """
    return _index_in_passing(root_dir, "datasets", DATASETS_COLUMNS, hash_files)


def _index_in_passing(
    root: str | os.PathLike[str], name: str, columns: dict[str, Any], hash_files: bool = False
) -> pd.DataFrame:
    with temporary_folder() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", NoSessionsWarning)
        index_archive(root, folder, hash_ids=False, hash_files=hash_files)
        return pd.read_parquet(folder / f"{name}.pqt").astype(columns)


# Callers of `one.alf.cache` watch this logger.
_logger = logging.getLogger("one.alf.cache")

_COLUMNS = {"sessions": ("id", "lab", "subject", "date", "number"), "datasets": ("eid", "rel_path")}


def remove_missing_datasets(
    cache_dir: str | os.PathLike[str],
    tables: Mapping[str, pd.DataFrame] | None = None,
    remove_empty_sessions: bool = True,
    dry: bool = True,
) -> list[Path]:
    """Remove dataset files and session folders that tables do not have.

    A file is kept where a row could mean it, where it is a link or behind one, and where it is
    not ALF; see `polars_alf.plan_removals`. What was removed is noted in
    ``.polars_alf/removals.jsonl`` below `cache_dir`.

    Parameters
    ----------
    cache_dir : str, os.PathLike
        The archive.
    tables : dict of pandas.DataFrame, optional
        ``sessions`` and ``datasets``, with their ids as the index or as columns; by default those
        in `cache_dir`.
    remove_empty_sessions : bool
        Whether to remove folders of sessions that are empty and not in the table, with the
        folders of dates and subjects that held nothing else.
    dry : bool
        Whether to print what would be removed, and remove nothing.

    Returns
    -------
    list of pathlib.Path
        Datasets and folders of sessions, sorted: what would be removed, or was.

    Raises
    ------
    ForeignTablesError
        The tables are missing or empty, or none of their sessions is in the archive.
    """
    plan = plan_removals(
        cache_dir,
        sessions=_convert("sessions", tables),
        datasets=_convert("datasets", tables),
        remove_empty_sessions=remove_empty_sessions,
    )
    if dry:
        paths = _list_paths(cache_dir, plan)
        print("These datasets and session folders would be removed:", *paths, sep="\n\t")
        return paths
    outcomes = apply_removals(cache_dir, plan)
    kept = (RemovalResult.CHANGED, RemovalResult.FAILED)
    for row in outcomes.iter_rows(named=True):
        if row["result"] in kept:
            _logger.warning("%s was not removed: %s", row["path"], row["message"])
        else:
            _logger.debug("Removed %s", row["path"])
    return _list_paths(cache_dir, outcomes.filter(~pl.col("result").is_in(kept)))


def _list_paths(cache_dir: str | os.PathLike[str], removals: pl.DataFrame) -> list[Path]:
    named = removals.filter(pl.col("kind").is_in([RemovalKind.DATASET, RemovalKind.SESSION]))
    return sorted(Path(cache_dir, path) for path in named["path"])


def _convert(name: str, tables: Mapping[str, pd.DataFrame] | None) -> pl.DataFrame | None:
    """Return the columns of a table that say which file a row means, as text."""
    if tables is None:
        return None
    table = tables[name]
    columns = {}
    for column in _COLUMNS[name]:
        if column in table.columns:
            columns[column] = _read_text(table[column])
        elif column in table.index.names:
            columns[column] = _read_text(table.index.get_level_values(column))
        elif column in ("id", "eid"):  # an index that lost its names
            columns[column] = _read_text(table.index.get_level_values(0))
    return pl.DataFrame(columns, schema_overrides=dict.fromkeys(columns, pl.String))


def _read_text(values: Iterable[Any]) -> pl.Series:
    # Each value once: of the many rows of a session all have the same eid.
    codes, distinct = pd.factorize(values)  # type: ignore[call-overload]
    texts = pl.Series([str(value) for value in distinct], dtype=pl.String)
    return texts.gather(pl.Series(codes).replace(-1, None).cast(pl.UInt32))
