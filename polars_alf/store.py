"""The two tables on disk: their Parquet contract with ONE, and their commit as one generation.

Both files are written and made durable in a hidden folder beside the tables. A journal then says
that they are whole: from there on the generation counts, and whoever comes next finishes moving
the files where a run was cut off between the two (`recover`). A run that is cut off before
leaves the tables as they were.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from polars_alf.errors import (
    ArchiveBusyError,
    ArchiveNotFoundError,
    ArchivePermissionError,
    CommitError,
    TableError,
    TornPairError,
)
from polars_alf.schema import DATASETS, SESSIONS
from polars_alf.spec import QC_NAMES

STATE_DIR = ".polars_alf"
"""Folder of our own state, beside the tables. ONE loads every ``*.pqt`` beside them, so nothing
of ours may lie there."""

TABLES = {"sessions": SESSIONS, "datasets": DATASETS}
INDEX = {"sessions": ["id"], "datasets": ["eid", "id"]}

_KEY = b"polars_alf"
_JOURNAL = "commit.json"
_ISSUES = "issues.arrow"


@dataclass(frozen=True, slots=True)
class Origin:
    """What tables say of where they come from.

    Parameters
    ----------
    root
        Path of the archive, as ONE records it.
    namespace
        What the ids are made in; a later index over the same tables takes it from there.
    generation
        Names the run that wrote both tables.
    created
        Local time, without a zone, as ONE writes it.
    """

    root: str
    namespace: uuid.UUID
    generation: str
    created: datetime


def table_path(folder: Path, name: str) -> Path:
    """Return the path of a table of a folder."""
    return folder / f"{name}.pqt"


def issues_path(folder: Path) -> Path:
    """Return the path of the issues (ISSUES, an Arrow IPC file) of the tables of a folder."""
    return folder / STATE_DIR / _ISSUES


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
    """
    path = issues_path(folder)
    if not path.exists():
        raise ArchiveNotFoundError(
            f"{folder} has no issues of an index; give the folder of tables that polars-alf made"
        )
    try:
        with pa.ipc.open_file(str(path)):
            pass
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{path} cannot be read: {error}; index again") from error
    return pl.scan_ipc(path, glob=False)


def table_schema(name: str, n_rows: int, origin: Origin, *, with_index: bool) -> pa.Schema:
    """Return the schema of a table's file, with the metadata that pandas and ONE go by.

    Parameters
    ----------
    name
        ``sessions`` or ``datasets``.
    n_rows
        Rows of the table.
    origin
        Where it comes from.
    with_index
        Whether the ids are the index: they are where they are UUIDs, and come last then.
    """
    index = INDEX[name] if with_index else []
    fields = [field.remove_metadata() for field in TABLES[name]]
    fields.sort(key=lambda field: index.index(field.name) if field.name in index else -1)
    rows: dict[str, Any] = {"kind": "range", "name": None, "start": 0, "stop": n_rows, "step": 1}
    pandas: dict[str, Any] = {
        "index_columns": [*index] if index else [rows],
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
    for name in TABLES:
        path = table_path(folder, name)
        try:
            metadata = pq.read_metadata(path).metadata or {}
            origin = json.loads(metadata.get(b"one_metadata", b"{}")).get("origin")
            if _KEY not in metadata:
                problems.append(f"{path} was made by another program, of {origin}")
                continue
            if origin != str(root):
                problems.append(f"{path} is of another archive, {origin}")
            found = found or uuid.UUID(json.loads(metadata[_KEY])["namespace"])
        except FileNotFoundError:
            continue
        except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
            problems.append(f"{path} is no readable table: {error}")
    with contextlib.suppress(OSError, ValueError):
        text = (folder / STATE_DIR / "namespace").read_text(encoding="utf-8")
        found = found or uuid.UUID(text.strip())
    return found, problems


def read_origins(folder: Path) -> list[str]:
    """Return the roots that the tables of a folder say they come from.

    Raises
    ------
    TableError
        A table cannot be read.
    TornPairError
        The two are of different runs, so that their ids do not match.
    """
    origins: list[str] = []
    generations = set()
    for path in (table_path(folder, name) for name in TABLES):
        try:
            metadata = pq.read_metadata(path).metadata or {}
            found = json.loads(metadata.get(b"one_metadata", b"{}")).get("origin") or []
            generation = json.loads(metadata.get(_KEY, b"{}")).get("generation")
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError, pa.ArrowException) as error:
            raise TableError(
                f"{path} is no readable table: {error}; index the archive again"
            ) from error
        origins += [found] if isinstance(found, str) else found
        generations |= {generation} - {None}
    if len(generations) > 1:
        raise TornPairError(
            f"the tables in {folder} are of different runs, so their ids do not match; index the "
            "archive again"
        )
    return origins


class Staging:
    """Both tables of one generation, from their first row to their commit.

    As a context it makes ``path``, a folder on the file system of the tables for whatever the run
    needs, and removes it with all that was not committed.

    Parameters
    ----------
    folder
        Folder of the tables, which exists.
    origin
        Where they come from.
    with_index
        Whether the ids are UUIDs.
    """

    def __init__(self, folder: Path, origin: Origin, *, with_index: bool) -> None:
        self.folder = folder
        self.origin = origin
        self._with_index = with_index
        self._state = folder / STATE_DIR
        self.path = self._state / f"run-{origin.generation}"

    def __enter__(self) -> Staging:
        self.path.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        # With the journal written, what is still here is the only copy of the new tables.
        if not (self._state / _JOURNAL).exists():
            shutil.rmtree(self.path, ignore_errors=True)

    def write_table(self, name: str, frames: Iterable[pl.DataFrame], n_rows: int) -> None:
        """Write a table.

        Parameters
        ----------
        name
            ``sessions`` or ``datasets``.
        frames
            Its rows in order, each frame one row group.
        n_rows
            How many they are in all.

        Raises
        ------
        TableError
            The number of rows is another one.
        OSError
            The disk is full, for one.
        """
        schema = table_schema(name, n_rows, self.origin, with_index=self._with_index)
        path = table_path(self.path, name)
        written = 0
        with path.open("xb") as file:
            with pq.ParquetWriter(
                file,
                schema,
                # Ids of datasets are all different, so a dictionary of them is waste.
                use_dictionary=[c for c in schema.names if c != "id"],
                compression="snappy",
            ) as writer:
                for frame in frames:
                    writer.write_table(_to_arrow(frame, schema), row_group_size=len(frame) or 1)
                    written += len(frame)
            file.flush()
            os.fsync(file.fileno())
        if written != n_rows:
            raise TableError(f"{written} rows came for the table {name} instead of {n_rows}")

    def write_issues(self, issues: pa.Table) -> None:
        """Write the issues of the generation."""
        with (self.path / _ISSUES).open("xb") as file:
            with pa.ipc.new_file(file, issues.schema) as writer:
                writer.write_table(issues)
            file.flush()
            os.fsync(file.fileno())

    def commit(self) -> None:
        """Make the tables visible, both of them; what was there before is replaced.

        Raises
        ------
        CommitError
            A table cannot be replaced. `recover` finishes the commit later.
        """
        for name in TABLES:
            path = table_path(self.folder, name)
            if path.is_dir():
                raise CommitError(f"{path} is a folder, so no table can be there; move it away")
        _write_durably(self._state / "namespace", f"{self.origin.namespace}\n")
        sync_directory(self.path)
        journal = {"staging": self.path.name}
        _write_durably(self._state / _JOURNAL, json.dumps(journal))
        try:
            recover(self.folder)
        except KeyboardInterrupt:
            recover(self.folder)
            raise


def settle(folder: Path) -> None:
    """Finish a commit that was cut off, unless its run goes on or the folder is read-only.

    For readers that have met two generations; a run that goes on needs but a moment.
    """
    if (folder / STATE_DIR / _JOURNAL).exists():
        with contextlib.suppress(ArchiveBusyError, OSError), locked_state(folder):
            pass


def recover(folder: Path) -> bool:
    """Finish a commit that was cut off. Only for who holds `locked_state`.

    Parameters
    ----------
    folder
        Folder of the tables.

    Returns
    -------
    bool
        Whether there was one.

    Raises
    ------
    CommitError
        A file cannot be replaced. The journal stays, so that this can be called again.
    """
    state = folder / STATE_DIR
    journal = state / _JOURNAL
    try:
        staging = state / json.loads(journal.read_text(encoding="utf-8"))["staging"]
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommitError(
            f"the journal {journal} of a commit that was cut off cannot be read ({error}); "
            "remove it, and index again"
        ) from error
    # A session without datasets is less wrong than datasets without a session, should ONE read
    # between the two.
    for staged, final in (
        *((table_path(staging, name), table_path(folder, name)) for name in TABLES),
        (staging / _ISSUES, issues_path(folder)),
    ):
        try:
            staged.replace(final)
        except FileNotFoundError:
            pass  # in its place since before the commit was cut off
        except OSError as error:
            raise CommitError(
                error.errno,
                f"{final} cannot be replaced: {error.strerror}; see to its permissions and run "
                f"again: the new tables wait in {staging}",
            ) from error
    sync_directory(state)
    sync_directory(folder)
    journal.unlink(missing_ok=True)
    shutil.rmtree(staging, ignore_errors=True)
    return True


@contextlib.contextmanager
def locked_state(folder: Path) -> Iterator[None]:
    """Hold the state of a folder of tables against other runs, cleared of what is unfinished.

    Raises
    ------
    ArchiveBusyError
        Another run holds it.
    """
    state = folder / STATE_DIR
    lock = filelock.FileLock(state / "lock")
    try:
        state.mkdir(exist_ok=True)
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise ArchiveBusyError(
            f"another run is writing the tables of {folder}; wait for its end, or give another "
            "folder for the tables"
        ) from None
    except OSError as error:
        raise ArchivePermissionError(
            error.errno,
            f"the folder {state}, beside the tables, cannot be used: {error.strerror}; see to its "
            "permissions, or give another folder for the tables",
        ) from error
    with lock:
        recover(folder)
        for path in state.glob("run-*"):
            shutil.rmtree(path, ignore_errors=True)
        yield


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


def _write_durably(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    with beside.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_directory(path.parent)


def _to_arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    return frame.select(schema.names).to_arrow().cast(schema)


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
