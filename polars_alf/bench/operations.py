"""Operations to measure, and their calls: many at once, in the threads of several processes.

Each process runs a `Task` and returns an `Outcome`. The threads of all processes start together,
and each goes through items of its own until the time is up.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import polars as pl

from polars_alf.alf.paths import temporary_folder
from polars_alf.alf.root import open_root
from polars_alf.bench.meters import Meter, OverheadKind, count_latencies, measure_overhead
from polars_alf.errors import BenchError
from polars_alf.parallel.progress import CounterFile
from polars_alf.walk.concurrency import read_delay
from polars_alf.walk.digests import Algorithm, digest_file
from polars_alf.walk.lister import Lister
from polars_alf.walk.options import WalkOptions

CHUNK = 1 << 20
"""Bytes of a piece; smaller files are read whole."""

UNLIMITED = 1e6
"""Seconds for work that has to be finished, however long it takes."""

_START_SECONDS = 60.0
"""Longest wait for all processes to start."""

_POLL_SECONDS = 0.0005

_READ_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)

_CREATE_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)


class Operation(StrEnum):
    """The operations, in the order in which they are measured."""

    CREATE = "create"
    RENAME = "rename"
    DELETE = "delete"
    LIST = "list"
    STAT = "stat"
    READ = "read"
    STREAM = "stream"
    MD5 = "md5"
    XXH3 = "xxh3"
    INDEX = "index"


CHANGING = (Operation.CREATE, Operation.RENAME, Operation.DELETE)
"""Operations that change the storage; each file serves once."""

STREAMING = (Operation.STREAM, Operation.MD5, Operation.XXH3)
"""Operations that read large files, so that bytes count instead of files."""

DESCRIPTIONS = {
    Operation.CREATE: "make an empty file",
    Operation.RENAME: "rename a file in its folder",
    Operation.DELETE: "remove a file",
    Operation.LIST: "open and list a folder",
    Operation.STAT: "stat a file by its path",
    Operation.READ: "open and read a small file",
    Operation.STREAM: "read a large file in pieces of 1 MiB",
    Operation.MD5: "read a large file for its MD5",
    Operation.XXH3: "read a large file for its XXH3",
    Operation.INDEX: "index the whole archive; a file counts as an operation",
}


@dataclass(frozen=True, slots=True)
class Level:
    """Number of calls under way at once, and of the processes that make them."""

    concurrency: int
    jobs: int

    @property
    def threads(self) -> int:
        """Most threads of a process."""
        return -(-self.concurrency // self.jobs)


Shares = Sequence[Sequence[Sequence[Any]]]
"""The items of each thread, by process."""


def plan_levels(concurrencies: Sequence[int], jobs: int) -> list[Level]:
    """Return levels in rising order, each with as many processes as possible."""
    return [Level(wanted, min(wanted, jobs)) for wanted in sorted(set(concurrencies))]


def share_out(items: Sequence[Any], level: Level) -> Shares:
    """Return shares of neighbouring items, none empty; with too few items some threads share one.

    Items are paths; for a rename pairs of paths; to write, paths and sizes.
    """
    n, total = len(items), level.concurrency
    shares = [items[n * i // total : n * (i + 1) // total] or [items[i % n]] for i in range(total)]
    return [shares[job :: level.jobs] for job in range(level.jobs)]


@dataclass(frozen=True, slots=True)
class Task:
    """Work of one process."""

    operation: Operation | None  # None writes files
    root: str
    shares: Sequence[Sequence[Any]]  # items of each thread
    seconds: float  # most time
    once: bool  # each item serves once, so that the work may end sooner
    counters: str | None = None  # file in which processes count themselves, to start together
    job: int = 0
    n_jobs: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """Measurement of one process."""

    counts: list[int]  # operations of each thread
    n_bytes: int  # read by all threads
    begin_ns: int  # of the first thread
    end_ns: int  # of the last thread
    work_seconds: float  # processor time
    delay_seconds: float  # time that threads waited for a processor busy with other work
    overhead_ns: float  # Python's own share of each call
    histogram: pl.DataFrame  # latencies without that share


def run_operation(
    operation: Operation | None,
    shares: Shares,
    *,
    pool: Executor,
    root: Path,
    seconds: float,
    once: bool = True,
) -> list[Outcome]:
    """Run an operation, or write files, in as many processes and threads as there are shares.

    Outcomes are in the order of the shares. BenchError is raised where a call failed or the
    processes did not start.
    """
    if len(shares) == 1:
        return [perform(Task(operation, str(root), shares[0], seconds, once))]
    with temporary_folder() as folder:
        counters = folder / "counters"
        CounterFile.create(counters, len(shares))
        tasks = [
            Task(operation, str(root), share, seconds, once, str(counters), job, len(shares))
            for job, share in enumerate(shares)
        ]
        with warnings.catch_warnings():
            # Workers may have left while an index had no work for them.
            warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
            return [future.result() for future in [pool.submit(perform, task) for task in tasks]]


def perform(task: Task) -> Outcome:
    """Run a task, each share in a thread of its own."""
    meters = [Meter(task.seconds) for _ in task.shares]
    errors: list[Exception] = []
    delays: list[float] = []

    def run(meter: Meter, share: Sequence[Any]) -> None:
        items = share if task.once else cycle(share)
        delay = read_delay()
        try:
            call = _CALLS[task.operation](task, meter)
            if task.operation in STREAMING:
                meter.stream(call, items)
            else:
                meter.repeat(call, items)
        except Exception as error:  # raised again by the main thread
            errors.append(error)
        delays.append(read_delay() - delay)

    kind = _OVERHEAD_KINDS.get(task.operation, "loop")
    overhead_before = measure_overhead(kind)
    _await_others(task)
    work = time.process_time()
    if len(meters) == 1:
        run(meters[0], task.shares[0])
    else:
        _run_threads(run, meters, task.shares)
    if errors:
        raise _explain(errors[0], task)
    work = time.process_time() - work
    # Processors change their pace: the overhead of the calls lies between before and after.
    overhead_ns = (overhead_before + measure_overhead(kind)) / 2
    return Outcome(
        counts=[len(meter.latencies) for meter in meters],
        n_bytes=sum(meter.n_bytes for meter in meters),
        begin_ns=min(meter.begin_ns for meter in meters),
        end_ns=max(meter.end_ns for meter in meters),
        work_seconds=work,
        delay_seconds=sum(delays),
        overhead_ns=overhead_ns,
        histogram=count_latencies([meter.latencies for meter in meters], overhead_ns),
    )


def _await_others(task: Task) -> None:
    """Wait until all processes have started."""
    if task.counters is None:
        return
    counters = CounterFile(Path(task.counters))
    counters.slot(task.job).add(files=1)
    deadline = time.monotonic() + _START_SECONDS
    while counters.total()[0] < task.n_jobs:
        if time.monotonic() > deadline:
            raise BenchError(
                f"{task.n_jobs} worker processes did not start within {_START_SECONDS:.0f} s; "
                "give fewer with --jobs"
            )
        time.sleep(_POLL_SECONDS)


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
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        for meter in meters:
            meter.stop()
        for thread in threads:
            if thread.ident:
                thread.join()
        raise


def _explain(error: Exception, task: Task) -> Exception:
    """Return an OSError as a BenchError that names the call, any other error as it is."""
    if not isinstance(error, OSError):
        return error
    call = DESCRIPTIONS[task.operation] if task.operation else "write a file"
    return BenchError(
        error.errno,
        f"the storage failed to {call}: {error.strerror or error}, {error.filename or task.root}; "
        "see to its free space, its permissions and its mount",
    )


def _write(file: tuple[str, int]) -> None:
    path, size = file
    descriptor = os.open(path, _CREATE_FLAGS, 0o666)
    with os.fdopen(descriptor, "wb", buffering=0) as target:
        while size > 0:
            # No file system can compress or deduplicate these bytes.
            size -= target.write(os.urandom(min(size, CHUNK)))


def _create(path: str) -> None:
    os.close(os.open(path, _CREATE_FLAGS, 0o666))


def _rename(pair: tuple[str, str]) -> None:
    os.rename(pair[0], pair[1])  # noqa: PTH104  the time of a Path would count, too


def _read(path: str) -> None:
    descriptor = os.open(path, _READ_FLAGS)
    try:
        os.read(descriptor, CHUNK)
    finally:
        os.close(descriptor)


def _make_lister(task: Task, _: Meter) -> Callable[[str], None]:
    """Return a call that opens and lists a directory as an index does."""
    lister = Lister(open_root(task.root), WalkOptions(), lambda _: False)

    def list_directory(directory: str) -> None:
        lister.read([directory], in_session=False)

    return list_directory


def _make_reader(
    _: Task, meter: Meter, algorithms: Sequence[Algorithm] = ()
) -> Callable[[str], object]:
    """Return a call that reads one file for these digests."""
    return lambda path: digest_file(path, algorithms, meter.tick)


_CALLS: dict[Operation | None, Callable[[Task, Meter], Callable[[Any], object]]] = {
    None: lambda *_: _write,
    Operation.CREATE: lambda *_: _create,
    Operation.RENAME: lambda *_: _rename,
    Operation.DELETE: lambda *_: os.unlink,
    Operation.LIST: _make_lister,
    Operation.STAT: lambda *_: os.stat,
    Operation.READ: lambda *_: _read,
    Operation.STREAM: _make_reader,
    Operation.MD5: partial(_make_reader, algorithms=["md5"]),
    Operation.XXH3: partial(_make_reader, algorithms=["xxh3_128"]),
}

_OVERHEAD_KINDS: dict[Operation | None, OverheadKind] = {
    Operation.STAT: "stat",
    Operation.CREATE: "open",
    Operation.READ: "open",
}
