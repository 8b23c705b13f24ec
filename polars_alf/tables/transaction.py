"""The commit of all tables as one generation.

The files are written and made durable in a hidden folder beside the tables. Then a journal of
the files to move is written: from there on the generation counts, and where a run is cut off
between two moves, the next one, or a reader, finishes them (`journal.recover`). A run that is cut
off before leaves the tables as they were.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast

import polars as pl
import pyarrow as pa

from polars_alf.arrow import to_arrow, to_coded_arrow
from polars_alf.errors import ArchiveBusyError, ArchivePermissionError, LimitError, TableError
from polars_alf.tables.checksums import Part, write_checksummed
from polars_alf.tables.contract import Origin, table_schema
from polars_alf.tables.files import (
    STATE_DIR,
    namespace_path,
    remove_unfinished,
    report_path,
    sync_directory,
    table_path,
    write_durably,
)
from polars_alf.tables.generations import (
    choose_dropped,
    choose_name,
    describe_tables,
    list_generations,
    list_tables,
    remove_dropped,
)
from polars_alf.tables.history import Record, read_records
from polars_alf.tables.journal import Journal, commit, is_under_way, recover
from polars_alf.tables.keep import KEEP
from polars_alf.tables.one_lock import STALE_SECONDS
from polars_alf.tables.parts import check_parts
from polars_alf.tables.writer_lock import hold_writer_lock

# Of columns whose values hardly repeat a dictionary is waste.
_ALL_DIFFERENT = {"id", "file_size", "xxh3_128"}

# Compressing random digits takes as long as encoding all other columns, and saves a tenth of them.
_RANDOM = {"id", "xxh3_128"}

# A commit puts both tables in place within milliseconds.
_READER_TRIES = 10
_READER_PAUSE_SECONDS = 0.05


@contextlib.contextmanager
def locked_state(folder: Path, *, patience: float = STALE_SECONDS + 5) -> Iterator[None]:
    """Hold the state of a folder of tables against other runs; a commit cut off is finished first.

    `patience` is how many seconds to wait for ONE, should it be writing then, or for a run of
    another machine that may be dead. Raises ArchiveBusyError where another run holds the state.
    """
    state = folder / STATE_DIR
    with contextlib.ExitStack() as stack:
        try:
            state.mkdir(exist_ok=True)
            _check_link(state)
            stack.enter_context(hold_writer_lock(folder, state, patience))
        except (ArchiveBusyError, LimitError):
            raise
        except OSError as error:
            raise ArchivePermissionError(
                error.errno,
                f"the folder {state}, beside the tables, cannot be used: {error.strerror}; see to "
                "its permissions, or give another folder for the tables",
            ) from error
        recover(folder, patience=patience)
        remove_unfinished(state)
        remove_dropped(state)
        yield


def _check_link(state: Path) -> None:
    """Raise PermissionError where the state is a link that another user has put there.

    We would write and remove files wherever that user wants it.
    """
    status = state.lstat()
    is_link = os.name == "posix" and stat.S_ISLNK(status.st_mode)
    if is_link and status.st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, f"it is a link of another user, {status.st_uid}")


def wait_for_commit(folder: Path) -> None:
    """Wait for a commit that is under way, or finish one that was cut off. For readers.

    Where neither helps within half a second, as in a folder that is read-only, the tables are
    left as they are.
    """
    for _ in range(_READER_TRIES):
        if not is_under_way(folder):
            return
        with contextlib.suppress(ArchiveBusyError, OSError), locked_state(folder, patience=0):
            return
        time.sleep(_READER_PAUSE_SECONDS)


class Staging:
    """The tables of one generation, from their first row to their commit.

    `path` is the folder of the run, in the state of the `folder` of the tables; both exist.
    `with_index` is whether the ids are UUIDs.
    """

    def __init__(self, folder: Path, path: Path, origin: Origin, *, with_index: bool) -> None:
        self.folder = folder
        self.path = path
        self.origin = origin
        self._with_index = with_index
        self._files: list[str] = []

    def write_table(
        self,
        name: str,
        parts: Iterable[Part],
        n_rows: int | None = None,
        more: Mapping[str, pl.DataType] | None = None,
        *,
        make: Callable[[Part], pl.DataFrame] | None = None,
        with_index: bool | None = None,
    ) -> int:
        """Write ``sessions``, ``datasets`` or ``insertions``, and return the number of rows.

        Each part is a frame, or one is made of it by `make`, in any thread. Each becomes one row
        group; some are encoded at a time. Any number of rows but `n_rows` is a TableError. `more`
        are columns beside those of every table, by name and type. `with_index` is by default that
        of the generation.
        """
        with_index = self._with_index if with_index is None else with_index
        schema = table_schema(name, n_rows, self.origin, with_index=with_index, more=more)
        make_frame = make or cast("Callable[[Part], pl.DataFrame]", lambda frame: frame)
        written = write_checksummed(
            table_path(self.path, name),
            schema,
            parts,
            lambda part: to_coded_arrow(make_frame(part), schema),
            are_small=make is not None,
            use_dictionary=[c for c in schema.names if c not in _ALL_DIFFERENT],
            compression={c: "none" if c in _RANDOM else "snappy" for c in schema.names},
        )
        if n_rows is not None and written != n_rows:
            raise TableError(f"{written} rows came for the table {name} instead of {n_rows}")
        return written

    def write_rows(self, name: str, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        """Write an Arrow file of the state, such as ``issues``, that is committed as well."""
        with self.open_rows(name, schema) as write:
            for table in filter(len, tables):
                write(pl.DataFrame(table))

    @contextlib.contextmanager
    def open_rows(self, name: str, schema: pa.Schema) -> Iterator[Callable[[pl.DataFrame], None]]:
        """Yield a function that writes to an Arrow file of the state, committed as well."""
        path = self.path / f"{name}.arrow"
        self._files.append(path.name)
        with path.open("wb") as file:
            with pa.ipc.new_file(file, schema) as writer:
                yield lambda frame: writer.write_table(to_arrow(frame, schema))
            file.flush()
            os.fsync(file.fileno())

    def add_file(self, name: str) -> None:
        """Have a file that was written into `path` committed as well; `locate` says to where."""
        self._files.append(name)

    def write_report(self, report: Mapping[str, object]) -> None:
        """Write the report of the run, which is committed as well."""
        path = self.path / report_path(self.folder).name
        self._files.append(path.name)
        write_durably(path, json.dumps(report, indent=1))

    def commit(
        self,
        *,
        move: Mapping[str, str] | None = None,
        remove: Iterable[str] = (),
        keep: int | None = KEEP,
        record: Record | None = None,
    ) -> None:
        """Replace all tables, or none, by those of this generation.

        Parameters
        ----------
        move
            Folders of the run that become part of the state, with their names there.
        remove
            Files and folders of earlier generations, by their names in the state; a file of the
            same name in this generation stays.
        keep
            How many earlier generations there are afterwards; that which is replaced is the first.
            Where none of them had other files, one more is kept, the last that had. None keeps
            those that there are, and not what is replaced.
        record
            The line of this run in the history.

        Raises
        ------
        CommitError
            A file cannot be replaced. `recover` finishes the commit later.
        """
        write_durably(namespace_path(self.folder), f"{self.origin.namespace}\n")
        sync_directory(self.path)
        kept, records = keep_current(self.folder) if keep else (None, [])
        if record:
            records.append({**record, "replaced": kept})
        known = [*read_records(self.folder), *records]
        earlier = list_generations(self.folder, known)
        dropped: list[str] = []
        if keep is not None:
            dropped = choose_dropped([*([kept] if kept else []), *earlier], keep, known)
        journal = Journal(
            staging=self.path.name,
            files=tuple(self._files),
            folders=dict(move or {}),
            removed=tuple(sorted({*remove} - {*self._files})),
            kept=kept,
            dropped=tuple(dropped),
            records=tuple(records),
        )
        commit(self.folder, journal)


def keep_current(folder: Path) -> tuple[str | None, list[Record]]:
    """Return the name to keep the tables of a folder as, and their record if the log has none.

    The name is None where there are no tables.
    """
    if not list_tables(folder):
        return None, []
    known = read_records(folder)
    name = choose_name(folder, known)
    is_known = any(record.get("generation") == name for record in known)
    return name, [] if is_known else [describe_tables(folder, name)]


@contextlib.contextmanager
def staged(folder: Path, origin: Origin, *, with_index: bool) -> Iterator[Staging]:
    """Yield a `Staging` in a new folder, which is removed with all that was not committed."""
    path = folder / STATE_DIR / f"run-{origin.generation}"
    path.mkdir(parents=True)
    try:
        yield Staging(folder, path, origin, with_index=with_index)
    finally:
        # Once the journal is written, files that are still here are the only copies.
        if not is_under_way(folder):
            shutil.rmtree(path, ignore_errors=True)


def discard_runs(folder: Path) -> None:
    """Remove the folders of interrupted runs. Only under `locked_state`.

    Raises ArchiveBusyError where a part of a job array is at work in one.
    """
    for path in (folder / STATE_DIR).glob("run-*"):
        check_parts(path)
        shutil.rmtree(path, ignore_errors=True)
