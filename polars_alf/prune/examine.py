"""The files and folders that may go, described one by one and reached through no link."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from polars_alf.alf.paths import join
from polars_alf.alf.root import FolderRoot
from polars_alf.parallel.pacer import Pacer
from polars_alf.prune.folders import open_folder
from polars_alf.schema import _field
from polars_alf.walk.fingerprint import fingerprint_file

REMOVALS = pa.schema(
    [
        _field("path", pa.string(), "file or folder to remove, relative to the root"),
        _field("kind", pa.string(), "a RemovalKind"),
        _field("file_size", pa.uint64(), "size of the file, null for a folder", unit="bytes"),
        _field("reason", pa.string(), "why it may go"),
        _field("mtime_ns", pa.int64(), "last modification, null for a folder", unit="ns"),
        _field("inode", pa.uint64(), "file serial number"),
        _field("tables", pa.string(), "stamp of the tables; null where frames were given"),
        _field("lab", pa.string(), "folder of the lab, relative to the root; null for a folder"),
        _field("n_lab", pa.uint64(), "datasets in it that the tables have, or the plan"),
        _field("n_archive", pa.uint64(), "datasets on disk in sessions below the root"),
    ]
)
"""A plan of removals: datasets in the order of their paths, then folders, inner ones first."""

OUTCOMES = pa.schema(
    [
        *(REMOVALS.field(name) for name in ("path", "kind", "file_size")),
        _field("result", pa.string(), "a RemovalResult"),
        _field("message", pa.string(), "why it was not removed, null where it was"),
    ]
)
"""The result of a plan, one row for each of its rows."""


class RemovalKind(StrEnum):
    """The kinds of what can be removed."""

    DATASET = "dataset"
    SESSION = "session"
    FOLDER = "folder"
    """A collection inside such a session, or its date or subject: left with nothing in it."""


class RemovalResult(StrEnum):
    """The results that a removal can have."""

    REMOVED = "removed"
    MOVED = "moved"
    """It is in the trash."""
    RESTORED = "restored"
    """It is back from the trash (`restore_removals`)."""
    CHANGED = "changed"
    """Kept, as it is no longer as it was planned."""
    GONE = "gone"
    FAILED = "failed"


class Removal(NamedTuple):
    """The first columns of a row of REMOVALS: without the tables and the figures."""

    path: str
    kind: str
    file_size: int | None
    reason: str
    mtime_ns: int | None
    inode: int


def examine_files(root: FolderRoot, files: pl.DataFrame, pacer: Pacer) -> Iterator[Removal]:
    """Describe files as they are now, each with a ``directory``, ``name`` and ``reason`` to go.

    A link, and a file that is reached through one, is left out.
    """
    for (directory,), rows in files.group_by("directory", maintain_order=True):
        pacer.wait(str(directory).count("/") + 2)  # each folder on the way is opened
        try:
            with open_folder(root.path, str(directory)) as folder:
                for name, reason in rows.select("name", "reason").iter_rows():
                    pacer.wait()
                    status = folder.status(name)
                    if stat.S_ISREG(status.st_mode):
                        path = join(str(directory), name)
                        fingerprint = fingerprint_file(status)
                        yield Removal(
                            path, RemovalKind.DATASET, status.st_size, reason, *fingerprint
                        )
        except OSError:
            # Gone, behind a link, or out of sight: not to be removed.
            continue


def find_emptied(
    root: FolderRoot, sessions: Iterable[str], planned: Iterable[str], unread: Collection[str]
) -> Iterator[Removal]:
    """Find the folders that are empty once the planned files are gone, inner ones first.

    These are the folders of some sessions, and of their dates and subjects where these have
    nothing else in them; but neither the root, nor folders that hold something unread. Those are
    not even opened, as the storage may hang.
    """
    going, staying = set(planned), {"", *unread}
    level = []
    for session in (path for path in sessions if path not in staying):
        for path, inode in _list_emptied(root, session, going):
            if path == session:
                reason = "empty, and not in the tables"
                yield Removal(path, RemovalKind.SESSION, None, reason, None, inode)
                going.add(path)
                level.append(path)
            else:
                yield _plan_folder(path, "empty, its session goes", inode)
    for _ in ("dates", "subjects"):
        holders = dict.fromkeys(path.rpartition("/")[0] for path in level)
        level = []
        for path in (holder for holder in holders if holder not in staying):
            if (number := _find_inode_if_emptied(root, path, going)) is not None:
                yield _plan_folder(path, "empty, its sessions go", number)
                going.add(path)
                level.append(path)


def _plan_folder(path: str, reason: str, inode: int) -> Removal:
    return Removal(path, RemovalKind.FOLDER, None, reason, None, inode)


def _list_emptied(root: FolderRoot, session: str, going: set[str]) -> list[tuple[str, int]]:
    """List a folder and those in it, inner ones first; none if anything in them is to stay."""
    emptied: list[tuple[str, int]] = []
    # Not by recursion: folders may be thousands deep.
    pending = [session]
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


def _find_inode_if_emptied(root: FolderRoot, directory: str, going: set[str]) -> int | None:
    # Only its own entries: a session deeper in it may be empty, and yet in the tables.
    try:
        with open_folder(root.path, directory) as folder:
            emptied = all(join(directory, name) in going for name in folder.scan())
            return folder.inode if emptied else None
    except (OSError, ValueError):
        return None
