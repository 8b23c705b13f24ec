"""The removal of what a plan names, and the log of it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import polars as pl

from polars_alf.alf.root import check_folder, open_root
from polars_alf.errors import OptionError, StalePlanError
from polars_alf.prune.examine import OUTCOMES, REMOVALS, RemovalKind, RemovalResult
from polars_alf.prune.folders import LINK_ERRORS, Folder, open_folder, split_path
from polars_alf.prune.guard import check_plan, refuse_bucket
from polars_alf.prune.log import BEFORE, RemovalLog, Row
from polars_alf.prune.trash import check_trash, make_trash
from polars_alf.schema import polars_schema
from polars_alf.tables.files import removals_path
from polars_alf.tables.fingerprint import fingerprint_tables
from polars_alf.tables.limits import check_max_removed
from polars_alf.tables.transaction import locked_state
from polars_alf.tables.writer_lock import check_writer_lock
from polars_alf.walk.fingerprint import fingerprint_file

ROWS_PER_NOTE = 512
"""Removals that are written to the log at a time: each write waits for the disk."""


def apply_removals(
    root: str | os.PathLike[str],
    plan: pl.DataFrame,
    tables_dir: str | os.PathLike[str] | None = None,
    *,
    max_removed: float | None = None,
    trash: str | os.PathLike[str] | None = None,
) -> pl.DataFrame:
    """Remove what a plan names, and nothing else.

    A file is removed only if it is the one that was planned, unchanged, and no link is on the way
    to it; a folder only if it is empty. Each removal is appended to
    ``.polars_alf/removals.jsonl`` beside the tables, before it is tried and with its result
    after. A run that was cut off can be repeated, with the same plan or with a new one.

    Parameters
    ----------
    root
        The archive that was planned for.
    plan
        `polars_alf.prune.examine.REMOVALS`: all that `plan_removals` returned, or some rows of
        it, in any order.
    tables_dir
        Folder of the tables, as for the plan; by default the root.
    max_removed
        How many of the archive's datasets may go: a count (int), or a share of them (float, 0.0 to
        1.0). By default (None) half of them, or 10 if that is more; no lab may lose all datasets
        that it has, and nothing may go after an index that removed as much from the tables.
    trash
        Folder that datasets are moved to, with their paths below the root; made if only its last
        part is missing. It is on the file system of the archive and outside of it, but for a
        folder in ``.polars_alf`` beside the tables. Nothing that is there is replaced.
        `restore_removals` moves them back. Folders are empty, and are removed.

    Returns
    -------
    polars.DataFrame
        `polars_alf.prune.examine.OUTCOMES`: datasets in the order of the plan, then folders,
        inner ones first.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        About the root, or the folder of the tables; nothing was removed.
    OptionError
        The plan lacks a column, or a path; `max_removed` makes no sense; the trash is in the
        archive, or on another file system than a folder of the plan; nothing was removed.
    MassRemovalError
        More would go than may; nothing was removed.
    StalePlanError
        The tables are not those of the plan; nothing was removed.
    ArchiveBusyError
        Another run is writing the tables: nothing was removed, or, if this run was suspended and
        the other has taken its place meanwhile, what the log names.
    OSError
        The log cannot be written. Nothing was removed that the log does not name.
    """
    refuse_bucket(root)
    path = open_root(root).path
    folder = check_folder(path if tables_dir is None else tables_dir)
    if not isinstance(plan, pl.DataFrame):
        raise OptionError(f"the plan is a {type(plan).__name__}; give what plan_removals returned")
    if not isinstance(trash, str | os.PathLike | None):
        raise OptionError(f"the trash is {trash!r}; give the path of a folder, or None")
    missing = [name for name in REMOVALS.names if name not in plan.columns]
    if missing:
        raise OptionError(f"the plan lacks {missing}; give what plan_removals returned")
    if plan["path"].has_nulls():
        raise OptionError("a row of the plan has no path; give what plan_removals returned")
    check_max_removed(max_removed)
    check_plan(plan, path, dict.fromkeys([folder, path]), max_removed)
    place = None
    if trash is not None:
        paths = plan.filter(kind=RemovalKind.DATASET)["path"]
        place = check_trash(trash, path, folder, paths)
    outcomes: list[dict[str, Any]] = []
    with locked_state(folder):
        _check_stamps(plan["tables"], folder)
        if place is not None:
            make_trash(place)
        with RemovalLog(removals_path(folder), path) as log:
            rows = _order_plan(plan).iter_rows(named=True)
            while batch := list(islice(rows, ROWS_PER_NOTE)):
                check_writer_lock(folder)
                outcomes += _apply_batch(path, batch, log, place)
    return pl.DataFrame(outcomes, polars_schema(OUTCOMES))


def _describe_change(row: Row, status: os.stat_result) -> str | None:
    """Return how a file or folder differs from its row of a plan, None if it may be removed."""
    if row["kind"] not in list(RemovalKind):
        return f"{row['kind']!r} is no kind of removal"
    mtime_ns, inode = fingerprint_file(status)
    if row["kind"] == RemovalKind.DATASET:
        is_kind = stat.S_ISREG(status.st_mode)
        now = {"inode": inode, "file_size": status.st_size, "mtime_ns": mtime_ns}
    else:
        is_kind = stat.S_ISDIR(status.st_mode)
        now = {"inode": inode}  # removing what is in it changes its time
    if not is_kind:
        return "something else has taken its place"
    changed = [name for name, value in now.items() if row[name] != value]
    return f"changed since it was planned ({', '.join(changed)})" if changed else None


def _check_stamps(stamps: pl.Series, folder: Path) -> None:
    now = fingerprint_tables(folder)
    if any(stamp != now for stamp in stamps.drop_nulls().unique()):
        raise StalePlanError(
            f"the tables in {folder} are not those of the plan, and may have files that it "
            "names; plan again, or give the folder of the tables that were planned with"
        )


def _order_plan(plan: pl.DataFrame) -> pl.DataFrame:
    """Put datasets first, then folders, inner ones first."""
    is_folder = pl.col("kind") != RemovalKind.DATASET
    depth = pl.when(is_folder).then(pl.col("path").str.count_matches("/", literal=True))
    return plan.sort(is_folder, depth, descending=[False, True], maintain_order=True)


def _apply_batch(
    root: Path, batch: Sequence[Row], log: RemovalLog, trash: Path | None
) -> list[dict[str, Any]]:
    """Remove some rows of a plan, and return OUTCOMES with the columns of the plan."""
    log.write({"event": BEFORE, **row, "to": _name_target(row, trash)} for row in batch)
    outcomes = []
    try:
        for directory, rows in groupby(batch, lambda row: row["path"].rpartition("/")[0]):
            for row, result, message in _remove_from(root, directory, list(rows), trash):
                outcomes.append({**row, "result": result.value, "message": message})
    finally:
        log.write({"event": row["result"], **row} for row in outcomes)
    return outcomes


def _name_target(row: Row, trash: Path | None) -> str | None:
    is_moved = trash is not None and row["kind"] == RemovalKind.DATASET
    return str(trash / row["path"]) if is_moved else None


def _remove_from(
    root: Path, directory: str, rows: Sequence[Row], trash: Path | None
) -> Iterator[tuple[Row, RemovalResult, str | None]]:
    """Remove rows that lie in the same folder; yield the result and the message of each."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(open_folder(root, directory))
        except (OSError, ValueError) as error:
            yield from ((row, *_judge_error(error)) for row in rows)
            return
        for row in rows:
            yield (row, *_remove(folder, row, trash))


def _remove(folder: Folder, row: Row, trash: Path | None) -> tuple[RemovalResult, str | None]:
    try:
        *_, name = split_path(row["path"])
        change = _describe_change(row, folder.status(name))
        if change:
            return RemovalResult.CHANGED, change
        if row["kind"] == RemovalKind.DATASET and trash is not None:
            return _move(folder, row["path"], trash)
        if row["kind"] == RemovalKind.DATASET:
            folder.remove_file(name)
        else:
            folder.remove_folder(name)
    except (OSError, ValueError) as error:
        return _judge_error(error)
    return RemovalResult.REMOVED, None


def _move(folder: Folder, path: str, trash: Path) -> tuple[RemovalResult, str | None]:
    directory, _, name = path.rpartition("/")
    try:
        with open_folder(trash, directory, make=True) as target:
            folder.move_file(name, target)
    except FileExistsError:
        return RemovalResult.FAILED, f"{trash} has one of this path; give another folder"
    except OSError as error:
        return RemovalResult.FAILED, f"it cannot be moved to {trash}: {error.strerror or error}"
    return RemovalResult.MOVED, None


def _judge_error(error: OSError | ValueError) -> tuple[RemovalResult, str]:
    match error:
        case FileNotFoundError():
            return RemovalResult.GONE, "not there any more"
        case OSError(errno=number) if number in LINK_ERRORS:
            return RemovalResult.CHANGED, "on its path there is a link, or no folder, by now"
        case OSError(errno=errno.ENOTEMPTY | errno.EEXIST):
            return RemovalResult.CHANGED, "not empty"
        case OSError():
            return RemovalResult.FAILED, error.strerror or str(error)
    return RemovalResult.FAILED, str(error)
