"""Scan an archive shard by shard: the part of the work that runs in parallel."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

import polars as pl
import pyarrow as pa

from polars_alf.alf.paths import printable
from polars_alf.arrow import make_table
from polars_alf.index.checkpoint import Run
from polars_alf.index.snapshot import (
    CHANGES,
    DIGESTS,
    Snapshot,
    compare_entries,
    list_changes,
    read_known,
    write_entries,
)
from polars_alf.parallel.executors import (
    FEW_SHARDS,
    Workers,
    choose_executor,
    count_workers,
    run_tasks,
)
from polars_alf.parallel.progress import Counter, CounterFile, Monitor
from polars_alf.schema import DIGEST_COLUMNS, ISSUES, PASSING, IssueKind, polars_schema
from polars_alf.tables.rows import assemble_datasets, assemble_sessions
from polars_alf.walk.batches import KnownListings, join_batches
from polars_alf.walk.digests import Algorithm, digest_files
from polars_alf.walk.options import Options
from polars_alf.walk.shard_files import Receipt, shard_folder, write_receipt, write_rows
from polars_alf.walk.shards import (
    SHARDS_PER_WORKER,
    SHARDS_WANTED,
    Shard,
    are_few,
    path_key,
    plan_shards,
)
from polars_alf.walk.walker import Walker


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
        File to count in, see `polars_alf.parallel.progress`; None where it could not be shared.
    shard
        What to walk.
    lab
        Lab of sessions that lie in no lab's folder.
    namespace
        What UUIDs are made in; None makes ids of paths.
    digests
        What to read every dataset for, unless a digest that is known still holds.
    digest_threads
        How many files to read at a time.
    snapshot
        What the last index saw, None where there was none.
    known_shards
        Names of the shards in it that have the same units.
    quick
        Whether to trust the times of directories: those that the snapshot has are not listed.
    source
        What walks.
    """

    root: str
    options: Options
    spool: str
    counters: str | None
    shard: Shard = field(default_factory=lambda: Shard(0, ()))
    lab: str = ""
    namespace: UUID | None = None
    digests: tuple[Algorithm, ...] = ()
    digest_threads: int = 1
    snapshot: str | None = None
    known_shards: tuple[str, ...] = ()
    quick: bool = False
    source: type[Walker] = Walker

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


def scan_shards(
    task: ShardTask,
    run: Run,
    snapshot: Snapshot | None,
    units: Sequence[str],
    workers: Workers | None,
    n_jobs: int | None,
    monitor: Monitor,
) -> tuple[list[Receipt], int]:
    """Scan the shards that are not finished.

    Parameters
    ----------
    task
        What is the same for all of them.

    Returns
    -------
    receipts : list of Receipt
        Of all shards of the run, in the order of their paths.
    n_jobs : int
        How many workers there were.
    """
    if workers is None and not task.digests and are_few(units, FEW_SHARDS):
        n_jobs = 1
    n_jobs = count_workers(n_jobs, workers)
    # Files that are read take longer than any shard's own cost.
    least = 1 if task.digests else None
    wanted = max(SHARDS_WANTED, SHARDS_PER_WORKER * n_jobs)
    shards = plan_shards(units, least, run.finished, wanted=wanted)
    n_wanted, n_jobs = n_jobs, min(n_jobs, max(len(shards), 1))
    workers = workers or choose_executor(len(shards), n_jobs)
    n_jobs = 1 if workers == "serial" else n_jobs
    if n_wanted > 1:
        # Two, as one reads while the other computes, and the last shard may have the most to read.
        # Processors that have no shard help here; those of a cluster are elsewhere.
        n_each = -(-n_wanted // n_jobs) if isinstance(workers, str) else 1
        task = replace(task, digest_threads=max(2, n_each))
    counters = CounterFile.create(run.path / "counters", len(shards))
    # Machines that write to the same page of a shared file system undo each other's figures.
    is_far = not isinstance(workers, str)
    if is_far:
        task = replace(task, counters=None)
    monitor.begin_scan(counters, len(shards), len(run.receipts))
    known = snapshot.find_shards(shards) if snapshot else {}
    tasks = [
        replace(task, shard=shard, known_shards=known.get(shard.index, ())) for shard in shards
    ]
    receipts = [*run.receipts]
    total = counters.slot(0)
    for receipt in run_tasks(index_shard, tasks, executor=workers, n_jobs=n_jobs):
        receipts.append(receipt)
        if is_far:
            total.add(*receipt.counts)
        monitor.shards += 1
    receipts.sort(key=lambda receipt: path_key(receipt.first_unit))
    return receipts, n_jobs


def index_shard(task: ShardTask) -> Receipt:
    """Walk a shard, make its rows of both tables, and leave them in the spool."""
    start = time.perf_counter()
    begun_ns = time.time_ns()
    counter = (
        CounterFile(Path(task.counters)).slot(task.shard.index) if task.counters else Counter()
    )
    known = None
    if task.snapshot is not None:
        known = read_known(Path(task.snapshot), task.known_shards, task.shard.units)
    listings = KnownListings(known[1], known[0]) if known and task.quick else None
    walker = task.source(task.root, task.options, counter, listings)
    batches = list(walker.walk(task.shard.units))
    entries, changes = _compare(known and known[0], walker, join_batches(batches))
    directories = pl.LazyFrame(walker.directories())
    above = Path(task.root).as_posix()
    sessions = assemble_sessions(
        directories, above, lab=task.lab, namespace=task.namespace
    ).collect()
    datasets = assemble_datasets(
        entries.lazy(),
        directories,
        sessions.lazy(),
        namespace=task.namespace,
    ).collect()
    issues = walker.issues()
    if task.digests:
        datasets, unreadable = _digest(task, datasets, counter)
        issues = pa.concat_tables([issues, unreadable])
    n_changes = dict(changes["change"].value_counts().iter_rows())
    receipt = Receipt(
        path=str(Path(task.spool, task.shard.name)),
        first_unit=task.shard.units[0],
        n_units=len(task.shard.units),
        n_other_files=walker.n_other_files,
        n_changes=n_changes,
        is_whole=not any(kind in PASSING for kind in issues.column("kind").to_pylist()),
        counts=counter.total(),
        seconds=time.perf_counter() - start,
    )
    with shard_folder(Path(task.spool), task.shard) as folder:
        digests = _order_digests(entries, datasets)
        write_entries(folder, batches, walker.listings(), digests, begun_ns)
        write_rows(
            folder,
            sessions=_count_datasets(sessions, datasets),
            datasets=datasets.select("id", "rel_path", "file_size", *DIGESTS),
            issues=issues,
            changes=changes,
        )
        write_receipt(folder, task.shard, receipt)
    return receipt


def _compare(
    known: pl.DataFrame | None, walker: Walker, entries: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the entries with the digests that still hold, and CHANGES since the last index."""
    if known is None:
        no_changes = polars_schema(CHANGES).to_frame()
        return entries.with_columns(pl.lit("").alias(column) for column in DIGESTS), no_changes
    compared = compare_entries(known, entries)
    return compared, list_changes(known, compared, walker.issues())


def _count_datasets(sessions: pl.DataFrame, datasets: pl.DataFrame) -> pl.DataFrame:
    counts = datasets.group_by("session").agg(n_datasets=pl.len().cast(pl.UInt64))
    return sessions.join(counts, on="session", how="left", maintain_order="left").with_columns(
        pl.col("n_datasets").fill_null(0)
    )


def _order_digests(entries: pl.DataFrame, datasets: pl.DataFrame) -> pl.DataFrame:
    """Return the digests of each entry, '' where there is none."""
    if all((datasets[column] == "").all() for column in DIGESTS):
        return entries.select(DIGESTS)
    digests = datasets.select("directory", "name", *DIGESTS)
    joined = entries.drop(DIGESTS).join(
        digests, on=["directory", "name"], how="left", maintain_order="left"
    )
    return joined.select(pl.col(DIGESTS).fill_null(""))


def _digest(
    task: ShardTask, datasets: pl.DataFrame, counter: Counter
) -> tuple[pl.DataFrame, pa.Table]:
    """Complete the digests, '' where a file cannot be read, and return the issues of those."""
    columns = [DIGEST_COLUMNS[algorithm] for algorithm in task.digests]
    path = pl.concat_str("directory", "name", separator="/").str.strip_prefix("/")
    unread = (
        datasets.with_row_index("row")
        .filter(pl.any_horizontal(pl.col(columns) == ""))
        # The largest first, so that none is left at the end for one thread alone.
        .sort("file_size", descending=True)
        .select("row", path=path)
    )
    outcomes = digest_files(
        [f"{task.root}/{path}" for path in unread["path"]],
        task.digests,
        lambda n_bytes: counter.add(n_bytes=n_bytes),
        threads=task.digest_threads,
    )
    found: list[tuple[object, ...]] = []
    issues: list[tuple[object, ...]] = []
    for (row, path), outcome in zip(unread.iter_rows(), outcomes, strict=True):
        if isinstance(outcome, OSError):
            message = f"its content cannot be read, so it has no hash: {outcome.strerror}"
            issues.append(
                (printable(path), IssueKind.UNREADABLE_CONTENT.value, outcome.errno, message)
            )
        else:
            found.append((row, *outcome))
    schema = {"row": pl.UInt32} | dict.fromkeys(columns, pl.String)
    read = pl.DataFrame(found, schema, orient="row")
    completed = datasets.with_row_index("row").update(read, on="row").drop("row")
    return completed, make_table(issues, ISSUES)
