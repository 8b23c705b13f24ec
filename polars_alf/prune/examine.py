"""Look at what may be removed, one by one and through no link."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from polars_alf.alf.paths import join
from polars_alf.alf.root import Root
from polars_alf.prune.folders import open_folder
from polars_alf.schema import _field
from polars_alf.walk.fingerprint import fingerprint_file


class Removal(NamedTuple):
    """A row of REMOVALS, but for the tables."""

    path: str
    kind: str
    file_size: int | None
    reason: str
    mtime_ns: int | None
    inode: int


def examine_files(root: Root, files: pl.DataFrame) -> Iterator[Removal]:
    """Describe files by what they are now; those that a link leads to or that are one drop out.

    Parameters
    ----------
    root
        The archive.
    files
        ``directory``, ``name`` and the ``reason`` why each may go.
    """
    for (directory,), rows in files.group_by("directory", maintain_order=True):
        try:
            with open_folder(root.path, str(directory)) as folder:
                for name, reason in rows.select("name", "reason").iter_rows():
                    status = folder.status(name)
                    if stat.S_ISREG(status.st_mode):
                        path = join(str(directory), name)
                        size = status.st_size
                        yield Removal(
                            path, RemovalKind.DATASET, size, reason, *fingerprint_file(status)
                        )
        except OSError:
            # Gone, behind a link, or not to be seen: not ours to remove.
            continue


def find_emptied(root: Root, sessions: Iterable[str], planned: Iterable[str]) -> Iterator[Removal]:
    """Find the folders that have nothing in them once the plan is done, each after its content.

    Parameters
    ----------
    root
        The archive.
    sessions
        Folders of sessions that may go, relative to the root; not the root itself.
    planned
        Files that go.
    """
    going = set(planned)
    dates: dict[str, None] = {}
    for session in sessions:
        emptied = _list_emptied(root, session, going)
        for path, inode in emptied:
            if path == session:
                yield Removal(
                    path, RemovalKind.SESSION, None, "empty, and not in the tables", None, inode
                )
                going.add(path)
                dates[_parent(path)] = None
            else:
                yield Removal(
                    path, RemovalKind.FOLDER, None, "empty, its session goes", None, inode
                )
    subjects: dict[str, None] = {}
    for level, above in ((dates, subjects), (subjects, {})):
        for path in filter(None, level):  # never the root
            number = _inode_if_emptied(root, path, going)
            if number is not None:
                yield Removal(
                    path, RemovalKind.FOLDER, None, "empty, its sessions go", None, number
                )
                going.add(path)
                above[_parent(path)] = None


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _list_emptied(root: Root, directory: str, going: set[str]) -> list[tuple[str, int]]:
    """List a folder and those in it, inner ones first; none if anything in them is to stay."""
    emptied: list[tuple[str, int]] = []
    # Not by recursion: folders may be thousands deep.
    pending = [directory]
    while pending:
        path = pending.pop()
        try:
            with open_folder(root.path, path) as folder:
                entries, inode = folder.scan(), folder.inode
        except (OSError, ValueError):
            return []
        emptied.append((path, inode))
        for name, is_folder in entries.items():
            inner = join(path, name)
            if is_folder:
                pending.append(inner)
            elif inner not in going:
                return []
    return emptied[::-1]


def _inode_if_emptied(root: Root, directory: str, going: set[str]) -> int | None:
    # Not what lies deeper: another session may be empty, and yet in the tables.
    try:
        with open_folder(root.path, directory) as folder:
            emptied = all(join(directory, name) in going for name in folder.scan())
            return folder.inode if emptied else None
    except (OSError, ValueError):
        return None


REMOVALS = pa.schema(
    [
        _field("path", pa.string(), "what is to be removed, relative to the root"),
        _field("kind", pa.string(), "a RemovalKind"),
        _field("file_size", pa.uint64(), "size of the file, null for a folder", unit="bytes"),
        _field("reason", pa.string(), "why it may go"),
        _field("mtime_ns", pa.int64(), "last modification, null for a folder", unit="ns"),
        _field("inode", pa.uint64(), "file serial number"),
        _field("tables", pa.string(), "tables that were asked; null where frames were given"),
    ]
)
"""A plan of what to remove: datasets in the order of their paths, then folders from within."""

OUTCOMES = pa.schema(
    [
        *(REMOVALS.field(name) for name in ("path", "kind", "file_size")),
        _field("result", pa.string(), "a RemovalResult"),
        _field("message", pa.string(), "why it was not removed, null where it was"),
    ]
)
"""What became of a plan, one row for each of its rows."""


class RemovalKind(StrEnum):
    """What is to be removed."""

    DATASET = "dataset"
    SESSION = "session"
    FOLDER = "folder"
    """A collection inside such a session, or its date or subject: left with nothing in it."""


class RemovalResult(StrEnum):
    """What became of it."""

    REMOVED = "removed"
    CHANGED = "changed"
    """Kept, as it is not what was planned any more."""
    GONE = "gone"
    FAILED = "failed"
