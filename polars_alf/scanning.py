"""Scan an archive shard by shard: the part of the work that runs in parallel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import polars as pl
import pyarrow as pa

from polars_alf import spool, tables
from polars_alf.digests import digest_md5
from polars_alf.executors import Executor
from polars_alf.paths import printable
from polars_alf.progress import Counter, CounterFile
from polars_alf.schema import ENTRIES, ISSUES, IssueKind, make_table, polars_schema
from polars_alf.shards import Shard
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
    shard
        What to walk.
    spool
        Folder for the result.
    counters
        File to count in, see `polars_alf.progress`.
    lab
        Lab of sessions that lie in no lab's folder.
    namespace
        What UUIDs are made in; None makes ids of paths.
    hash_files
        Whether to read every dataset for its MD5.
    """

    root: str
    options: Options
    shard: Shard
    spool: str
    counters: str
    lab: str = ""
    namespace: UUID | None = None
    hash_files: bool = False


def index_shard(task: ShardTask) -> spool.Receipt:
    """Walk a shard, make its rows of both tables, and leave them in the spool."""
    counter = CounterFile(Path(task.counters)).slot(task.shard.index)
    walker = Walker(task.root, task.options, counter)
    entries = join_batches(walker.walk(task.shard.units))
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
    issues = [walker.issues()]
    if task.hash_files:
        hashes, unreadable = _digest(task.root, datasets, counter)
        issues.append(unreadable)
    else:
        hashes = pl.repeat("", len(datasets), eager=True)
    sizes = datasets.group_by("session").agg(
        n_datasets=pl.len().cast(pl.UInt64), n_bytes=pl.col("file_size").sum()
    )
    path = spool.write_shard(
        Path(task.spool),
        task.shard.name,
        sessions=sessions.join(sizes, on="session", how="left", maintain_order="left").with_columns(
            pl.col("n_datasets", "n_bytes").fill_null(0)
        ),
        datasets=datasets.select("id", "rel_path", "file_size", hashes.alias("hash")),
        issues=pa.concat_tables(issues),
    )
    return spool.Receipt(
        shard=task.shard.index,
        path=str(path),
        n_other_files=walker.n_other_files,
    )


def join_batches(batches: Iterable[pa.RecordBatch]) -> pl.DataFrame:
    """Return ENTRIES, names as strings."""
    names = pl.col("directory", "name").cast(pl.String)
    frames = [pl.DataFrame(batch).with_columns(names) for batch in batches]
    return pl.concat([polars_schema(ENTRIES).to_frame(), *frames])


def _digest(root: str, datasets: pl.DataFrame, counter: Counter) -> tuple[pl.Series, pa.Table]:
    """Return the MD5 of each dataset, '' where it cannot be read, and the issues of those."""
    hashes, issues = [], []
    paths = pl.concat_str("session", "rel_path", separator="/").str.strip_prefix("/")
    for path in datasets.select(paths).to_series():
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
    return pl.Series(hashes, dtype=pl.String), make_table(issues, ISSUES)
