"""Remove from an archive what pandas tables do not have."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from polars_alf.pruning import apply_removals, plan_removals
from polars_alf.schema import RemovalKind, RemovalResult

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
