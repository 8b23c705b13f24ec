"""The names of `one.alf.cache`, with its signatures and results: replace one import.

`load_tables` and `merge_tables` take a fraction of the time, without the hazards of the originals.
`polars_alf.one.enable` puts them into ONE itself.

This package is the only part of `polars_alf` that imports pandas.
"""

from __future__ import annotations

from polars_alf.errors import MissingExtraError

try:
    import packaging  # noqa: F401
    import pandas  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        f'polars_alf.cache needs {error.name}: pip install "polars-alf[pandas]"', name=error.name
    ) from error

from polars_alf.cache.archive import (
    _make_datasets_df,
    _make_sessions_df,
    make_parquet_db,
    remove_missing_datasets,
)
from polars_alf.cache.files import load_tables, remove_table_files
from polars_alf.cache.frames import (
    DATASETS_COLUMNS,
    EMPTY_DATASETS_FRAME,
    EMPTY_SESSIONS_FRAME,
    QC_TYPE,
    SESSIONS_COLUMNS,
    _get_session_info,
    _metadata,
    default_cache,
    patch_tables,
)
from polars_alf.cache.indexes import cast_index_object
from polars_alf.cache.merge import merge_tables
from polars_alf.cache.walks import iter_datasets, iter_sessions

# Scripts of ONE's users, written for its earlier versions, import it by this name.
_iter_datasets = iter_datasets

__all__ = [
    "DATASETS_COLUMNS",
    "EMPTY_DATASETS_FRAME",
    "EMPTY_SESSIONS_FRAME",
    "QC_TYPE",
    "SESSIONS_COLUMNS",
    "_get_session_info",
    "_iter_datasets",
    "_make_datasets_df",
    "_make_sessions_df",
    "_metadata",
    "cast_index_object",
    "default_cache",
    "iter_datasets",
    "iter_sessions",
    "load_tables",
    "make_parquet_db",
    "merge_tables",
    "patch_tables",
    "remove_missing_datasets",
    "remove_table_files",
]
