"""Scan an archive shard by shard: the part of the work that runs in parallel."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

import polars as pl
import pyarrow as pa

from polars_alf import spool, tables
from polars_alf.digests import digest_md5
from polars_alf.executors import Executor, Workers, count_workers, run_tasks
from polars_alf.paths import printable
from polars_alf.progress import Counter, CounterFile, Monitor
from polars_alf.runs import Run
from polars_alf.schema import (
    CHANGES,
    ENTRIES,
    ISSUES,
    PASSING,
    IssueKind,
    make_table,
    polars_schema,
)
from polars_alf.shards import (
    SHARDS_PER_WORKER,
    SHARDS_WANTED,
    Shard,
    are_few,
    path_key,
    plan_shards,
)
from polars_alf.snapshots import Snapshot, compare_entries, list_changes, read_known, write_entries
from polars_alf.sources.known import KnownListings
from polars_alf.sources.listing import Options
from polars_alf.sources.posix import Walker

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
    hash_files: bool = False
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
) -> tuple[list[spool.Receipt], int]:
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
    if workers is None and not task.hash_files and are_few(units, FEW_SHARDS):
        n_jobs = 1
    n_jobs = count_workers(n_jobs, workers)
    # Files that are read take longer than any shard's own cost.
    least = 1 if task.hash_files else None
    wanted = max(SHARDS_WANTED, SHARDS_PER_WORKER * n_jobs)
    shards = plan_shards(units, least, run.finished, wanted=wanted)
    n_jobs = min(n_jobs, max(len(shards), 1))
    workers = workers or choose_executor(len(shards), n_jobs, hash_files=task.hash_files)
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
    return receipts, 1 if workers == "serial" else n_jobs


def index_shard(task: ShardTask) -> spool.Receipt:
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
        hashes = _order_hashes(entries, datasets)
        write_entries(folder, batches, walker.listings(), hashes, begun_ns)
        spool.write_rows(
            folder,
            sessions=_count_datasets(sessions, datasets),
            datasets=datasets.select("id", "rel_path", "file_size", "hash"),
            issues=issues,
            changes=changes,
        )
        spool.write_receipt(folder, task.shard, receipt)
    return receipt


def _compare(
    known: pl.DataFrame | None, walker: Walker, entries: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the entries with the ``hash`` that still holds, and CHANGES since the last index."""
    if known is None:
        no_changes = polars_schema(CHANGES).to_frame()
        return entries.with_columns(hash=pl.lit("")), no_changes
    compared = compare_entries(known, entries)
    return compared, list_changes(known, compared, walker.issues())


def _count_datasets(sessions: pl.DataFrame, datasets: pl.DataFrame) -> pl.DataFrame:
    counts = datasets.group_by("session").agg(n_datasets=pl.len().cast(pl.UInt64))
    return sessions.join(counts, on="session", how="left", maintain_order="left").with_columns(
        pl.col("n_datasets").fill_null(0)
    )


def _order_hashes(entries: pl.DataFrame, datasets: pl.DataFrame) -> pl.Series:
    """Return the hash of each entry, '' where there is none."""
    if not (datasets["hash"] != "").any():
        return pl.repeat("", len(entries), eager=True)
    hashes = datasets.select("directory", "name", "hash")
    joined = entries.drop("hash").join(
        hashes, on=["directory", "name"], how="left", maintain_order="left"
    )
    return joined["hash"].fill_null("")


def join_batches(batches: Iterable[pa.RecordBatch]) -> pl.DataFrame:
    """Return batches as ENTRIES, names as strings."""
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
