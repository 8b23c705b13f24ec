"""The locks of the parts of a job array, each in its own folder of the run that they share.

A part holds no lock of the tables: it writes shards alone. Who is about to write the tables, or to
remove a run, finds by these locks whether a part of it is still at work.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from polars_alf.errors import ArchiveBusyError, TakeoverWarning
from polars_alf.tables.writer_lock import WATCH_SECONDS, find_writer, hold_writer_lock

_PARTS = "parts"


def part_path(run: Path, part: int) -> Path:
    """Return the path of the folder of a part of a run."""
    return run / _PARTS / str(part)


@contextlib.contextmanager
def hold_part_lock(run: Path, part: int) -> Iterator[None]:
    """Hold the lock of a part; ArchiveBusyError where another process is at the same part."""
    folder = part_path(run, part)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        _enter(stack, folder, f"part {part} is under way already")
        yield


def check_parts(run: Path) -> None:
    """Raise ArchiveBusyError where a part of a run is at work."""
    for folder in sorted((run / _PARTS).glob("*")):
        if find_writer(folder):
            with contextlib.ExitStack() as stack:
                _enter(stack, folder, f"part {folder.name} of a job array is at work there")


def _enter(stack: contextlib.ExitStack, folder: Path, what: str) -> None:
    try:
        with warnings.catch_warnings():
            # A part that was cut off is nothing special: it is repeated.
            warnings.simplefilter("ignore", TakeoverWarning)
            stack.enter_context(hold_writer_lock(folder, folder, WATCH_SECONDS))
    except ArchiveBusyError as error:
        tables = folder.parents[3]
        raise ArchiveBusyError(
            f"the tables of {tables} cannot be written: {what}, by {find_writer(folder)}; wait "
            "for its end; if it was killed, run again after a minute without a sign of life"
        ) from error
