"""The schemas of the tables that pass between the stages, and the kinds of issues.

A walk yields `ENTRIES`, `DIRECTORIES`, `LISTINGS` and `ISSUES`; `SESSIONS` and `DATASETS` are the
two tables that ONE opens. Each field has a ``description`` and, where it has one, a ``unit`` in
its Arrow metadata. Sizes are bytes, times nanoseconds since the epoch (UTC), paths POSIX.
"""

from __future__ import annotations

from enum import StrEnum

import polars as pl
import pyarrow as pa

from polars_alf.alf.grammar import QC_DTYPE


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
"""One row per dataset file, in the order of the walk."""

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
"""One row per file or folder that was skipped, or kept although ONE may not open it."""

SESSIONS = pa.schema(
    [
        _field("id", pa.string(), "eid: a UUID, or [lab/]subject/date/number"),
        _field("lab", pa.string(), "name of the lab, '' where none is known"),
        _field("subject", pa.string(), "name of the subject"),
        _field("date", pa.date32(), "day of the session"),
        _field("number", pa.uint16(), "number of the session on that day"),
        _field("task_protocol", pa.string(), "protocol of the task, '' where nobody wrote it"),
        _field("projects", pa.string(), "projects, '' where nobody wrote them"),
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

DIGEST_COLUMNS = {"md5": "hash", "xxh3_128": "xxh3_128"}
"""Columns of digests by their algorithm, hexadecimal digits or '': ``hash`` is ONE's, others come
after the columns of DATASETS where an index was asked for them."""

INSERTIONS = pa.schema(
    [
        _field("eid", pa.string(), "id of the session"),
        _field("id", pa.string(), "pid: id of the insertion"),
        _field("name", pa.string(), "name of the probe's folder, such as probe00"),
        _field("model", pa.string(), "model of the probe, '' where nobody wrote it"),
        _field("serial", pa.string(), "serial number of the probe, '' where nobody wrote it"),
    ]
)
"""One row per insertion of a probe in a session."""

TABLES = {"sessions": SESSIONS, "datasets": DATASETS}
"""The two tables that every index makes, and that are one generation."""

SCHEMAS = {**TABLES, "insertions": INSERTIONS}
"""All tables of ours that ONE loads."""

INDEX = {"sessions": ["id"], "datasets": ["eid", "id"], "insertions": ["eid", "id"]}


GRAIN_NS = 2_000_000_000
"""The coarsest times of modification there are, those of FAT: a file that was modified less than
this ago may be modified once more without a new time."""


class IssueKind(StrEnum):
    """The kinds of issues: those of files and folders that were skipped, then of others."""

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
    SNAPSHOT = "snapshot"
    DUPLICATE_DATASET = "duplicate_dataset"
    MALFORMED_RECORD = "malformed_record"

    UNUSUAL_LAB = "unusual_lab"
    UNPADDED_NUMBER = "unpadded_number"
    INVALID_COLLECTION = "invalid_collection"
    NESTED_SESSION = "nested_session"
    MISPLACED_SESSION = "misplaced_session"
    UNREADABLE_CONTENT = "unreadable_content"
    AMBIGUOUS_ID = "ambiguous_id"
    INVALID_UUID = "invalid_uuid"


HIDING = frozenset({IssueKind.UNREADABLE_DIRECTORY, IssueKind.UNREADABLE_FILE, IssueKind.TIMED_OUT})
"""Issues of files and folders that may be there, but cannot be read now."""

LOST = HIDING | {IssueKind.VANISHED}
"""Issues of what was there when the walk began, and that its tables lack all the same."""

PASSING = LOST | {IssueKind.UNREADABLE_CONTENT}
"""Issues that may be gone at the next try."""


def polars_schema(schema: pa.Schema) -> pl.Schema:
    """Return the Polars schema of an Arrow one: dictionaries are strings, ``qc`` is `QC_DTYPE`."""
    dtypes = dict(pl.Schema(schema))
    for name, dtype in dtypes.items():
        if name == "qc":
            dtypes[name] = QC_DTYPE
        elif isinstance(dtype, pl.Categorical):
            dtypes[name] = pl.String()
    return pl.Schema(dtypes)
