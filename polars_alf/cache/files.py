"""The tables as files: loaded into frames, or removed."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa

from polars_alf.arrow import to_arrow_array
from polars_alf.cache.frames import (
    INDEX_NAMES,
    QC_TYPE,
    Bunch,
    default_cache,
    index_by_columns,
    list_id_columns,
    parse_qc,
    patch_tables,
)
from polars_alf.cache.indexes import (
    cast_index_object,
    holds_only_uuid_strings,
    holds_uuid_strings,
    make_uuid_index,
)
from polars_alf.errors import MissingIdsError, TableError
from polars_alf.schema import TABLES, polars_schema
from polars_alf.tables.arrow_types import make_frame
from polars_alf.tables.consistent_read import read_consistently
from polars_alf.tables.contract import (
    TableHeader,
    check_generations,
    describe_field,
    parse_created,
    parse_header,
)
from polars_alf.tables.files import REPAIR_ADVICE
from polars_alf.tables.parquet import TableFile, open_table
from polars_alf.tables.upgrade import convert_column, is_unnamed_level

_TYPE_KEYS = ("pandas_type", "numpy_type", "metadata")

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
        that are UUIDs are `uuid.UUID` objects. Rows with the same id are all kept. Sessions and
        datasets without ONE's metadata are read with a warning in the log `one.alf.cache`; other
        files without it, and folders, are skipped with one.

    Raises
    ------
    MissingIdsError
        Sessions or datasets have no column of ids.
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
            if "date_created" in raw:
                _note_date(header, raw)
            elif name in INDEX_NAMES:
                _logger.warning(
                    "%s has no metadata of ONE, which would skip it: merge it into its own folder "
                    "with polars_alf.merge_tables",
                    header.path,
                )
            else:
                _logger.warning("%s has no metadata of ONE: skipped", header.path)
                continue
            caches[name] = _read_table(file, header)
            raw["origin"] = {*header.origins} if "origin" in raw else {"unknown"}
            meta["loaded_time"] = datetime.datetime.now()
    # A table that the folder lacks was created now, as in ONE.
    created = [raw["date_created"] for raw in meta["raw"].values() if "date_created" in raw]
    meta["created_time"] = min(filter(None, map(parse_created, created)), default=None)
    return caches


def _open_tables(
    folder: Path, glob_pattern: str, stack: contextlib.ExitStack
) -> Iterator[tuple[TableHeader, TableFile]]:
    for path in sorted(folder.glob(glob_pattern)):
        if path.is_dir() and path.stem not in INDEX_NAMES:
            _logger.warning("%s is a folder: skipped", path)
            continue
        file = stack.enter_context(open_table(path))
        yield parse_header(path, file.schema), file


def _note_date(header: TableHeader, raw: dict[str, Any]) -> None:
    """Spell the date of a table as ONE does, which compares and saves it; none where it is none."""
    given, created = raw["date_created"], header.created
    if created is None:
        del raw["date_created"]
        _logger.warning("%s: date_created is %r, not a date: ignored", header.path, given)
    elif not _is_plain(given, created):
        raw["date_created"] = created.isoformat(sep=" ")


def _is_plain(given: Any, created: datetime.datetime) -> bool:
    try:
        return datetime.datetime.fromisoformat(given) == created
    except (TypeError, ValueError):
        return False


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
    noted = _list_noted(table.schema)
    fields = _find_index_fields(table.schema, name, noted)
    table = _convert_columns(table, name, fields)
    found = None
    # pandas takes more time, but makes an index of whatever a table has.
    is_usual = fields and noted in ([], fields) and fields == INDEX_NAMES.get(name, fields)
    if is_usual and all(_is_string(table.field(field)) for field in fields):
        found = make_uuid_index([table[field] for field in fields], fields)
    if found is None:
        frame = _convert_table(table, name)
        if noted != fields or isinstance(frame.index, pd.RangeIndex):
            frame = index_by_columns(frame, fields)
        frame = patch_tables(frame, min_api_version, name)
        frame.index = _name_levels(frame.index, INDEX_NAMES.get(name))
        frame = _cast_ids(frame, name)
        if not frame.index.is_monotonic_increasing:
            frame = frame.sort_index()
    else:
        frame = patch_tables(
            _convert_table(table.drop_columns(fields), name), min_api_version, name
        )
        index, order = found
        if order is not None:
            frame = frame.take(order)
        frame.index = index
    if name == "datasets" and "qc" in frame.columns and frame["qc"].dtype != QC_TYPE:
        frame["qc"] = parse_qc(frame["qc"])
    return frame


def _list_noted(schema: pa.Schema) -> list[str]:
    """Return the columns that pandas noted as the index; none where that counts the rows."""
    noted = (schema.pandas_metadata or {}).get("index_columns", [])
    return [field for field in noted if isinstance(field, str)]


def _find_index_fields(schema: pa.Schema, name: str, noted: list[str]) -> list[str]:
    """Return the columns of the index: those that pandas noted, or else those of ids.

    Tables beside the two may have none.
    """
    expected = INDEX_NAMES.get(name)
    if expected is None:
        is_count = all(map(is_unnamed_level, noted)) and all(
            pa.types.is_integer(schema.field(level).type) for level in noted
        )
        return list_id_columns(schema.names) if is_count else noted
    if noted and not all(map(is_unnamed_level, noted)) and {*expected} <= {*noted}:
        return noted
    halves = [f"{column}_{half}" for column in expected for half in (0, 1)]
    for columns in (expected, halves):
        if {*columns} <= {*schema.names}:
            return columns
    if not noted:
        raise MissingIdsError("none of its columns holds ids")
    return noted


def _convert_columns(table: pa.Table, name: str, fields: Sequence[str]) -> pa.Table:
    """Return a table whose columns that are ours have our types, but for `qc`, and as text its ids.

    Columns without any value stay as they are.
    """
    names = dict(zip(fields, INDEX_NAMES.get(name, fields), strict=False))
    wanted = polars_schema(TABLES[name]) if name in TABLES else pl.Schema()
    ours = [
        column
        for column in table.column_names
        if column in wanted or _is_octets(table.field(column), fields)
    ]
    frame = make_frame(table.select(ours))
    columns = {}
    for column, dtype in frame.schema.items():
        own = names.get(column, column)
        to = wanted.get(own, pl.String())
        is_empty = dtype == pl.Null and own != "file_size"
        if own != "qc" and dtype != to and not is_empty:
            expr = convert_column(own if name in TABLES else "id", pl.col(column), dtype, to)
            columns[column] = expr.alias(column)
    converted = frame.select(**columns)
    arrays = {
        column.name: to_arrow_array(column, pa.string())
        if column.dtype == pl.String
        else column.to_arrow()
        for column in converted
    }
    return _replace_columns(table, arrays)


def _is_octets(field: pa.Field, fields: Sequence[str]) -> bool:
    is_binary = pa.types.is_binary(field.type) or pa.types.is_fixed_size_binary(field.type)
    return field.name in fields and is_binary


def _replace_columns(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Replace columns, and what pandas noted of their types."""
    described = {}
    for column, values in columns.items():
        field = pa.field(column, values.type)
        table = table.set_column(table.column_names.index(column), field, values)
        described[column] = describe_field(field)
    metadata = table.schema.pandas_metadata
    if not (metadata and described):
        return table
    noted = [
        entry | {key: described[entry["field_name"]][key] for key in _TYPE_KEYS}
        if entry.get("field_name") in described
        else entry
        for entry in metadata["columns"]
    ]
    text = json.dumps(metadata | {"columns": noted})
    return table.replace_schema_metadata(table.schema.metadata | {b"pandas": text.encode()})


def _convert_table(table: pa.Table, name: str) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    if name == "datasets" and "file_size" in table.column_names:
        # Floats, which pandas makes of integers where some are missing, are not exact above 2^53.
        sizes = table["file_size"].to_pandas(types_mapper={pa.uint64(): pd.UInt64Dtype()}.get)
        frame["file_size"] = sizes.array
    return frame


def _cast_ids(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Make UUID objects of strings; in tables beside the two, of levels with nothing else."""
    if name in INDEX_NAMES:
        return cast_index_object(frame) if holds_uuid_strings(frame.index) else frame
    levels = [frame.index.get_level_values(level) for level in range(frame.index.nlevels)]
    if not any(map(holds_only_uuid_strings, levels)):
        return frame
    levels = [
        cast_index_object(pd.DataFrame(index=level)).index
        if holds_only_uuid_strings(level)
        else level
        for level in levels
    ]
    index = levels[0] if len(levels) == 1 else pd.MultiIndex.from_arrays(levels)
    frame.index = index
    return frame


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
