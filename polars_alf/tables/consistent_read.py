"""Reads of tables that others may be writing at this moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from polars_alf.errors import TableError
from polars_alf.tables.fingerprint import Fingerprint, fingerprint_each_table
from polars_alf.tables.one_lock import is_one_writing
from polars_alf.tables.transaction import wait_for_commit

Result = TypeVar("Result")

_PAUSE_SECONDS = 0.05


def read_consistently(folder: Path, read: Callable[[], Result], *, patience: float = 10) -> Result:
    """Return what `read` makes of the tables of a folder while nobody writes them.

    Our own commit replaces files that readers have open, and they stay whole. ONE writes into
    them, one after the other: what is read meanwhile is of no use, whether or not it can be read,
    so `read`, which must open all its files before it reads any, is called again. After
    `patience` seconds what it returns, or its TableError, counts in spite of that.
    """
    deadline = time.monotonic() + patience
    while True:
        wait_for_commit(folder)
        before = fingerprint_each_table(folder)
        try:
            result = read()
        except TableError:
            # First ONE's lock: it is released after the last table is written.
            is_writing = is_one_writing(folder) or fingerprint_each_table(folder) != before
            if not is_writing or time.monotonic() > deadline:
                raise
        else:
            is_writing = is_one_writing(folder) or _are_rewritten(
                before, fingerprint_each_table(folder)
            )
            if not is_writing or time.monotonic() > deadline:
                return result
        time.sleep(_PAUSE_SECONDS)


def _are_rewritten(before: Mapping[str, Fingerprint], after: Mapping[str, Fingerprint]) -> bool:
    """Tell whether a file is the same and has other content."""
    return any(
        before[name] != after[name] and before[name].is_same_file(after[name])
        for name in before.keys() & after.keys()
    )
