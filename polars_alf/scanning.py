"""Scan an archive shard by shard: the part of the work that runs in parallel."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from polars_alf import snapshots, spool, tables
from polars_alf.checks import check_root, parse_exclude
from polars_alf.digests import digest_md5
from polars_alf.executors import Executor, check_executor, count_workers, run_tasks
from polars_alf.paths import printable
from polars_alf.progress import Counter, CounterFile
from polars_alf.schema import (
    CHANGES,
    ENTRIES,
    ISSUES,
    PASSING,
    IssueKind,
    make_table,
    polars_schema,
)
from polars_alf.shards import Shard, plan_shards
from polars_alf.sources.posix import Options, Walker

FEW_SHARDS = 8
"""Up to so many shards a run stays in one process: starting others takes longer."""


def choose_executor(n_shards: int, n_jobs: int, *, hash_files: bool = False) -> Executor:
    """Return the executor that is fastest for so many shards."""
    if n_jobs == 1:
        return "serial"
    if n_shards > FEW_SHARDS:
        return "processes"
    # Digests are computed without holding Python's lock.
    return "threads" if hash_files else "serial"


@dataclass(frozen=True, slots=True)
class ShardTask:
    """All that a worker needs to know to index a shard.

    Parameters
    ----------
    root
        Absolute path of the archive.
    options
        What to look at.
    spool
        Folder for the results of the shards.
    counters
        File to count in, see `polars_alf.progress`; None where it could not be shared.
    shard
        What to walk.
    lab
        Lab of sessions that lie in no lab's folder.
    namespace
        What UUIDs are made in; None makes ids of paths.
    hash_files
        Whether to read every dataset for its MD5, unless the one known still holds.
    snapshot
        What the last index saw, None where there was none.
    known_shards
        Names of the shards in it that have the same units.
    """

    root: str
    options: Options
    spool: str
    counters: str | None
    shard: Shard = field(default_factory=lambda: Shard(0, ()))
    lab: str = ""
    namespace: UUID | None = None
    hash_files: bool = False
    snapshot: str | None = None
    known_shards: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"the shard from {self.shard.units[0]} to {self.shard.units[-1]}"

    def find_unseen(self) -> str | None:
        """Return a path that the task needs and this machine lacks, None where all is there."""
        if not os.access(self.spool, os.W_OK | os.X_OK):
            return self.spool
        # Files come and go, but hardly all of a shard at once. An archive that is not mounted
        # here would otherwise look like one that was emptied.
        if not any(Path(self.root, unit).exists() for unit in self.shard.units):
            return str(Path(self.root, self.shard.units[0]))
        return None


def index_shard(task: ShardTask) -> spool.Receipt:
    """Walk a shard, make its rows of both tables, and leave them in the spool."""
    start = time.perf_counter()
    oldest_unsure = time.time_ns() - snapshots.GRAIN_NS
    counter = (
        CounterFile(Path(task.counters)).slot(task.shard.index) if task.counters else Counter()
    )
    walker = Walker(task.root, task.options, counter)
    batches = list(walker.walk(task.shard.units))
    entries, changes = _compare(task, walker, _join_batches(batches))
    directories = pl.LazyFrame(walker.directories())
    above = Path(task.root).as_posix()
    sessions = tables.assemble_sessions(
        directories, above, lab=task.lab, namespace=task.namespace
    ).collect()
    datasets = tables.assemble_datasets(
        entries.lazy(),
        directories,
        sessions.lazy(),
        namespace=task.namespace,
    ).collect()
    issues = walker.issues()
    if task.hash_files:
        datasets, unreadable = _digest(task.root, datasets, counter)
        issues = pa.concat_tables([issues, unreadable])
    n_changes = dict(changes["change"].value_counts().iter_rows())
    receipt = spool.Receipt(
        path=str(Path(task.spool, task.shard.name)),
        first_unit=task.shard.units[0],
        n_units=len(task.shard.units),
        n_other_files=walker.n_other_files,
        n_changes=n_changes,
        is_whole=not any(kind in PASSING for kind in issues.column("kind").to_pylist()),
        counts=counter.total(),
        seconds=time.perf_counter() - start,
    )
    with spool.shard_folder(Path(task.spool), task.shard) as folder:
        hashes = _proven_hashes(entries, datasets, oldest_unsure)
        snapshots.write_entries(folder, batches, walker.directories(), hashes)
        spool.write_rows(
            folder,
            sessions=_add_sizes(sessions, datasets),
            datasets=datasets.select("id", "rel_path", "file_size", "hash"),
            issues=issues,
            changes=changes,
        )
        spool.write_receipt(folder, task.shard, receipt)
    return receipt


def _compare(
    task: ShardTask, walker: Walker, entries: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the entries with the ``hash`` that still holds, and CHANGES since the last index."""
    if task.snapshot is None:
        no_changes = polars_schema(CHANGES).to_frame()
        return entries.with_columns(hash=pl.lit("")), no_changes
    known = snapshots.read_entries(Path(task.snapshot), task.known_shards, task.shard.units)
    compared = snapshots.compare_entries(known, entries)
    return compared, snapshots.list_changes(known, compared, walker.issues())


def _add_sizes(sessions: pl.DataFrame, datasets: pl.DataFrame) -> pl.DataFrame:
    sizes = datasets.group_by("session").agg(
        n_datasets=pl.len().cast(pl.UInt64), n_bytes=pl.col("file_size").sum()
    )
    return sessions.join(sizes, on="session", how="left", maintain_order="left").with_columns(
        pl.col("n_datasets", "n_bytes").fill_null(0)
    )


def _proven_hashes(entries: pl.DataFrame, datasets: pl.DataFrame, oldest_unsure: int) -> pl.Series:
    """Return the hash of each entry, '' where its file may change and look the same.

    Parameters
    ----------
    oldest_unsure
        A file modified since can be modified again within the same tick of its file system.
    """
    if not (datasets["hash"] != "").any():
        return pl.repeat("", len(entries), eager=True)
    hashes = datasets.select("directory", "name", "hash")
    joined = entries.drop("hash").join(
        hashes, on=["directory", "name"], how="left", maintain_order="left"
    )
    is_sure = pl.col("mtime_ns") < oldest_unsure
    return joined.select(pl.when(is_sure).then(pl.col("hash")).fill_null("")).to_series()


def scan_archive(
    root: str | os.PathLike[str],
    *,
    n_jobs: int | None = None,
    executor: Executor | None = None,
    follow_links: bool = False,
    exclude: str | Sequence[str] = (),
) -> pl.LazyFrame:
    """Walk an archive as a lazy frame: its dataset files, when the frame is collected.

    Parameters
    ----------
    root
        An archive, a lab, a Subjects folder, a subject, a date or a session.
    n_jobs, executor, follow_links, exclude
        As for `index_archive`.

    Returns
    -------
    polars.LazyFrame
        ENTRIES with names as strings, shard by shard, in no particular order within one. What
        cannot be read is left out; `index_archive` reports it.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError, OptionError
        About the root and the options, at once.
    """
    path = str(check_root(root))
    options = Options(follow_links, parse_exclude(exclude))
    workers = count_workers(n_jobs)
    executor = check_executor(executor)

    def entries(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        shards = plan_shards(Walker(path, options).survey())
        # A few rows are soon found; workers would go on to look for the rest.
        chosen = "serial" if n_rows is not None else choose_executor(len(shards), workers)
        left = n_rows
        with tempfile.TemporaryDirectory() as folder:
            tasks = [_ListTask(path, options, shard, folder) for shard in shards]
            for file in run_tasks(
                _list_shard, tasks, executor=executor or chosen, n_jobs=workers, ordered=True
            ):
                frame = pl.scan_ipc(file, glob=False).collect()
                Path(file).unlink()
                if left is not None:
                    frame = frame.head(left)
                    left -= len(frame)
                if with_columns is not None:
                    frame = frame.select(with_columns)
                yield frame.filter(predicate) if predicate is not None else frame
                if left == 0:
                    return

    return register_io_source(entries, schema=polars_schema(ENTRIES))


@dataclass(frozen=True, slots=True)
class _ListTask:
    root: str
    options: Options
    shard: Shard
    folder: str


def _list_shard(task: _ListTask) -> str:
    """Leave the entries of a shard in a file: nothing large goes through a pipe."""
    path = Path(task.folder, f"{task.shard.index}.arrow")
    walker = Walker(task.root, task.options)
    entries = _join_batches(list(walker.walk(task.shard.units)))
    entries.write_ipc(path, compat_level=pl.CompatLevel.newest())
    return str(path)


def _join_batches(batches: Sequence[pa.RecordBatch]) -> pl.DataFrame:
    """Return ENTRIES, names as strings."""
    names = pl.col("directory", "name").cast(pl.String)
    frames = [pl.DataFrame(batch).with_columns(names) for batch in batches]
    return pl.concat([polars_schema(ENTRIES).to_frame(), *frames])


def _digest(root: str, datasets: pl.DataFrame, counter: Counter) -> tuple[pl.DataFrame, pa.Table]:
    """Complete the hashes, '' where a file cannot be read, and return the issues of those."""
    hashes, issues = [], []
    paths = pl.concat_str("directory", "name", separator="/").str.strip_prefix("/")
    for known, path in datasets.select("hash", paths).iter_rows():
        if known:
            hashes.append(known)
            continue
        try:
            hashes.append(
                digest_md5(f"{root}/{path}", lambda n_bytes: counter.add(n_bytes=n_bytes))
            )
        except OSError as error:
            hashes.append("")
            message = f"its content cannot be read, so it has no hash: {error.strerror}"
            issues.append(
                (printable(path), IssueKind.UNREADABLE_CONTENT.value, error.errno, message)
            )
    column = pl.Series("hash", hashes, dtype=pl.String)
    return datasets.with_columns(column), make_table(issues, ISSUES)
