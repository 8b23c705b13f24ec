"""What an archive has: its walk, and the digests of some of its files, in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from polars_alf.parallel.executors import Executor, choose_executor, run_tasks
from polars_alf.parallel.progress import CounterFile, Monitor
from polars_alf.schema import DIRECTORIES, ENTRIES, ISSUES, polars_schema
from polars_alf.walk.digests import digest_file
from polars_alf.walk.options import Options
from polars_alf.walk.shards import Shard
from polars_alf.walk.walker import Walker

_BYTES_PER_TASK = 1 << 30

_FILES_PER_TASK = 1024


@dataclass(frozen=True, slots=True)
class Listing:
    """ENTRIES and DIRECTORIES of an archive, names as strings, and the ISSUES of its walk."""

    entries: pl.DataFrame
    directories: pl.DataFrame
    issues: pl.DataFrame


@dataclass(frozen=True, slots=True)
class _ListTask:
    root: str
    options: Options
    shard: Shard
    folder: str


def list_shards(
    walker: Walker,
    shards: Sequence[Shard],
    folder: Path,
    monitor: Monitor,
    *,
    executor: Executor | None,
    n_jobs: int,
) -> Listing:
    """Walk shards.

    Parameters
    ----------
    walker
        Has made the survey.
    folder
        For what passes between the workers and this process.
    """
    monitor.begin_scan(CounterFile.create(folder / "counters", len(shards)), len(shards))
    tasks = [_ListTask(walker.root, walker.options, shard, str(folder)) for shard in shards]
    frames = {name: [polars_schema(schema).to_frame()] for name, schema in _TABLES.items()}
    frames["issues"].append(pl.DataFrame(walker.issues()))
    chosen = executor or choose_executor(len(shards), n_jobs)
    for prefix in run_tasks(_list_shard, tasks, executor=chosen, n_jobs=n_jobs, ordered=True):
        for name, found in frames.items():
            path = Path(f"{prefix}.{name}")
            found.append(pl.scan_ipc(path, glob=False).collect())
            path.unlink()
        monitor.shards += 1
    return Listing(**{name: pl.concat(found) for name, found in frames.items()})


_TABLES = {"entries": ENTRIES, "directories": DIRECTORIES, "issues": ISSUES}


def _list_shard(task: _ListTask) -> str:
    counter = CounterFile(Path(task.folder, "counters")).slot(task.shard.index)
    walker = Walker(task.root, task.options, counter)
    batches = [pl.DataFrame(batch) for batch in walker.walk(task.shard.units)]
    tables = {
        "entries": batches,
        "directories": [pl.DataFrame(walker.directories())],
        "issues": [pl.DataFrame(walker.issues())],
    }
    prefix = f"{task.folder}/{task.shard.index}"
    for name, found in tables.items():
        schema = polars_schema(_TABLES[name])
        rows = pl.concat([schema.to_frame(), *(frame.cast(schema) for frame in found)])
        rows.write_ipc(f"{prefix}.{name}", compat_level=pl.CompatLevel.newest())
    return prefix


@dataclass(frozen=True, slots=True)
class _DigestTask:
    root: str
    paths: tuple[str, ...]
    index: int
    counters: str


def digest_files(
    root: Path,
    files: pl.DataFrame,
    folder: Path,
    monitor: Monitor,
    *,
    executor: Executor | None,
    n_jobs: int,
) -> pl.DataFrame:
    """Read files for their MD5.

    Parameters
    ----------
    files
        ``path``, relative to the root, and ``file_size``.

    Returns
    -------
    polars.DataFrame
        ``path``, ``disk_hash``, and ``message``: why the file cannot be read; null where it can.
    """
    before = pl.col("file_size").cum_sum() - pl.col("file_size")
    n_before = pl.int_range(pl.len())
    groups = files.with_columns(
        group=before // _BYTES_PER_TASK + n_before // _FILES_PER_TASK
    ).partition_by("group", maintain_order=True)
    counters = folder / "digest_counters"
    monitor.begin_scan(CounterFile.create(counters, len(groups)), len(groups))
    monitor.shards = 0
    tasks = [
        _DigestTask(str(root), tuple(group["path"]), index, str(counters))
        for index, group in enumerate(groups)
    ]
    # Digests are computed without holding Python's lock.
    chosen = executor or (
        "threads" if choose_executor(len(tasks), n_jobs) == "serial" else "processes"
    )
    rows: list[tuple[str, str | None, str | None]] = []
    for found in run_tasks(_digest, tasks, executor=chosen, n_jobs=n_jobs):
        rows += found
        monitor.shards += 1
    schema = dict.fromkeys(("path", "disk_hash", "message"), pl.String)
    return pl.DataFrame(rows, schema, orient="row")


def _digest(task: _DigestTask) -> list[tuple[str, str | None, str | None]]:
    counter = CounterFile(Path(task.counters)).slot(task.index)
    rows: list[tuple[str, str | None, str | None]] = []
    for path in task.paths:
        try:
            (digest,) = digest_file(
                f"{task.root}/{path}", ["md5"], lambda n_bytes: counter.add(n_bytes=n_bytes)
            )
            rows.append((path, digest, None))
        except OSError as error:
            rows.append((path, None, f"its content cannot be read: {error.strerror}"))
        counter.add(files=1)
    return rows
