"""Shards: runs of dated folders, in the order of their paths, and the folder of each on disk.

Small subjects share a shard and a large one is cut by its dates, so that no worker is left behind
with most of the work. What a worker makes of a shard passes through a folder on disk, which a
cluster and a later run see too.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl
import xxhash

SHARDS_WANTED = 8
"""Shards of a run, about: enough for few workers to end at the same time."""

LEAST_FOLDERS = 48
"""Dated folders below which a shard's own cost, some 12 ms, outweighs that of its files."""

MOST_FOLDERS = 1024
"""Dated folders above which a shard takes too much memory."""

UNDER_WAY = ".tmp"
"""Ending of the folder of a shard that is being written."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A piece of work.

    Parameters
    ----------
    index
        Position among the shards of the run, in the order of their paths.
    packed
        The folders, with a NUL between any two: of all shards together, they take half the memory
        of strings.
    """

    index: int
    packed: bytes

    @classmethod
    def pack(cls, index: int, folders: Iterable[str]) -> Self:
        """Return the shard of some folders, of which there is one at least."""
        return cls(index, "\0".join(folders).encode())

    @property
    def folders(self) -> tuple[str, ...]:
        """Paths relative to the root: dated folders to walk, or files to read."""
        return tuple(self.packed.decode().split("\0"))

    @property
    def n_folders(self) -> int:
        """Number of the folders."""
        return self.packed.count(b"\0") + 1

    @property
    def name(self) -> str:
        """Name that follows from the folders, the same in every run."""
        return xxhash.xxh3_128_hexdigest(self.packed)


def plan_shards(
    folders: pl.Series,
    *,
    least: int = LEAST_FOLDERS,
    wanted: int = SHARDS_WANTED,
    finished: Collection[str] = frozenset(),
) -> list[Shard]:
    """Bundle dated folders into shards.

    Parameters
    ----------
    folders
        String: paths relative to the root, in any order.
    least
        Least number of folders in a shard, but for the last.
    wanted
        About how many shards there should be, where neither `least` nor `MOST_FOLDERS` decides.
    finished
        Folders that need not be walked. No shard has folders on both sides of one.

    Returns
    -------
    list of Shard
        In the order of their paths. With the same `least` and `wanted`, the next run over the same
        archive finds the same shards whichever of them are finished.
    """
    ordered = folders.to_frame("folder")
    ordered = ordered.sort(pl.col("folder").str.replace_all("/", "\0", literal=True))
    size = min(max(len(ordered) // wanted, least), MOST_FOLDERS)
    done = pl.Series([*finished], dtype=pl.String).implode()
    runs = ordered.select(pl.col("folder").is_in(done).rle()).to_series().struct.unnest()
    shards: list[Shard] = []
    start = 0
    for n_folders, is_finished in runs.iter_rows():
        end = start + n_folders
        for cut in range(end if is_finished else start, end, size):
            some = ordered["folder"].slice(cut, min(size, end - cut))
            shards.append(Shard.pack(len(shards), some.to_list()))
        start = end
    return shards


@contextmanager
def shard_folder(above: Path, name: str) -> Iterator[Path]:
    """Make a folder that gets its name when the context ends without an error.

    It is there complete or not at all: a run that was interrupted can go on with the shards that
    it had finished.
    """
    final = above / name
    beside = above / f"{name}.{uuid.uuid4().hex}{UNDER_WAY}"
    beside.mkdir()
    try:
        yield beside
        with contextlib.suppress(OSError):
            beside.rename(final)
            return
        # Another worker may have written the same shard.
        if not final.is_dir():
            beside.rename(final)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
