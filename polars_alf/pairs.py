"""Sessions and datasets together, from folders or from frames."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeAlias, TypeGuard, cast

import polars as pl

from polars_alf.errors import OptionError, TableError
from polars_alf.formats import today_columns
from polars_alf.reading import scan_datasets, scan_sessions
from polars_alf.schema import ORIGIN

Frame: TypeAlias = "pl.DataFrame | pl.LazyFrame"
Pair: TypeAlias = "tuple[Frame, Frame]"
Tables: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Pair"


def is_pair(tables: object) -> TypeGuard[Pair]:
    """Tell whether tables are a pair of frames, sessions and datasets."""
    return (
        isinstance(tables, tuple | list)
        and len(tables) == 2
        and all(isinstance(frame, pl.DataFrame | pl.LazyFrame) for frame in tables)
    )


def scan_pair(tables: Tables, name: str = "the frames") -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Scan both tables.

    Parameters
    ----------
    tables
        As for `scan_sessions`, or a pair of frames ``(sessions, datasets)``.
    name
        What frames are called in messages.

    Returns
    -------
    sessions, datasets : polars.LazyFrame
        As of `scan_sessions` and `scan_datasets`, without ``origin``.

    Raises
    ------
    OptionError, ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of those.
    """
    if is_pair(tables):
        sessions, datasets = tables
        return _update("sessions", sessions, name), _update("datasets", datasets, name)
    if isinstance(tables, pl.DataFrame | pl.LazyFrame):
        raise OptionError("one frame was given; give a pair of them, (sessions, datasets)")
    folders = cast("str | os.PathLike[str] | Iterable[str | os.PathLike[str]]", tables)
    return scan_sessions(folders).drop(ORIGIN), scan_datasets(folders).drop(ORIGIN)


def _update(table: str, frame: Frame, name: str) -> pl.LazyFrame:
    lazy = frame.lazy().drop(ORIGIN, strict=False)
    try:
        return lazy.select(**today_columns(table, lazy.collect_schema()))
    except TableError as error:
        raise type(error)(f"{table} of {name}: {error}") from error
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{table} of {name} cannot be read: {error}") from error


def expr_session_path(suffix: str = "") -> pl.Expr:
    """Return ``[lab/]subject/date/number`` of rows of SESSIONS, the number with three digits.

    Parameters
    ----------
    suffix
        Of the names of the columns.
    """
    lab, subject, date, number = (
        pl.col(f"{column}{suffix}") for column in ("lab", "subject", "date", "number")
    )
    return pl.concat_str(
        pl.when(lab != "").then(lab),
        subject,
        date.cast(pl.String),
        number.cast(pl.String).str.zfill(3),
        separator="/",
        ignore_nulls=True,
    )
