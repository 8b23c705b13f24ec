"""The operations that are measured, one call at a time in each of many threads.

A worker gets a `Task` and answers with an `Outcome`; threads of all workers begin at the same
instant, and each goes through items of its own until the time is up.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import polars as pl

from polars_alf.alf.root import open_root
from polars_alf.bench.meters import (
    CHUNK,
    READ_FLAGS,
    Kind,
    Meter,
    count_latencies,
    measure_overhead,
)
from polars_alf.errors import BenchError
from polars_alf.parallel.progress import CounterFile
from polars_alf.walk.batches import Listing
from polars_alf.walk.concurrency import read_delay
from polars_alf.walk.digests import Algorithm, digest_file
from polars_alf.walk.lister import Lister, close
from polars_alf.walk.options import WalkOptions

CREATE_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)

_LOOK_SECONDS = 0.0005

_PATIENCE_SECONDS = 60.0


class Operation(StrEnum):
    """What is measured, in the order in which it is."""

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
"""They make or remove files, each of which serves once."""

STREAMING = (Operation.STREAM, Operation.MD5, Operation.XXH3)
"""They read large files: bytes count, not files."""

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
class Task:
    """What one worker does.

    Parameters
    ----------
    operation
        What to measure; None writes files, and takes as long as that takes.
    root
        The archive.
    shares
        What each thread works on: paths; two paths for a rename; a path and a size to write.
    seconds
        How long at most.
    once
        Whether each item serves once, so that the end may come earlier.
    place, n_places, counters
        Which worker of how many this is, and a file in which they count, to begin together.
    """

    operation: Operation | None
    root: str
    shares: Sequence[Sequence[Any]]
    seconds: float
    once: bool
    place: int = 0
    n_places: int = 1
    counters: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one worker measured.

    Parameters
    ----------
    counts
        Number of operations of each thread.
    n_bytes
        Read by all of them.
    begin_ns, end_ns
        When the first thread began and the last one ended.
    work_seconds
        Time of the processor, of the worker as a whole.
    delay_seconds
        Time that its threads waited for a processor, which others had.
    overhead_ns
        This program's own share of each call.
    histogram
        Of the latencies without that, see `polars_alf.bench.meters`.
    """

    counts: list[int]
    n_bytes: int
    begin_ns: int
    end_ns: int
    work_seconds: float
    delay_seconds: float
    overhead_ns: float
    histogram: pl.DataFrame


def perform(task: Task) -> Outcome:
    """Do a task, in as many threads as it has shares.

    Raises
    ------
    BenchError
        A call failed.
    """
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
        except Exception as error:  # for the thread that waits
            errors.append(error)
        delays.append(read_delay() - delay)

    kind = _OVERHEADS.get(task.operation, "loop")
    before = measure_overhead(kind)
    _await_others(task)
    work = time.process_time()
    if len(meters) == 1:
        run(meters[0], task.shares[0])
    else:
        _run_threads(run, meters, task.shares)
    if errors:
        raise _explain(errors[0], task)
    work = time.process_time() - work
    # Processors change their pace: what holds for the calls lies between before and after.
    overhead_ns = (before + measure_overhead(kind)) / 2
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
    """Wait until all workers are here."""
    if task.counters is None:
        return
    counters = CounterFile(Path(task.counters))
    counters.slot(task.place).add(files=1)
    until = time.monotonic() + _PATIENCE_SECONDS
    while counters.total()[0] < task.n_places:
        if time.monotonic() > until:
            raise BenchError(
                f"{task.n_places} worker processes did not start within {_PATIENCE_SECONDS:.0f} s; "
                "give fewer with --jobs"
            )
        time.sleep(_LOOK_SECONDS)


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
    if not isinstance(error, OSError):
        return error
    what = DESCRIPTIONS[task.operation] if task.operation else "write a file"
    return BenchError(
        error.errno,
        f"the storage failed to {what}: {error.strerror or error}, {error.filename or task.root}; "
        "see to its free space, its permissions and its mount",
    )


_OVERHEADS: dict[Operation | None, Kind] = {
    Operation.STAT: "stat",
    Operation.CREATE: "open",
    Operation.READ: "open",
}


def create(path: str) -> None:
    """Make an empty file."""
    os.close(os.open(path, CREATE_FLAGS, 0o666))


def read(path: str) -> int:
    """Open a file, read its first mebibyte, close it."""
    descriptor = os.open(path, READ_FLAGS)
    try:
        return len(os.read(descriptor, CHUNK))
    finally:
        os.close(descriptor)


def _rename(pair: tuple[str, str]) -> None:
    os.rename(pair[0], pair[1])  # noqa: PTH104  a Path would be measured with it


def _write(file: tuple[str, int]) -> None:
    path, size = file
    descriptor = os.open(path, CREATE_FLAGS, 0o666)
    with os.fdopen(descriptor, "wb", buffering=0) as target:
        while size > 0:
            # Bytes that no file system can compress or share.
            size -= target.write(os.urandom(min(size, CHUNK)))


def _lister(task: Task, _: Meter) -> Callable[[str], None]:
    """Return what opens and lists a directory as an index does."""
    lister = Lister(open_root(task.root), WalkOptions(), lambda _: False)
    into = Listing(lister.names)

    def list_directory(directory: str) -> None:
        target = lister.open(directory, into)
        try:
            with os.scandir(target) as entries:
                for _ in entries:
                    pass
        finally:
            close(target)

    return list_directory


def _digester(
    _: Task, meter: Meter, algorithms: Sequence[Algorithm] = ()
) -> Callable[[str], object]:
    """Return what reads a file for digests, or for none, as an index does."""
    return lambda path: digest_file(path, algorithms, meter.tick)


_CALLS: dict[Operation | None, Callable[[Task, Meter], Callable[[Any], object]]] = {
    None: lambda *_: _write,
    Operation.CREATE: lambda *_: create,
    Operation.RENAME: lambda *_: _rename,
    Operation.DELETE: lambda *_: os.unlink,
    Operation.LIST: _lister,
    Operation.STAT: lambda *_: os.stat,
    Operation.READ: lambda *_: read,
    Operation.STREAM: _digester,
    Operation.MD5: partial(_digester, algorithms=["md5"]),
    Operation.XXH3: partial(_digester, algorithms=["xxh3_128"]),
}
