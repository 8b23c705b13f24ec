"""Digests of the contents of files, several at a time."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeAlias, get_args

import polars as pl
import xxhash

from polars_alf.errors import OptionError
from polars_alf.parallel.executors import Workers, wait_for
from polars_alf.walk.shards import Shard, Walk
from polars_alf.walk.walker import Walker

Algorithm = Literal["md5", "xxh3_128"]

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

Outcome: TypeAlias = "list[str] | OSError"
"""The digests of a file, or the error of reading it."""

_CHUNK = 1 << 20

# A file that became a FIFO since it was listed must not block the run.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

_NEW: dict[Algorithm, Callable[[], Any]] = {
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "xxh3_128": xxhash.xxh3_128,
}


def check_digests(
    digest: Algorithm | Sequence[Algorithm], *, hash_files: bool = False
) -> tuple[Algorithm, ...]:
    """Return the digests to compute, each once; OptionError for one that is unknown."""
    given = {digest} if isinstance(digest, str) else {*digest}
    if unknown := given - {*ALGORITHMS}:
        raise OptionError(
            f"there is no digest {min(map(str, unknown))!r}; give one of {', '.join(ALGORITHMS)}"
        )
    return tuple(name for name in ALGORITHMS if name in given or (hash_files and name == "md5"))


def digest_file(
    path: str, algorithms: Sequence[Algorithm], on_bytes: Callable[[int], None] = lambda _: None
) -> list[str]:
    """Return digests of a file's content, 32 hexadecimal digits each; it is read once.

    `on_bytes` is called with the size of each piece of 1 MiB. Raises OSError where the file cannot
    be read, or is none: a FIFO, say, or a device without an end.
    """
    digests = [_NEW[algorithm]() for algorithm in algorithms]
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    descriptor = os.open(path, _FLAGS)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file any more", path)
        while n_bytes := file.readinto(buffer):
            for digest in digests:
                digest.update(view[:n_bytes])
            on_bytes(n_bytes)
    return [digest.hexdigest() for digest in digests]


def digest_files(
    paths: Sequence[str],
    algorithms: Sequence[Algorithm],
    on_bytes: Callable[[int], None],
    *,
    threads: int = 1,
) -> list[Outcome]:
    """Return the digests of files, in their order; the first ones are read first.

    `threads` files are read at a time; `on_bytes` is called by one thread at a time.
    """
    lock = threading.Lock()
    is_stopped = threading.Event()

    def count(n_bytes: int) -> None:
        if is_stopped.is_set():
            raise InterruptedError
        with lock:
            on_bytes(n_bytes)

    def digest(path: str) -> Outcome:
        try:
            return digest_file(path, algorithms, count)
        except OSError as error:
            return error

    if threads == 1:
        return [*map(digest, paths)]
    pool = ThreadPoolExecutor(threads)
    try:
        return [wait_for(future) for future in [pool.submit(digest, path) for path in paths]]
    finally:
        # After an interrupt, files that are being read end with their next piece.
        is_stopped.set()
        pool.shutdown(cancel_futures=True)


_BYTES_PER_TASK = 1 << 30
_FILES_PER_TASK = 1024


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
    before = pl.col("file_size").cum_sum() - pl.col("file_size")
    n_before = pl.int_range(pl.len())
    groups = files.with_columns(
        group=before // _BYTES_PER_TASK + n_before // _FILES_PER_TASK
    ).partition_by("group", maintain_order=True)
    shards = [Shard(index, tuple(group["path"])) for index, group in enumerate(groups)]
    workers = walk.choose_workers(len(shards))
    if walk.options.executor is None and workers.backend == "serial":
        # Digests are computed without holding Python's lock.
        workers = Workers("threads", walk.count_workers())
    found = walk.visit_frames([(shard, _digest_shard) for shard in shards], workers=workers)
    schema = dict.fromkeys(("path", "disk_hash", "message"), pl.String)
    return pl.concat([pl.DataFrame(schema=schema), *(frames["digests"] for frames in found)])


def _digest_shard(walker: Walker, shard: Shard) -> dict[str, pl.DataFrame]:
    rows: list[tuple[str, str | None, str | None]] = []
    for path in shard.folders:
        try:
            (digest,) = digest_file(
                walker.root.locate(path), ["md5"], lambda n: walker.counter.add(n_bytes=n)
            )
            rows.append((path, digest, None))
        except OSError as error:
            rows.append((path, None, f"its content cannot be read: {error.strerror}"))
        walker.counter.add(files=1)
    schema = dict.fromkeys(("path", "disk_hash", "message"), pl.String)
    return {"digests": pl.DataFrame(rows, schema, orient="row")}
