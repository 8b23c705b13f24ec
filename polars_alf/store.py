"""The two tables on disk: where they lie, and their Parquet contract with ONE."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from polars_alf.errors import (
    ArchiveNotFoundError,
    OutputError,
    TableError,
    TableNotFoundError,
    TornPairError,
)
from polars_alf.schema import DATASETS, SESSIONS
from polars_alf.seals import CURE
from polars_alf.spec import QC_NAMES
from polars_alf.tablefiles import open_table

STATE_DIR = ".polars_alf"
"""Folder of our own state, beside the tables. ONE loads every ``*.pqt`` beside them, so nothing
of ours may lie there."""

TABLES = {"sessions": SESSIONS, "datasets": DATASETS}
INDEX = {"sessions": ["id"], "datasets": ["eid", "id"]}

_KEY = b"polars_alf"
_ISSUES = "issues.arrow"
_CHANGES = "changes.arrow"


@dataclass(frozen=True, slots=True)
class Origin:
    """What tables say of where they come from.

    Parameters
    ----------
    root
        Path of the archive, as ONE records it; several for tables that were merged.
    namespace
        What the ids are made in; a later index over the same tables takes it from there.
    generation
        Names the run that wrote both tables.
    created
        Local time, without a zone, as ONE writes it.
    """

    root: str | list[str]
    namespace: uuid.UUID
    generation: str
    created: datetime


def table_path(folder: Path, name: str) -> Path:
    """Return the path of a table of a folder."""
    return folder / f"{name}.pqt"


def issues_path(folder: Path) -> Path:
    """Return the path of the issues (ISSUES, an Arrow IPC file) of the tables of a folder."""
    return folder / STATE_DIR / _ISSUES


def changes_path(folder: Path) -> Path:
    """Return the path of the changes (CHANGES, an Arrow IPC file) of the tables of a folder."""
    return folder / STATE_DIR / _CHANGES


def report_path(folder: Path) -> Path:
    """Return the path of the report of the index that made the tables of a folder."""
    return folder / STATE_DIR / "report.json"


def conflicts_path(folder: Path) -> Path:
    """Return the path of what merged tables did not agree on (CONFLICTS, an Arrow IPC file)."""
    return folder / STATE_DIR / "conflicts.arrow"


def removals_path(folder: Path) -> Path:
    """Return the path of the log of what was removed by the tables of a folder, in JSON lines."""
    return folder / STATE_DIR / "removals.jsonl"


def namespace_path(folder: Path) -> Path:
    """Return the path of the copy of the namespace that outlives the tables of a folder."""
    return folder / STATE_DIR / "namespace"


def check_replaceable(folder: Path) -> None:
    """Check that tables can be put in their places.

    Raises
    ------
    OutputError
        A folder is in the place of one.
    """
    for name in TABLES:
        path = table_path(folder, name)
        if path.is_dir():
            raise OutputError(f"{path} is a folder, so no table can be there; move it away")


def own_files(folder: Path, root: Path) -> dict[str, frozenset[str]]:
    """Return the names of tables and state by their directory in an archive, if they lie in it."""
    if not folder.is_relative_to(root):
        return {}
    directory = folder.relative_to(root).as_posix()
    names = {STATE_DIR, *(table_path(folder, name).name for name in TABLES)}
    return {"" if directory == "." else directory: frozenset(names)}


def scan_issues(folder: Path) -> pl.LazyFrame:
    """Return the issues (ISSUES) of the tables of a folder.

    Raises
    ------
    ArchiveNotFoundError
        There are none: nothing was indexed into that folder.
    TableError
        They cannot be read.
    """
    return _scan_state(issues_path(folder), "issues")


def scan_changes(folder: Path) -> pl.LazyFrame:
    """Return what the index of a folder's tables changed in them (CHANGES).

    Raises
    ------
    ArchiveNotFoundError
        Nothing was indexed into that folder, or for the first time.
    TableError
        They cannot be read.
    """
    return _scan_state(changes_path(folder), "changes")


def _scan_state(path: Path, what: str) -> pl.LazyFrame:
    if not path.exists():
        raise ArchiveNotFoundError(
            f"{path.parent.parent} has no {what} of an index; give the folder of tables that "
            "polars-alf made"
        )
    schema = next(_read_batches(path)).schema

    def read(
        columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        for batch in _read_batches(path):
            frame = batch if n_rows is None else batch.head(n_rows)
            n_rows = None if n_rows is None else n_rows - len(frame)
            found = frame if predicate is None else frame.filter(predicate)
            yield found if columns is None else found.select(columns)

    return register_io_source(read, schema=schema, is_pure=True)


def _read_batches(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the rows of a file of Arrow, none first.

    Raises
    ------
    TableError
        It cannot be read. Polars itself can crash over a damaged one.
    """
    try:
        with pa.ipc.open_file(str(path)) as reader:
            yield pl.DataFrame(reader.schema.empty_table())
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                batch.validate(full=True)
                yield pl.DataFrame(batch)
    except (Exception, pl.exceptions.PanicException) as error:
        raise TableError(f"{path} cannot be read: {error}; index again") from error


def table_schema(
    name: str,
    n_rows: int | None,
    origin: Origin,
    *,
    with_index: bool,
    more: Iterable[str] = (),
) -> pa.Schema:
    """Return the schema of a table's file, with the metadata that pandas and ONE go by.

    Parameters
    ----------
    name
        ``sessions`` or ``datasets``.
    n_rows
        Rows of the table; None where they are not known yet: pandas counts them itself then.
    origin
        Where it comes from.
    with_index
        Whether the ids are the index: they are where they are UUIDs, and come last then.
    more
        Columns of strings beside those that ONE knows.
    """
    index = INDEX[name] if with_index else []
    fields = [field.remove_metadata() for field in TABLES[name]]
    fields += [pa.field(column, pa.string()) for column in more]
    fields.sort(key=lambda field: index.index(field.name) if field.name in index else -1)
    rows: dict[str, Any] = {"kind": "range", "name": None, "start": 0, "stop": n_rows, "step": 1}
    pandas: dict[str, Any] = {
        "index_columns": [*index] if index or n_rows is None else [rows],
        "column_indexes": [
            _describe_column(None, "unicode", "object", {"encoding": "UTF-8"}),
        ],
        "columns": [_describe_field(field) for field in fields],
        "attributes": {},
        "creator": {"library": "pyarrow", "version": pa.__version__},
        # The layout of this metadata, not what is installed: it needs no pandas.
        "pandas_version": "2.3.3",
    }
    one = {
        "date_created": origin.created.isoformat(sep=" ", timespec="minutes"),
        "origin": origin.root,
    }
    ours = {"generation": origin.generation, "namespace": str(origin.namespace)}
    return pa.schema(
        fields,
        {
            b"one_metadata": json.dumps(one).encode(),
            b"pandas": json.dumps(pandas).encode(),
            _KEY: json.dumps(ours).encode(),
        },
    )


def read_namespace(folder: Path, root: Path) -> tuple[uuid.UUID | None, list[str]]:
    """Find the namespace that the tables of a folder were made with.

    Parameters
    ----------
    folder
        Folder of the tables.
    root
        The archive that they should be of.

    Returns
    -------
    namespace : uuid.UUID or None
        None where there are no tables, or none of ours.
    problems : list of str
        One for each table that cannot be read, is not ours, or is of another archive.
    """
    problems = []
    found: uuid.UUID | None = None
    for path in (table_path(folder, name) for name in TABLES):
        try:
            header = read_header(path)
        except FileNotFoundError:
            continue
        except TableError as error:
            problems.append(f"{path} is no readable table: {error.__cause__ or error}")
            continue
        origin = ", ".join(header.origins) or None
        if header.namespace is None:
            problems.append(f"{path} was made by another program, of {origin}")
            continue
        if header.origins != (str(root),):
            problems.append(f"{path} is of another archive, {origin}")
        found = found or header.namespace
    with contextlib.suppress(OSError, ValueError):
        text = namespace_path(folder).read_text(encoding="utf-8")
        found = found or uuid.UUID(text.strip())
    return found, problems


@dataclass(frozen=True, slots=True)
class TableHeader:
    """What the file of a table says of it, without its rows.

    Parameters
    ----------
    path
        The file.
    index
        Columns that pandas noted as the index; none where it is a range, or nothing was noted.
    one
        ``one_metadata``: empty where ONE, or we, did not write the table.
    origins
        Where the table comes from, as ONE records it: roots of archives, or names of databases.
    namespace, generation
        What the ids were made in, and the run that wrote the table; None where it is not ours.
    """

    path: Path
    index: tuple[str, ...]
    one: dict[str, Any]
    origins: tuple[str, ...]
    namespace: uuid.UUID | None
    generation: str | None


def read_header(path: Path) -> TableHeader:
    """Read the header of a table's file.

    Raises
    ------
    TableNotFoundError
        There is no such file.
    TableError
        It cannot be read, or is no table.
    """
    with open_table(path) as table:
        return parse_header(path, table.parquet.schema_arrow)


def parse_header(path: Path, schema: pa.Schema) -> TableHeader:
    """Make the header of a table from the Arrow schema of its file.

    Raises
    ------
    TableError
        Its metadata is not what it should be.
    """
    one, pandas, ours = (
        _parse_json(path, schema, key) for key in (b"one_metadata", b"pandas", _KEY)
    )
    try:
        namespace = uuid.UUID(ours["namespace"]) if ours else None
    except (LookupError, ValueError, AttributeError) as error:
        raise TableError(f"{path}: its namespace cannot be read ({error}); {CURE}") from error
    return TableHeader(
        path=path,
        index=_list_strings(pandas.get("index_columns")),
        one=one,
        origins=_list_strings(one.get("origin")),
        namespace=namespace,
        generation=ours.get("generation"),
    )


def read_headers(folder: Path) -> dict[str, TableHeader]:
    """Read the headers of the tables that a folder has, by their names.

    Raises
    ------
    TableError
        A table cannot be read.
    TornPairError
        The two are of different runs, so that their ids do not match.
    """
    headers = {}
    for name in TABLES:
        with contextlib.suppress(TableNotFoundError):
            headers[name] = read_header(table_path(folder, name))
    check_generations(headers.values())
    return headers


def check_generations(headers: Iterable[TableHeader]) -> None:
    """Check that sessions and datasets are of one run, as otherwise their ids need not match.

    Raises
    ------
    TornPairError
        They are of two.
    """
    ours = {header.generation: header.path for header in headers if header.generation}
    if len(ours) > 1:
        paths = " and ".join(map(str, ours.values()))
        raise TornPairError(
            f"{paths} are of different runs, so their ids do not match; index the archive again"
        )


def _parse_json(path: Path, schema: pa.Schema, key: bytes) -> dict[str, Any]:
    name = key.decode()
    try:
        parsed = json.loads((schema.metadata or {}).get(key, b"{}"))
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path}: its metadata {name} is not JSON ({error}); {CURE}") from error
    if not isinstance(parsed, dict):
        raise TableError(f"{path}: its metadata {name} is {parsed!r}, not an object; {CURE}")
    return parsed


def _list_strings(value: Any) -> tuple[str, ...]:
    """Return the texts among what JSON may hold in the place of one text or several."""
    values = value if isinstance(value, list) else [value]
    return tuple(item for item in values if isinstance(item, str) and item)


def _describe_column(
    name: str | None, pandas_type: str, numpy_type: str, metadata: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": metadata,
    }


def _describe_field(field: pa.Field) -> dict[str, Any]:
    dtype = field.type
    if pa.types.is_dictionary(dtype):
        categories = {"num_categories": len(QC_NAMES), "ordered": dtype.ordered}
        return _describe_column(field.name, "categorical", "int8", categories)
    if pa.types.is_string(dtype):
        return _describe_column(field.name, "unicode", "object", None)
    if pa.types.is_date(dtype):
        return _describe_column(field.name, "date", "object", None)
    # Nullable in pandas: a size may be unknown in tables that come from a database.
    numpy = "UInt64" if field.name == "file_size" else str(dtype)
    return _describe_column(field.name, str(dtype), numpy, None)
