"""The paths that the last index skipped, or removed from its tables: none of them may go.

They are read from the state beside the tables, and beside the archive and the folders that hold
it. So they are known where frames are given, and where another program has replaced the tables.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from polars_alf.alf.root import FolderRoot
from polars_alf.errors import TableError
from polars_alf.schema import LOST, IssueKind
from polars_alf.tables.contract import read_headers
from polars_alf.tables.files import (
    changes_path,
    issues_path,
    read_report_values,
    scan_changes,
    scan_issues,
)

# Nobody asked for these to be left out, so that their files have no row says nothing.
_NOT_INDEXED = LOST | {IssueKind.DUPLICATE_SESSION}

# Changes (`index.changes.ChangeKind`) of files that are not in the tables any more.
_TAKEN_OUT = ("removed", "unreadable")


@dataclass(frozen=True, slots=True)
class State:
    """The state of an index that may have been over a root, or over a part of it."""

    folder: Path
    """Folder of the tables."""
    origins: tuple[Path, ...]
    """Folders that its paths may be relative to."""


def list_states(root: FolderRoot, folder: Path) -> list[State]:
    """List the states in the folder of the tables, in a root, and in the folders that hold it.

    Raises TableError where the system refuses to say whether there is one.
    """
    places = dict.fromkeys([folder, root.path, *root.path.parents])
    # As the index wrote it, as the archive may have moved since.
    return [
        State(place, tuple(dict.fromkeys([root.path, place, *_list_origins(place)])))
        for place in places
        if any(_exists(path(place)) for path in (issues_path, changes_path))
    ]


def read_skipped(root: FolderRoot, states: Iterable[State]) -> set[str]:
    """Return what indexes could not take, relative to the root; "" is all of it."""
    skipped = set()
    for state in states:
        if not _exists(issues_path(state.folder)):
            continue
        issues = scan_issues(state.folder).filter(pl.col("kind").is_in(_NOT_INDEXED)).collect()
        for full in (origin / path for origin in state.origins for path in issues["path"]):
            if (relative := root.relate(full)) is not None:
                skipped.add(relative)
            elif root.path.is_relative_to(full):
                skipped.add("")
    return skipped


def find_taken_out(root: FolderRoot, states: Iterable[State], paths: Iterable[str]) -> set[str]:
    """Return those of some files that the last index found gone, and that are back by now."""
    wanted = list(paths)
    found: set[str] = set()
    for state in states:
        if not (wanted and _exists(changes_path(state.folder))):
            continue
        names: dict[str, str] = {}
        for origin in state.origins:
            names.update(_spell_from(root, origin, wanted))
        rows = scan_changes(state.folder).filter(
            pl.col("change").is_in(_TAKEN_OUT), pl.col("path").is_in([*names])
        )
        found.update(names[path] for path in rows.select("path").collect()["path"])
    return found


def _spell_from(root: FolderRoot, origin: Path, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield paths relative to an origin, each with the same path relative to the root."""
    if root.path.is_relative_to(origin):
        folder = root.path.relative_to(origin).as_posix()
        before = "" if folder == "." else f"{folder}/"
        yield from ((before + path, path) for path in paths)
    elif (inner := root.relate(origin)) is not None:
        before = f"{inner}/"
        yield from ((path.removeprefix(before), path) for path in paths if path.startswith(before))


def _list_origins(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(TableError):
        for header in read_headers(folder).values():
            yield from map(Path, header.origins)
    # Tables that another program has replaced need not say it.
    report = read_report_values(folder).get("report")
    if isinstance(report, dict) and isinstance(report.get("root"), str):
        yield Path(report["root"])


def _exists(path: Path) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise TableError(
            f"{path}, with what an index skipped, cannot be read: {error.strerror}; see to its "
            "permissions"
        ) from error
    return True
