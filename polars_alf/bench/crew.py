"""The processes that measure, on this machine or on several, and what each of them does.

Each process runs a `Task` and returns an `Outcome`. The threads of all processes start together,
and each goes through items of its own until the time is up.
"""

from __future__ import annotations

import importlib
import threading
import time
import uuid
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from polars_alf.alf.paths import temporary_folder
from polars_alf.alf.process_limits import start_threads
from polars_alf.bench.meters import SLOT_NS, Meter, count_done, count_latencies
from polars_alf.bench.operations import STREAMING, Operation, Shares
from polars_alf.bench.place import Place
from polars_alf.errors import BenchError
from polars_alf.native.effort import read_delay
from polars_alf.parallel import cluster, cluster_tasks
from polars_alf.parallel.executors import count_workers, open_processes
from polars_alf.parallel.progress import CounterFile

_START_SECONDS = 60.0
"""Longest wait for all processes to start."""

_POLL_SECONDS = 0.0005


class Start(Protocol):
    """The moment at which all processes of a measurement start."""

    def wait(self, job: int) -> None:
        """Say that one of them is ready, and wait for the others; BenchError if that is long."""


@dataclass(frozen=True, slots=True)
class Task:
    """Work of one process."""

    operation: Operation | None  # None writes files
    place: Place
    shares: Sequence[Sequence[Any]]  # items of each thread
    seconds: float  # most time
    once: bool  # each item serves once, so that the work may end sooner
    job: int = 0
    start: Start | None = None  # None where there is no other process to wait for

    def __str__(self) -> str:
        return f"the measurement of {self.operation or 'writing'} in {self.place}"

    def find_unseen(self) -> str | None:
        """Return the folder of the run where this machine does not see it, else None."""
        return self.place.find_unseen()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Measurement of one process."""

    counts: list[int]  # operations of each thread
    n_bytes: int  # read by all threads
    begin_ns: int  # of the first thread
    end_ns: int  # of the last thread
    work_seconds: float  # processor time
    delay_seconds: float  # time that threads waited for a processor busy with other work
    histogram: pl.DataFrame  # of the latencies
    timeline: pl.DataFrame  # TIMELINE by the clock of the machine


class Crew(ABC):
    """So many processes that measure together; `executor` is where an index by them runs."""

    def __init__(self, n_jobs: int, executor: str | None) -> None:
        self.n_jobs = n_jobs
        self.executor = executor

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Run tasks at the same time, one in each process, and return outcomes in their order."""


class LocalCrew(Crew):
    """Processes of this machine."""

    def __init__(self, pool: Executor, n_jobs: int) -> None:
        super().__init__(n_jobs, None)
        self._pool = pool

    def run(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Run tasks at the same time, one in each process."""
        if len(tasks) == 1:
            return [perform(tasks[0])]
        with temporary_folder() as folder:
            counters = folder / "counters"
            CounterFile.create(counters, len(tasks))
            start = _LocalStart(str(counters), len(tasks))
            with warnings.catch_warnings():
                # Workers may have left while an index had no work for them.
                warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
                futures = [self._pool.submit(perform, replace(task, start=start)) for task in tasks]
                return [future.result() for future in futures]


class ClusterCrew(Crew):
    """Workers of a Dask cluster, on one machine or on many."""

    def __init__(self, workers: cluster.Cluster, address: str, n_jobs: int) -> None:
        super().__init__(n_jobs, address)
        self._workers = workers

    def run(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Run tasks at the same time, one in each worker."""
        if len(tasks) > 1:
            start = _ClusterStart(f"polars-alf-bench-{uuid.uuid4().hex}", len(tasks))
            tasks = [replace(task, start=start) for task in tasks]
        results = cluster_tasks.run_tasks(
            self._workers, perform, tasks, n_jobs=len(tasks), ordered=True
        )
        return [_from_zero(outcome) for outcome in results]


@contextmanager
def open_crew(executor: str | None, n_jobs: int | None) -> Iterator[Crew]:
    """Yield a crew of this machine, or of the cluster with the address `executor`."""
    if executor is None:
        n_processes = count_workers(n_jobs)
        with open_processes(n_processes, __name__) as pool:
            yield LocalCrew(pool, n_processes)
    else:
        with cluster.connect(executor) as workers:
            yield ClusterCrew(workers, executor, count_workers(n_jobs, workers))


def run_operation(
    operation: Operation | None,
    shares: Shares,
    *,
    crew: Crew,
    place: Place,
    seconds: float,
    once: bool = True,
) -> list[Outcome]:
    """Run an operation, or write files, in as many processes and threads as there are shares.

    Outcomes are in the order of the shares. BenchError is raised where a call failed or the
    processes did not start.
    """
    return crew.run(
        [Task(operation, place, share, seconds, once, job) for job, share in enumerate(shares)]
    )


def perform(task: Task) -> Outcome:
    """Run a task, each share in a thread of its own."""
    meters = [Meter(task.seconds) for _ in task.shares]
    errors: list[Exception] = []
    delays: list[float] = []

    def run(meter: Meter, share: Sequence[Any]) -> None:
        items = share if task.once else cycle(share)
        delay = read_delay()
        try:
            call = task.place.make_call(task.operation, meter)
            if task.operation in STREAMING:
                meter.stream(call, items)
            else:
                meter.repeat(call, items)
        except Exception as error:  # raised again by the main thread
            errors.append(error)
        delays.append((read_delay() - delay) / 1e9)

    if task.start:
        task.start.wait(task.job)
    work = time.process_time()
    if len(meters) == 1:
        run(meters[0], task.shares[0])
    else:
        _run_threads(run, meters, task.shares)
    if errors:
        raise task.place.explain(errors[0], task.operation)
    return Outcome(
        counts=[len(meter.latencies) for meter in meters],
        n_bytes=sum(meter.n_bytes for meter in meters),
        begin_ns=min(meter.begin_ns for meter in meters),
        end_ns=max(meter.end_ns for meter in meters),
        work_seconds=time.process_time() - work,
        delay_seconds=sum(delays),
        histogram=count_latencies([meter.latencies for meter in meters]),
        timeline=count_done(meters),
    )


@dataclass(frozen=True, slots=True)
class _LocalStart:
    """A start of processes that count themselves in a file."""

    counters: str
    n_jobs: int

    def wait(self, job: int) -> None:
        counters = CounterFile(Path(self.counters))
        counters.slot(job).add(files=1)
        deadline = time.monotonic() + _START_SECONDS
        while counters.total()[0] < self.n_jobs:
            if time.monotonic() > deadline:
                raise _describe_late(self.n_jobs)
            time.sleep(_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class _ClusterStart:
    """A start of workers that tell the scheduler: files may show late on another machine."""

    name: str
    n_jobs: int

    def wait(self, job: int) -> None:
        event_type = importlib.import_module("distributed").Event
        start = event_type(self.name)
        is_ready = [event_type(f"{self.name}-{other}") for other in range(1, self.n_jobs)]
        if job:
            is_ready[job - 1].set()
        elif all(event.wait(_START_SECONDS) for event in is_ready):
            start.set()
            for event in is_ready:  # the scheduler keeps what is set
                event.clear()
        if not start.wait(_START_SECONDS):
            raise _describe_late(self.n_jobs)


def _describe_late(n_jobs: int) -> BenchError:
    return BenchError(
        f"{n_jobs} worker processes did not start within {_START_SECONDS:.0f} s; give fewer with "
        "--jobs"
    )


def _from_zero(outcome: Outcome) -> Outcome:
    """Return an outcome as if its machine's clock had begun with it: each has one of its own."""
    begin = outcome.begin_ns // SLOT_NS * SLOT_NS
    timeline = outcome.timeline.with_columns(pl.col("slot") - begin // SLOT_NS)
    return replace(
        outcome, begin_ns=outcome.begin_ns - begin, end_ns=outcome.end_ns - begin, timeline=timeline
    )


def _run_threads(
    run: Callable[[Meter, Sequence[Any]], None],
    meters: Sequence[Meter],
    shares: Sequence[Sequence[Any]],
) -> None:
    threads = [
        threading.Thread(target=run, args=pair, daemon=True)
        for pair in zip(meters, shares, strict=True)
    ]
    try:
        start_threads(threads)
        for thread in threads:
            thread.join()
    except BaseException:
        for meter in meters:
            meter.stop()
        for thread in threads:
            if thread.ident:
                thread.join()
        raise
