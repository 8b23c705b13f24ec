"""The columns of SESSIONS and DATASETS, as expressions of the columns of older tables. Pure.

A column that is already as it should be stays itself, so that a filter on it still reaches the
file's statistics; the others are computed from the columns that are there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeAlias

import polars as pl

from polars_alf.alf.grammar import QC, QC_DTYPE
from polars_alf.alf.ids import expr_uuid_text
from polars_alf.errors import ColumnsError, MissingIdsError, TableError
from polars_alf.schema import INDEX, SCHEMAS, polars_schema

# Without these a row names nothing; the values of other columns may be unknown.
_NEEDED = {
    "sessions": ["subject", "date", "number"],
    "datasets": ["rel_path"],
    "insertions": ["name"],
}

_UNNAMED_LEVEL = re.compile(r"__index_level_\d+__")

# With a time and a zone after it, or without: the day is that of the clock that was read.
_DATE = r"^\s*(\d{4})[-/.]?(\d{2})[-/.]?(\d{2})(?:[T ].*)?$"

Columns: TypeAlias = "dict[str, tuple[pl.Expr, pl.DataType]]"


def upgrade_columns(
    name: str, schema: Mapping[str, pl.DataType], index: Sequence[str] = ()
) -> dict[str, pl.Expr]:
    """Return the columns of a table of `SCHEMAS` in their order, then the table's others as is.

    `schema` has the columns of the table, and `index` those that pandas noted as the index: the
    ids, where they have lost their names, or else a count of rows, which goes. Ids become strings.
    Columns that the table lacks are null, but for ``qc``, which is NOT_SET. Raises MissingIdsError
    or ColumnsError where a column is missing without which the rows name nothing, TableError where
    one has the wrong type.
    """
    found: Columns = {column: (pl.col(column), dtype) for column, dtype in schema.items()}
    _name_ids(found, INDEX[name], index)
    for column in INDEX[name]:
        _join_halves(found, column)
    if name == "sessions":
        _join_projects(found)
    if name == "datasets":
        found.pop("session_path", None)
    _check_columns(found, name)
    columns = {}
    for column, dtype in polars_schema(SCHEMAS[name]).items():
        if column in found:
            columns[column] = convert_column(column, *found.pop(column), dtype)
        else:
            columns[column] = pl.lit("NOT_SET" if column == "qc" else None, dtype)
    return columns | {column: expr for column, (expr, _) in found.items()}


def _name_ids(found: Columns, ids: Sequence[str], index: Sequence[str]) -> None:
    """Give the ids their names where pandas has written an index without any; drop other levels."""
    unnamed = [level for level in index if is_unnamed_level(level) and level in found]
    if len(unnamed) == len(ids) == len(index) and not found.keys() & {*ids}:
        for column, level in zip(ids, unnamed, strict=True):
            found[column] = found[level]
    for level in unnamed:
        del found[level]


def is_unnamed_level(column: str) -> bool:
    """Whether pandas made the name of a column, for a level of an index that has none."""
    return _UNNAMED_LEVEL.fullmatch(column) is not None


def _join_halves(found: Columns, column: str) -> None:
    """Join the two columns of integers that ONE 1 had for each UUID into one of strings."""
    names = [f"{column}_0", f"{column}_1"]
    if not all(found.get(name, (0, 0))[1] == pl.Int64() for name in names):
        return
    halves = [found.pop(name) for name in names]
    if column in found:
        return
    words = []
    for half, _ in halves:
        bits = half.reinterpret(signed=False)
        for shift in (0, 16, 32, 48):
            word = (bits // (1 << shift) % (1 << 16)).cast(pl.UInt32)
            words.append(pl.lit(_spell_words()).gather(word))
    groups = (words[:2], words[2:3], words[3:4], words[4:5], words[5:])
    text = pl.concat_str([pl.concat_str(group) for group in groups], separator="-")
    found[column] = text, pl.String()


def _join_projects(found: Columns) -> None:
    """Take the column that ONE had before `projects`, where that has nothing to say."""
    if "project" not in found:
        return
    project = found.pop("project")
    if "projects" in found:
        columns = [
            convert_column("projects", expr, dtype, pl.String())
            for expr, dtype in (found["projects"], project)
        ]
        said = pl.when(columns[0] != "").then(columns[0])
        project = pl.coalesce(said, *columns[::-1]).alias("projects"), pl.String()
    found["projects"] = project


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


def convert_column(column: str, expr: pl.Expr, found: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    """Return a column of ours in the type that it should have; TableError where it cannot be."""
    if found == wanted:
        return expr
    if isinstance(found, pl.Binary):
        expr, found = _read_octets(column, expr), pl.String()
    is_text = isinstance(found, pl.String | pl.Categorical | pl.Enum)
    is_number = found.is_integer() or found.is_decimal()
    if is_text:
        expr = expr.cast(pl.String)
    if isinstance(found, pl.Null) or (wanted == pl.String and is_text):
        converted = expr.cast(wanted)
    elif column == "qc":
        converted = _read_qc(expr, found, is_text=is_text)
    elif wanted == pl.Date and is_text:
        converted = expr.str.replace(_DATE, "$1-$2-$3").str.to_date("%Y-%m-%d")
    elif wanted == pl.Date and isinstance(found, pl.Datetime):
        converted = expr.dt.date()
    elif wanted.is_integer() and is_text:
        converted = expr.str.strip_chars().cast(wanted)
    elif (wanted.is_integer() or wanted == pl.Boolean) and found.is_float():
        # pandas makes integers and booleans floats where some are missing.
        converted = expr.fill_nan(None).cast(wanted)
    elif (wanted.is_integer() or wanted == pl.Boolean) and is_number:
        converted = expr.cast(wanted)
    else:
        raise TableError(f"its column {column} is {found}, not {wanted}")
    return converted.alias(column)


def _read_octets(column: str, octets: pl.Expr) -> pl.Expr:
    """Return the text in bytes: ids of 16 bytes are UUIDs, and digests of 16 bytes are numbers."""
    if column not in ("id", "eid", "hash"):
        return octets.cast(pl.String)
    is_number = octets.bin.size() == 16
    if column == "hash":
        number = octets.bin.encode("hex")
    else:
        number = expr_uuid_text(octets)
        # A path has ASCII there, but a UUID the bits of its variant: RFC 9562.
        is_number &= octets.bin.slice(8, 1).bin.encode("hex").str.contains("^[89ab]")
    return (
        pl.when(is_number).then(number).otherwise(pl.when(~is_number).then(octets).cast(pl.String))
    )


def _read_qc(outcomes: pl.Expr, found: pl.DataType, *, is_text: bool) -> pl.Expr:
    names = {outcome: outcome.name for outcome in QC}
    if is_text:
        spelt = outcomes.cast(QC_DTYPE, strict=False)
        # The rest costs fifty times as much, and few tables have any.
        name = pl.when(spelt.is_null()).then(outcomes).str.to_uppercase()
        # `replace` would hold the whole column in memory.
        for outcome in QC:
            number = pl.lit(str(outcome.value))
            name = pl.when(name == number).then(pl.lit(outcome.name)).otherwise(name)
        return pl.coalesce(spelt, name.cast(QC_DTYPE))
    if found.is_float():
        outcomes = outcomes.fill_nan(None)
    elif not found.is_integer():
        raise TableError(f"its column qc is {found}, not {QC_DTYPE}")
    return outcomes.replace_strict([None, *names], [None, *names.values()], return_dtype=QC_DTYPE)
