"""Folders of file systems: the calls that are measured there, and the folder of a run."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from polars_alf.alf.root import open_root
from polars_alf.bench.folder import check_room, find_others, open_folder
from polars_alf.bench.machine import ColdMethod, Mount, find_cold_method, find_mount
from polars_alf.bench.meters import Meter
from polars_alf.bench.operations import (
    CHUNK,
    PAGE_BYTES,
    Operation,
    check_content,
    make_content,
)
from polars_alf.bench.place import Place
from polars_alf.bench.plan import TABLES, Plan
from polars_alf.errors import BenchError, OptionError
from polars_alf.parallel.threads import open_threads
from polars_alf.walk.digests import Algorithm, digest_file
from polars_alf.walk.lister import Lister
from polars_alf.walk.options import WalkOptions

_READ_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)

_CREATE_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)

DESCRIPTIONS = {
    Operation.CREATE: "make an empty file",
    Operation.RENAME: "rename a file in its folder",
    Operation.DELETE: "remove a file",
    Operation.FSYNC: "make a file of 4 KiB that is safe from a power failure",
    Operation.READBACK: "read such a file again, and compare what it holds",
    Operation.LIST: "open and list a folder",
    Operation.STAT: "stat a file by its path",
    Operation.READ: "open and read a small file",
    Operation.STREAM: "read a large file in pieces of 1 MiB",
    Operation.MD5: "read a large file for its MD5",
    Operation.XXH3: "read a large file for its XXH3",
    Operation.INDEX: "index the whole archive; a file counts as an operation",
}
"""The operations, and one call of each in words."""


def _write(file: tuple[str, int]) -> None:
    path, size = file
    descriptor = os.open(path, _CREATE_FLAGS, 0o666)
    with os.fdopen(descriptor, "wb", buffering=0) as target:
        while size > 0:
            # No file system can compress or deduplicate these bytes.
            size -= target.write(os.urandom(min(size, CHUNK)))


def _create(path: str) -> None:
    os.close(os.open(path, _CREATE_FLAGS, 0o666))


def _fsync(path: str) -> None:
    descriptor = os.open(path, _CREATE_FLAGS, 0o666)
    try:
        os.write(descriptor, make_content(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_back(path: str) -> None:
    descriptor = os.open(path, _READ_FLAGS)
    try:
        if hasattr(os, "posix_fadvise"):  # else this machine's memory would answer
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        content = os.read(descriptor, CHUNK)
    finally:
        os.close(descriptor)
    check_content(path, content)


def _rename(pair: tuple[str, str]) -> None:
    os.rename(pair[0], pair[1])  # noqa: PTH104  the time of a Path would count, too


def _read(path: str) -> None:
    descriptor = os.open(path, _READ_FLAGS)
    try:
        os.read(descriptor, CHUNK)
    finally:
        os.close(descriptor)


def _make_lister(place: Disk, _: Meter) -> Callable[[str], None]:
    """Return a call that opens and lists a directory as an index does."""
    lister = Lister(open_root(place.path), WalkOptions(), lambda _: False)

    def list_directory(directory: str) -> None:
        lister.read([directory], in_session=False)

    return list_directory


def _make_reader(
    _: Disk, meter: Meter, algorithms: Sequence[Algorithm] = ()
) -> Callable[[str], object]:
    """Return a call that reads one file for these digests."""
    return lambda path: digest_file(path, algorithms, meter.tick)


_CALLS: dict[Operation | None, Callable[[Disk, Meter], Callable[[Any], object]]] = {
    None: lambda *_: _write,
    Operation.CREATE: lambda *_: _create,
    Operation.RENAME: lambda *_: _rename,
    Operation.DELETE: lambda *_: os.unlink,
    Operation.FSYNC: lambda *_: _fsync,
    Operation.READBACK: lambda *_: _read_back,
    Operation.LIST: _make_lister,
    Operation.STAT: lambda *_: os.stat,
    Operation.READ: lambda *_: _read,
    Operation.STREAM: _make_reader,
    Operation.MD5: partial(_make_reader, algorithms=["md5"]),
    Operation.XXH3: partial(_make_reader, algorithms=["xxh3_128"]),
}
"""Makers of each operation's call, from the place and the meter of a thread; None writes."""


@dataclass(frozen=True)
class Disk(Place):
    """A folder of a file system."""

    path: Path

    descriptions = DESCRIPTIONS
    holds_tables = True
    lists_tell_all = False

    @property
    def mount(self) -> Mount:
        """The file system."""
        return find_mount(self.path)

    @property
    def label(self) -> str:
        """The file system and its mount point."""
        return f"{self.mount.file_system} on {self.mount.point}"

    def find_others(self) -> list[str]:
        """Return the folders of other runs in it, under way or killed."""
        return [*map(str, find_others(self.path))]

    def find_cold_method(self) -> ColdMethod:
        """Return the most thorough way that this process has to empty caches."""
        method = find_cold_method()
        if method is None:
            raise OptionError("this system has no way to empty its caches; leave --cold out")
        return method

    def note_caches(self, cold: ColdMethod | None) -> str:
        """Return what to know of the caches behind the figures."""
        return _CACHE_NOTES[cold]

    def check_room(self, n_files: int) -> None:
        """Raise StorageFullError if there is too little room for so many small files."""
        check_room(
            self.path, n_files, lambda block: n_files * -(-PAGE_BYTES // block) * block, n_files
        )

    @contextmanager
    def open_run(
        self, plan: Plan, *, n_threads: int, warn: Callable[[str], None]
    ) -> Iterator[tuple[Self, Path]]:
        """Yield a new folder in it for a run, and one for tables; remove at the end what was made.

        StorageFullError is raised where there is too little room.
        """
        check_room(self.path, len(plan.files), plan.count_bytes, plan.count_inodes())
        with open_folder(self.path, plan, n_threads=n_threads, warn=warn) as folder:
            yield replace(self, path=folder), folder / TABLES

    def make_folders(self, folders: Iterable[str], n_threads: int) -> None:
        """Make folders in it, with those that they lie in; BenchError where that fails."""
        by_depth: dict[int, list[Path]] = defaultdict(list)
        for folder in folders:
            by_depth[folder.count("/")].append(self.path / folder)
        try:
            with open_threads(n_threads, threading.Event()) as pool:
                for _, siblings in sorted(by_depth.items()):
                    for _ in pool.map(partial(Path.mkdir, exist_ok=True), siblings):
                        pass
        except OSError as error:
            raise BenchError(
                error.errno,
                f"folders cannot be made in {self}: {error.strerror}; see to its free space and "
                "its permissions",
            ) from error

    def locate(self, path: str) -> str:
        """Return the path of a file in it as calls take it."""
        return f"{self.path}/{path}"

    def plan_lists(self, folders: Sequence[str], files: Collection[str]) -> Sequence[str]:
        """Return the folders: a call lists one of them."""
        return folders

    def make_call(self, operation: Operation | None, meter: Meter) -> Callable[[Any], object]:
        """Return the call of an operation for the thread of a meter; that of None writes files."""
        return _CALLS[operation](self, meter)

    def explain(self, error: Exception, operation: Operation | None) -> Exception:
        """Return an OSError of the system as a BenchError that names the call, else the error."""
        if not isinstance(error, OSError) or isinstance(error, BenchError):
            return error
        call = DESCRIPTIONS[operation] if operation else "write a file"
        return BenchError(
            error.errno,
            f"the storage failed to {call}: {error.strerror or error}, {error.filename or self}; "
            "see to its free space, its permissions and its mount",
        )

    def find_unseen(self) -> str | None:
        """Return the folder where this machine does not see it, else None."""
        return None if os.access(self.path, os.R_OK | os.X_OK) else str(self)


_CACHE_NOTES = {
    None: (
        "caches were warm: an archive larger than memory is served more slowly; --cold measures "
        "that"
    ),
    ColdMethod.DROP_CACHES: (
        "cold means that this machine's caches were empty; a server has its own"
    ),
    ColdMethod.FADVISE: (
        "cold means that the contents of files were not in memory; their names and attributes "
        "were, as only root may drop these"
    ),
}
"""Notes by the way in which caches were emptied."""
