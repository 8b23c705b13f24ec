"""Generations: the tables that a commit replaced, kept with their state in a folder each."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from polars_alf.errors import TableError
from polars_alf.schema import SCHEMAS, TABLES
from polars_alf.tables.contract import read_headers
from polars_alf.tables.files import (
    GENERATION,
    MANIFEST,
    STATE_DIR,
    changes_path,
    conflicts_path,
    generation_path,
    issues_path,
    replace_file,
    report_path,
    sync_directory,
    table_path,
)
from polars_alf.tables.fingerprint import fingerprint_tables
from polars_alf.tables.history import Record, make_record
from polars_alf.tables.parquet import open_table

SHORT_NAME = 10
"""Letters of a generation's name that tell it from others."""

STATE_FILES = frozenset(
    path(Path()).name for path in (changes_path, conflicts_path, issues_path, report_path)
)
"""Files of the state that tell of one generation of the tables, and are kept with it."""

_DROPPED = "dropped-"

_TABLE_FILES = frozenset(table_path(Path(), name).name for name in SCHEMAS)


def locate(folder: Path, name: str) -> Path:
    """Return where a file of a generation lies while that is the current one.

    That is beside the state for tables and the manifest of a release, and in it for others.
    """
    is_beside = name in _TABLE_FILES or name == MANIFEST
    return folder / name if is_beside else folder / STATE_DIR / name


def list_generations(folder: Path, records: Sequence[Record]) -> list[str]:
    """Return the names of the generations that are kept, that replaced last first."""
    replaced = {record.get("replaced"): n for n, record in enumerate(records)}
    found = []
    for path in (folder / STATE_DIR).glob("generation-*"):
        if GENERATION.fullmatch(path.name):
            name = path.name.removeprefix("generation-")
            with contextlib.suppress(FileNotFoundError):  # a commit is under way
                found.append((replaced.get(name, -1), path.stat().st_mtime_ns, name))
    return [name for *_, name in sorted(found, reverse=True)]


def choose_dropped(names: Sequence[str], keep: int, records: Sequence[Record]) -> list[str]:
    """Return which generations are not kept; `names` has that replaced last first.

    The first `keep` are kept. Where each of them has the same files as the one that replaced it,
    as when an archive is indexed anew for digests, the last with other files is kept, too: else
    such runs would take away the way back before a change.
    """
    older = names[keep:]
    if not keep or any(_has_other_files(name, records) for name in names[:keep]):
        return [*older]
    last = next((name for name in older if _has_other_files(name, records)), None)
    return [name for name in older if name != last]


def _has_other_files(name: str, records: Sequence[Record]) -> bool:
    """Whether a generation had, as far as is known, other files than the run that replaced it."""
    counts = ("n_sessions", "n_datasets")
    own = [record for record in records if record.get("generation") == name]
    replacing = [record for record in records if record.get("replaced") == name]
    if not own or not replacing:
        return True
    is_same_number = all(own[-1].get(count) == replacing[-1].get(count) for count in counts)
    # What could not be read is in neither count of changes.
    changes = [replacing[-1].get(change) for change in ("added", "changed", "removed")]
    return changes != [0, 0, 0] or not is_same_number


def list_tables(folder: Path) -> list[str]:
    """Return the names of the files of the tables that a folder has."""
    # A status that a failing server refuses would look like a table that is not there.
    return sorted(_TABLE_FILES.intersection(os.listdir(folder)))


def identify_tables(folder: Path, records: Sequence[Record]) -> str | None:
    """Return the generation of the tables of a folder; None where no run is known to have it."""
    with contextlib.suppress(TableError):
        generations = {header.generation for header in read_headers(folder).values()}
        (generation,) = generations if len(generations) == 1 else (None,)
        if generation and GENERATION.fullmatch(f"generation-{generation}"):
            return generation
    # Tables of other programs do not say; a restore notes which files it puts back.
    now = fingerprint_tables(folder)
    for record in reversed(records):
        if record.get("tables") == now and isinstance(record.get("generation"), str):
            return str(record["generation"])
    return None


def describe_tables(folder: Path, name: str) -> Record:
    """Return a record of tables that no run in the log has made, as far as they can be read."""
    counts: dict[str, int | None] = dict.fromkeys(TABLES)
    times = []
    for table in TABLES:
        path = table_path(folder, table)
        with contextlib.suppress(OSError, TableError):
            times.append(path.stat().st_mtime)
            with open_table(path) as file:
                counts[table] = file.parquet.metadata.num_rows
    return make_record(
        None,
        name,
        n_sessions=counts["sessions"],
        n_datasets=counts["datasets"],
        time=datetime.fromtimestamp(max(times), UTC) if times else None,
    )


def choose_name(folder: Path, records: Sequence[Record]) -> str:
    """Return a name, which no generation has, for the tables that are to be replaced."""
    name = identify_tables(folder, records)
    return name if name and not generation_path(folder, name).exists() else uuid.uuid4().hex


def keep_files(folder: Path, kept: Path, names: Iterable[str], replaced: Collection[str]) -> None:
    """Give files of the current generation a second name in the folder of a kept one.

    Those in `replaced` are about to be replaced: where the file system has no links, they are
    left alone, to be moved by `move_away`. Others stay, and are copied there.
    """
    kept.mkdir(exist_ok=True)
    for name in names:
        file, copy = locate(folder, name), kept / name
        if name in replaced:
            with contextlib.suppress(OSError):
                _link(file, copy)
        elif not copy.exists():
            with contextlib.suppress(OSError):
                _link_or_copy(file, copy)
    sync_directory(kept)
    sync_directory(kept.parent)


def move_away(file: Path, kept: Path) -> None:
    """Move a file to a kept generation, unless it has a name there, or is not there."""
    copy = kept / file.name
    try:
        if not (os.path.lexists(copy) and os.path.samestat(file.lstat(), copy.lstat())):
            file.replace(copy)
            sync_directory(kept)
    except FileNotFoundError:
        # A failing server says so of a file that is there, which must not be overwritten.
        if file.name in os.listdir(file.parent):
            raise


def drop_generations(folder: Path, names: Iterable[str]) -> None:
    """Remove generations, each of which is gone as a whole from the first moment on."""
    state = folder / STATE_DIR
    for name in names:
        with contextlib.suppress(OSError):
            generation_path(folder, name).rename(state / f"{_DROPPED}{uuid.uuid4().hex}")
    remove_dropped(state)


def remove_dropped(state: Path) -> None:
    """Remove what was dropped, also by a run that was killed meanwhile. Under the state's lock."""
    for path in state.glob(f"{_DROPPED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _link_or_copy(file: Path, copy: Path) -> None:
    try:
        _link(file, copy)
    except FileNotFoundError:
        raise
    except OSError:
        with file.open("rb") as old, replace_file(copy) as new:
            shutil.copyfileobj(old, new)


def _link(file: Path, copy: Path) -> None:
    """Link `copy` to the same file, in the place of what an earlier try has left there."""
    try:
        if os.path.samestat(file.lstat(), copy.lstat()):
            return
        copy.unlink()
    except FileNotFoundError:
        pass
    follow = {"follow_symlinks": False} if os.link in os.supports_follow_symlinks else {}
    os.link(file, copy, **follow)
