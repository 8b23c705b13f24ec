"""Scan an archive shard by shard: the part of the work that runs in parallel."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from polars_alf import spool, tables
from polars_alf.checks import check_op_timeout, check_root, check_threads, parse_exclude
from polars_alf.digests import digest_md5
from polars_alf.executors import Executor, check_executor, count_workers, run_tasks
from polars_alf.paths import printable
from polars_alf.progress import Counter, CounterFile
from polars_alf.schema import ENTRIES, ISSUES, IssueKind, make_table, polars_schema
from polars_alf.shards import Shard, plan_shards
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
    entries = _read_entries(walker, task.shard)
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


def scan_archive(
    root: str | os.PathLike[str],
    *,
    n_jobs: int | None = None,
    executor: Executor | None = None,
    follow_links: bool = False,
    exclude: str | Sequence[str] = (),
    threads: int | None = None,
    op_timeout: float | None = None,
) -> pl.LazyFrame:
    """Walk an archive as a lazy frame: its dataset files, when the frame is collected.

    Parameters
    ----------
    root
        An archive, a lab, a Subjects folder, a subject, a date or a session.
    n_jobs, executor, follow_links, exclude, threads, op_timeout
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
    op_timeout = check_op_timeout(op_timeout)
    path = str(check_root(root, op_timeout))
    options = Options(
        follow_links,
        parse_exclude(exclude),
        threads=check_threads(threads),
        op_timeout=op_timeout,
    )
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
    _read_entries(walker, task.shard).write_ipc(path, compat_level=pl.CompatLevel.newest())
    return str(path)


def _read_entries(walker: Walker, shard: Shard) -> pl.DataFrame:
    """Return the ENTRIES of a shard, names as strings."""
    names = pl.col("directory", "name").cast(pl.String)
    batches = [pl.DataFrame(batch).with_columns(names) for batch in walker.walk(shard.units)]
    return pl.concat([polars_schema(ENTRIES).to_frame(), *batches])


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
