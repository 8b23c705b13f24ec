"""Queries in SQL that read the tables, and no other file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from polars_alf.alf.arguments import check_argument
from polars_alf.errors import QueryError, TableError
from polars_alf.query.buckets import StorageOptions
from polars_alf.query.scan import ORIGIN, Folders, find_places, scan_datasets, scan_sessions

# Functions of Polars' SQL that read files, in whatever quotes, and wherever they stand: a text
# that looks like one is refused too, as only Polars' own parser could tell it from a call.
_READS_FILES = re.compile(r"\b(?:read|scan)_\w+", re.IGNORECASE)

_COMMENT = re.compile(r"\s+|--[^\n]*(?:\n|$)|/\*.*?\*/|\(", re.DOTALL)

_STATEMENT = re.compile(r"(?:select|with)\b|show\s+tables\b", re.IGNORECASE)


def query_tables(
    tables: Folders, query: str, *, storage_options: StorageOptions | None = None
) -> pl.LazyFrame:
    """Query the tables in SQL.

    Parameters
    ----------
    tables
        Folders of tables, as for `scan_sessions`.
    query
        One statement, SELECT, WITH or SHOW TABLES, in the SQL of Polars, about ``sessions`` and
        ``datasets``: the columns of SESSIONS and DATASETS, and, of several folders, ``origin``.
    storage_options
        As for `scan_sessions`.

    Returns
    -------
    polars.LazyFrame
        The answer. Only the columns and row groups that it needs are read, when it is collected.

    Raises
    ------
    QueryError
        The query is another statement, names an unknown table or column, or would read files.
    OptionError, ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of `scan_sessions`.
    """
    _check_query(check_argument("query", query, str))
    frames = {
        "sessions": scan_sessions(tables, storage_options=storage_options),
        "datasets": scan_datasets(tables, storage_options=storage_options),
    }
    if len(find_places(tables)) == 1:
        frames = {name: frame.drop(ORIGIN) for name, frame in frames.items()}
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
    with reporting_query_errors(query):
        answer = pl.SQLContext(frames, register_globals=False).execute(query, eager=False)
        return answer.select(pl.col("id").unique().sort()).collect().to_series()


@contextmanager
def reporting_query_errors(query: str) -> Iterator[None]:
    """Re-raise errors of Polars as QueryError naming the query, or TableError from damage."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        if isinstance(error, pl.exceptions.ComputeError) and "parquet" in str(error).lower():
            raise TableError(f"the tables cannot be read: {reason}") from error
        raise QueryError(f"the query {_shorten(query)} cannot be answered: {reason}") from error


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
            "begins with SELECT, WITH or SHOW TABLES"
        )


def _shorten(query: str) -> str:
    text = " ".join(query.split())
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
