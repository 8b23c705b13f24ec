"""Operations to measure: their names, their calls, and the share of each thread in the items."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import xxhash

from polars_alf.alf.root import open_root
from polars_alf.bench.meters import Meter
from polars_alf.errors import BenchError
from polars_alf.walk.digests import Algorithm, digest_file
from polars_alf.walk.lister import Lister
from polars_alf.walk.options import WalkOptions

CHUNK = 1 << 20
"""Bytes of a piece; smaller files are read whole."""

UNLIMITED = 1e6
"""Seconds for work that has to be finished, however long it takes."""

PAGE_BYTES = 4096
"""Bytes of a small file: a page, and a block of most file systems."""

_READ_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)

_CREATE_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)


class Operation(StrEnum):
    """The operations, in the order in which they are measured."""

    CREATE = "create"
    RENAME = "rename"
    DELETE = "delete"
    FSYNC = "fsync"
    READBACK = "readback"
    LIST = "list"
    STAT = "stat"
    READ = "read"
    STREAM = "stream"
    MD5 = "md5"
    XXH3 = "xxh3"
    INDEX = "index"


CHAINS = (
    (Operation.CREATE, Operation.RENAME, Operation.DELETE),
    (Operation.FSYNC, Operation.READBACK),
)
"""Operations that need files of their own: the first of a chain makes them for the others."""

CHANGING = tuple(operation for chain in CHAINS for operation in chain)
"""Operations that write, or need what was written; each file serves once."""

STREAMING = (Operation.STREAM, Operation.MD5, Operation.XXH3)
"""Operations that read large files, so that bytes count instead of files."""

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


def complete_chains(wanted: Collection[Operation]) -> list[Operation]:
    """Return operations in their order, with all of a chain of which one is wanted."""
    needed = {other for chain in CHAINS if set(chain).intersection(wanted) for other in chain}
    return [operation for operation in Operation if operation in needed or operation in wanted]


@dataclass(frozen=True, slots=True)
class Level:
    """Number of calls under way at once, and of the processes that make them."""

    concurrency: int
    jobs: int

    @property
    def threads(self) -> int:
        """Most threads of a process."""
        return -(-self.concurrency // self.jobs)


Shares = Sequence[Sequence[Sequence[Any]]]
"""The items of each thread, by process."""


def plan_levels(concurrencies: Sequence[int], jobs: int) -> list[Level]:
    """Return levels in rising order, each with as many processes as possible."""
    return [Level(wanted, min(wanted, jobs)) for wanted in sorted(set(concurrencies))]


def share_out(items: Sequence[Any], level: Level) -> Shares:
    """Return shares of neighbouring items, none empty; with too few items some threads share one.

    Items are paths; for a rename pairs of paths; to write, paths and sizes.
    """
    n, total = len(items), level.concurrency
    shares = [items[n * i // total : n * (i + 1) // total] or [items[i % n]] for i in range(total)]
    return [shares[job :: level.jobs] for job in range(level.jobs)]


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
        os.write(descriptor, _make_content(path))
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
    if content != _make_content(path):
        raise BenchError(
            f"{path} holds other bytes than were written to it and synced; trust this storage with "
            "nothing, and see to its log and its disks"
        )


def _make_content(path: str) -> bytes:
    """Return what a file holds: like that of no other file, so that none can stand for another."""
    return xxhash.xxh3_128_digest(os.fsencode(path)) + _CONTENT


_CONTENT = random.Random(0).randbytes(PAGE_BYTES - 16)


def _rename(pair: tuple[str, str]) -> None:
    os.rename(pair[0], pair[1])  # noqa: PTH104  the time of a Path would count, too


def _read(path: str) -> None:
    descriptor = os.open(path, _READ_FLAGS)
    try:
        os.read(descriptor, CHUNK)
    finally:
        os.close(descriptor)


def _make_lister(root: str, _: Meter) -> Callable[[str], None]:
    """Return a call that opens and lists a directory as an index does."""
    lister = Lister(open_root(root), WalkOptions(), lambda _: False)

    def list_directory(directory: str) -> None:
        lister.read([directory], in_session=False)

    return list_directory


def _make_reader(
    _: str, meter: Meter, algorithms: Sequence[Algorithm] = ()
) -> Callable[[str], object]:
    """Return a call that reads one file for these digests."""
    return lambda path: digest_file(path, algorithms, meter.tick)


CALLS: dict[Operation | None, Callable[[str, Meter], Callable[[Any], object]]] = {
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
"""Makers of each operation's call, from the archive and the meter of a thread; None writes."""
