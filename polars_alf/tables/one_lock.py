"""The lock of ``One.save_cache``, which a commit of ours holds as well."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from polars_alf.errors import ArchiveBusyError
from polars_alf.tables.files import STATE_DIR
from polars_alf.tables.writer_lock import measure_age

_LOCK = ".ONE.lock"
_OURS = "polars_alf"

STALE_SECONDS = 60
"""The age from which a lock of ONE's was left behind: it is held while two files are written."""

_PAUSE_SECONDS = 0.05


@contextlib.contextmanager
def hold_one_lock(folder: Path, patience: float) -> Iterator[None]:
    """Hold ONE's lock; ArchiveBusyError where ONE still holds it after `patience` seconds.

    Only under `locked_state`.
    """
    path = folder / _LOCK
    deadline = time.monotonic() + patience
    while True:
        with contextlib.suppress(FileExistsError):
            _create(path)
            break
        with contextlib.suppress(FileNotFoundError):
            if _is_stale(path, folder / STATE_DIR):
                path.unlink()
                continue
        if time.monotonic() > deadline:
            raise ArchiveBusyError(
                f"ONE is writing the tables of {folder}: {path} is there; run again when it has "
                "ended, or remove that file if nothing is running"
            )
        time.sleep(_PAUSE_SECONDS)
    try:
        yield
    finally:
        # ONE may have removed it by itself. Where it stays, the next run knows it as one of ours.
        with contextlib.suppress(OSError):
            path.unlink()


def _create(path: Path) -> None:
    """Create a lock; FileExistsError where there is one."""
    try:
        with path.open("xb", buffering=0) as file:
            text = json.dumps({"datetime": datetime.now(UTC).isoformat(), "by": _OURS})
            file.write(text.encode())
    except FileExistsError:
        raise
    except BaseException:
        # Empty it would be taken for one of ONE's; an interrupt may come as soon as it is there.
        with contextlib.suppress(FileNotFoundError):
            if not path.stat().st_size or _is_ours(path):
                path.unlink()
        raise


def _is_stale(path: Path, state: Path) -> bool:
    """Whether the process that made a lock is gone."""
    if _is_ours(path):
        return True  # We hold the state, so the run that made it has ended.
    return measure_age(path, state) > STALE_SECONDS


def _is_ours(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8"))["by"] == _OURS)
    except (ValueError, LookupError, TypeError):
        return False


def is_one_writing(folder: Path, patience: float) -> bool:
    """Whether ONE, and no commit of ours, is writing the tables. For readers.

    A lock older than `patience` seconds is taken for one that was left behind, so that all reads
    of a run together wait no longer than that.
    """
    path = folder / _LOCK
    try:
        return time.time() - path.stat().st_mtime < patience and not _is_ours(path)
    except OSError:
        return False
