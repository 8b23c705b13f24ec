"""Tables from an archive, by the names of `one.alf.cache`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from polars_alf import index_archive
from polars_alf.cache.frames import DATASETS_COLUMNS, SESSIONS_COLUMNS
from polars_alf.errors import NoSessionsWarning
from polars_alf.temporary import temporary_folder


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
