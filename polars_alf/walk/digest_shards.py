"""Digests of the files of an archive, by all workers of its walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from polars_alf.parallel.executors import Workers
from polars_alf.walk.digests import Algorithm, Outcome, digest_files
from polars_alf.walk.shards import Shard
from polars_alf.walk.sources import AnyWalker
from polars_alf.walk.walk import Walk
from polars_alf.walk.walker import Walker

_BYTES_PER_TASK = 1 << 30
_FILES_PER_TASK = 1024
_TASKS_AT_ONCE = 16
"""Tasks in one where all processors read for it: lanes are empty at its end only."""


def digest_paths(
    walker: AnyWalker,
    paths: Sequence[str],
    algorithms: Sequence[Algorithm],
    on_files: Callable[[int], None] = lambda _: None,
    *,
    threads: int = 1,
) -> list[Outcome]:
    """Return the digests of files, whose paths are relative to the root, in their order.

    A bucket is read by as many requests as is worth it, whatever the `threads`.
    """
    if not isinstance(walker, Walker):
        return walker.digest(paths, algorithms, on_files)
    return digest_files(
        [*map(walker.root.locate, paths)],
        algorithms,
        lambda n_bytes: walker.counter.add(n_bytes=n_bytes),
        on_files,
        threads=threads,
        pacer=walker.pacer,
    )


def digest_in_parallel(walk: Walk, files: pl.DataFrame) -> pl.DataFrame:
    """Read files of an archive for their MD5.

    Parameters
    ----------
    walk
        The walk of the archive, whose workers read.
    files
        ``path``, relative to the root, and ``file_size`` in bytes.

    Returns
    -------
    polars.DataFrame
        ``path``; ``disk_hash``, null where the file cannot be read; ``message``, why it cannot.
    """
    # Digests are computed without holding Python's lock.
    is_threaded = walk.options.executor is None
    workers = Workers("serial", 1) if is_threaded else None
    visit = _DigestShard(walk.count_workers() if is_threaded else 1)
    n_tasks = _TASKS_AT_ONCE if is_threaded else 1
    before = pl.col("file_size").cum_sum() - pl.col("file_size")
    n_before = pl.int_range(pl.len())
    groups = files.with_columns(
        group=before // (n_tasks * _BYTES_PER_TASK) + n_before // (n_tasks * _FILES_PER_TASK)
    ).partition_by("group", maintain_order=True)
    # The largest first, so that none is left at the end for one thread alone.
    ordered = [group.sort("file_size", descending=True)["path"] for group in groups]
    shards = [Shard.pack(index, paths) for index, paths in enumerate(ordered)]
    found = walk.visit_frames([(shard, visit) for shard in shards], workers=workers)
    schema = dict.fromkeys(("path", "disk_hash", "message"), pl.String)
    return pl.concat([pl.DataFrame(schema=schema), *(frames["digests"] for frames in found)])


@dataclass(frozen=True, slots=True)
class _DigestShard:
    """Digest the files of a shard, in some threads."""

    threads: int

    def __call__(self, walker: AnyWalker, shard: Shard) -> dict[str, pl.DataFrame]:
        outcomes = digest_paths(
            walker,
            shard.folders,
            ["md5"],
            lambda n_files: walker.counter.add(files=n_files),
            threads=self.threads,
        )
        rows: list[tuple[str, str | None, str | None]] = []
        for path, outcome in zip(shard.folders, outcomes, strict=True):
            if isinstance(outcome, OSError):
                rows.append((path, None, f"its content cannot be read: {outcome.strerror}"))
            else:
                rows.append((path, outcome[0], None))
        schema = dict.fromkeys(("path", "disk_hash", "message"), pl.String)
        return {"digests": pl.DataFrame(rows, schema, orient="row")}
