"""Measure operations, with more and more calls under way at once.

So many calls are spread over processes first, up to one for each processor, and then over threads
in each: as an index does with ``--jobs`` and ``--threads``, and so that Python's lock keeps as
few calls waiting as can be.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from polars_alf import index_archive
from polars_alf.alf.paths import temporary_folder
from polars_alf.bench.machine import Cache, ColdMethod, empty_caches, list_operations
from polars_alf.bench.meters import SCHEMA, merge_histograms
from polars_alf.bench.operations import CHANGING, STREAMING, Operation, Outcome, Task, perform
from polars_alf.parallel.executors import count_workers
from polars_alf.parallel.progress import CounterFile

MEASUREMENTS = pl.Schema(
    {
        "operation": pl.String,
        "cache": pl.String,
        "concurrency": pl.Int64,  # calls under way at once
        "jobs": pl.Int64,  # processes
        "threads": pl.Int64,  # in each of them, at most
        "repeat": pl.Int64,  # from 0 on
        "n_ops": pl.Int64,  # for streaming pieces of up to 1 MiB, for an index files
        "n_bytes": pl.Int64,
        "seconds": pl.Float64,
        # Operations per second; of an index files, without `fixed_seconds`. Where each process
        # makes one call at a time, all rates are without the time that it waited for a processor,
        # and the first is also without the time that the program takes for itself.
        "rate": pl.Float64,
        "gross_rate": pl.Float64,
        "byte_rate": pl.Float64,  # bytes per second
        "overhead_ns": pl.Float64,  # this program's own share of a call
        "busy": pl.Float64,  # share of the time that the processors of the jobs were at work
        "delayed": pl.Float64,  # share of it that threads waited for a processor others had
        "fixed_seconds": pl.Float64,  # of an index, whatever the number of files
    }
)
"""A row for each measurement; null where an operation has no such value."""

LATENCIES = pl.Schema(
    {"operation": pl.String, "cache": pl.String, "concurrency": pl.Int64, "repeat": pl.Int64}
    | dict(SCHEMA)
)
"""A row for each bin of a histogram: how often so many nanoseconds were seen."""

FOREVER = 1e6
"""Seconds for what is to be done whatever it takes."""

MOST_INDEX_SECONDS = 20.0
"""Longest index: where the whole archive would take longer, the small part has to do."""

_LEAST_LEFT = 0.1
"""Share of the time that is the storage's at least, however fast it is."""

Tell = Callable[[int, int, str], None]
"""Told how many steps are done, of how many, and what comes next."""


@dataclass(frozen=True, slots=True)
class Level:
    """How many calls are under way at once, and who makes them."""

    concurrency: int
    jobs: int

    @property
    def threads(self) -> int:
        """Threads of each process, at most."""
        return -(-self.concurrency // self.jobs)


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured on.

    Parameters
    ----------
    root
        The archive.
    folders
        Paths in it, relative to it.
    files, small, large
        Absolute paths: of all files, and of those to read whole and in pieces.
    indexed, indexed_less
        Archives to index, each with its number of files: one as large as there is, and a small
        part of it, from which the time that any index takes is known; None where there is none.
    scratch
        Folder to make files in, None where nothing may be written.
    tables
        Folder to make folders for tables in.
    """

    root: Path
    folders: Sequence[str]
    files: Sequence[str]
    small: Sequence[str]
    large: Sequence[str]
    indexed: tuple[Path, int]
    indexed_less: tuple[Path, int] | None
    scratch: Path | None
    tables: Path


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    Parameters
    ----------
    levels
        Calls under way at once, in rising order.
    jobs
        Most processes.
    seconds
        How long one measurement takes at most.
    repeats
        How often each is made.
    n_files
        Files that one measurement makes at most.
    cold
        How caches are emptied; None measures with warm ones only.
    operations
        What to measure.
    """

    levels: Sequence[Level]
    jobs: int
    seconds: float
    repeats: int
    n_files: int
    cold: ColdMethod | None
    operations: Collection[Operation]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement found: a row of MEASUREMENTS, and LATENCIES."""

    row: dict[str, Any]
    histogram: pl.DataFrame


def plan_levels(concurrencies: Sequence[int], jobs: int) -> list[Level]:
    """Return levels in rising order, each with as many processes as there may be."""
    return [Level(wanted, min(wanted, jobs)) for wanted in sorted(set(concurrencies))]


def share_out(items: Sequence[Any], level: Level) -> list[list[Sequence[Any]]]:
    """Return what each thread of each process works on: neighbours together, no share empty.

    Where there are fewer items than threads, some have the same one.
    """
    n, total = len(items), level.concurrency
    shares = [items[n * i // total : n * (i + 1) // total] or [items[i % n]] for i in range(total)]
    return [shares[job :: level.jobs] for job in range(level.jobs)]


def run_level(
    pool: Executor,
    operation: Operation | None,
    level: Level,
    shares: Sequence[Sequence[Sequence[Any]]],
    *,
    root: Path,
    seconds: float,
    once: bool,
) -> list[Outcome]:
    """Do an operation in all threads of all processes of a pool, begun together.

    Returns
    -------
    list of Outcome
        In the order of the shares.

    Raises
    ------
    BenchError
        A call failed, or the processes did not start.
    """
    if level.jobs == 1:
        return [perform(Task(operation, str(root), shares[0], seconds, once))]
    with temporary_folder() as folder:
        path = folder / "counters"
        CounterFile.create(path, level.jobs)
        tasks = [
            Task(operation, str(root), share, seconds, once, place, level.jobs, str(path))
            for place, share in enumerate(shares)
        ]
        with warnings.catch_warnings():
            # Workers may well have left while an index had no work for them.
            warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
            return [future.result() for future in [pool.submit(perform, task) for task in tasks]]


class Sweep:
    """Measure all operations at all levels.

    Parameters
    ----------
    target
        What to measure on.
    settings
        How.
    pool
        As many processes as the settings have.
    tell
        Told of each step before it is done.
    """

    def __init__(self, target: Target, settings: Settings, pool: Executor, tell: Tell) -> None:
        self._target = target
        self._pool = pool
        self._settings = settings
        self._tell = tell
        self._n_steps = 0

    def run(self) -> Iterator[Sample]:
        """Yield measurements: all operations and levels once, then all of them again."""
        settings = self._settings
        caches = [Cache.WARM, Cache.COLD] if settings.cold else [Cache.WARM]
        for repeat in range(settings.repeats):
            for cache in caches:
                if cache is Cache.WARM:
                    self._warm_up()
                for level in settings.levels:
                    yield from self._measure_level(level, cache, repeat)

    def _operations(self, cache: Cache) -> list[Operation]:
        target = self._target
        writes = target.scratch is not None
        return [
            operation
            for operation in list_operations(cache, self._settings.cold, writes=writes)
            if operation in self._settings.operations and self._has_items(operation)
        ]

    def _has_items(self, operation: Operation) -> bool:
        return bool(self._items(operation)) or operation in (*CHANGING, Operation.INDEX)

    def _items(self, operation: Operation) -> Sequence[str]:
        target = self._target
        if operation in STREAMING:
            return target.large
        others = {Operation.LIST: target.folders, Operation.STAT: target.files}
        return others.get(operation, target.small)

    def _warm_up(self) -> None:
        level = self._settings.levels[-1]
        for operation in self._operations(Cache.WARM):
            if operation not in (*CHANGING, Operation.INDEX):
                shares = share_out(self._items(operation), level)
                self._run(operation, level, shares, seconds=10 * self._settings.seconds)

    def _measure_level(self, level: Level, cache: Cache, repeat: int) -> Iterator[Sample]:
        made: list[list[Sequence[str]]] = []
        for operation in self._operations(cache):
            self._announce(operation, level, cache, repeat)
            if cache is Cache.COLD and self._settings.cold:
                empty_caches(self._settings.cold, self._items(operation))
            if operation is Operation.INDEX:
                yield self._measure_index(level, cache, repeat)
                continue
            if operation in CHANGING:
                outcomes, made = self._change(operation, level, made)
            else:
                shares = share_out(self._items(operation), level)
                outcomes = self._run(operation, level, shares, once=cache is Cache.COLD)
            yield _sum_up(operation, level, cache, repeat, outcomes)

    def _run(
        self,
        operation: Operation,
        level: Level,
        shares: Sequence[Sequence[Sequence[Any]]],
        *,
        seconds: float | None = None,
        once: bool = True,
    ) -> list[Outcome]:
        return run_level(
            self._pool,
            operation,
            level,
            shares,
            root=self._target.root,
            seconds=seconds or self._settings.seconds,
            once=once,
        )

    def _announce(self, operation: Operation, level: Level, cache: Cache, repeat: int) -> None:
        settings = self._settings
        caches = [Cache.WARM, Cache.COLD] if settings.cold else [Cache.WARM]
        each = sum(len(self._operations(every)) for every in caches)
        text = f"{operation}, {level.concurrency} at once, {cache}, round {repeat + 1}"
        self._tell(self._n_steps, each * len(settings.levels) * settings.repeats, text)
        self._n_steps += 1

    def _change(
        self, operation: Operation, level: Level, made: list[list[Sequence[str]]]
    ) -> tuple[list[Outcome], list[list[Sequence[str]]]]:
        """Make, rename or remove files; return what there is then, by process and thread."""
        if operation is Operation.CREATE:
            made = self._name_files(level)
        shares: list[list[Sequence[Any]]] = [list(share) for share in made]
        if operation is Operation.RENAME:
            shares = [[[(p, _renamed(p)) for p in paths] for paths in share] for share in made]
        outcomes = self._run(operation, level, shares)
        counts = [outcome.counts for outcome in outcomes]
        pairs = [zip(share, n, strict=True) for share, n in zip(made, counts, strict=True)]
        match operation:
            case Operation.CREATE:
                made = [[paths[:n] for paths, n in share] for share in pairs]
            case Operation.RENAME:
                made = [
                    [[*map(_renamed, paths[:n]), *paths[n:]] for paths, n in share]
                    for share in pairs
                ]
            case _:
                rest = [[paths[n:] for paths, n in share] for share in pairs]
                if any(map(any, rest)):
                    self._run(operation, level, rest, seconds=FOREVER)
                made = []
        return outcomes, made

    def _name_files(self, level: Level) -> list[list[Sequence[str]]]:
        """Make a folder for each thread, and name the files to make in it."""
        assert self._target.scratch is not None
        each = max(self._settings.n_files // level.concurrency, 1)
        folders = [self._target.scratch / f"w{i}" for i in range(level.concurrency)]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        shares = [[f"{folder}/f{i:07}.npy" for i in range(each)] for folder in folders]
        return [list(shares[job :: level.jobs]) for job in range(level.jobs)]

    def _measure_index(self, level: Level, cache: Cache, repeat: int) -> Sample:
        (root, n_files), less = self._target.indexed, self._target.indexed_less
        fixed = part = 0.0
        if less:
            part = self._index(less[0], level)
            if cache is Cache.COLD and self._settings.cold:
                empty_caches(self._settings.cold, ())
        if less and part / less[1] * n_files > MOST_INDEX_SECONDS:
            n_files, seconds = less[1], part  # slow enough for the time of any index not to count
        else:
            seconds = self._index(root, level)
            fixed = find_fixed_seconds((n_files, seconds), (less[1], part)) if less else 0.0
        row = _row(Operation.INDEX, level, cache, repeat) | {
            "n_ops": n_files,
            "seconds": seconds,
            # As it is for many files, which is what more jobs are for.
            "rate": n_files / (seconds - fixed),
            "gross_rate": n_files / (seconds - fixed),
            "fixed_seconds": fixed,
        }
        return Sample(row, SCHEMA.to_frame())

    def _index(self, root: Path, level: Level) -> float:
        with temporary_folder(self._target.tables) as folder:
            begin = time.perf_counter()
            index_archive(
                root,
                folder,
                n_jobs=level.jobs,
                threads=level.threads,
                executor="serial" if level.jobs == 1 else "processes",
            )
            return time.perf_counter() - begin


def find_fixed_seconds(whole: tuple[int, float], part: tuple[int, float]) -> float:
    """Return the seconds that do not grow with the files, 0 where chance hides them.

    Parameters
    ----------
    whole, part
        Numbers of files, and the seconds that they took.
    """
    each = (whole[1] - part[1]) / (whole[0] - part[0])
    return max(part[1] - each * part[0], 0.0) if each > 0 else 0.0


def _renamed(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/r{name[1:]}"


def _row(operation: Operation, level: Level, cache: Cache, repeat: int) -> dict[str, Any]:
    return dict.fromkeys(MEASUREMENTS) | {
        "operation": str(operation),
        "cache": str(cache),
        "concurrency": level.concurrency,
        "jobs": level.jobs,
        "threads": level.threads,
        "repeat": repeat,
    }


def _sum_up(
    operation: Operation, level: Level, cache: Cache, repeat: int, outcomes: Sequence[Outcome]
) -> Sample:
    begin = min(outcome.begin_ns for outcome in outcomes)
    end = max(outcome.end_ns for outcome in outcomes)
    seconds = max(end - begin, 1) / 1e9
    n_ops = sum(sum(outcome.counts) for outcome in outcomes)
    n_bytes = sum(outcome.n_bytes for outcome in outcomes)
    work = sum(outcome.work_seconds for outcome in outcomes)
    delay = sum(outcome.delay_seconds for outcome in outcomes)
    overhead_ns = sum(outcome.overhead_ns for outcome in outcomes) / len(outcomes)
    # With one thread to a process, what the program takes for itself, and what it waits for a
    # processor that others have, adds to what the storage takes. With more, one thread may be
    # served meanwhile.
    is_alone = level.threads == 1 and level.jobs <= count_workers(None)
    waited = delay / level.jobs if is_alone else 0.0
    own = overhead_ns * n_ops / 1e9 / level.jobs if is_alone else 0.0
    here = max(seconds - waited, _LEAST_LEFT * seconds)
    row = _row(operation, level, cache, repeat) | {
        "n_ops": n_ops,
        "n_bytes": n_bytes if operation in STREAMING else None,
        "seconds": seconds,
        "rate": n_ops / max(here - own, _LEAST_LEFT * here),
        "gross_rate": n_ops / here,
        "byte_rate": n_bytes / here if operation in STREAMING else None,
        "overhead_ns": overhead_ns,
        "busy": work / seconds / level.jobs,
        "delayed": delay / seconds / level.concurrency,
    }
    return Sample(row, merge_histograms(outcome.histogram for outcome in outcomes))
