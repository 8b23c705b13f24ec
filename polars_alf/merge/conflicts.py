"""The conflicts of merged tables, as they were kept beside them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from polars_alf.alf.root import FolderPath, check_folder
from polars_alf.errors import ArchiveNotFoundError
from polars_alf.query.columns import expr_session_folder
from polars_alf.query.scan import scan_sessions
from polars_alf.tables.files import conflicts_path


def scan_conflicts(folder: FolderPath) -> pl.LazyFrame:
    """Scan the rows that a merge into a folder left out although they contradict those kept.

    Parameters
    ----------
    folder
        Folder of the merged tables.

    Returns
    -------
    polars.LazyFrame
        `polars_alf.merge.duplicates.CONFLICTS`, with the whole paths of datasets:
        [lab/Subjects/]subject/date/number/rel_path.

    Raises
    ------
    ArchiveNotFoundError
        Nothing was merged into that folder.
    ArchiveNotADirectoryError, TableError
        As of `scan_sessions`.
    """
    place = check_folder(folder, to_write=False)
    path = conflicts_path(Path(place))
    if not path.exists():
        raise ArchiveNotFoundError(
            f"{place} has no conflicts of a merge; give the folder that tables were merged into"
        )
    sessions = scan_sessions(place).select(eid="id", session=expr_session_folder())
    is_dataset = pl.col("table") == "datasets"
    rows = pl.scan_ipc(path, glob=False).join(
        sessions.unique("eid", keep="first"), on="eid", how="left", maintain_order="left"
    )
    return rows.with_columns(
        pl.when(is_dataset)
        .then(pl.concat_str("session", column, separator="/", ignore_nulls=True))
        .otherwise(column)
        .alias(column)
        for column in ("kept_path", "dropped_path")
    ).drop("session")
