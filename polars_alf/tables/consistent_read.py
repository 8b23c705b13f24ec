"""Reads of tables that others may be writing at this moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from polars_alf.errors import TableError
from polars_alf.tables.fingerprint import Fingerprint, fingerprint_each_table
from polars_alf.tables.journal import is_under_way
from polars_alf.tables.one_lock import is_one_writing
from polars_alf.tables.transaction import wait_for_commit

Result = TypeVar("Result")

_PAUSE_SECONDS = 0.05


def read_consistently(folder: Path, read: Callable[[], Result], *, patience: float = 10) -> Result:
    """Return the result of `read`, called until nobody wrote the tables of a folder meanwhile.

    Our own commit replaces files, so that those that a reader has open stay whole: `read` opens
    all of its files before it reads any. ONE writes into the files, one after the other: a result,
    or a TableError, from that time is of no use, and counts only after `patience` seconds.
    """
    deadline = time.monotonic() + patience

    def is_written() -> bool:
        return is_under_way(folder) or is_one_writing(folder, patience)

    while True:
        wait_for_commit(folder)
        before = fingerprint_each_table(folder)
        try:
            result = read()
        except TableError:
            # First ONE's lock: it is released after the last table is written.
            is_writing = is_written() or fingerprint_each_table(folder) != before
            if not is_writing or time.monotonic() > deadline:
                raise
        else:
            is_writing = is_written() or _are_rewritten(before, fingerprint_each_table(folder))
            if not is_writing or time.monotonic() > deadline:
                return result
        time.sleep(_PAUSE_SECONDS)


def _are_rewritten(before: Mapping[str, Fingerprint], after: Mapping[str, Fingerprint]) -> bool:
    """Whether a table is the same file with other content."""
    return any(
        before[name] != after[name] and before[name].is_same_file(after[name])
        for name in before.keys() & after.keys()
    )
