"""Measurements of all operations, with more and more calls under way at once.

Calls are spread over processes first, up to one for each processor, and then over threads in each:
as an index does with ``--jobs`` and ``--threads``, and so that Python's lock keeps as few calls
waiting as possible.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import PurePath
from typing import Any

import polars as pl

from polars_alf import index_archive
from polars_alf.alf.paths import temporary_folder
from polars_alf.bench.archive import Target
from polars_alf.bench.crew import Crew, Outcome, run_operation
from polars_alf.bench.machine import Cache, ColdMethod, empty_caches
from polars_alf.bench.meters import HISTOGRAM, merge_histograms
from polars_alf.bench.operations import (
    CHAINS,
    CHANGING,
    STREAMING,
    UNLIMITED,
    Level,
    Operation,
    Shares,
    share_out,
)
from polars_alf.bench.place import Place
from polars_alf.bench.timeline import Pace, describe_pace
from polars_alf.parallel.executors import count_workers

MEASUREMENTS = pl.Schema(
    {
        "operation": pl.String,
        "cache": pl.String,
        "concurrency": pl.Int64,  # calls under way at once
        "jobs": pl.Int64,  # processes
        "threads": pl.Int64,  # most in each process
        "repeat": pl.Int64,  # from 0 on
        "n_ops": pl.Int64,  # of streaming, pieces of up to 1 MiB; of an index, files
        "n_bytes": pl.Int64,
        "seconds": pl.Float64,
        # Operations per second; of an index, files, without `fixed_seconds`. Where each process
        # makes one call at a time, without the time that it waited for a processor.
        "rate": pl.Float64,
        "byte_rate": pl.Float64,  # bytes per second
        "amount": pl.Float64,  # mean of an operation: bytes when streaming, files of a list
        "busy": pl.Float64,  # share of the time that the processors of the jobs were at work
        "delayed": pl.Float64,  # share that threads waited for a processor busy with other work
        "workers": pl.Int64,  # of an index: fewer than `jobs` where sessions are few
        "fixed_seconds": pl.Float64,  # time of an index that does not grow with its files
        "n_stalls": pl.Int64,  # times in which no call was done: see `timeline.Pace`
        "stall_seconds": pl.Float64,  # the longest of them; 0 where there is none
    }
)
"""A row for each measurement; null where an operation has no such value."""

_KEYS = ("operation", "cache", "concurrency", "repeat")

LATENCIES = pl.Schema({name: MEASUREMENTS[name] for name in _KEYS} | dict(HISTOGRAM))
"""A row for each bin of the histogram of each measurement."""

RATES = pl.Schema(
    {name: MEASUREMENTS[name] for name in _KEYS} | {"at_seconds": pl.Float64, "rate": pl.Float64}
)
"""Operations per second in the interval of a measurement that begins at some time of it."""

MAX_INDEX_SECONDS = 20.0
"""Longest index: where the whole archive would take longer, only the small part is indexed."""

_MIN_STORAGE_SHARE = 0.1
"""Least share of the time to attribute to the storage, however fast it is."""

ProgressCallback = Callable[[int, int, str], None]
"""Called with the number of finished steps, the number of all, and the next step in words."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of a sweep."""

    levels: Sequence[Level]  # in rising order
    seconds: float  # most time of a measurement
    repeats: int
    n_files: int  # most files that a measurement makes
    cold: ColdMethod | None  # None measures with warm caches only
    operations: Collection[Operation]


class Sweep:
    """A sweep over all operations, levels and caches of a target."""

    def __init__(
        self, target: Target, settings: Settings, crew: Crew, progress: ProgressCallback
    ) -> None:
        self._target = target
        self._settings = settings
        self._progress = progress
        self._crew = crew
        self._run = partial(run_operation, crew=crew, place=target.place)

    def run(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Return MEASUREMENTS, LATENCIES and RATES.

        Each repetition goes through all operations and levels, so that a disturbance of the machine
        spoils one value of many medians.
        """
        settings = self._settings
        caches = [Cache.WARM, Cache.COLD] if settings.cold else [Cache.WARM]
        operations = {cache: self._choose_operations(cache) for cache in caches}
        n_steps = settings.repeats * len(settings.levels) * sum(map(len, operations.values()))
        rows: list[dict[str, Any]] = []
        latencies, rates = [LATENCIES.to_frame()], [RATES.to_frame()]
        for repeat, cache in product(range(settings.repeats), caches):
            if cache is Cache.WARM:
                self._warm_up(operations[cache])
            for level in settings.levels:
                files = _ScratchFiles(self._target.scratch, settings.n_files, level)
                for operation in operations[cache]:
                    step = f"{operation}, {level.concurrency} at once, {cache}, round {repeat + 1}"
                    self._progress(len(rows), n_steps, step)
                    row, histogram, pace = self._measure(operation, level, cache, repeat, files)
                    rows.append(row)
                    keys = [pl.lit(row[name], LATENCIES[name]).alias(name) for name in _KEYS]
                    latencies.append(histogram.select(*keys, *HISTOGRAM.names()))
                    if pace:
                        rates.append(pace.rates.select(*keys, "at_seconds", "rate"))
        measurements = pl.DataFrame(rows, schema=MEASUREMENTS, orient="row")
        return measurements, pl.concat(latencies), pl.concat(rates)

    def _choose_operations(self, cache: Cache) -> list[Operation]:
        """Return the chosen operations that this target and cache allow, in their order."""
        return [
            operation
            for operation in list_operations(
                cache, self._settings.cold, is_writable=self._target.scratch is not None
            )
            if operation in self._settings.operations
            and (operation in (*CHANGING, Operation.INDEX) or self._list_items(operation))
        ]

    def _list_items(self, operation: Operation) -> Sequence[str]:
        target = self._target
        if operation in STREAMING:
            return target.large
        others = {Operation.LIST: target.lists, Operation.STAT: target.files}
        return others.get(operation, target.small)

    def _warm_up(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            if operation not in (*CHANGING, Operation.INDEX):
                shares = share_out(self._list_items(operation), self._settings.levels[-1])
                self._run(operation, shares, seconds=10 * self._settings.seconds)
        if Operation.INDEX in operations:
            # The first one loads what all need. As it took longer, and mostly for its small part,
            # the time that does not grow with the files would seem longer than it is.
            root, _ = self._target.part or self._target.whole
            self._index(root, self._settings.levels[-1])

    def _measure(
        self, operation: Operation, level: Level, cache: Cache, repeat: int, files: _ScratchFiles
    ) -> tuple[dict[str, Any], pl.DataFrame, Pace | None]:
        """Return a row of MEASUREMENTS, the histogram of latencies, and the pace of the calls."""
        seconds = self._settings.seconds
        row = dict.fromkeys(MEASUREMENTS) | {
            "operation": str(operation),
            "cache": str(cache),
            "concurrency": level.concurrency,
            "jobs": level.jobs,
            "threads": level.threads,
            "repeat": repeat,
        }
        if cache is Cache.COLD:
            self._empty_caches(self._list_items(operation))
        if operation is Operation.INDEX:
            return row | self._measure_index(level, cache), HISTOGRAM.to_frame(), None
        if operation in CHANGING:
            outcomes = self._run(operation, files.share_out(operation), seconds=seconds)
            unfinished = files.update(operation, outcomes)
            if any(map(any, unfinished)):
                self._run(Operation.DELETE, unfinished, seconds=UNLIMITED)
        else:
            shares = share_out(self._list_items(operation), level)
            outcomes = self._run(operation, shares, seconds=seconds, once=cache is Cache.COLD)
        histogram = merge_histograms(outcome.histogram for outcome in outcomes)
        pace = describe_pace(outcomes, seconds)
        stalls = {"n_stalls": pace.n_stalls, "stall_seconds": pace.stall_seconds}
        return row | self._sum_up(operation, level, outcomes) | stalls, histogram, pace

    def _empty_caches(self, paths: Sequence[str]) -> None:
        if self._settings.cold:
            empty_caches(self._settings.cold, paths)

    def _measure_index(self, level: Level, cache: Cache) -> dict[str, Any]:
        (root, n_files), part = self._target.whole, self._target.part
        fixed = part_seconds = 0.0
        n_part = n_workers_of_part = 1
        if part:
            n_part = part[1]
            part_seconds, n_workers_of_part = self._index(part[0], level)
            if cache is Cache.COLD:
                self._empty_caches(())
        if part and part_seconds / n_part * n_files > MAX_INDEX_SECONDS:
            # So slow that the time of any index does not count.
            n_files, seconds, n_workers = n_part, part_seconds, n_workers_of_part
        else:
            seconds, n_workers = self._index(root, level)
            if part:
                # The files that all workers would have done meanwhile: a part has fewer workers.
                alike = round(n_part * n_workers / n_workers_of_part)
                fixed = find_fixed_seconds((n_files, seconds), (alike, part_seconds))
        return {
            "n_ops": n_files,
            "seconds": seconds,
            "rate": n_files / (seconds - fixed),  # as for many files: what more jobs are for
            "workers": n_workers,
            "fixed_seconds": fixed,
        }

    def _index(self, root: PurePath, level: Level) -> tuple[float, int]:
        """Return the seconds of an index, and how many workers it had."""
        reach = self._target.place.options
        with temporary_folder(self._target.tables) as folder:
            begin = time.perf_counter()
            # Exactly what `index --jobs --threads` runs: it is what these are recommended for.
            report = index_archive(
                root,
                folder,
                jobs=level.jobs,
                threads=level.threads,
                executor=self._crew.executor,
                endpoint_url=reach.endpoint_url,
                region=reach.region,
                anonymous=reach.anonymous,
            )
            return time.perf_counter() - begin, report.n_jobs

    def _sum_up(
        self, operation: Operation, level: Level, outcomes: Sequence[Outcome]
    ) -> dict[str, Any]:
        begin = min(outcome.begin_ns for outcome in outcomes)
        end = max(outcome.end_ns for outcome in outcomes)
        seconds = max(end - begin, 1) / 1e9
        n_ops = sum(sum(outcome.counts) for outcome in outcomes)
        n_bytes = sum(outcome.n_bytes for outcome in outcomes)
        work = sum(outcome.work_seconds for outcome in outcomes)
        delay = sum(outcome.delay_seconds for outcome in outcomes)
        # With one thread to a process, the wait for a busy processor adds to the time of the
        # storage. With more, the storage may serve another thread meanwhile.
        is_single = level.threads == 1 and (
            self._crew.executor or level.jobs <= count_workers(None)
        )
        waited = delay / level.jobs if is_single else 0.0
        running = max(seconds - waited, _MIN_STORAGE_SHARE * seconds)
        is_streaming = operation in STREAMING
        amount = n_bytes / n_ops if is_streaming else None
        if operation is Operation.LIST:
            amount = self._target.files_per_list
        return {
            "n_ops": n_ops,
            "n_bytes": n_bytes if is_streaming else None,
            "seconds": seconds,
            "rate": n_ops / running,
            "byte_rate": n_bytes / running if is_streaming else None,
            "amount": amount,
            "busy": work / seconds / level.jobs,
            "delayed": delay / seconds / level.concurrency,
        }


class _ScratchFiles:
    """Files that the threads of a level make, rename and remove, each in a folder of its own."""

    def __init__(self, place: Place | None, n_files: int, level: Level) -> None:
        self._place = place
        self._n_each = max(n_files // level.concurrency, 1)
        self._level = level
        self._paths: list[list[list[str]]] = []

    def share_out(self, operation: Operation) -> Shares:
        """Return the items of a changing operation."""
        if operation in (chain[0] for chain in CHAINS):
            self._name_files()
        if operation is Operation.RENAME:
            return [[[(p, _rename(p)) for p in paths] for paths in job] for job in self._paths]
        return self._paths

    def update(self, operation: Operation, outcomes: Sequence[Outcome]) -> Shares:
        """Record what an operation did; return the files that still have to be removed."""
        for paths_of_job, outcome in zip(self._paths, outcomes, strict=True):
            for paths, n_done in zip(paths_of_job, outcome.counts, strict=True):
                match operation:
                    case Operation.CREATE | Operation.FSYNC:
                        del paths[n_done:]
                    case Operation.RENAME:
                        paths[:n_done] = map(_rename, paths[:n_done])
                    case Operation.DELETE:
                        del paths[:n_done]
        return self._paths if operation in (chain[-1] for chain in CHAINS) else []

    def _name_files(self) -> None:
        assert self._place is not None
        folders = [f"w{i}" for i in range(self._level.concurrency)]
        self._place.make_folders(folders, 1)
        shares = [
            [self._place.locate(f"{folder}/f{i:07}.npy") for i in range(self._n_each)]
            for folder in folders
        ]
        self._paths = [shares[job :: self._level.jobs] for job in range(self._level.jobs)]


def _rename(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/r{name[1:]}"


def list_operations(
    cache: Cache, method: ColdMethod | None, *, is_writable: bool
) -> list[Operation]:
    """Return the operations that can be measured with warm or cold caches."""
    if cache is Cache.WARM:
        return [operation for operation in Operation if is_writable or operation not in CHANGING]
    if method is ColdMethod.DROP_CACHES:
        return [operation for operation in Operation if operation not in CHANGING]
    # Contents leave memory, names and attributes stay.
    return [Operation.READ, *STREAMING] if method is ColdMethod.FADVISE else []


def find_fixed_seconds(whole: tuple[int, float], part: tuple[int, float]) -> float:
    """Return the seconds that do not grow with the files, 0 where chance hides them.

    Both arguments are a number of files and the seconds that these took.
    """
    if whole[0] <= part[0]:
        return 0.0
    each = (whole[1] - part[1]) / (whole[0] - part[0])
    return max(part[1] - each * part[0], 0.0) if each > 0 else 0.0
