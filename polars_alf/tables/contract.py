"""The Parquet schema and metadata by which ONE, pandas and we know a table, written and read."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import polars as pl
import pyarrow as pa

from polars_alf.alf.address import is_address, parse_location
from polars_alf.alf.grammar import QC_NAMES
from polars_alf.errors import TableError, TableNotFoundError, TornPairError
from polars_alf.schema import INDEX, SCHEMAS, TABLES
from polars_alf.tables.files import REPAIR_ADVICE, namespace_path, table_path
from polars_alf.tables.parquet import open_table

_KEY = b"polars_alf"


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of both tables of one generation, as their metadata has it."""

    root: str | list[str]
    """Path of the archive, as ONE records it; several for tables that were merged."""
    namespace: uuid.UUID
    """Namespace of the UUIDs; a later index over the same tables takes it from there."""
    generation: str
    """Name of the run that wrote both tables."""
    created: datetime
    """Local time, without a zone, as ONE writes it."""
    tags: tuple[str, ...] = ()
    """Names of the release that the tables are, as ONE knows them."""
    uuid_filenames: bool = False
    """Whether ids are in the names of files, which ``rel_path`` does not have."""


def table_schema(
    name: str,
    n_rows: int | None,
    origin: Origin,
    *,
    with_index: bool,
    more: Mapping[str, pl.DataType] | None = None,
) -> pa.Schema:
    """Return the schema of a table's file, with the metadata that pandas and ONE read.

    `with_index` makes the ids the index, as it is where they are UUIDs: they come last then.
    `n_rows` is None where it is not known yet, and pandas counts the rows. `more` are columns
    beside those of every table, by name and type: see `foreign.storable_type`.
    """
    index = INDEX[name] if with_index else []
    fields = [field.remove_metadata() for field in SCHEMAS[name]]
    fields += [pa.field(column, _arrow_type(dtype)) for column, dtype in (more or {}).items()]
    fields.sort(key=lambda field: index.index(field.name) if field.name in index else -1)
    rows: dict[str, Any] = {"kind": "range", "name": None, "start": 0, "stop": n_rows, "step": 1}
    pandas: dict[str, Any] = {
        "index_columns": [*index] if index or n_rows is None else [rows],
        "column_indexes": [_describe_column(None, "unicode", "object", {"encoding": "UTF-8"})],
        "columns": [describe_field(field) for field in fields],
        "attributes": {},
        "creator": {"library": "pyarrow", "version": pa.__version__},
        # The layout of this metadata, not what is installed: it needs no pandas.
        "pandas_version": "2.3.3",
    }
    one = {
        "date_created": origin.created.isoformat(sep=" ", timespec="minutes"),
        "origin": origin.root,
        **({"database_tags": [*origin.tags]} if origin.tags else {}),
    }
    ours: dict[str, Any] = {
        "generation": origin.generation,
        "namespace": str(origin.namespace),
        **({"uuid_filenames": True} if origin.uuid_filenames else {}),
    }
    return pa.schema(
        fields,
        {
            b"one_metadata": json.dumps(one).encode(),
            b"pandas": json.dumps(pandas).encode(),
            _KEY: json.dumps(ours).encode(),
        },
    )


def _arrow_type(dtype: pl.DataType) -> pa.DataType:
    if dtype == pl.String:
        return pa.string()
    return pl.Series(dtype=dtype).to_arrow().type


def read_namespace(folder: Path, root: PurePath) -> tuple[uuid.UUID | None, dict[str, bool]]:
    """Return the namespace of the tables of a folder, and the problems of the tables.

    The namespace is None where there are no tables, or none of ours. A problem is a table that is
    damaged, not ours, or not of the archive `root`; the value of each is whether the table can be
    read. Raises TableError where the system refuses to read a file that may have the namespace.
    """
    problems: dict[str, bool] = {}
    found: uuid.UUID | None = None
    unread: OSError | None = None
    for path in (table_path(folder, name) for name in TABLES):
        try:
            header = read_header(path)
        except FileNotFoundError:
            continue
        except TableError as error:
            problems[f"{path} is no readable table: {error.__cause__ or error}"] = False
            # A damaged file stays so; one that the system does not let us read may have the ids.
            if isinstance(error.__cause__, OSError) and error.__cause__.errno:
                unread = error.__cause__
            continue
        origin = ", ".join(header.origins)
        if header.namespace is None:
            of_what = f", of {origin}" if origin else ""
            problems[f"{path} was made by another program{of_what}"] = True
            continue
        if {*header.roots} != {root}:
            problems[f"{path} is of another archive, {origin or 'which it does not name'}"] = True
        found = found or header.namespace
    try:
        text = namespace_path(folder).read_text(encoding="utf-8")
        found = found or uuid.UUID(text.strip())
    except (FileNotFoundError, ValueError):
        pass
    except OSError as error:
        unread = error
    if unread and not found:
        raise TableError(
            f"the tables in {folder}, and the namespace of their ids, cannot be read: "
            f"{unread.strerror}; see to their permissions and to the storage, or every id would "
            "be another"
        ) from unread
    return found, problems


def parse_created(value: object) -> datetime | None:
    """Return when a table was made, from its metadata: in local time, without a zone.

    Programs write a date of ISO 8601, with or without a zone, or seconds since the epoch. None
    where it is neither.
    """
    try:
        if isinstance(value, str):
            text = value.strip().replace("/", "-")
            made = datetime.fromisoformat(re.sub(r"\s*UTC$", "Z", text))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            made = datetime.fromtimestamp(value, UTC)
        else:
            return None
        return made.astimezone().replace(tzinfo=None) if made.tzinfo else made
    except (ValueError, OverflowError, OSError):
        return None


@dataclass(frozen=True, slots=True)
class TableHeader:
    """The metadata of a table; `namespace` and `generation` are None where it is not ours."""

    path: Path
    index: tuple[str, ...]
    """Columns that are the index in pandas; none where that is a range, or is not noted."""
    one: dict[str, Any]
    """``one_metadata``; empty where neither ONE nor we wrote the table."""
    origins: tuple[str, ...]
    """Roots of archives, or names of databases, that the table comes from."""
    namespace: uuid.UUID | None
    generation: str | None
    uuid_filenames: bool = False
    """Whether ids are in the names of files, which ``rel_path`` does not have."""

    @property
    def created(self) -> datetime | None:
        """When the table was made; None where it does not say so."""
        return parse_created(self.one.get("date_created"))

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the release that the table is of."""
        return _list_strings(self.one.get("database_tags"))

    @property
    def databases(self) -> list[str]:
        """Names, or addresses, of the databases that the table comes from."""
        return [origin for origin in self.origins if not _is_root(origin)]

    @property
    def roots(self) -> list[PurePath]:
        """Roots of the archives that the table comes from: folders, and addresses of buckets."""
        return [parse_location(origin) for origin in self.origins if _is_root(origin)]


def _is_root(origin: str) -> bool:
    if is_address(origin):
        return True
    return Path(origin).is_absolute() or PureWindowsPath(origin).is_absolute()


def read_header(path: Path) -> TableHeader:
    """Read the header of a table's file; TableNotFoundError where there is none."""
    with open_table(path) as table:
        return parse_header(path, table.schema)


def parse_header(path: Path, schema: pa.Schema) -> TableHeader:
    """Make the header of a table from the Arrow schema of its file."""
    one, pandas, ours = (
        _parse_json(path, schema, key) for key in (b"one_metadata", b"pandas", _KEY)
    )
    try:
        namespace = uuid.UUID(ours["namespace"]) if ours else None
    except (LookupError, ValueError, AttributeError) as error:
        raise TableError(
            f"{path}: its namespace cannot be read ({error}); {REPAIR_ADVICE}"
        ) from error
    return TableHeader(
        path=path,
        index=_list_strings(pandas.get("index_columns")),
        one=one,
        origins=_list_strings(one.get("origin")),
        namespace=namespace,
        generation=ours.get("generation"),
        uuid_filenames=ours.get("uuid_filenames") is True,
    )


def read_headers(folder: Path) -> dict[str, TableHeader]:
    """Read the headers of the tables that a folder has, by their names.

    Raises TornPairError where the two are of different runs.
    """
    headers = {}
    for name in TABLES:
        with contextlib.suppress(TableNotFoundError):
            headers[name] = read_header(table_path(folder, name))
    check_generations(headers.values())
    return headers


def check_generations(headers: Iterable[TableHeader]) -> None:
    """Raise TornPairError where tables are of different runs, as their ids need not match."""
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
        raise TableError(
            f"{path}: its metadata {name} is not JSON ({error}); {REPAIR_ADVICE}"
        ) from error
    if not isinstance(parsed, dict):
        raise TableError(
            f"{path}: its metadata {name} is {parsed!r}, not an object; {REPAIR_ADVICE}"
        )
    return parsed


def _list_strings(value: Any) -> tuple[str, ...]:
    """Return the texts in a value of JSON that should be one text or several."""
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


def describe_field(field: pa.Field) -> dict[str, Any]:
    """Describe a column as the metadata of pandas does."""
    dtype = field.type
    if pa.types.is_dictionary(dtype):
        categories = {"num_categories": len(QC_NAMES), "ordered": dtype.ordered}
        return _describe_column(field.name, "categorical", "int8", categories)
    if pa.types.is_string(dtype):
        return _describe_column(field.name, "unicode", "object", None)
    if pa.types.is_date(dtype):
        return _describe_column(field.name, "date", "object", None)
    if pa.types.is_timestamp(dtype):
        zone = {"timezone": dtype.tz} if dtype.tz else None
        kind = "datetimetz" if dtype.tz else "datetime"
        return _describe_column(field.name, kind, f"datetime64[{dtype.unit}]", zone)
    if pa.types.is_floating(dtype):
        name = f"float{dtype.bit_width}"
        return _describe_column(field.name, name, name, None)
    name = str(dtype)
    if not (pa.types.is_integer(dtype) or pa.types.is_boolean(dtype)):
        return _describe_column(field.name, name, "object", None)
    # Nullable in pandas: a size may be unknown in tables that come from a database. Columns that
    # are not ours are what pandas makes of them, as ONE cannot save nullable ones with nulls.
    return _describe_column(field.name, name, "UInt64" if field.name == "file_size" else name, None)
