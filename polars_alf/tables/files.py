"""The files of a folder of tables: their paths, durable writes, and issues and changes as frames.

ONE loads every ``*.pqt`` of the folder as a table, so all else of ours lies in `STATE_DIR`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import polars as pl
import pyarrow as pa

from polars_alf.alf.paths import STATE_DIR as STATE_DIR
from polars_alf.alf.process_limits import explain_limit
from polars_alf.alf.root import check_folder
from polars_alf.arrow import make_table
from polars_alf.errors import (
    ArchiveNotFoundError,
    LimitError,
    OptionError,
    OutputError,
    PolarsAlfError,
    TableError,
)
from polars_alf.parallel.lazy_frames import make_lazy_frame
from polars_alf.schema import SCHEMAS

RUN = re.compile("run-[0-9a-f]{32}")
"""Names of the folders in the state that runs write their tables in, until the commit."""

GENERATION = re.compile("generation-[0-9a-f]{32}")
"""Names of the folders in the state that have tables, with their state, that others replaced."""

MANIFEST = "manifest.json"
"""Name of a release's manifest, beside its tables."""

BUNDLE = "cache.zip"
"""Name of the file with the tables that a web server has for ONE, beside them."""

REPAIR_ADVICE = "restore the file, remove it, or index the archive again"
"""The end of messages about a table that cannot be read."""

_UNFINISHED = ".tmp"

# A log lies at a name that others may know, so no link there is followed.
_APPEND = (
    os.O_RDWR
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def advise_repair(error: BaseException) -> str:
    """Return the end of a message about a table that cannot be read, by the reason."""
    return "see to its permissions" if isinstance(error, PermissionError) else REPAIR_ADVICE


def table_path(folder: Path, name: str) -> Path:
    """Return the path of a table of a folder."""
    return folder / f"{name}.pqt"


def issues_path(folder: Path) -> Path:
    """Return the path of the issues (ISSUES, an Arrow IPC file) of the tables of a folder."""
    return folder / STATE_DIR / "issues.arrow"


def changes_path(folder: Path) -> Path:
    """Return the path of the changes (CHANGES, an Arrow IPC file) of the tables of a folder."""
    return folder / STATE_DIR / "changes.arrow"


def report_path(folder: Path) -> Path:
    """Return the path of the report of the index that made the tables of a folder."""
    return folder / STATE_DIR / "report.json"


def conflicts_path(folder: Path) -> Path:
    """Return the path of the conflicts of merged tables (CONFLICTS, an Arrow IPC file)."""
    return folder / STATE_DIR / "conflicts.arrow"


def removals_path(folder: Path) -> Path:
    """Return the path of the log of removals by the tables of a folder, in JSON lines."""
    return folder / STATE_DIR / "removals.jsonl"


def history_path(folder: Path) -> Path:
    """Return the path of the log of the runs that wrote the tables of a folder, in JSON lines."""
    return folder / STATE_DIR / "history.jsonl"


def generation_path(folder: Path, name: str) -> Path:
    """Return the path of the folder of an earlier generation of the tables of a folder."""
    return folder / STATE_DIR / f"generation-{name}"


def namespace_path(folder: Path) -> Path:
    """Return the path of the copy of the namespace that outlives the tables of a folder."""
    return folder / STATE_DIR / "namespace"


def own_files(folder: Path, root: PurePath) -> dict[str, frozenset[str]]:
    """Return the names of tables and state by their directory in an archive, if they lie in it."""
    if not isinstance(root, Path) or not folder.is_relative_to(root):
        return {}
    directory = folder.relative_to(root).as_posix()
    names = {STATE_DIR, *(table_path(folder, name).name for name in SCHEMAS)}
    return {"" if directory == "." else directory: frozenset(names)}


def check_replaceable(folder: Path) -> None:
    """Raise OutputError where a folder has the name of a table."""
    for name in SCHEMAS:
        path = table_path(folder, name)
        if path.is_dir():
            raise OutputError(f"{path} is a folder, so no table can be there; move it away")


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file beside `path`, made durable and renamed to it unless the context fails."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_UNFINISHED}")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    sync_directory(path.parent)


def remove_unfinished(folder: Path) -> None:
    """Remove the files that `replace_file` left in a folder when a run was killed."""
    for path in folder.glob(f"*{_UNFINISHED}"):
        with contextlib.suppress(OSError):
            path.unlink()


def write_durably(path: Path, text: str) -> None:
    """Replace a file by one with this text, durably."""
    with replace_file(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def open_log(path: Path) -> Iterator[BinaryIO]:
    """Yield a file of lines to append to, durable at the end; a line that was cut off is ended."""
    with os.fdopen(os.open(path, _APPEND, 0o666), "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.write(b"\n")
        else:
            sync_directory(path.parent)
        yield file
        file.flush()
        os.fsync(file.fileno())


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


_AS_THEY_WERE = "tables that were there are as they were"


@contextlib.contextmanager
def reporting_write_errors(
    folder: Path, what: str, *, advice: str = "make room there"
) -> Iterator[None]:
    """Re-raise OSError as OutputError naming the folder; `what` is, say, "the tables"."""
    try:
        yield
    except PolarsAlfError:
        raise
    except OSError as error:
        said = error.strerror or error
        if cure := explain_limit(error):
            raise LimitError(
                error.errno, f"{said}, while {what} were made in {folder}; {cure}; {_AS_THEY_WERE}"
            ) from error
        raise OutputError(
            error.errno,
            f"{what} cannot be written into {folder}: {said}; {advice}, or give another folder; "
            f"{_AS_THEY_WERE}",
        ) from error


def scan_issues(folder: str | os.PathLike[str]) -> pl.LazyFrame:
    """Scan the issues that the last index into a folder found.

    Parameters
    ----------
    folder
        Folder of the tables.

    Returns
    -------
    polars.LazyFrame
        `polars_alf.schema.ISSUES`, those of the whole archive first, then by their paths' shards.

    Raises
    ------
    ArchiveNotFoundError
        Nothing was indexed into that folder.
    TableError
        The file cannot be read.
    """
    return _scan_state(issues_path(Path(folder)), "issues", Path(folder))


def scan_changes(folder: str | os.PathLike[str], generation: str | None = None) -> pl.LazyFrame:
    """Scan the changes that the last index into a folder found.

    Parameters
    ----------
    folder
        Folder of the tables.
    generation
        Name of an earlier generation that is kept, or the beginning of its name, whose index found
        the changes; by default that of the tables that are there.

    Returns
    -------
    polars.LazyFrame
        `polars_alf.index.changes.CHANGES`: datasets that are not as the index before found them;
        no rows where there was none.

    Raises
    ------
    ArchiveNotFoundError
        Nothing was indexed into that folder.
    OptionError
        No such generation is kept.
    TableError
        The file cannot be read.
    """
    path = changes_path(Path(folder))
    if generation is not None:
        path = find_generation(Path(folder), generation) / path.name
    return _scan_state(path, "changes", Path(folder))


def find_generation(folder: Path, beginning: str) -> Path:
    """Return the folder of the kept generation whose name begins so."""
    names = [
        path.name.removeprefix("generation-")
        for path in (folder / STATE_DIR).glob("generation-*")
        if GENERATION.fullmatch(path.name)
    ]
    if beginning in names:
        return generation_path(folder, beginning)
    wanted = [name for name in names if beginning and name.startswith(beginning)]
    if len(wanted) != 1:
        raise OptionError(
            f"the generation {beginning!r} is not kept in {folder}; those kept are "
            f"{', '.join(sorted(names)) or 'none'}"
        )
    return generation_path(folder, wanted[0])


def read_report_values(folder: Path) -> dict[str, Any]:
    """Return what the report of a folder's last index holds; nothing where that is lost."""
    try:
        values: Any = json.loads(report_path(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _scan_state(path: Path, what: str, folder: Path) -> pl.LazyFrame:
    check_folder(folder, to_write=False)
    if not path.exists():
        raise ArchiveNotFoundError(
            f"{folder} has no {what} of an index; give a folder that polars-alf index has written "
            "tables into"
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

    return make_lazy_frame(read, schema, is_pure=True)


def _read_batches(path: Path) -> Iterator[pl.DataFrame]:
    """Yield an empty frame with the columns of an Arrow file, then its rows."""
    try:
        with pa.ipc.open_file(str(path)) as reader:
            yield pl.DataFrame(make_table([], reader.schema))
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                batch.validate(full=True)  # Polars can crash over a damaged one
                yield pl.DataFrame(batch)
    except (Exception, pl.exceptions.PanicException) as error:
        raise TableError(f"{path} cannot be read: {error}; index again") from error
