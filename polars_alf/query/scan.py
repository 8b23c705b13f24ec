"""Tables of any age as lazy frames in the columns of SESSIONS and DATASETS, of many folders too."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias, TypeGuard, cast

import polars as pl

from polars_alf.alf.root import check_folder
from polars_alf.errors import ArchiveNotFoundError, OptionError, TableError, TableNotFoundError
from polars_alf.query.buckets import (
    StorageOptions,
    check_address,
    check_options,
    is_remote,
    scan_remote,
)
from polars_alf.schema import TABLES
from polars_alf.tables.consistent_read import read_consistently
from polars_alf.tables.contract import TableHeader, read_headers
from polars_alf.tables.files import REPAIR_ADVICE, table_path
from polars_alf.tables.foreign import align_columns
from polars_alf.tables.parquet import scan_table
from polars_alf.tables.upgrade import upgrade_columns

Folders: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]"
Frame: TypeAlias = "pl.DataFrame | pl.LazyFrame"
Pair: TypeAlias = "tuple[Frame, Frame]"
Tables: TypeAlias = "Folders | Pair"

ORIGIN = "origin"
"""The column with the folder that the tables of a row lie in."""


def scan_sessions(
    tables: Folders, *, storage_options: StorageOptions | None = None
) -> pl.LazyFrame:
    """Scan the sessions of one or many folders of tables.

    Parameters
    ----------
    tables
        A folder, a pattern of folders such as ``"/data/*/tables"`` (``**`` stands for any number
        of folders), or several of both. A folder counts once. Folders that match a pattern and
        have no tables at all are left out. Or the address of a folder in a bucket, such as
        ``"s3://bucket/tables"``, or on a web server.
    storage_options
        Credentials and more for the addresses, as of `polars.scan_parquet`, such as
        ``aws_endpoint_url``; by default those of the environment. Ignored for folders.

    Returns
    -------
    polars.LazyFrame
        The columns of SESSIONS; then those that only some tables have, null in the others; then
        ``origin``, the folder of the row's tables: absolute, links resolved; or their address.
        ``id`` is String, whatever the version of ONE that wrote the table. Columns of one name
        whose types do not go together are text, as in merged tables. Rows are in the order of the
        folders (those of a pattern by name), and in each in the order of its file. Nothing but the
        schema is read before the frame is collected, and only the columns that it needs then and,
        of tables that we wrote, the row groups. Of an address, Polars asks for these bytes alone,
        and their checksums are not compared. A filter on ``origin`` spares no reading: give the
        folders instead.

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
        A table cannot be read, or a column has a type that does not fit. Damage among the rows
        shows when they are read, and so does a value of ``qc`` that is no outcome, as an error of
        Polars.
    TornPairError
        The two tables of a folder are of different runs.
    """
    return _scan(tables, "sessions", storage_options)


def scan_datasets(
    tables: Folders, *, storage_options: StorageOptions | None = None
) -> pl.LazyFrame:
    """Scan the datasets of one or many folders of tables.

    Parameters
    ----------
    tables, storage_options
        As for `scan_sessions`.

    Returns
    -------
    polars.LazyFrame
        As of `scan_sessions`, with the columns of DATASETS. ``eid`` and ``id`` are String;
        ``qc`` is an Enum that compares by value, `polars_alf.alf.grammar.QC_DTYPE`, and NOT_SET in
        tables that are older than QC; ``file_size`` is in bytes, null where unknown.

    Raises
    ------
    OptionError, ArchiveNotFoundError, ArchiveNotADirectoryError, TableError
        As of `scan_sessions`.
    """
    return _scan(tables, "datasets", storage_options)


def scan_pair(
    tables: Tables, name: str = "the frames", storage_options: StorageOptions | None = None
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Scan both tables without ``origin``, of folders as for `scan_sessions` or a pair of frames.

    `name` is what frames are called in messages. Raises the errors of `scan_sessions`.
    """
    if is_pair(tables):
        sessions, datasets = tables
        return _upgrade("sessions", sessions, name), _upgrade("datasets", datasets, name)
    if isinstance(tables, pl.DataFrame | pl.LazyFrame):
        raise OptionError("one frame was given; give a pair of them, (sessions, datasets)")
    folders = cast("Folders", tables)
    scans = (
        scan(folders, storage_options=storage_options) for scan in (scan_sessions, scan_datasets)
    )
    sessions, datasets = (frame.drop(ORIGIN) for frame in scans)
    return sessions, datasets


def is_pair(tables: object) -> TypeGuard[Pair]:
    """Whether tables are a pair of frames, sessions and datasets."""
    return (
        isinstance(tables, tuple | list)
        and len(tables) == 2
        and all(isinstance(frame, pl.DataFrame | pl.LazyFrame) for frame in tables)
    )


def find_folders(tables: Folders) -> list[Path]:
    """Return the folders of tables that `tables` names, as `scan_sessions` takes it, each once."""
    folders = [*filter(lambda place: isinstance(place, Path), places := find_places(tables))]
    if len(folders) < len(places):
        address = next(place for place in places if isinstance(place, str))
        raise OptionError(f"{address} is no folder, as is needed here; copy its tables into one")
    return cast("list[Path]", folders)


def find_places(tables: Folders) -> list[Path | str]:
    """Return the folders that `tables` names, and the addresses as texts, each once."""
    given = [tables] if isinstance(tables, str | os.PathLike) else tables
    items = list(given) if isinstance(given, Iterable) else [given]
    for item in items:
        if not isinstance(item, str | os.PathLike):
            raise OptionError(
                f"{item!r} is no folder of tables; give a path, a pattern, or several of them"
            )
    places = list(dict.fromkeys(place for item in items for place in _list_places(item)))
    if not places:
        raise OptionError("no folder of tables was given; give one at least")
    return places


def _list_places(item: str | os.PathLike[str]) -> Iterator[Path | str]:
    text = os.fspath(item)
    if is_remote(text):
        yield check_address(text)
        return
    if not glob.has_magic(text) or Path(text).exists():
        yield check_folder(item, to_write=False)
        return
    matches = [
        Path(match).resolve()
        for match in sorted(glob.glob(text, recursive=True))  # noqa: PTH207  Path's is relative
        if any(table_path(Path(match), name).exists() for name in TABLES)
    ]
    if not matches:
        raise ArchiveNotFoundError(
            f"no folder with tables matches {text!r}; give a pattern of the folders themselves"
        )
    yield from matches


def choose_header(folder: Path, headers: Mapping[str, TableHeader], name: str) -> TableHeader:
    """Return the header of a folder's table; TableNotFoundError where the folder lacks it."""
    if name not in headers:
        raise TableNotFoundError(
            f"{folder} has no {table_path(folder, name).name}; give a folder of tables, or "
            "index an archive into it"
        )
    return headers[name]


def _scan(tables: Folders, name: str, options: StorageOptions | None) -> pl.LazyFrame:
    check_options(options)
    frames = {
        place: _scan_table(place, name)
        if isinstance(place, Path)
        else scan_remote(place, name, options)
        for place in find_places(tables)
    }
    schemas = [frame.collect_schema() for frame in frames.values()]
    aligned = align_columns(schemas, [*TABLES[name].names, ORIGIN])
    # Relaxed, as columns beside ONE's may be numbers of different widths.
    frame = pl.concat(
        [
            frame.with_columns(*columns, pl.lit(str(folder)).alias(ORIGIN))
            for (folder, frame), columns in zip(frames.items(), aligned, strict=True)
        ],
        how="diagonal_relaxed",
    )
    return frame.select(pl.exclude(ORIGIN), ORIGIN)


def _scan_table(folder: Path, name: str) -> pl.LazyFrame:
    headers = read_consistently(folder, lambda: read_headers(folder))
    header = choose_header(folder, headers, name)
    frame = scan_table(header.path)
    try:
        columns = upgrade_columns(name, frame.collect_schema(), header.index)
    except TableError as error:
        raise type(error)(
            f"{header.path} is no table of {name}: {error}; {REPAIR_ADVICE}"
        ) from error
    return frame.select(**columns)


def _upgrade(table: str, frame: Frame, name: str) -> pl.LazyFrame:
    lazy = frame.lazy().drop(ORIGIN, strict=False)
    try:
        return lazy.select(**upgrade_columns(table, lazy.collect_schema()))
    except TableError as error:
        raise type(error)(f"{table} of {name}: {error}") from error
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{table} of {name} cannot be read: {error}") from error
