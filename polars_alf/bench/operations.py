"""Operations to measure: their names, what they write, and each thread's share of the items."""

from __future__ import annotations

import os
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import xxhash

from polars_alf.errors import BenchError

CHUNK = 1 << 20
"""Bytes of a piece; smaller files are read whole."""

UNLIMITED = 1e6
"""Seconds for work that has to be finished, however long it takes."""

PAGE_BYTES = 4096
"""Bytes of a small file: a page, and a block of most file systems."""


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


def make_content(path: str) -> bytes:
    """Return what a file holds: like that of no other file, so that none can stand for another."""
    return xxhash.xxh3_128_digest(os.fsencode(path)) + _CONTENT


_CONTENT = random.Random(0).randbytes(PAGE_BYTES - 16)


def check_content(path: str, content: bytes) -> None:
    """Raise BenchError where a file does not hold what `make_content` gave it."""
    if content != make_content(path):
        raise BenchError(
            f"{path} holds other bytes than were written to it and synced; trust this storage with "
            "nothing, and see to its log and its disks"
        )
