"""The commit of both tables as one generation.

Both files are written and made durable in a hidden folder beside the tables. A journal then says
that they are whole: from there on the generation counts, and whoever comes next finishes moving
the files where a run was cut off between the two (`recover`). A run that is cut off before
leaves the tables as they were.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import filelock
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from polars_alf.errors import ArchiveBusyError, ArchivePermissionError, CommitError, TableError
from polars_alf.schema import CONFLICTS
from polars_alf.store import (
    STATE_DIR,
    TABLES,
    Origin,
    conflicts_path,
    issues_path,
    namespace_path,
    table_path,
    table_schema,
)

_JOURNAL = "commit.json"
_RUN = re.compile("run-[0-9a-f]{32}")

# A commit puts both tables in place within milliseconds.
_PATIENCE = 10
_PATIENCE_SECONDS = 0.05


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

    def write_table(
        self, name: str, frames: Iterable[pl.DataFrame], n_rows: int | None = None
    ) -> int:
        """Write a table.

        Parameters
        ----------
        name
            ``sessions`` or ``datasets``.
        frames
            Its rows in order, each frame one row group.
        n_rows
            How many they are in all; None where that shows only at their end.

        Returns
        -------
        int
            How many they were.

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
        if n_rows is not None and written != n_rows:
            raise TableError(f"{written} rows came for the table {name} instead of {n_rows}")
        return written

    def write_issues(self, issues: pa.Table) -> None:
        """Write the issues of the generation."""
        with self._open_arrow(issues_path(self.folder), issues.schema) as writer:
            writer.write_table(issues)

    @contextlib.contextmanager
    def open_conflicts(self) -> Iterator[Callable[[pl.DataFrame], None]]:
        """Yield a function that writes CONFLICTS, while the tables that have them are written."""
        with self._open_arrow(conflicts_path(self.folder), CONFLICTS) as writer:
            yield lambda conflicts: writer.write_table(_to_arrow(conflicts, CONFLICTS))

    @contextlib.contextmanager
    def _open_arrow(self, final: Path, schema: pa.Schema) -> Iterator[pa.ipc.RecordBatchFileWriter]:
        with (self.path / final.name).open("xb") as file:
            with pa.ipc.new_file(file, schema) as writer:
                yield writer
            file.flush()
            os.fsync(file.fileno())

    def commit(self) -> None:
        """Make the tables visible, both of them; what was there before is replaced.

        Raises
        ------
        CommitError
            A table cannot be replaced. `recover` finishes the commit later.
        """
        _write_durably(namespace_path(self.folder), f"{self.origin.namespace}\n")
        sync_directory(self.path)
        journal = {"staging": self.path.name}
        try:
            _write_durably(self._state / _JOURNAL, json.dumps(journal))
            recover(self.folder)
        except KeyboardInterrupt:
            recover(self.folder)
            raise


def settle(folder: Path) -> None:
    """Wait for a commit that is under way, or finish one that was cut off.

    For readers. Where neither helps within half a second, as in a folder that is read-only, the
    tables are left as they are.
    """
    for _ in range(_PATIENCE):
        if not (folder / STATE_DIR / _JOURNAL).exists():
            return
        with contextlib.suppress(ArchiveBusyError, OSError), locked_state(folder):
            return
        time.sleep(_PATIENCE_SECONDS)


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
        name = json.loads(journal.read_text(encoding="utf-8"))["staging"]
        # Below, this folder is removed: it has to be one of ours, whatever the file says.
        if not _RUN.fullmatch(name):
            raise ValueError(f"{name!r} is no run's folder")
    except FileNotFoundError:
        return False
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CommitError(
            f"the journal {journal} of a commit that was cut off cannot be read ({error}); "
            "remove it, and index again"
        ) from error
    staging = state / name
    # A session without datasets is less wrong than datasets without a session, should ONE read
    # between the two.
    for staged, final in (
        *((table_path(staging, name), table_path(folder, name)) for name in TABLES),
        *((staging / path.name, path) for path in (issues_path(folder), conflicts_path(folder))),
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
    try:
        recover(folder)
        for path in state.glob("run-*"):
            shutil.rmtree(path, ignore_errors=True)
        yield
    finally:
        lock.release()


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
