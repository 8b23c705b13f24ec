"""The columns of tables that are not ours: those of ONE, of a database, of a lab. Pure.

They are kept row by row. While rows are joined and compared their names have a mark, so that a
lab may call its columns as it likes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

_MARK = "+"

NEVER_NULL: dict[str, bool | str] = {"default_revision": False, "xxh3_128": ""}
"""Columns that cannot be read with nulls, and their values for rows that have none."""

Columns = dict[str, pl.DataType]
"""Columns by name, in the types in which they are stored."""


def storable_type(dtype: pl.DataType) -> pl.DataType:
    """Return the type in which a column is stored.

    Numbers, booleans, times, bytes and lists of these or of strings stay. Categories, and what has
    several columns in Parquet, become strings, as their checksums and pandas' metadata are simpler
    then.
    """
    if isinstance(dtype, pl.List) and not dtype.inner.is_nested():
        return pl.List(storable_type(dtype.inner))  # type: ignore[arg-type]
    is_plain = dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.Boolean, pl.Binary)
    return dtype if is_plain and dtype not in (pl.Int128, pl.UInt128) else pl.String()


def list_foreign(schema: Mapping[str, pl.DataType], ours: Iterable[str]) -> Columns:
    """Return the columns that are not `ours`; pl.Null where the table has no value at all."""
    own = {*ours}
    return {
        name: dtype if dtype == pl.Null else storable_type(dtype)
        for name, dtype in schema.items()
        if name not in own
    }


def merge_columns(tables: Iterable[Columns]) -> Columns:
    """Return the columns of several tables, in types that hold the values of each."""
    merged: Columns = {}
    for columns in tables:
        for name, dtype in columns.items():
            merged[name] = _find_common_type(merged.get(name, dtype), dtype)
    return {name: storable_type(dtype) for name, dtype in merged.items()}


def _find_common_type(first: pl.DataType, second: pl.DataType) -> pl.DataType:
    if pl.Null in (first, second):
        return first if second == pl.Null else second
    is_number = first.is_numeric() and second.is_numeric()
    if not (is_number or first.base_type() == second.base_type() != pl.List):
        return first if first == second else pl.String()
    zones = [dtype.time_zone for dtype in (first, second) if isinstance(dtype, pl.Datetime)]
    if len({*zones}) == 2 and all(zones):
        first, second = (pl.Datetime(dtype.time_unit, "UTC") for dtype in (first, second))  # type: ignore[attr-defined]
    empty = [pl.Series("column", [], dtype).to_frame() for dtype in (first, second)]
    try:
        return pl.concat(empty, how="vertical_relaxed").dtypes[0]
    except pl.exceptions.PolarsError:  # times with a zone and without, say
        return pl.String()


def align_columns(
    schemas: Sequence[Mapping[str, pl.DataType]], ours: Iterable[str]
) -> list[list[pl.Expr]]:
    """Return, for each of several tables, the columns that differ in type, in a common one.

    Columns that are `ours` stay, and so do numbers, which go together as they are.
    """
    tables = [list_foreign(schema, ours) for schema in schemas]
    wanted = merge_columns(tables)
    aligned = {
        name: dtype
        for name, dtype in wanted.items()
        if len(types := {schema[name] for schema in schemas if name in schema} - {pl.Null()}) > 1
        and not all(found.is_numeric() for found in types)
    }
    return [
        [
            _store(pl.col(name), schema[name], dtype).alias(name)
            for name, dtype in aligned.items()
            if name in schema and schema[name] != dtype
        ]
        for schema in schemas
    ]


def mark_columns(schema: Mapping[str, pl.DataType], columns: Columns) -> list[pl.Expr]:
    """Return columns as they are stored, with marked names; null where a table lacks them."""
    return [
        (
            _store(pl.col(name), schema[name], dtype) if name in schema else pl.lit(None, dtype)
        ).alias(_MARK + name)
        for name, dtype in columns.items()
    ]


def _store(column: pl.Expr, found: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    if wanted != pl.String:
        return column.cast(wanted)
    if found.is_nested() or found in (pl.Binary, pl.Object):
        return column.map_batches(_spell, return_dtype=pl.String)
    if isinstance(found, pl.Duration):
        return column.dt.to_string("iso")
    return column.cast(pl.String)


def _spell(values: pl.Series) -> pl.Series:
    """Return values as JSON; bytes as hexadecimal digits."""

    def spell(value: object) -> str:
        return value.hex() if isinstance(value, bytes) else str(value)

    texts = [
        value if value is None else json.dumps(value, default=spell, ensure_ascii=False)
        for value in values.to_list()
    ]
    return pl.Series(values.name, texts, pl.String)


def list_marked(columns: Iterable[str]) -> list[str]:
    """Return the marked names of columns."""
    return [_MARK + name for name in columns]


def name_column(column: str) -> str:
    """Return the name that a column, marked or not, has in its table."""
    return column.removeprefix(_MARK)


def restore_columns(columns: Columns) -> list[pl.Expr]:
    """Return marked columns by their own names, without nulls where nobody could read them."""
    restored = []
    for name, dtype in columns.items():
        column, value = pl.col(_MARK + name).alias(name), _find_default(name, dtype)
        restored.append(column if value is None else column.fill_null(pl.lit(value)))
    return restored


def have_values(columns: Columns) -> list[pl.Expr]:
    """Return for marked columns whether somebody wrote their values."""
    return [
        (pl.col(_MARK + name) != pl.lit(value)).fill_null(value=False)
        if (value := _find_default(name, dtype)) is not None
        else pl.col(_MARK + name).is_not_null()
        for name, dtype in columns.items()
    ]


def _find_default(name: str, dtype: pl.DataType) -> bool | str | None:
    value = NEVER_NULL.get(name)
    return value if dtype == (pl.Boolean if isinstance(value, bool) else pl.String) else None
