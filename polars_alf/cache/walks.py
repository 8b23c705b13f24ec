"""Walks without tables: the rows of a folder as frames, its sessions, the files of one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from polars_alf.alf import grammar
from polars_alf.alf.folder_names import is_date, is_number
from polars_alf.alf.paths import join, path_key
from polars_alf.alf.root import open_root
from polars_alf.cache.frames import COLUMNS, _get_session_info
from polars_alf.schema import PASSING
from polars_alf.tables.files import STATE_DIR, own_files
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.shards import LEAST_FOLDERS
from polars_alf.walk.walker import Walker


def list_sessions(root: str | os.PathLike[str]) -> pd.DataFrame | None:
    """Return the sessions in a folder, with paths as ids, as an index would make them.

    None where that takes an index: where a folder cannot be read, or several are of one session.
    """
    opened = open_root(root)
    try:
        rows = [_get_session_info(path) for path in _walk_sessions(opened.path)]
    except OSError:
        return None
    return _make_frame(rows, "sessions") if _are_distinct(rows) else None


def list_datasets(root: str | os.PathLike[str]) -> pd.DataFrame | None:
    """Return the datasets in a folder as `list_sessions` does; None as well for many dates."""
    opened = open_root(root)
    own = own_files(opened.path, opened.path)
    walker = Walker(opened, WalkOptions(executor="serial", own_files=own))
    folders = walker.survey()
    if len(folders) > LEAST_FOLDERS:
        return None
    batches = [*walker.walk(sorted(folders, key=path_key))]
    if not PASSING.isdisjoint(walker.issues().column("kind").to_pylist()):
        return None
    # Plain Python, as a query of Polars takes longer than a session has rows.
    session_of = dict(zip(*walker.directories().to_pydict().values(), strict=True))
    sessions = sorted({*session_of.values()}, key=path_key)
    rows = [_get_session_info(opened.locate(path)) for path in sessions]
    if not _are_distinct(rows):
        return None
    eids = {path: row[0] for path, row in zip(sessions, rows, strict=True)}
    return _make_frame([*_list_datasets(batches, session_of, eids)], "datasets")


def _are_distinct(sessions: Sequence[tuple[Any, ...]]) -> bool:
    return len({row[1:5] for row in sessions}) == len(sessions)


def _make_frame(rows: Sequence[tuple[Any, ...]], name: str) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS[name])).astype(COLUMNS[name])


def _list_datasets(
    batches: Sequence[pa.RecordBatch], session_of: Mapping[str, str], eids: Mapping[str, str]
) -> Iterator[tuple[Any, ...]]:
    """Yield rows of datasets in the order of their sessions, which `eids` has, and their paths."""
    files: dict[str, list[tuple[str, int]]] = {session: [] for session in eids}
    for batch in batches:
        names = ("directory", "name", "file_size")
        columns = (batch.column(name).to_pylist() for name in names)
        for directory, name, size in zip(*columns, strict=True):
            session = session_of[directory]
            collection = directory[len(session) :].lstrip("/")
            files[session].append((join(collection, name), size))
    for session, found in files.items():
        for path, size in sorted(found, key=lambda file: path_key(file[0])):
            yield eids[session], path, path, size, "", True, "NOT_SET"


def iter_sessions(root_dir: str | os.PathLike[str], pattern: str = "*") -> Iterator[Any]:
    """Yield the session folders in a folder, in the order of their paths.

    Parameters
    ----------
    root_dir : str, os.PathLike
        An archive, a lab, a Subjects folder, a subject, a date or a session.
    pattern : str
        Which sessions to yield, as of `pathlib.PurePath.match` below the folder.

    Yields
    ------
    one.alf.path.ALFPath or pathlib.Path
        Paths that begin with `root_dir`, itself where it is a session; what lies in a session is
        part of it. An `ALFPath` where ONE is installed.

    Raises
    ------
    OSError
        A folder cannot be read.
    """
    make_path = _find_path_type()
    root = Path(root_dir)
    for session in _walk_sessions(root):
        if session == root or session.relative_to(root).match(pattern):
            yield make_path(session)


def _walk_sessions(root: Path) -> Iterator[Path]:
    *_, subject, date, number = ("", "", *root.absolute().parts)
    return _walk_below(root, subject, date, number)


def _walk_below(folder: Path, *parts: str) -> Iterator[Path]:
    """Yield the sessions in a folder, or itself; `parts` are the last three of its path."""
    if _is_session(*parts):
        yield folder
        return
    with os.scandir(folder) as entries:
        # Links are followed to sessions only, lest they lead round in a circle.
        found = sorted((entry.name, entry.is_symlink()) for entry in entries if entry.is_dir())
    for name, is_link in found:
        below = (*parts[1:], name)
        if name != STATE_DIR and (not is_link or _is_session(*below)):
            yield from _walk_below(folder / name, *below)


def _is_session(subject: str, date: str, number: str) -> bool:
    return is_number(number) and is_date(date) and grammar.is_subject(subject)


def iter_datasets(session_path: str | os.PathLike[str]) -> Iterator[Any]:
    """Yield the datasets in a session, in the order of their paths.

    Parameters
    ----------
    session_path : str, os.PathLike
        A session, or another folder with datasets.

    Yields
    ------
    one.alf.path.ALFPath or pathlib.Path
        Paths below the folder, without it. An `ALFPath` where ONE is installed.

    Raises
    ------
    OSError
        A folder cannot be read.
    """
    make_path = _find_path_type()
    root = Path(session_path)
    found = []
    for folder, _, names in os.walk(root, onerror=_raise_unless_gone):
        files = (Path(folder, name) for name in names if grammar.is_dataset_name(name))
        found += [file.relative_to(root) for file in files if file.is_file()]
    yield from map(make_path, sorted(found))


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _find_path_type() -> type[Path]:
    with contextlib.suppress(ImportError):
        from one.alf.path import ALFPath

        return ALFPath  # type: ignore[no-any-return]
    return Path
