"""The tables as lazy frames: of one folder or of many, of any age, in today's columns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import polars as pl

from polars_alf import store
from polars_alf.checks import check_folder
from polars_alf.errors import (
    ArchiveNotFoundError,
    OptionError,
    TableError,
    TableNotFoundError,
)
from polars_alf.formats import today_columns
from polars_alf.schema import ORIGIN
from polars_alf.seals import CURE
from polars_alf.settling import read_settled
from polars_alf.tablefiles import scan_table

Tables: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]"


def scan_sessions(tables: Tables) -> pl.LazyFrame:
    """Scan the sessions of one or many folders of tables.

    Parameters
    ----------
    tables
        A folder, a pattern of folders such as ``"/data/*/tables"`` (``**`` stands for any number
        of folders), or several of both. A folder counts once. Folders that match a pattern and
        have no tables at all are left out.

    Returns
    -------
    polars.LazyFrame
        The columns of SESSIONS; then those that only some tables have, null in the others; then
        ``origin``, the folder of the row's tables: absolute, links resolved. ``id`` is String,
        whatever the version of ONE that wrote the table. Rows are in the order of the folders
        (those of a pattern by name), and in each in the order of its file. Nothing but the
        schema is read before the frame is collected, and only the columns that it needs then and,
        of tables that we wrote, the row groups. A filter on ``origin`` spares no reading: give
        the folders instead.

    Raises
    ------
    OptionError
        `tables` names no folder.
    ArchiveNotFoundError, ArchiveNotADirectoryError
        One of them is not there, or is a file.
    TableNotFoundError
        A folder has no such table.
    MissingIdsError, ColumnsError
        A table lacks a column that it cannot do without.
    TableError
        A table cannot be read, or a column has a type that does not fit, or not that of the same
        name in other tables. Damage among the rows shows when they are read, and so does a
        value of ``qc`` that is no outcome, as an error of Polars.
    TornPairError
        The two tables of a folder are of different runs.
    """
    return _scan(tables, "sessions")


def scan_datasets(tables: Tables) -> pl.LazyFrame:
    """Scan the datasets of one or many folders of tables.

    Parameters
    ----------
    tables
        As for `scan_sessions`.

    Returns
    -------
    polars.LazyFrame
        As of `scan_sessions`, with the columns of DATASETS. ``eid`` and ``id`` are String;
        ``qc`` is an Enum that compares by value, `polars_alf.spec.QC_DTYPE`, and NOT_SET in
        tables that are older than QC; ``file_size`` is in bytes, null where unknown.

    Raises
    ------
    OptionError, ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of `scan_sessions`.
    """
    return _scan(tables, "datasets")


def _scan(tables: Tables, name: str) -> pl.LazyFrame:
    frames = {folder: _scan_table(folder, name) for folder in find_folders(tables)}
    _check_extras({folder: frame.collect_schema() for folder, frame in frames.items()}, name)
    # Relaxed, as tables differ in the width of numbers that are not part of the contract.
    frame = pl.concat(
        [frame.with_columns(pl.lit(str(folder)).alias(ORIGIN)) for folder, frame in frames.items()],
        how="diagonal_relaxed",
    )
    return frame.select(pl.exclude(ORIGIN), ORIGIN)


def _scan_table(folder: Path, name: str) -> pl.LazyFrame:
    headers = read_settled(folder, lambda: store.read_headers(folder))
    header = choose_header(folder, headers, name)
    frame = scan_table(header.path)
    try:
        columns = today_columns(name, frame.collect_schema(), header.index)
    except TableError as error:
        raise type(error)(f"{header.path} is no table of {name}: {error}; {CURE}") from error
    return frame.select(**columns)


def choose_header(
    folder: Path, headers: Mapping[str, store.TableHeader], name: str
) -> store.TableHeader:
    """Return the header of one of a folder's tables.

    Raises
    ------
    TableNotFoundError
        The folder does not have it, or not any more.
    """
    if name not in headers:
        raise TableNotFoundError(
            f"{folder} has no {store.table_path(folder, name).name}; give a folder of tables, or "
            "index an archive into it"
        )
    return headers[name]


def find_folders(tables: Tables) -> list[Path]:
    """Return the folders of tables that a caller means, each once.

    Raises
    ------
    OptionError
        There is none.
    ArchiveNotFoundError, ArchiveNotADirectoryError
        One is not there, or is a file.
    """
    given = [tables] if isinstance(tables, str | os.PathLike) else tables
    items = list(given) if isinstance(given, Iterable) else [given]
    for item in items:
        if not isinstance(item, str | os.PathLike):
            raise OptionError(
                f"{item!r} is no folder of tables; give a path, a pattern, or several of them"
            )
    folders = list(dict.fromkeys(folder for item in items for folder in _expand(item)))
    if not folders:
        raise OptionError("no folder of tables was given; give one at least")
    return folders


def _expand(item: str | os.PathLike[str]) -> Iterator[Path]:
    text = os.fspath(item)
    if not glob.has_magic(text) or Path(text).exists():
        yield check_folder(item, to_write=False)
        return
    matches = [
        Path(match).resolve()
        for match in sorted(glob.glob(text, recursive=True))  # noqa: PTH207  Path's is relative
        if any(store.table_path(Path(match), name).exists() for name in store.TABLES)
    ]
    if not matches:
        raise ArchiveNotFoundError(
            f"no folder with tables matches {text!r}; give a pattern of the folders themselves"
        )
    yield from matches


def _check_extras(schemas: Mapping[Path, pl.Schema], name: str) -> None:
    """Check that columns beyond the contract have types that go together in all tables."""
    first: dict[str, tuple[Path, pl.DataType]] = {}
    for folder, schema in schemas.items():
        for column, dtype in schema.items():
            if dtype == pl.Null:
                continue
            other, known = first.setdefault(column, (folder, dtype))
            if dtype != known and not (dtype.is_numeric() and known.is_numeric()):
                file = store.table_path(folder, name)
                raise TableError(
                    f"the column {column} is {dtype} in {file}, but {known} in "
                    f"{store.table_path(other, name)}; read them apart"
                )
