"""Paths of the tables and of the state beside them, and durable writes."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from polars_alf.errors import ArchiveNotFoundError, OutputError, TableError
from polars_alf.schema import TABLES

STATE_DIR = ".polars_alf"
"""Folder of our own state, beside the tables. ONE loads every ``*.pqt`` beside them, so nothing
of ours may lie there."""

_ISSUES = "issues.arrow"

_CHANGES = "changes.arrow"


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


BESIDE = ".tmp"


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable, where the system can (Windows cannot)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        # Some network file systems refuse; their server syncs on rename.
        pass
    finally:
        os.close(descriptor)


def write_durably(path: Path, text: str) -> None:
    """Write a file beside its place, make it durable, and put it there."""
    with replaced(path) as beside, beside.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield another name to write a file under, which takes its place at the end."""
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}{BESIDE}")
    try:
        yield beside
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


RUN = re.compile("run-[0-9a-f]{32}")
