"""Read tables that others may be writing at this moment."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from polars_alf.errors import TableError
from polars_alf.schema import TABLES
from polars_alf.tables.files import table_path
from polars_alf.tables.one_lock import is_one_writing
from polars_alf.tables.transaction import settle

Result = TypeVar("Result")

MOST_SECONDS = 10
"""How long a reader waits for ONE, which writes its tables in place, one after the other."""

_PAUSE_SECONDS = 0.05


def read_settled(folder: Path, read: Callable[[], Result]) -> Result:
    """Read tables of one generation, as often as it takes.

    Our own commit replaces files that readers have open, and they stay whole. ONE writes into
    them: what was read meanwhile is of no use, whether or not it can be read.

    Parameters
    ----------
    folder
        Folder of the tables.
    read
        Reads them. What is open of them has to be opened before any of it is read.

    Returns
    -------
    Result
        What was read while nobody wrote, or after `MOST_SECONDS` what was read in spite of that.

    Raises
    ------
    TableError
        That of `read`, from tables that stood still.
    """
    deadline = time.monotonic() + MOST_SECONDS
    while True:
        settle(folder)
        before = _look_at(folder)
        try:
            result = read()
        except TableError:
            # First ONE's lock: it is released after the last table is written.
            is_writing = is_one_writing(folder) or _look_at(folder) != before
            if not is_writing or time.monotonic() > deadline:
                raise
        else:
            is_writing = is_one_writing(folder) or _are_rewritten(before, _look_at(folder))
            if not is_writing or time.monotonic() > deadline:
                return result
        time.sleep(_PAUSE_SECONDS)


_Look = dict[str, tuple[int, int, int]]


def _look_at(folder: Path) -> _Look:
    """Return the inode, the size and the time of each table that is there."""
    seen = {}
    for name in TABLES:
        with contextlib.suppress(OSError):
            status: os.stat_result = table_path(folder, name).stat()
            seen[name] = status.st_ino, status.st_size, status.st_mtime_ns
    return seen


def _are_rewritten(before: _Look, after: _Look) -> bool:
    """Tell whether a file is the same and has other content."""
    return any(
        before[name] != after[name] and before[name][0] == after[name][0]
        for name in before.keys() & after.keys()
    )


def stamp_tables(folder: Path) -> str:
    """Return a text that is another one as soon as a table of a folder is replaced."""
    stamps = []
    for name in TABLES:
        try:
            status = table_path(folder, name).stat()
            stamps.append(f"{name} {status.st_ino} {status.st_size} {status.st_mtime_ns}")
        except FileNotFoundError:
            stamps.append(f"{name} missing")
    return ", ".join(stamps)
