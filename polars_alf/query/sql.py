"""Queries in SQL that read the tables, and no other file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import polars as pl

from polars_alf.alf.arguments import check_argument
from polars_alf.errors import QueryError, TableError
from polars_alf.query.buckets import StorageOptions
from polars_alf.query.scan import ORIGIN, Folders, find_places, scan_datasets, scan_sessions
from polars_alf.schema import TABLES

_DESCRIPTIVE = (b"unit", b"description")

# Functions of Polars' SQL that read files, in whatever quotes, and wherever they stand: a text
# that looks like one is refused too, as only Polars' own parser could tell it from a call.
_READS_FILES = re.compile(r"\b(?:read|scan)_\w+", re.IGNORECASE)

_COMMENT = re.compile(r"\s+|--[^\n]*(?:\n|$)|/\*.*?\*/|\(", re.DOTALL)

_STATEMENT = re.compile(r"(?:select|with)\b|show\s+tables\b", re.IGNORECASE)

_DESCRIBE = re.compile(r"\s*desc(?:ribe)?\s+(?:table\s+)?(\"?)(\w+)\1\s*;?\s*", re.IGNORECASE)


def query_tables(
    tables: Folders, query: str, *, storage_options: StorageOptions | None = None
) -> pl.LazyFrame:
    """Query the tables in SQL.

    Parameters
    ----------
    tables
        Folders of tables, as for `scan_sessions`.
    query
        One statement, SELECT, WITH, SHOW TABLES or DESCRIBE of a table, in the SQL of Polars,
        about ``sessions`` and ``datasets``: the columns of SESSIONS and DATASETS, and, of several
        folders, ``origin``.
    storage_options
        As for `scan_sessions`.

    Returns
    -------
    polars.LazyFrame
        The answer. Only the columns and row groups that it needs are read, when it is collected.
        That of DESCRIBE has a row for each column: its ``column_name``, ``column_type``, ``unit``
        and ``description``, null for columns that are not ours.

    Raises
    ------
    QueryError
        The query is another statement, names an unknown table or column, or would read files.
    OptionError, ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of `scan_sessions`.
    """
    described = _DESCRIBE.fullmatch(check_argument("query", query, str))
    if not described:
        _check_query(query)
    frames = {
        "sessions": scan_sessions(tables, storage_options=storage_options),
        "datasets": scan_datasets(tables, storage_options=storage_options),
    }
    if len(find_places(tables)) == 1:
        frames = {name: frame.drop(ORIGIN) for name, frame in frames.items()}
    if described:
        return _describe(frames, described[2].lower())
    with reporting_query_errors(query):
        answer = pl.SQLContext(frames, register_globals=False).execute(query, eager=False)
        answer.collect_schema()
    return answer


def choose_sessions(sessions: pl.LazyFrame, datasets: pl.LazyFrame, condition: str) -> pl.Series:
    """Return the ids of the sessions for which a condition in SQL holds, sorted.

    The condition is what comes after WHERE; it may have queries about ``sessions`` and ``datasets``
    in it. Raises QueryError where it is none, and TableError where the tables cannot be read.
    """
    query = f"SELECT id FROM sessions WHERE ({condition}\n)"
    _check_query(query)
    frames = {"sessions": sessions, "datasets": datasets}
    cure = "; give one such as \"subject = 'KS001'\""
    with reporting_query_errors(condition, "condition", cure):
        answer = pl.SQLContext(frames, register_globals=False).execute(query, eager=False)
        return answer.select(pl.col("id").unique().sort()).collect().to_series()


def _describe(frames: Mapping[str, pl.LazyFrame], name: str) -> pl.LazyFrame:
    if name not in frames:
        raise QueryError(f"there is no table {_name_nearest(name)}")
    types = frames[name].collect_schema()
    fields = {field.name: field.metadata or {} for field in TABLES[name]}
    return pl.LazyFrame(
        [
            (
                column,
                # The outcomes of QC are no part of the type's name.
                "Enum" if isinstance(dtype, pl.Enum) else str(dtype),
                *(fields.get(column, {}).get(key, b"").decode() or None for key in _DESCRIPTIVE),
            )
            for column, dtype in types.items()
        ],
        schema=dict.fromkeys(("column_name", "column_type", "unit", "description"), pl.String),
        orient="row",
    )


@contextmanager
def reporting_query_errors(query: str, noun: str = "query", cure: str = "") -> Iterator[None]:
    """Re-raise errors of Polars as QueryError naming the query, or TableError from damage.

    `noun` is what the caller gave, and `cure` what to add to Polars' own words.
    """
    try:
        yield
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        if isinstance(error, pl.exceptions.ComputeError) and "parquet" in str(error).lower():
            raise TableError(f"the tables cannot be read: {reason}") from error
        reason = _explain_relation(reason)
        raise QueryError(
            f"the {noun} {_shorten(query)} cannot be answered: {reason}{cure}"
        ) from error


def _explain_relation(reason: str) -> str:
    """Return what Polars says, and of a table that is not there which there are."""
    match = re.fullmatch(r"relation '(.*)' was not found", reason)
    return f"there is no table {_name_nearest(match[1])}" if match else reason


def _name_nearest(name: str) -> str:
    nearest = difflib.get_close_matches(name.lower(), TABLES, n=1)
    meant = f"; perhaps {nearest[0]} is meant" if nearest else ""
    return f"{name!r}, only {' and '.join(TABLES)}{meant}"


def _check_query(query: str) -> None:
    """Raise QueryError unless a query only reads, and only the tables."""
    if found := _READS_FILES.search(query):
        raise QueryError(
            f"the query names {found[0]}, and only the tables may be read; if that is part of a "
            "text, write it in two: 'read' || '_…'"
        )
    position = 0
    while match := _COMMENT.match(query, position):
        position = match.end()
    if not _STATEMENT.match(query, position):
        raise QueryError(
            f"the query {_shorten(query)} does not ask for anything; give one statement that "
            "begins with SELECT, WITH, SHOW TABLES or DESCRIBE"
        )


def _shorten(query: str) -> str:
    text = " ".join(query.split())
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
