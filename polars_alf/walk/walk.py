"""The parallel walk of an archive: survey it, cut it into shards, have workers visit them."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import polars as pl
import pyarrow as pa

from polars_alf.alf.paths import temporary_folder
from polars_alf.alf.root import Root
from polars_alf.native import IMPLEMENTATION
from polars_alf.parallel.executors import (
    Backend,
    Workers,
    choose_workers,
    count_workers,
    find_obstacle,
    open_workers,
    run_tasks,
)
from polars_alf.parallel.pacer import NO_PACER, Pacer
from polars_alf.parallel.progress import Counter, CounterFile, Monitor, Progress
from polars_alf.walk.ahead import find_ahead
from polars_alf.walk.concurrency import is_slow, visits
from polars_alf.walk.known import KnownListings
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.shards import LEAST_FOLDERS, SHARDS_WANTED, Shard, plan_shards, shard_folder
from polars_alf.walk.sources import AnyWalker, open_walker

SHARDS_PER_WORKER = 4
"""Shards for each of many workers: so that the last shards keep few of them waiting."""

FEW_SHARDS = 8
"""Shards up to which a run stays in one process: starting others takes longer."""

THREADS_AT_ONCE = 3
"""Workers that are threads at most where much is to be listed: of a shard's work a third is done in
Python, by one thread at a time."""

MANY_FOLDERS = 16_384
"""Dated folders above which that outweighs the second that other processes take to start."""

SLOW_WORKERS = 16
"""Workers that are threads where storage is slow: each waits for the last call of its shard."""

BUCKET_WORKERS = 4
"""Workers of a bucket, at least, each with the keys of its shard in memory."""

_Result_co = TypeVar("_Result_co", covariant=True)
_Result = TypeVar("_Result")


class Visit(Protocol[_Result_co]):
    """Work on one shard by one worker. An instance can be pickled; its results are small."""

    def __call__(self, walker: AnyWalker, shard: Shard) -> _Result_co:
        """Visit a shard with a walker of its own."""


@dataclass(slots=True)
class Survey:
    """The dated folders of an archive, and what lies above them.

    Parameters
    ----------
    folders
        String: dated folders, relative to the root, in no particular order; sessions where the
        root is a date or a session.
    issues
        ISSUES found above them.
    n_other_files
        Files above them.
    listings
        LISTINGS of the directories above them, None where they are kept already.
    begun_ns
        When the survey began, in ns since the epoch.
    """

    folders: pl.Series
    issues: pa.Table
    n_other_files: int
    listings: pa.Table | None
    begun_ns: int

    def forget_folders(self) -> None:
        """Forget the dated folders, some hundred bytes for each."""
        self.folders = self.folders.clear()


@contextmanager
def open_walk(
    root: Root, options: WalkOptions, progress: Callable[[Progress], None] | None = None
) -> Iterator[Walk]:
    """Open the walk of an archive, and with it the cluster that the options may name.

    Parameters
    ----------
    progress
        Called a few times a second, from another thread.

    Raises
    ------
    MissingExtraError, ScanError
        Dask is not installed, or the cluster does not answer.
    """
    counter = Counter()
    with (
        open_workers(options.executor) as place,
        Monitor(progress, counter) as monitor,
    ):
        yield Walk(root, options, place, monitor, counter)


class Walk:
    """The walk of one archive, by one process or many; see `open_walk`."""

    def __init__(
        self,
        root: Root,
        options: WalkOptions,
        place: Backend | None,
        monitor: Monitor,
        counter: Counter,
    ) -> None:
        self.root = root
        self.options = options
        self.monitor = monitor
        self.pacer = Pacer(options.max_rate)
        self._place = place
        self._counter = counter

    def survey(self, known: KnownListings | None = None) -> Survey:
        """Find the dated folders of the archive; `known` are listings of an earlier survey."""
        # They are of this machine, also where a cluster is to do the rest.
        can_share = IMPLEMENTATION == "native" and self._place != "serial"
        n_threads = count_workers(self.options.n_jobs) if can_share else 1
        walker = open_walker(
            self.root, self.options, self._counter, n_threads=n_threads, pacer=self.pacer
        )
        begun_ns = time.time_ns()
        folders = pl.Series("folder", walker.survey(known), pl.String)
        ahead = find_ahead(str(self.root))
        if ahead and not is_slow(str(self.root)):
            ahead.stop()  # it would only be in the way of whoever lists from here on
        return Survey(folders, walker.issues(), walker.n_other_files, walker.listings(), begun_ns)

    def count_workers(self) -> int:
        """Return how many workers the options allow, or there are processors for."""
        return count_workers(self.options.n_jobs, self._place)

    def lists_fast(self) -> bool:
        """Whether to list many directories takes less time than to compare them one by one.

        So it does where the storage has answered at once up to now, and nothing holds calls back.
        """
        is_held_back = self.options.op_timeout is not None or self.options.max_rate is not None
        return IMPLEMENTATION == "native" and not is_held_back and not is_slow(str(self.root))

    def choose_workers(self, n_tasks: int, *, idle: bool = False, n_folders: int = 0) -> Workers:
        """Return the workers that are fastest for so many tasks, where the options leave that.

        Tasks that only wait for the storage are idle. Where that is slow, or Python does the work,
        the threads that look ahead within one task overlap more than tasks would. `n_folders` is
        how many dated folders the tasks make rows of, without reading files.
        """
        is_native = IMPLEMENTATION == "native"
        if idle and self._place is None and (not is_native or is_slow(str(self.root))):
            return Workers("serial", 1)
        workers = choose_workers(self._place, self.options.n_jobs, n_tasks, few=FEW_SHARDS)
        is_free = self._place is None and self.options.n_jobs is None
        if is_free and n_tasks > 1 and self.root.is_bucket:
            # Requests go on beside each other in one process: workers are for what is listed.
            return Workers("threads", min(max(BUCKET_WORKERS, workers.n_jobs), n_tasks))
        if is_free and n_tasks > 1 and is_native and is_slow(str(self.root)):
            n_jobs = min(max(SLOW_WORKERS, workers.n_jobs), n_tasks)
            return Workers("threads", n_jobs)
        is_much = n_folders > MANY_FOLDERS and workers.n_jobs > THREADS_AT_ONCE
        # Threads share a rate, and the requests to a bucket; processes would divide them.
        stays_here = self._place or self.root.is_bucket or self.options.max_rate is not None
        if is_much and not stays_here and not find_obstacle(workers.n_jobs - 1):
            return Workers("processes", workers.n_jobs)
        return workers

    def plan_shards(
        self,
        folders: pl.Series,
        *,
        least: int = LEAST_FOLDERS,
        finished: Collection[str] = frozenset(),
    ) -> list[Shard]:
        """Bundle dated folders into shards, as many as the workers need."""
        n_jobs = self.choose_workers(-(-len(folders) // least)).n_jobs
        wanted = max(SHARDS_WANTED, SHARDS_PER_WORKER * n_jobs)
        if is_slow(str(self.root)):
            # Whole rounds: a few shards more would keep nearly all workers waiting for a last one.
            n_rounds = max(min(len(folders) // least, wanted) // n_jobs, 1)
            least = max(least, -(-len(folders) // (n_rounds * n_jobs)))
        return plan_shards(folders, least=least, wanted=wanted, finished=finished)

    def visit(
        self,
        tasks: Sequence[tuple[Shard, Visit[_Result]]],
        folder: Path,
        *,
        workers: Workers | None = None,
        n_resumed: int = 0,
        ordered: bool = False,
    ) -> Iterator[_Result]:
        """Have workers visit shards, and yield what the visits return.

        Parameters
        ----------
        tasks
            Shards, indexed from 0 on, and what to do with each.
        folder
            Where workers count, and visits may write; all workers must see it.
        workers
            Who visits, by default `choose_workers`.
        n_resumed
            Shards that an earlier run had finished, for progress.
        ordered
            Whether results come in the order of the shards; else as they are done.
        """
        workers = workers or self.choose_workers(len(tasks))
        counters = CounterFile.create(folder / "counters", len(tasks))
        self.monitor.begin_scan(counters, len(tasks), n_resumed)
        # Machines that write to the same page of a shared file system undo each other's figures.
        path = str(folder / "counters") if workers.is_local else None
        total = counters.slot(0)
        stop = threading.Event() if workers.backend == "threads" else None
        # The last shards may have processors to share, where threads can use those.
        is_here = self._place in (None, "threads") and workers.backend != "processes"
        is_shared = IMPLEMENTATION == "native" and is_here
        n_threads = self.count_workers() if is_shared else 1
        n_alone = len(tasks) - workers.n_jobs
        # Threads share one pacer. Others have nothing in common: each gets a share, used or not.
        is_one_process = workers.backend in ("serial", "threads")
        pacer = self.pacer if is_one_process else self.pacer.divide(min(workers.n_jobs, len(tasks)))
        found = run_tasks(
            _visit_shard,
            [
                _Task(
                    self.root,
                    self.options,
                    shard,
                    visit,
                    folder,
                    path,
                    stop,
                    n_threads if position >= n_alone else 1,
                    pacer,
                )
                for position, (shard, visit) in enumerate(tasks)
            ],
            workers,
            ordered=ordered,
            stop=stop,
            is_limited=self.options.max_rate is not None,
        )
        for result, counts in found:
            if counts is not None:
                total.include(counts)
            self.monitor.shards += 1
            yield result

    def visit_frames(
        self,
        tasks: Sequence[tuple[Shard, Visit[Mapping[str, pl.DataFrame]]]],
        *,
        workers: Workers | None = None,
    ) -> Iterator[dict[str, pl.DataFrame]]:
        """Have workers visit shards for frames, and yield these in the order of the shards.

        The frames pass through a temporary folder. A cluster needs one that all its machines
        share, see `tempfile.gettempdir`.
        """
        with temporary_folder() as folder:
            leave = [(shard, WriteFrames(visit, folder)) for shard, visit in tasks]
            for name in self.visit(leave, folder, workers=workers, ordered=True):
                paths = sorted((folder / name).iterdir())
                yield {path.stem: pl.scan_ipc(path, glob=False).collect() for path in paths}
                shutil.rmtree(folder / name, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class WriteFrames:
    """Write what a visit makes of a shard into the shard's folder: no frame goes through a pipe."""

    visit: Visit[Mapping[str, pl.DataFrame]]
    folder: Path
    compression: Literal["uncompressed", "lz4"] = "uncompressed"

    def __call__(self, walker: AnyWalker, shard: Shard) -> str:
        """Return the name of the shard's folder."""
        frames = self.visit(walker, shard)
        with shard_folder(self.folder, shard.name) as folder:
            for name, frame in frames.items():
                frame.write_ipc(
                    folder / f"{name}.arrow",
                    compression=self.compression,
                    compat_level=pl.CompatLevel.newest(),
                )
        return shard.name


@dataclass(frozen=True, slots=True)
class _Task(Generic[_Result]):
    """A shard for a worker; as a string, it names what it is about."""

    root: Root
    options: WalkOptions
    shard: Shard
    visit: Visit[_Result]
    folder: Path
    counters: str | None
    stop: threading.Event | None = None
    n_threads: int = 1
    pacer: Pacer = NO_PACER

    def __str__(self) -> str:
        return f"the shard from {self.shard.folders[0]} to {self.shard.folders[-1]}"

    def find_unseen(self) -> str | None:
        """Return a path that the task needs and this machine lacks, None where all is there."""
        if not os.access(self.folder, os.W_OK | os.X_OK):
            return str(self.folder)
        if self.options.inventory:
            return None if Path(self.options.inventory).is_dir() else self.options.inventory
        if self.root.is_bucket:
            return None
        # Files come and go, but hardly all of a shard at once. An archive that is not mounted
        # here would otherwise look like one that was emptied.
        if not any(Path(self.root.locate(path)).exists() for path in self.shard.folders):
            return self.root.locate(self.shard.folders[0])
        return None


def _visit_shard(task: _Task[Any]) -> tuple[Any, list[int] | None]:
    """Visit a shard; return the result, and what was counted where that could not be shared."""
    counter = Counter()
    if task.counters is not None:
        counter = CounterFile(Path(task.counters)).slot(task.shard.index, task.stop)
    with visits.under_way():
        walker = open_walker(
            task.root, task.options, counter, n_threads=task.n_threads, pacer=task.pacer
        )
        result = task.visit(walker, task.shard)
    # Until the turn after its last call: the pacer of this worker's next shard may be another one.
    task.pacer.wait(0)
    return result, counter.figures() if task.counters is None else None
