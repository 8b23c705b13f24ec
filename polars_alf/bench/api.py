"""Measurement of a storage system, from its options to its report."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from polars_alf.alf.paths import temporary_folder
from polars_alf.alf.root import FolderPath
from polars_alf.bench.advice import save_advice
from polars_alf.bench.archive import Target, find_archive, write_archive
from polars_alf.bench.crew import Crew, open_crew
from polars_alf.bench.figures import list_notes, make_figures
from polars_alf.bench.machine import check_extra, describe_machine
from polars_alf.bench.models import model_operations, predict, recommend
from polars_alf.bench.operations import CHANGING, Operation, complete_chains, plan_levels
from polars_alf.bench.place import Place
from polars_alf.bench.places import find_kind, is_read_by_default, open_place
from polars_alf.bench.plan import Plan, plan_like, plan_synthetic
from polars_alf.bench.results import StorageReport
from polars_alf.bench.sweep import ProgressCallback, Settings, Sweep
from polars_alf.display import warn_caller
from polars_alf.errors import BenchError, KeptWarning, OptionError
from polars_alf.parallel.cluster import parse_address
from polars_alf.walk.options import WalkOptions

THREADS = (1, 2, 4, 8, 16, 32)

_MAX_THREADS = 4096

_MAX_REMOVING_THREADS = 64


def bench_storage(
    path: FolderPath,
    *,
    files: int = 20_000,
    threads: Sequence[int] = THREADS,
    jobs: int | None = None,
    duration: float = 0.5,
    repeats: int = 3,
    read_only: bool | None = None,
    cold: bool = False,
    operations: Sequence[str] = (),
    like: FolderPath | None = None,
    executor: str | None = None,
    name: str | None = None,
    endpoint_url: str | None = None,
    region: str | None = None,
    anonymous: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> StorageReport:
    """Measure how a storage system serves an ALF archive.

    A synthetic archive is written to a new folder in `path`, which is removed at the end, also
    when an error or an interrupt ends the run. A bucket is only read, if not asked otherwise.

    Parameters
    ----------
    path
        An existing folder on that storage, or the address of a bucket, such as
        ``s3://bucket/folder``.
    files
        Number of small files in the archive, which also has some large ones. If `read_only`,
        number of files to look at.
    threads
        Numbers of calls under way at once, measured in rising order.
    jobs
        Most processes to spread the calls over; by default one for each processor, or each thread
        of the workers of a cluster.
    duration
        Most seconds of a measurement.
    repeats
        Number of repetitions, whose spread shows noise.
    read_only
        Whether `path` is an archive to measure as it is. Nothing is written to it. By default
        an archive in a bucket is, and a folder is not.
    cold
        Whether to measure with empty caches, too: those of the whole machine where this process may
        empty them (Linux, as root), else those of the files' contents. Not for buckets.
    operations
        Names of `polars_alf.bench.operations.Operation`; by default all. Advice and predictions
        need ``index``, or in a bucket ``list``, and those for digests ``read`` and ``md5``.
    like
        Folder with the tables of an archive: files with the paths and sizes of its datasets are
        written, instead of made-up ones, whole subjects until there are `files`, or 4 GiB of them.
        Files are not larger than 16 MiB.
    executor
        Address of the scheduler of a Dask cluster, ``dask://HOST:PORT``, whose workers measure
        together instead of processes of this machine. `path` is the same folder on all of them.
    name
        Name of the storage in reports; by default its file system and mount point, or the bucket.
    endpoint_url, region, anonymous
        How a bucket is reached: as for `polars_alf.index_archive`.
    progress
        Called with the number of finished steps, the number of all (0 outside of measurements),
        and the next step in words.

    Returns
    -------
    StorageReport
        Figures, models, advice and predictions. The advice is also saved for `index --jobs auto`,
        but not that of a cluster.

    Raises
    ------
    MissingExtraError
        A package of the extra ``bench`` is not installed, or of ``cloud`` for a bucket.
    OptionError
        An option makes no sense.
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        The folder, or the bucket, cannot be used; nothing was written.
    StorageFullError
        There is too little room; nothing was written.
    BenchError
        The storage failed or gave other bytes than were written to it, the files of the run cannot
        be removed, or the tables of `like` have no datasets.
    TableError
        The tables of `like` cannot be read.
    ScanError
        The cluster was lost, or its workers do not see `path`; or the service of the bucket does
        not answer.

    Warns
    -----
    KeptWarning
        The folder of the run holds files that the run did not make, and is left; or `path` has the
        folder of another run, which was killed or is under way.
    """
    check_extra()
    _check_options(files, threads, duration, repeats, name)
    options = WalkOptions(endpoint_url=endpoint_url, region=region, anonymous=anonymous)
    if read_only is None:
        read_only = is_read_by_default(path)
    kind = find_kind(path)
    chosen = _choose_operations(operations, kind, read_only=read_only)
    _check_combination(chosen, kind, executor, read_only=read_only, cold=cold, like=like)
    begun, start = datetime.now(), time.perf_counter()
    place = open_place(path, options, read_only=read_only)
    method = place.find_cold_method() if cold else None
    for folder in place.find_others():
        # Another machine may have made it: only a person can tell whether it is in use.
        message = f"{folder} is of another bench; if none is under way here, remove it"
        warn_caller(message, KeptWarning)
    show = progress or (lambda *_: None)
    plan = None
    if not read_only:
        plan = _make_plan(place, files, like)
    messages: list[str] = []
    with (
        _open_run(place, plan, max(threads), show, messages.append) as (run, tables),
        # It ends first: no process may make a file while the folder is removed.
        open_crew(executor, jobs) as crew,
    ):
        settings = Settings(
            levels=plan_levels(threads, crew.n_jobs),
            seconds=duration,
            repeats=repeats,
            n_files=len(plan.small) if plan else files,
            cold=method,
            operations=chosen,
        )
        target = _make_target(run, tables, plan, settings, crew, show)
        measurements, latencies, rates = Sweep(target, settings, crew, show).run()
    for message in messages:
        warn_caller(message, KeptWarning)
    if measurements.is_empty():
        raise BenchError(
            f"{place} has no files to measure {', '.join(chosen)} with; give other operations"
        )
    figures = make_figures(measurements, latencies)
    models = model_operations(measurements)
    report = StorageReport(
        label=name or place.label,
        path=str(place),
        begun=begun.isoformat(timespec="seconds"),
        seconds=time.perf_counter() - start,
        settings={
            "files": settings.n_files if like is not None else files,
            "threads": [level.concurrency for level in settings.levels],
            "jobs": crew.n_jobs,
            "duration": duration,
            "repeats": repeats,
            "operations": [str(operation) for operation in chosen],
            "read_only": read_only,
            "cold": str(method) if method else None,
            "like": os.fspath(like) if like is not None else None,
            "cluster": executor,
            "endpoint_url": options.endpoint_url,
            "region": region,
            "anonymous": anonymous,
        },
        machine=describe_machine(),
        mount=asdict(place.mount),
        figures=figures,
        models=models,
        advice=recommend(measurements, by_lists=kind.lists_tell_all),
        predictions=predict(measurements, models, target.mean_bytes, by_lists=kind.lists_tell_all),
        mean_bytes=target.mean_bytes,
        notes=[
            *list_notes(figures, models, by_lists=kind.lists_tell_all),
            place.note_caches(method),
        ],
        measurements=measurements,
        latencies=latencies,
        rates=rates,
    )
    # What is best for a cluster tells nothing of this machine.
    if report.advice and executor is None:
        save_advice(report)
    return report


def _check_options(
    files: int, threads: Sequence[int], duration: float, repeats: int, name: str | None
) -> None:
    if files < 1:
        raise OptionError(f"the number of files is {files}; give one from 1 on")
    if not threads or not all(1 <= number <= _MAX_THREADS for number in threads):
        given = ",".join(map(str, threads))
        raise OptionError(
            f"the numbers of threads are {given!r}; give some from 1 to {_MAX_THREADS}, such as "
            "1,2,4,8"
        )
    if not 0 < duration < float("inf"):
        raise OptionError(f"the duration is {duration}; give seconds above 0")
    if repeats < 1:
        raise OptionError(f"the number of repeats is {repeats}; give one from 1 on")
    if name is not None and not name.strip():
        raise OptionError("the name is empty; give one that tells storage systems apart")


def _choose_operations(
    names: Sequence[str], kind: type[Place], *, read_only: bool
) -> list[Operation]:
    """Return the operations of these names, in their own order; one that changes needs all."""
    every = [str(operation) for operation in kind.descriptions]
    unknown = [name for name in names if name not in every]
    if unknown:
        raise OptionError(
            f"there is no operation {unknown[0]!r} there; give some of {', '.join(every)}"
        )
    wanted = [operation for operation in kind.descriptions if not names or operation in names]
    if read_only:
        wanted = [operation for operation in wanted if operation not in CHANGING]
    else:
        wanted = [each for each in complete_chains(wanted) if each in kind.descriptions]
    if not wanted:
        raise OptionError(
            f"only {', '.join(names)} measures nothing where nothing is written; add another, or "
            "give --write"
        )
    return wanted


def _check_combination(
    chosen: Sequence[Operation],
    kind: type[Place],
    executor: str | None,
    *,
    read_only: bool,
    cold: bool,
    like: FolderPath | None,
) -> None:
    if read_only and like is not None:
        raise OptionError(
            "--like tells what to write, and --read-only writes nothing, nor is anything written "
            "to a bucket without --write; give --like and --write, or none"
        )
    if executor is None:
        return
    parse_address(executor)
    if cold:
        raise OptionError(
            "--cold cannot empty the caches of other machines; leave it or --cluster out"
        )
    if Operation.INDEX in chosen and (read_only or not kind.holds_tables):
        others = ",".join(each for each in Operation if each not in (*CHANGING, Operation.INDEX))
        what = "--read-only" if kind.holds_tables else "a bucket"
        raise OptionError(
            f"a cluster needs a folder on the storage for the tables of an index, and {what} has "
            f"none; give --operations {others}"
        )


def _make_plan(place: Place, n_files: int, like: FolderPath | None) -> Plan:
    if like is not None:
        return plan_like(like, n_files)
    # Before memory is filled with the paths of far too many files.
    place.check_room(n_files)
    return plan_synthetic(n_files)


@contextlib.contextmanager
def _open_run(
    place: Place,
    plan: Plan | None,
    concurrency: int,
    progress: ProgressCallback,
    warn: Callable[[str], None],
) -> Iterator[tuple[Place, Path]]:
    """Yield the place of a run, and a folder for tables: without a plan, nothing is made there."""
    if plan is None:
        with temporary_folder() as tables:
            yield place, tables
        return
    n_threads = min(concurrency, _MAX_REMOVING_THREADS)
    with place.open_run(plan, n_threads=n_threads, warn=warn) as made:
        try:
            yield made
        finally:
            progress(0, 0, "removing what was written")


def _make_target(
    run: Place,
    tables: Path,
    plan: Plan | None,
    settings: Settings,
    crew: Crew,
    progress: ProgressCallback,
) -> Target:
    if plan is None:
        progress(0, 0, "looking at the archive")
        return find_archive(run, tables, settings.n_files)
    progress(0, 0, f"writing {len(plan.files):,} files")
    return write_archive(run, tables, plan, crew, settings.levels[-1])
