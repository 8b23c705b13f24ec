"""The journal of a commit: the moves that put tables in place, for anyone to finish.

At each of them a reader finds a file of the old tables or of the new ones, and never none: where
the file system has hard links, the old files get a second name, in the folder of a kept
generation, before new files take the first one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path

from polars_alf.errors import CommitError
from polars_alf.schema import SCHEMAS
from polars_alf.tables.files import (
    GENERATION,
    RUN,
    STATE_DIR,
    generation_path,
    sync_directory,
    table_path,
    write_durably,
)
from polars_alf.tables.generations import (
    STATE_FILES,
    drop_generations,
    keep_files,
    locate,
    move_away,
)
from polars_alf.tables.history import Record, append_records
from polars_alf.tables.one_lock import STALE_SECONDS, hold_one_lock
from polars_alf.tables.writer_lock import check_writer_lock

_JOURNAL = "commit.json"

_STATE_NAME = re.compile(r"[a-z]+[\w.-]*")

_FINALS = [table_path(Path(), name).name for name in SCHEMAS]


@dataclass(frozen=True, slots=True)
class Journal:
    """The steps of a commit, as the file `_JOURNAL` has them."""

    staging: str
    """Name in the state of the folder, of a run or a generation, whose tables are put in place."""
    files: tuple[str, ...]
    """Files in that folder that move into the state."""
    folders: dict[str, str]
    """Folders in that folder that move into the state, with their names there."""
    removed: tuple[str, ...]
    """Tables, and files and folders in the state, that the new generation does not have."""
    kept: str | None = None
    """Name of the generation that what is replaced and removed is kept as; None keeps nothing."""
    dropped: tuple[str, ...] = ()
    """Names of earlier generations that are removed."""
    records: tuple[Record, ...] = field(default=())
    """Lines for the history."""

    @property
    def restored(self) -> str | None:
        """Name of the earlier generation that it puts back, None for that of a run."""
        is_run = not GENERATION.fullmatch(self.staging)
        return None if is_run else self.staging.removeprefix("generation-")


def is_under_way(folder: Path) -> bool:
    """Whether a commit has begun and has not ended."""
    return (folder / STATE_DIR / _JOURNAL).exists()


def commit(folder: Path, journal: Journal) -> None:
    """Carry out a commit. Only under `locked_state`.

    Raises CommitError where a file cannot be replaced; `recover` finishes the commit later. Raises
    ArchiveBusyError, and does nothing, where another run has taken over the state.
    """
    check_writer_lock(folder)
    try:
        write_durably(folder / STATE_DIR / _JOURNAL, json.dumps(asdict(journal)))
        recover(folder)
    except KeyboardInterrupt:
        recover(folder)
        raise


def recover(folder: Path, *, patience: float = STALE_SECONDS + 5) -> bool:
    """Finish a commit, and return whether one was under way. Only under `locked_state`.

    Waits `patience` seconds for ONE, should it be writing. The journal stays, so that this can be
    called again, where ONE still writes (ArchiveBusyError), or a file cannot be replaced
    (CommitError).
    """
    state = folder / STATE_DIR
    journal = read_journal(folder)
    if journal is None:
        return False
    staging = state / journal.staging
    kept = generation_path(folder, journal.kept) if journal.kept else None
    with hold_one_lock(folder, patience):
        _put_in_place(folder, staging, journal, kept)
        _remove_old(folder, journal.removed, kept)
    for name, final in journal.folders.items():
        with contextlib.suppress(OSError):
            # Without it the next index takes longer, and has nothing to compare with.
            (staging / name).rename(state / final)
    drop_generations(folder, journal.dropped)
    if journal.restored:
        drop_generations(folder, [journal.restored])
    append_records(folder, journal.records)
    sync_directory(state)
    (state / _JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(staging, ignore_errors=True)
    return True


def read_journal(folder: Path) -> Journal | None:
    """Read the steps of a commit that has begun and has not ended, None where there is none."""
    path = folder / STATE_DIR / _JOURNAL
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        journal = Journal(
            values["staging"],
            tuple(values["files"]),
            dict(values["folders"]),
            tuple(values["removed"]),
            values.get("kept"),
            tuple(values.get("dropped", ())),
            tuple({**record} for record in values.get("records", ())),
        )
        # The files that it names are moved and removed, so only names of ours may pass.
        if not (RUN.fullmatch(journal.staging) or GENERATION.fullmatch(journal.staging)):
            raise ValueError(f"{journal.staging!r} is no run's folder")
        for name in filter(None, (journal.kept, *journal.dropped)):
            if not GENERATION.fullmatch(f"generation-{name}"):
                raise ValueError(f"{name!r} is no generation")
        for name in (*journal.files, *journal.removed, *chain(*journal.folders.items())):
            if not _STATE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a file of ours")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CommitError(
            f"the journal {path} of a commit that was cut off cannot be read ({error}); "
            "remove it, and index again"
        ) from error
    return journal


def _put_in_place(folder: Path, staging: Path, journal: Journal, kept: Path | None) -> None:
    # A session without datasets is less wrong than datasets without a session, should ONE read
    # between the two; and so with its insertions.
    finals = [*_FINALS, *journal.files]
    final = folder
    try:
        # A file that is missing was put in its place before the commit was cut off. The error of
        # a rename would not show that: a failing server gives the same for a file that is there.
        waiting = {*_list_waiting(staging)}.intersection(finals)
        if kept:
            final = kept
            unchanged = STATE_FILES.difference(finals, journal.removed)
            keep_files(folder, kept, [*sorted(waiting), *sorted(unchanged)], waiting)
        for final in (locate(folder, name) for name in finals):
            if final.name in waiting:
                if kept:
                    move_away(final, kept)
                (staging / final.name).replace(final)
    except OSError as error:
        raise CommitError(
            error.errno,
            f"{final} cannot be replaced: {error.strerror}; see to its permissions and run "
            f"again: the new tables wait in {staging}",
        ) from error
    sync_directory(folder)


def _list_waiting(staging: Path) -> list[str]:
    try:
        return os.listdir(staging)
    except FileNotFoundError:
        if staging.exists():
            raise
        return []  # where the power failed, the journal may outlive it


def _remove_old(folder: Path, names: Sequence[str], kept: Path | None) -> None:
    for path in (locate(folder, name) for name in names):
        if path.is_dir() and not path.is_symlink():
            if kept:
                with contextlib.suppress(OSError):
                    path.rename(kept / path.name)
            shutil.rmtree(path, ignore_errors=True)
            continue
        try:
            if kept:
                move_away(path, kept)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise CommitError(
                error.errno,
                f"{path} cannot be removed: {error.strerror}; see to its permissions and run again",
            ) from error
    sync_directory(folder)
