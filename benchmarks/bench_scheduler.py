"""Memory of a cluster's scheduler by tasks: `python benchmarks/bench_scheduler.py`.

A scheduler and two workers, each a process, get tasks of the size of shards that have nothing to
do, through the code that submits the shards of an index. After each number of tasks a row tells
the most memory up to then, and how many tasks the scheduler knew at a time. With `--in-process`
all of them are in this process, so that its memory is that of all, and no time goes to sockets.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import distributed
import psutil
from machine import describe_machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from clusters import HERE, TestCluster

from polars_alf.parallel import cluster, cluster_tasks

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class EmptyShard:
    """A task as large as a shard of some dated folders."""

    folders: tuple[str, ...]

    def find_unseen(self) -> str | None:
        """Return None: nothing is missing."""
        return None


class EmptyShards(Sequence[EmptyShard]):
    """Many of them, each made when it is asked for."""

    def __init__(self, n_tasks: int, n_folders: int) -> None:
        self._n_tasks = n_tasks
        self._n_folders = n_folders

    def __len__(self) -> int:
        return self._n_tasks

    def __getitem__(self, position: int) -> EmptyShard:  # type: ignore[override]
        if position >= self._n_tasks:
            raise IndexError(position)
        dates = (f"{2000 + day // 336}-{day // 28 % 12 + 1:02}" for day in range(self._n_folders))
        return EmptyShard(tuple(f"lab/Subjects/S{position:07}/{date}" for date in dates))


def do_nothing(shard: EmptyShard) -> int:
    """Return the number of folders."""
    return len(shard.folders)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--folders", type=int, default=48, help="dated folders of a task")
    parser.add_argument("--in-process", action="store_true", help="no process but this one")
    options = parser.parse_args()
    print(f"{describe_machine()}; {options.folders} folders a task\n")
    print("| tasks done | scheduler (MB) | at most (MB) | tasks there at most | command (MB) | s |")
    print("|---:|---:|---:|---:|---:|---:|", flush=True)
    start = start_here if options.in_process else start_processes
    with start() as (connected, pid, count), Watch(pid, count) as watch:
        for row in measure(connected, watch, sorted({0, *options.tasks}), options.folders):
            print(row, flush=True)


Started = tuple[cluster.Cluster, int, Callable[[], int]]
"""A cluster, the process of its scheduler, and what counts the tasks that this knows."""


@contextmanager
def start_processes() -> Iterator[Started]:
    """Start a scheduler and two workers, each a process."""
    with tempfile.TemporaryDirectory() as folder:
        paths = os.pathsep.join(map(str, (HERE.parent, HERE, Path(__file__).parent)))
        started = TestCluster(Path(folder) / "c", nanny=False, variables={"PYTHONPATH": paths})
        try:
            with cluster.connect(started.tcp) as connected:
                # By value, as a lambda is: the scheduler has nothing of this module.
                count = functools.partial(
                    connected.client.run_on_scheduler,
                    lambda dask_scheduler: len(dask_scheduler.tasks),
                )
                yield connected, started.scheduler.pid, count
        finally:
            started.stop()


@contextmanager
def start_here() -> Iterator[Started]:
    """Start a scheduler and two workers in this process."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as started,
        distributed.Client(started, set_as_default=False) as client,
    ):
        connected = cluster.Cluster(started.scheduler_address, client, 2, workers_seconds=120)
        yield connected, os.getpid(), lambda: len(started.scheduler.tasks)


def measure(
    connected: cluster.Cluster, watch: Watch, numbers: Sequence[int], n_folders: int
) -> Iterator[str]:
    """Run tasks on a cluster; yield a row of the table after each number of them."""
    tasks = EmptyShards(numbers[-1], n_folders)
    begin = time.perf_counter()
    yield watch.describe(0, 0)
    done = cluster_tasks.run_tasks(connected, do_nothing, tasks, n_jobs=connected.n_threads)
    for n_done, n_found in enumerate(done, start=1):
        if n_found != n_folders:
            sys.exit(f"error: a task had {n_found} folders, and not {n_folders}")
        if n_done in numbers:
            yield watch.describe(n_done, time.perf_counter() - begin)


class Watch:
    """A context that polls the memory of a scheduler and of this process, and the tasks there."""

    def __init__(self, pid: int, count: Callable[[], int]) -> None:
        self._processes = psutil.Process(pid), psutil.Process()
        self._count = count
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._peaks = [0, 0]
        self._most_tasks = 0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            self._look()
            self._most_tasks = max(self._most_tasks, self._count())

    def _look(self) -> list[int]:
        now = [process.memory_info().rss for process in self._processes]
        self._peaks = [*map(max, self._peaks, now)]
        return now

    def describe(self, n_done: int, seconds: float) -> str:
        """Return a row of the table."""
        now, (peak, own) = self._look()[0], self._peaks
        return (
            f"| {n_done:,} | {now / 1e6:,.0f} | {peak / 1e6:,.0f} | {self._most_tasks:,} "
            f"| {own / 1e6:,.0f} | {seconds:,.0f} |"
        )


if __name__ == "__main__":
    import bench_scheduler  # by the name that workers know it by

    bench_scheduler.main()
