"""The columns of SESSIONS and DATASETS, as expressions of the columns of older tables. Pure.

A column that is already as it should be stays itself, so that a filter on it still reaches the
file's statistics; the others are computed from the columns that are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeAlias

import polars as pl

from polars_alf.alf.grammar import QC, QC_DTYPE
from polars_alf.errors import ColumnsError, MissingIdsError, TableError
from polars_alf.schema import INDEX, TABLES, polars_schema

# Without these a row names nothing; the values of other columns may be unknown.
_NEEDED = {"sessions": ["subject", "date", "number"], "datasets": ["rel_path"]}

Columns: TypeAlias = "dict[str, tuple[pl.Expr, pl.DataType]]"


def upgrade_columns(
    name: str, schema: Mapping[str, pl.DataType], index: Sequence[str] = ()
) -> dict[str, pl.Expr]:
    """Return the columns of SESSIONS or DATASETS in their order, then the table's others as is.

    `schema` has the columns of the table, and `index` those that pandas noted as the index: the
    ids, where they have lost their names. Ids become strings. Columns that the table lacks are
    null, but for ``qc``, which is NOT_SET. Raises MissingIdsError or ColumnsError where a column
    is missing without which the rows name nothing, TableError where one has the wrong type.
    """
    found: Columns = {column: (pl.col(column), dtype) for column, dtype in schema.items()}
    _name_ids(found, INDEX[name], index)
    for column in INDEX[name]:
        _join_halves(found, column)
    if name == "sessions" and "projects" not in found and "project" in found:
        found["projects"] = found.pop("project")
    if name == "datasets":
        found.pop("session_path", None)
    _check_columns(found, name)
    columns = {}
    for column, dtype in polars_schema(TABLES[name]).items():
        if column in found:
            columns[column] = _convert(column, *found.pop(column), dtype)
        else:
            columns[column] = pl.lit("NOT_SET" if column == "qc" else None, dtype)
    return columns | {column: expr for column, (expr, _) in found.items()}


def _name_ids(found: Columns, ids: Sequence[str], index: Sequence[str]) -> None:
    """Give the ids their names where pandas has written an index without any."""
    if list(index) == [f"__index_level_{level}__" for level in range(len(ids))]:
        for column, level in zip(ids, index, strict=True):
            if column not in found and level in found:
                found[column] = found.pop(level)


def _join_halves(found: Columns, column: str) -> None:
    """Join the two columns of integers that ONE 1 had for each UUID into one of strings."""
    names = [f"{column}_0", f"{column}_1"]
    if column in found or not all(found.get(name, (0, 0))[1] == pl.Int64() for name in names):
        return
    words = []
    for half, _ in (found.pop(name) for name in names):
        bits = half.reinterpret(signed=False)
        for shift in (0, 16, 32, 48):
            word = (bits // (1 << shift) % (1 << 16)).cast(pl.UInt32)
            words.append(pl.lit(_spell_words()).gather(word))
    groups = (words[:2], words[2:3], words[3:4], words[4:5], words[5:])
    text = pl.concat_str([pl.concat_str(group) for group in groups], separator="-")
    found[column] = text, pl.String()


@cache
def _spell_words() -> pl.Series:
    """Return the four digits in a UUID of each 16 bits of a little-endian integer, by value."""
    return pl.Series([word.to_bytes(2, "little").hex() for word in range(1 << 16)])


def _check_columns(found: Columns, name: str) -> None:
    missing = [column for column in INDEX[name] if column not in found]
    if missing:
        raise MissingIdsError(f"none of its columns holds the ids {', '.join(missing)}")
    missing = [column for column in _NEEDED[name] if column not in found]
    if missing:
        raise ColumnsError(f"it has no column {', '.join(missing)}")


def _convert(column: str, expr: pl.Expr, found: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    """Return a column in the type that it should have."""
    is_text = isinstance(found, pl.String | pl.Categorical | pl.Enum)
    if found == wanted:
        return expr
    if isinstance(found, pl.Null):
        converted = expr.cast(wanted)
    elif column == "qc" and is_text:
        converted = expr.cast(pl.String).str.to_uppercase().cast(QC_DTYPE)
    elif column == "qc" and found.is_integer():
        names = [outcome.name for outcome in QC]
        converted = expr.replace_strict([*QC], names, return_dtype=QC_DTYPE)
    elif wanted == pl.String and is_text:
        converted = expr.cast(pl.String)
    elif wanted == pl.Date and isinstance(found, pl.String):
        converted = expr.str.to_date("%Y-%m-%d")
    elif wanted == pl.Date and isinstance(found, pl.Datetime):
        converted = expr.dt.date()
    elif wanted.is_integer() and found.is_float():
        # pandas makes integers floats where some are missing.
        converted = expr.fill_nan(None).cast(wanted)
    elif (wanted.is_integer() or wanted == pl.Boolean) and found.is_integer():
        converted = expr.cast(wanted)
    else:
        raise TableError(f"its column {column} is {found}, not {wanted}")
    return converted.alias(column)
