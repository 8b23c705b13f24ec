"""The trash: a folder that datasets are moved to instead of removed, and brought back from."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from polars_alf.alf.root import check_folder, open_root
from polars_alf.errors import OptionError, TableError
from polars_alf.prune.examine import OUTCOMES, RemovalKind, RemovalResult
from polars_alf.prune.folders import open_folder
from polars_alf.prune.log import BEFORE, RemovalLog
from polars_alf.schema import polars_schema
from polars_alf.tables.contract import read_headers
from polars_alf.tables.files import STATE_DIR, removals_path
from polars_alf.tables.transaction import locked_state
from polars_alf.walk.fingerprint import fingerprint_file


def check_trash(
    trash: str | os.PathLike[str], root: Path, folder: Path, paths: Iterable[str]
) -> Path:
    """Return the absolute path of a trash, not made; OptionError where files cannot be moved there.

    `root` is the archive, `folder` that of the tables: in its state there may be a trash. `paths`
    are those of the files. Raises the errors of `check_folder` where it cannot be made.
    """
    if not os.fspath(trash):
        return check_folder(trash, what="the trash")  # which refuses it
    path = Path(trash).resolve()
    state = folder / STATE_DIR
    is_in_state = path != state and path.is_relative_to(state)
    roots = [root, *_list_origins(folder)]
    inside = [above for above in roots if path.is_relative_to(above)]
    if inside and not is_in_state:
        raise OptionError(
            f"the trash {path} is in the archive {inside[0]}, whose next index would take what "
            f"is in it; give a folder outside, or one in {state}"
        )
    if root.is_relative_to(path):
        raise OptionError(f"the trash {path} holds the archive {root}; give another folder")
    if path.exists() or not path.parent.is_dir():
        place = check_folder(path, what="the trash")
    else:
        place = check_folder(path.parent, what="the folder of the trash")
    _check_devices(place, path, root, paths)
    return path


def make_trash(path: Path) -> None:
    """Make the folder of the path that `check_trash` gave, if it is missing."""
    with contextlib.suppress(OSError):
        path.mkdir()
    check_folder(path, what="the trash")


def _check_devices(place: Path, trash: Path, root: Path, paths: Iterable[str]) -> None:
    """Raise OptionError where a file lies on another file system than `place`, that of a trash."""
    device = place.stat().st_dev
    for directory in dict.fromkeys(path.rpartition("/")[0] for path in paths):
        try:
            with open_folder(root, directory) as folder:
                is_elsewhere = folder.device != device
        except (OSError, ValueError):
            continue  # What cannot be opened is not moved either.
        if is_elsewhere:
            raise OptionError(
                f"the trash {trash} is on another file system than {folder.path}; give a folder on "
                "the same, as files are not copied"
            )


def restore_removals(
    root: str | os.PathLike[str],
    trash: str | os.PathLike[str],
    tables_dir: str | os.PathLike[str] | None = None,
) -> pl.DataFrame:
    """Move datasets from a trash back to where `apply_removals` took them from.

    The log says which: ``.polars_alf/removals.jsonl`` beside the tables. A file is moved only if it
    is the one that was moved there, and nothing has taken its place in the archive. Folders that
    are missing are made. What was moved back is logged; a run that was cut off can be repeated.

    Parameters
    ----------
    root
        The archive. It may have been moved since, with the same paths in it.
    trash
        The trash that was given then. It may have been moved, too.
    tables_dir
        Folder of the tables, as then; by default the root.

    Returns
    -------
    polars.DataFrame
        `polars_alf.prune.examine.OUTCOMES`: a row for each file of the log that is in the trash.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        About the root, the trash, or the folder of the tables; nothing was moved.
    ArchiveBusyError
        Another run is writing the tables; nothing was moved.
    OptionError
        The trash is on another file system than the root; nothing was moved.
    """
    path = open_root(root).path
    folder = check_folder(path if tables_dir is None else tables_dir)
    place = check_folder(trash, what="the trash")
    _check_devices(place, place, path, [""])
    outcomes = []
    with locked_state(folder):
        moved = {record["path"]: record for record in _list_moved(folder)}
        with RemovalLog(removals_path(folder), path) as log:
            for record in moved.values():
                if outcome := _restore(path, place, record):
                    log.write([{**outcome, "event": outcome["result"]}])
                    outcomes.append(outcome)
    return pl.DataFrame(outcomes, polars_schema(OUTCOMES))


def _list_moved(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a log about files that were to be moved to a trash."""
    try:
        lines = removals_path(folder).read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with contextlib.suppress(ValueError, LookupError, TypeError):
            record = json.loads(line)
            if record["event"] == BEFORE and record["to"] and isinstance(record["path"], str):
                yield record


def _restore(root: Path, trash: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """Move a file back; return its outcome, None where the trash does not have that file."""
    path = record["path"]
    directory, _, name = path.rpartition("/")
    outcome = {
        "path": path,
        "kind": str(RemovalKind.DATASET),
        "file_size": record.get("file_size"),
        "result": str(RemovalResult.RESTORED),
        "message": None,
    }
    try:
        with open_folder(trash, directory) as folder:
            mtime_ns, inode = fingerprint_file(folder.status(name))
            if (mtime_ns, inode) != (record.get("mtime_ns"), record.get("inode")):
                return None
            with open_folder(root, directory, make=True) as target:
                folder.move_file(name, target)
    except FileNotFoundError:
        return None
    except FileExistsError:
        message = "the archive has a file of this path; move it away, or leave that in the trash"
        return outcome | {"result": str(RemovalResult.FAILED), "message": message}
    except (OSError, ValueError) as error:
        message = getattr(error, "strerror", None) or str(error)
        return outcome | {"result": str(RemovalResult.FAILED), "message": message}
    return outcome


def _list_origins(folder: Path) -> list[Path]:
    try:
        headers = read_headers(folder).values()
    except TableError:
        return []
    origins = [Path(origin) for header in headers for origin in header.origins]
    return [origin for origin in origins if origin.is_absolute()]
