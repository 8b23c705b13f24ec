"""The tables that pass between the stages, each described once.

`ENTRIES`, `DIRECTORIES` and `ISSUES` come out of every source; `SESSIONS` and `DATASETS` are the
two tables that ONE opens. Each field carries a ``description`` and, where it has one, a ``unit``
in its Arrow metadata.

Sizes are bytes, times nanoseconds since the epoch (UTC), paths POSIX.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import polars as pl
import pyarrow as pa

from polars_alf.spec import QC_DTYPE


def _field(
    name: str, dtype: pa.DataType, description: str, *, unit: str = "", nullable: bool = True
) -> pa.Field:
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, dtype, nullable=nullable, metadata=metadata)


_NAMES = pa.dictionary(pa.int32(), pa.string())

ENTRIES = pa.schema(
    [
        _field("directory", _NAMES, "directory that holds the file, relative to the root"),
        _field("name", _NAMES, "file name, a valid ALF dataset name"),
        _field("file_size", pa.uint64(), "size of the file", unit="bytes"),
        _field("mtime_ns", pa.int64(), "last modification of the content", unit="ns"),
        _field("inode", pa.uint64(), "file serial number; 0 where the system has none"),
    ]
)
"""One row per dataset file, in the order in which the source met them."""

DIRECTORIES = pa.schema(
    [
        _field("directory", pa.string(), "directory, relative to the root; '' is the root"),
        _field("session", pa.string(), "session directory that it lies in, or is"),
    ]
)
"""One row per directory inside a session, the session itself included."""

LISTINGS = pa.schema(
    [
        _field("directory", pa.string(), "directory, relative to the root; '' is the root"),
        _field("mtime_ns", pa.int64(), "last change of its entries, null if unsure", unit="ns"),
        _field("ctime_ns", pa.int64(), "last change of itself, null if unsure", unit="ns"),
        _field("inode", pa.uint64(), "file serial number, null if unsure"),
        _field("n_others", pa.uint64(), "files in it that are no datasets"),
        _field("subdirectories", pa.string(), "names of directories in it, divided by /"),
    ]
)
"""One row per directory that was walked, as it was before it was listed."""

ISSUES = pa.schema(
    [
        _field("path", pa.string(), "path relative to the root; odd bytes as \\xNN"),
        _field("kind", pa.string(), "an IssueKind"),
        _field("errno", pa.int32(), "error number of the system, null where there was no error"),
        _field("message", pa.string(), "what was found, and what cures it"),
    ]
)
"""One row per thing that was skipped, or kept although ONE may not open it."""

SESSIONS = pa.schema(
    [
        _field("id", pa.string(), "eid: a UUID, or [lab/]subject/date/number"),
        _field("lab", pa.string(), "name of the lab, '' where none is known"),
        _field("subject", pa.string(), "name of the subject"),
        _field("date", pa.date32(), "day of the session"),
        _field("number", pa.uint16(), "number of the session on that day"),
        _field("task_protocol", pa.string(), "always '': only a database knows it"),
        _field("projects", pa.string(), "always '': only a database knows them"),
    ]
)
"""One row per session."""

DATASETS = pa.schema(
    [
        _field("eid", pa.string(), "id of the session"),
        _field("id", pa.string(), "id of the dataset: a UUID, or its rel_path"),
        _field("rel_path", pa.string(), "path of the file, relative to its session"),
        _field("file_size", pa.uint64(), "size of the file", unit="bytes"),
        _field("hash", pa.string(), "MD5 of the content in hexadecimal, '' where not computed"),
        _field("exists", pa.bool_(), "whether the file is on disk"),
        _field("qc", pa.dictionary(pa.int8(), pa.string(), ordered=True), "quality control"),
    ]
)
"""One row per dataset."""

ORIGIN = "origin"
"""The column that tells apart the rows of tables that come from several folders."""
FILES = pa.schema(
    [
        *(SESSIONS.field(name) for name in ("lab", "subject", "date", "number")),
        DATASETS.field("rel_path"),
        *ENTRIES,
    ]
)
"""One row per dataset file of an archive that is walked, with what its path says."""

CHANGES = pa.schema(
    [
        _field("path", pa.string(), "file, relative to the root"),
        _field("change", pa.string(), "a ChangeKind"),
        _field("file_size", pa.uint64(), "size now, null where it is not there", unit="bytes"),
        _field("previous_size", pa.uint64(), "size at the last index, null if new", unit="bytes"),
    ]
)
"""One row per dataset that is not as the last index of the same archive found it."""

REMOVALS = pa.schema(
    [
        _field("path", pa.string(), "what is to be removed, relative to the root"),
        _field("kind", pa.string(), "a RemovalKind"),
        _field("file_size", pa.uint64(), "size of the file, null for a folder", unit="bytes"),
        _field("reason", pa.string(), "why it may go"),
        _field("mtime_ns", pa.int64(), "last modification, null for a folder", unit="ns"),
        _field("inode", pa.uint64(), "file serial number"),
        _field("tables", pa.string(), "tables that were asked; null where frames were given"),
    ]
)
"""A plan of what to remove: datasets in the order of their paths, then folders from within."""

DIGEST_COLUMNS = {"md5": "hash", "xxh3_128": "xxh3_128"}
"""Columns of digests by their algorithm, hexadecimal digits or '': ``hash`` is ONE's, others come
after the columns of DATASETS where an index was asked for them."""

OUTCOMES = pa.schema(
    [
        *(REMOVALS.field(name) for name in ("path", "kind", "file_size")),
        _field("result", pa.string(), "a RemovalResult"),
        _field("message", pa.string(), "why it was not removed, null where it was"),
    ]
)
"""What became of a plan, one row for each of its rows."""


class ChangeKind(StrEnum):
    """What became of a dataset since the last index."""

    ADDED = "added"
    CHANGED = "changed"
    """Its size, its time of modification or its inode is another."""
    REMOVED = "removed"
    UNREADABLE = "unreadable"
    """It may be there, but could not be read; see the issues. It is not in the tables."""


CONFLICTS = pa.schema(
    [
        _field("table", pa.string(), "sessions or datasets"),
        _field("eid", pa.string(), "id of the session that was kept"),
        _field("id", pa.string(), "id of the dataset that was kept, null for a session"),
        _field("differs", pa.list_(pa.string()), "columns in which the two differ"),
        _field("kept", pa.string(), "tables of the row that was kept"),
        _field("dropped", pa.string(), "tables of the row that was not"),
        _field("kept_path", pa.string(), "the path of the row that was kept"),
        _field("dropped_path", pa.string(), "the path of the row that was not"),
        _field("kept_size", pa.uint64(), "size of the dataset that was kept", unit="bytes"),
        _field("dropped_size", pa.uint64(), "size of the one that was not", unit="bytes"),
    ]
)
"""One row per row that was left out of merged tables although it says something else.

The path of a session is [lab/]subject/date/number, that of a dataset its rel_path."""


DIFFERENCES = pa.schema(
    [
        _field("table", pa.string(), "sessions or datasets"),
        _field("change", pa.string(), "a Change"),
        _field("eid", pa.string(), "id of the session, the new one where there is one"),
        _field("id", pa.string(), "id of the dataset, null for a session"),
        _field("old_path", pa.string(), "path in the old tables, null where it was added"),
        _field("new_path", pa.string(), "path in the new tables, null where it was removed"),
        _field("columns", pa.list_(pa.string()), "columns that changed"),
        _field("old_size", pa.uint64(), "size of the dataset in the old tables", unit="bytes"),
        _field("new_size", pa.uint64(), "size of the dataset in the new tables", unit="bytes"),
    ]
)
"""What changed from one pair of tables to another, sessions before datasets, sorted by path.

Paths are [lab/]subject/date/number, and those of datasets have their rel_path after that."""


class Change(StrEnum):
    """What became of a row from one pair of tables to another."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    RENAMED = "renamed"
    """It has another path: by its id, or by size and digest, it is still the same."""


FINDINGS = pa.schema(
    [
        _field("kind", pa.string(), "a FindingKind"),
        _field("table", pa.string(), "sessions or datasets; null for what may hold any"),
        _field("eid", pa.string(), "id of the session, null where it is in no table"),
        _field("id", pa.string(), "id of the dataset, null where it is in no table"),
        _field("path", pa.string(), "where it is, or should be, relative to the root"),
        _field("table_size", pa.uint64(), "size in the table", unit="bytes"),
        _field("disk_size", pa.uint64(), "size on disk", unit="bytes"),
        _field("table_hash", pa.string(), "MD5 in the table, null where it was not compared"),
        _field("disk_hash", pa.string(), "MD5 on disk, null where it was not compared"),
        _field("message", pa.string(), "what was found"),
    ]
)
"""One row per way in which an archive is not what its tables say, sorted by path."""


class FindingKind(StrEnum):
    """In what way an archive is not what its tables say."""

    MISSING = "missing"
    NEW = "new"
    SIZE_CHANGED = "size_changed"
    DIGEST_CHANGED = "digest_changed"
    UNREADABLE = "unreadable"
    """What is there cannot be told: a folder cannot be listed, say."""
    UNSAFE_PATH = "unsafe_path"
    """The table's path leads out of the session, so it was not looked for."""


class RemovalKind(StrEnum):
    """What is to be removed."""

    DATASET = "dataset"
    SESSION = "session"
    FOLDER = "folder"
    """A collection inside such a session, or its date or subject: left with nothing in it."""


class RemovalResult(StrEnum):
    """What became of it."""

    REMOVED = "removed"
    CHANGED = "changed"
    """Kept, as it is not what was planned any more."""
    GONE = "gone"
    FAILED = "failed"


class IssueKind(StrEnum):
    """What an issue is about.

    The first group was skipped, so the tables lack it; the second is in the tables.
    """

    UNREADABLE_DIRECTORY = "unreadable_directory"
    UNREADABLE_FILE = "unreadable_file"
    VANISHED = "vanished"
    TIMED_OUT = "timed_out"
    BROKEN_LINK = "broken_link"
    LINKED_DIRECTORY = "linked_directory"
    LINK_LOOP = "link_loop"
    SPECIAL_FILE = "special_file"
    INVALID_NAME = "invalid_name"
    INVALID_DATE = "invalid_date"
    INVALID_SUBJECT = "invalid_subject"
    INVALID_NUMBER = "invalid_number"
    DUPLICATE_SESSION = "duplicate_session"
    OUTSIDE_SESSION = "outside_session"

    UNUSUAL_LAB = "unusual_lab"
    UNPADDED_NUMBER = "unpadded_number"
    INVALID_COLLECTION = "invalid_collection"
    NESTED_SESSION = "nested_session"
    MISPLACED_SESSION = "misplaced_session"
    UNREADABLE_CONTENT = "unreadable_content"


HIDING = frozenset({IssueKind.UNREADABLE_DIRECTORY, IssueKind.UNREADABLE_FILE, IssueKind.TIMED_OUT})
"""Issues of what may well be there, but cannot be read now."""

PASSING = HIDING | {IssueKind.VANISHED, IssueKind.UNREADABLE_CONTENT}
"""Issues that another try may not have."""


def polars_schema(schema: pa.Schema) -> pl.Schema:
    """Return the Polars schema of an Arrow one; dictionaries of names become strings.

    Parameters
    ----------
    schema
        One of the schemas of this module.

    Returns
    -------
    polars.Schema
        The same names in the same order; ``qc`` is `QC_DTYPE`.
    """
    return pl.Schema(
        {
            name: pl.String if isinstance(dtype, pl.Categorical) else dtype
            for name, dtype in pl.Schema(schema).items()
        }
        | ({"qc": QC_DTYPE} if "qc" in schema.names else {})
    )


def make_table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    """Return rows, as tuples in the order of the schema, as a table of that schema."""
    # Not Schema.empty_table, which loads pandas, as pa.array does.
    columns = [*zip(*rows, strict=True)]
    return make_columns_table(columns, schema) if rows else pa.Table.from_batches([], schema)


def make_columns_table(columns: Sequence[Sequence[object]], schema: pa.Schema) -> pa.Table:
    """Return columns, in the order of the schema, as a table of that schema."""
    # Not by pa.array, which loads pandas wherever pandas is installed: a third of a second.
    series = zip(polars_schema(schema).items(), columns, strict=True)
    frame = pl.DataFrame([pl.Series(name, column, dtype) for (name, dtype), column in series])
    return to_arrow(frame, schema)


def to_arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return columns of a frame as a table of a schema.

    Parameters
    ----------
    frame
        With the columns of the schema, in any order and beside others.
    schema
        One of the schemas of this module, of types as `polars_schema` has them.
    """
    # Not by Table.cast, which loads pyarrow.compute: a thirtieth of a second in each process.
    columns = [to_arrow_array(frame[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def to_arrow_array(series: pl.Series, dtype: pa.DataType) -> pa.Array:
    """Return a column as an Arrow array of a type that a schema of this module has."""
    if isinstance(series.dtype, pl.Enum):
        codes = series.to_physical().to_arrow().view(dtype.index_type)
        names = to_arrow_array(series.dtype.categories, dtype.value_type)
        return pa.DictionaryArray.from_arrays(codes, names, ordered=dtype.ordered)
    array = series.to_arrow()
    if dtype != pa.string():
        return array
    # Polars has offsets of 64 bits, which some readers do not expect.
    validity, _, text = array.buffers()
    ends = series.str.len_bytes().fill_null(0).cast(pl.Int64).cum_sum()
    offsets = pl.concat([pl.Series(ends.name, [0], pl.Int64), ends]).cast(pl.Int32)
    return pa.Array.from_buffers(
        dtype, len(array), [validity, offsets.to_arrow().buffers()[1], text]
    )
