"""The tables as files: loaded into frames, or removed."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from polars_alf.cache.frames import (
    INDEX_NAMES,
    QC_TYPE,
    Bunch,
    default_cache,
    parse_qc,
    patch_tables,
)
from polars_alf.cache.indexes import cast_index_object, holds_uuid_strings, make_uuid_index
from polars_alf.errors import MissingIdsError, TableError
from polars_alf.tables.consistent_read import read_consistently
from polars_alf.tables.contract import TableHeader, check_generations, parse_header
from polars_alf.tables.files import REPAIR_ADVICE
from polars_alf.tables.parquet import TableFile, open_table

# Callers of `one.alf.cache` watch this logger.
_logger = logging.getLogger("one.alf.cache")


def load_tables(tables_dir: str | os.PathLike[str], glob_pattern: str = "*.pqt") -> Bunch:
    """Load the tables of a folder.

    Parameters
    ----------
    tables_dir : str, os.PathLike
        The folder. If it does not exist, or has no tables, the result is `default_cache`.
    glob_pattern : str
        Which of the folder's files are tables. A table's name is the file's, without its suffix.

    Returns
    -------
    Bunch
        The tables, `sessions` and `datasets` at least, sorted by their indexes; and `_meta`. Ids
        that are UUIDs are `uuid.UUID` objects. Rows with the same id are all kept. Files
        without ONE's metadata, and folders, are skipped with a warning in the log
        `one.alf.cache`.

    Raises
    ------
    MissingIdsError
        A table has no column of ids.
    TableError
        A file is not a table, or has ids of several kinds or an index with the wrong names; or
        sessions and datasets are of two generations.
    """
    folder = Path(tables_dir)
    return read_consistently(folder, lambda: _load_tables(folder, glob_pattern))


def _load_tables(folder: Path, glob_pattern: str) -> Bunch:
    caches = default_cache()
    meta = caches["_meta"]
    with contextlib.ExitStack() as stack:
        # All are opened before any is read, so that a commit in between replaces none of them.
        files = [*_open_tables(folder, glob_pattern, stack)]
        check_generations(header for header, _ in files if header.path.stem in INDEX_NAMES)
        for header, file in files:
            name = header.path.stem
            raw = meta["raw"][name] = dict(header.one)
            if "date_created" not in raw:
                _logger.warning("%s has no metadata of ONE: skipped", header.path)
                continue
            _check_date(header)
            caches[name] = _read_table(file, header)
            origin = raw.get("origin", "unknown") or ()
            raw["origin"] = {*filter(None, [origin] if isinstance(origin, str) else origin)}
            meta["loaded_time"] = datetime.datetime.now()
    # A table that the folder lacks was created now, as in ONE.
    created = [raw["date_created"] for raw in meta["raw"].values() if "date_created" in raw]
    meta["created_time"] = min(map(datetime.datetime.fromisoformat, created), default=None)
    return caches


def _open_tables(
    folder: Path, glob_pattern: str, stack: contextlib.ExitStack
) -> Iterator[tuple[TableHeader, TableFile]]:
    for path in sorted(folder.glob(glob_pattern)):
        if path.is_dir() and path.stem not in INDEX_NAMES:
            _logger.warning("%s is a folder: skipped", path)
            continue
        file = stack.enter_context(open_table(path))
        yield parse_header(path, file.parquet.schema_arrow), file


def _check_date(header: TableHeader) -> None:
    created = header.one["date_created"]
    try:
        datetime.datetime.fromisoformat(created)
    except (TypeError, ValueError) as error:
        raise TableError(
            f"{header.path}: date_created is {created!r}, not a date; {REPAIR_ADVICE}"
        ) from error


def _read_table(file: TableFile, header: TableHeader) -> pd.DataFrame:
    table = file.read()
    try:
        frame = _make_frame(table, header.path.stem, header.one.get("min_api_version"))
    except Exception as error:  # pandas' metadata may say anything, and Arrow believes it
        kind = type(error) if isinstance(error, TableError) else TableError
        raise kind(f"{header.path} is not as it should be ({error}); {REPAIR_ADVICE}") from error
    if frame.index.has_duplicates:
        n_repeated = int(frame.index.duplicated().sum())
        _logger.info("%s: ids of %d rows are repeated; all are kept", header.path, n_repeated)
    return frame


def _make_frame(table: pa.Table, name: str, min_api_version: str | None) -> pd.DataFrame:
    fields = _find_index_fields(table.schema, name)
    found = None
    # pandas takes more time, but makes an index of whatever a table has.
    if fields == INDEX_NAMES.get(name, fields) and all(map(_is_string, map(table.field, fields))):
        found = make_uuid_index([table[field] for field in fields], fields)
    if found is None:
        frame = table.to_pandas()
        if isinstance(frame.index, pd.RangeIndex):
            frame = frame.set_index(fields)
        frame = patch_tables(frame, min_api_version, name)
        frame.index = _name_levels(frame.index, INDEX_NAMES.get(name))
        if holds_uuid_strings(frame.index):
            frame = cast_index_object(frame)
        if not frame.index.is_monotonic_increasing:
            frame = frame.sort_index()
    else:
        frame = patch_tables(table.drop_columns(fields).to_pandas(), min_api_version, name)
        index, order = found
        if order is not None:
            frame = frame.take(order)
        frame.index = index
    if name == "datasets" and "qc" in frame.columns and frame["qc"].dtype != QC_TYPE:
        frame["qc"] = parse_qc(frame["qc"])
    return frame


def _find_index_fields(schema: pa.Schema, name: str) -> list[str]:
    """Return the columns of the index: those that pandas noted, or else, as ONE, of ids."""
    noted = (schema.pandas_metadata or {}).get("index_columns", [])
    fields = [field for field in noted if isinstance(field, str)]
    if fields:
        return fields
    expected = INDEX_NAMES.get(name)
    if expected and set(expected) <= set(schema.names):
        return expected
    fields = sorted(field for field in schema.names if "id" in field)
    if not fields:
        raise MissingIdsError("none of its columns holds ids")
    return fields


def _is_string(field: pa.Field) -> bool:
    return field.type in (pa.string(), pa.large_string())


def _name_levels(index: pd.Index[Any], expected: list[str] | None) -> pd.Index[Any]:
    """Return an index with the levels in the expected order; ONE may have lost their names."""
    if expected is None or list(index.names) == expected:
        return index
    if index.nlevels == len(expected) and not any(index.names):
        return index.set_names(expected)
    if isinstance(index, pd.MultiIndex) and set(index.names) == set(expected):
        return index.reorder_levels(expected)
    raise TableError(f"its index is {list(index.names)}, not {expected}")


def remove_table_files(
    folder: str | os.PathLike[str], tables: str | Iterable[str] = ("sessions", "datasets")
) -> list[Path]:
    """Delete tables and `cache_info.json` from a folder.

    Parameters
    ----------
    folder : str, os.PathLike
        The folder of the tables.
    tables : str, iterable of str
        Names of the tables to delete.

    Returns
    -------
    list of pathlib.Path
        The deleted files. Files that do not exist are named in the log `one.alf.cache`.
    """
    names = [tables] if isinstance(tables, str) else tables
    removed = []
    for filename in ("cache_info.json", *(f"{name}.pqt" for name in names)):
        path = Path(folder, filename)
        if path.is_file():
            path.unlink()
            removed.append(path)
        else:
            _logger.warning("%s not found", path)
    return removed
