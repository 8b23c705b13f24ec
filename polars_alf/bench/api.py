"""Measure a storage system: archive, sweep, figures, models, advice."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import polars as pl

from polars_alf.alf.paths import temporary_folder
from polars_alf.alf.root import check_folder, open_root
from polars_alf.bench.figures import (
    MEAN_BYTES,
    list_notes,
    make_figures,
    model_operations,
    predict,
    recommend,
)
from polars_alf.bench.folder import Plan, check_room, find_others, open_folder
from polars_alf.bench.machine import (
    ColdMethod,
    check_extra,
    describe_machine,
    find_cold_method,
    find_mount,
)
from polars_alf.bench.meters import SCHEMA
from polars_alf.bench.operations import CHANGING, Operation
from polars_alf.bench.results import StorageReport, save_advice
from polars_alf.bench.sweep import (
    LATENCIES,
    MEASUREMENTS,
    Sample,
    Settings,
    Sweep,
    Target,
    Tell,
    plan_levels,
)
from polars_alf.bench.targets import find_archive, write_archive
from polars_alf.errors import BenchError, KeptWarning, OptionError
from polars_alf.parallel.executors import count_workers, open_processes

THREADS = (1, 2, 4, 8, 16, 32)

MOST_THREADS = 4096

MOST_REMOVING = 64
"""Threads to remove files in at most."""


def bench_storage(
    path: str | os.PathLike[str],
    *,
    files: int = 20_000,
    threads: Sequence[int] = THREADS,
    jobs: int | None = None,
    duration: float = 0.5,
    repeats: int = 3,
    read_only: bool = False,
    cold: bool = False,
    operations: Sequence[str] = (),
    name: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> StorageReport:
    """Measure how a storage system serves an ALF archive.

    A synthetic archive is written to a new folder in `path`, which is removed at the end, also
    when an error or an interrupt ends the run.

    Parameters
    ----------
    path
        An existing folder on that storage.
    files
        Small files of the archive; there are some large ones beside them. If `read_only`, how
        many files to look at.
    threads
        Calls to have under way at once, one number after the other.
    jobs
        Most processes to spread them over; by default one for each processor.
    duration
        Seconds that one measurement takes at most.
    repeats
        How often each is made: the spread of the repetitions tells noise.
    read_only
        Whether `path` is an archive to measure as it is. Nothing is written to it.
    cold
        Whether to measure with empty caches too: those of the whole machine where this process may
        empty them (Linux, as root), else those of the files' contents.
    operations
        `polars_alf.bench.operations.Operation` to measure; by default all. Advice and predictions
        need ``index``, and those for digests ``read`` and ``md5``.
    name
        What to call the storage; by default its file system and where it is mounted.
    progress
        Told how many steps are done, of how many, and what comes next.

    Returns
    -------
    StorageReport
        Figures, models, advice and predictions. The advice is also kept for `index --jobs auto`.

    Raises
    ------
    MissingExtraError
        What the fit needs is not installed.
    OptionError
        An option makes no sense.
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        About the path; nothing was written.
    StorageFullError
        There is too little room; nothing was written.
    BenchError
        The storage failed, or what was written cannot be removed.

    Warns
    -----
    KeptWarning
        Something that the run did not make lay in its folder, and is still there; or `path` has the
        folder of another run, which was killed or is under way.
    """
    check_extra()
    _check_options(files, threads, duration, repeats, name)
    chosen = _choose_operations(operations, read_only=read_only)
    n_jobs = count_workers(jobs)
    method = find_cold_method() if cold else None
    if cold and method is None:
        raise OptionError("this system has no way to empty its caches; leave --cold out")
    settings = Settings(
        levels=plan_levels(threads, n_jobs),
        jobs=n_jobs,
        seconds=duration,
        repeats=repeats,
        n_files=files,
        cold=method,
        operations=chosen,
    )
    begun, start = datetime.now(), time.perf_counter()
    root = (
        open_root(path).path if read_only else check_folder(path, what="the folder to measure in")
    )
    for folder in find_others(root):
        # Who made it may be on another machine: only a person can tell whether it is in use.
        message = f"{folder} is of another bench; if none is under way here, remove it"
        warnings.warn(message, KeptWarning, stacklevel=2)
    mount = find_mount(root)
    tell: Tell = progress or (lambda *_: None)
    with _open_target(root, settings, tell, read_only=read_only) as (target, mean_bytes, pool):
        measurements, latencies = _collect(Sweep(target, settings, pool, tell).run())
    if measurements.is_empty():
        raise BenchError(
            f"{root} has no files to measure {', '.join(chosen)} with; give other operations"
        )
    figures = make_figures(measurements, latencies)
    laws = model_operations(measurements)
    report = StorageReport(
        label=name or f"{mount.file_system} on {mount.point}",
        path=str(root),
        begun=begun.isoformat(timespec="seconds"),
        seconds=time.perf_counter() - start,
        settings={
            "files": files,
            "threads": [level.concurrency for level in settings.levels],
            "jobs": n_jobs,
            "duration": duration,
            "repeats": repeats,
            "operations": [str(operation) for operation in chosen],
            "read_only": read_only,
            "cold": str(method) if method else None,
        },
        machine=describe_machine(),
        mount=asdict(mount),
        figures=figures,
        models=laws,
        advice=recommend(measurements),
        predictions=predict(measurements, laws, mean_bytes),
        mean_bytes=mean_bytes,
        notes=[*list_notes(figures, laws), *_list_cache_notes(method)],
        measurements=measurements,
        latencies=latencies,
    )
    if report.advice:
        save_advice(report)
    return report


def _check_options(
    files: int, threads: Sequence[int], duration: float, repeats: int, name: str | None
) -> None:
    if files < 1:
        raise OptionError(f"the number of files is {files}; give one from 1 on")
    if not threads or not all(1 <= number <= MOST_THREADS for number in threads):
        given = ",".join(map(str, threads))
        raise OptionError(
            f"the numbers of threads are {given!r}; give some from 1 to {MOST_THREADS}, such as "
            "1,2,4,8"
        )
    if not 0 < duration < float("inf"):
        raise OptionError(f"the duration is {duration}; give seconds above 0")
    if repeats < 1:
        raise OptionError(f"the number of repeats is {repeats}; give one from 1 on")
    if name is not None and not name.strip():
        raise OptionError("the name is empty; give one that tells storage systems apart")


def _choose_operations(names: Sequence[str], *, read_only: bool) -> list[Operation]:
    """Return the operations of these names, in their own order; removing needs making."""
    every = [str(operation) for operation in Operation]
    unknown = [name for name in names if name not in every]
    if unknown:
        raise OptionError(f"there is no operation {unknown[0]!r}; give some of {', '.join(every)}")
    wanted = [operation for operation in Operation if not names or operation in names]
    if read_only:
        wanted = [operation for operation in wanted if operation not in CHANGING]
    elif set(wanted).intersection(CHANGING):
        wanted = [operation for operation in Operation if operation in (*wanted, *CHANGING)]
    if not wanted:
        raise OptionError(f"only {', '.join(names)} with --read-only measures nothing; add another")
    return wanted


@contextlib.contextmanager
def _open_target(
    root: Path, settings: Settings, tell: Tell, *, read_only: bool
) -> Iterator[tuple[Target, float, Executor]]:
    """Yield what to measure on, the mean size of its files, and the processes to do it."""
    if read_only:
        with (
            temporary_folder() as tables,
            open_processes(settings.jobs, "polars_alf.bench.sweep") as pool,
        ):
            tell(0, 0, "looking at the archive")
            yield *find_archive(root, settings.n_files, tables), pool
        return
    plan = Plan(settings.n_files)
    check_room(root, plan)
    level = settings.levels[-1]
    left: list[str] = []
    n_threads = min(level.concurrency, MOST_REMOVING)
    with open_folder(root, plan, n_threads=n_threads, warn=left.append) as folder:
        # No process may make another file when the folder is removed.
        try:
            with open_processes(settings.jobs, "polars_alf.bench.sweep") as pool:
                tell(0, 0, f"writing {len(plan.files):,} files")
                yield write_archive(folder, plan, pool, level), MEAN_BYTES, pool
        finally:
            tell(0, 0, "removing what was written")
    for message in left:
        warnings.warn(message, KeptWarning, stacklevel=4)


def _collect(samples: Iterator[Sample]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return MEASUREMENTS and LATENCIES."""
    found = list(samples)
    rows = pl.DataFrame([sample.row for sample in found], schema=MEASUREMENTS, orient="row")
    histograms = [
        sample.histogram.select(
            *(
                pl.lit(sample.row[name], LATENCIES[name]).alias(name)
                for name in LATENCIES.names()[:4]
            ),
            *SCHEMA.names(),
        )
        for sample in found
    ]
    return rows, pl.concat([LATENCIES.to_frame(), *histograms])


def _list_cache_notes(method: ColdMethod | None) -> list[str]:
    match method:
        case None:
            return [
                "caches were warm: an archive larger than memory is served more slowly; --cold "
                "measures that"
            ]
        case ColdMethod.DROP_CACHES:
            return ["cold means that this machine's caches were empty; a server has its own"]
        case ColdMethod.FADVISE:
            return [
                "cold means that the contents of files were not in memory; their names and "
                "attributes were, as only root may drop these"
            ]
