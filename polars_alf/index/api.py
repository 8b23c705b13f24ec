"""Index an archive: survey, scan, merge, commit.

survey ──► scan (parallel) ──► spool ──► merge ──► commit
units      ENTRIES to rows,    a folder  in order  sessions.pqt and
shards     ids, digests        a shard   of ids    datasets.pqt, together
"""

from __future__ import annotations

import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from pathlib import Path

import polars as pl

from polars_alf.alf.ids import check_namespace, make_namespace, parse_namespace
from polars_alf.alf.layout import check_lab, count_places
from polars_alf.alf.paths import check_folder, check_root
from polars_alf.errors import NoSessionsWarning, TableWarning
from polars_alf.index.checkpoint import discarded_on_error, open_run
from polars_alf.index.external_ids import KnownIds
from polars_alf.index.merge import Rows, Survey, gather, group_sessions, list_subjects
from polars_alf.index.options import (
    Folder,
    Request,
    check_ids_from,
    identify,
    lists_the_same,
    makes_the_same,
)
from polars_alf.index.report import (
    IndexReport,
    count_changes,
    count_issues,
    describe_run,
    read_report,
    read_settings,
    repeat_report,
)
from polars_alf.index.shard import ShardTask, scan_shards
from polars_alf.index.snapshot import CHANGES, Snapshot, clear_changes, list_snapshots
from polars_alf.parallel.executors import Executor, Workers, check_jobs, open_workers
from polars_alf.parallel.progress import Monitor, Progress
from polars_alf.schema import ISSUES, PASSING, TABLES, polars_schema
from polars_alf.tables.contract import Origin, read_namespace
from polars_alf.tables.files import (
    STATE_DIR,
    check_replaceable,
    conflicts_path,
    issues_path,
    own_files,
    reporting_write_errors,
    table_path,
)
from polars_alf.tables.transaction import Staging, discard_runs, locked_state
from polars_alf.walk.digests import Algorithm, check_digests
from polars_alf.walk.options import Options, check_op_timeout, check_threads, parse_exclude
from polars_alf.walk.shard_files import remove_rows
from polars_alf.walk.walker import Walker

_NO_CHANGES = polars_schema(CHANGES).to_frame()


def index_archive(
    root: Folder,
    out_dir: Folder | None = None,
    *,
    hash_ids: bool = True,
    hash_files: bool = False,
    digest: Algorithm | Sequence[Algorithm] = (),
    lab: str | None = None,
    n_jobs: int | None = None,
    executor: Executor | str | None = None,
    namespace: uuid.UUID | str | None = None,
    follow_links: bool = False,
    exclude: str | Sequence[str] = (),
    ids_from: Folder | Sequence[Folder] = (),
    quick: bool = False,
    restart: bool = False,
    threads: int | None = None,
    op_timeout: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> IndexReport:
    """Index an archive into ``sessions.pqt`` and ``datasets.pqt``.

    A run that was interrupted is taken up where it was. Where there are tables of an earlier index,
    ids stay as they are, and so do digests of files whose size, time of modification and inode did
    not change.

    Parameters
    ----------
    root
        An archive, a lab, a Subjects folder, a subject, a date or a session.
    out_dir
        Existing folder for the tables; by default the root.
    hash_ids
        Whether ids are UUIDs, as ONE needs them; else they are paths.
    hash_files
        Whether to read every dataset for its MD5, the ``hash`` of the table.
    digest
        What to read every dataset for: ``md5``, as `hash_files` does, and ``xxh3_128``, which is
        faster to compute and goes into a column of that name; both are of one reading. A column
        stays in later tables; what those were not asked to read has '' there.
    lab
        Lab of the sessions that lie in no lab's folder. Never part of an id.
    n_jobs
        Number of workers; by default one for each processor, or each thread of a cluster.
    executor
        ``serial``, ``threads`` or ``processes``; by default processes, or serial where there is
        little to do. Or ``dask://HOST:PORT``, the scheduler of a Dask cluster: its workers must see
        the root and the folder for the tables at the same paths. All give the same tables.
    namespace
        What UUIDs are made in, a UUID or any name; by default that of the tables that are there,
        or else a new one.
    follow_links
        Whether to enter linked directories that are not sessions.
    exclude
        What to leave out: one or several patterns as in .gitignore, relative to the root.
    ids_from
        Folders of tables whose ids win, for sessions of the same lab, subject, date and number,
        and for datasets of these with the same rel_path: a local index agrees with a database.
        Later runs over the same tables keep these ids.
    quick
        Whether to trust the times of directories: one that has not changed since the last index is
        not listed again. A file that was rewritten in place, or a link's target, is not seen then.
    restart
        Whether to scan everything, also what an interrupted run with the same options had finished.
    threads
        Number of calls to the storage that each worker has under way; by default as many as are
        worth it, from measuring as the run goes. All give the same tables.
    op_timeout
        Seconds after which a directory that does not answer becomes an issue, ``timed_out``; by
        default the run waits as long as it takes.
    progress
        Called a few times a second, from another thread.

    Returns
    -------
    IndexReport
        Paths, counts, and the issues by kind.

    Raises
    ------
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        About the root or the folder for the tables; nothing was written.
    OptionError
        An option makes no sense; nothing was written.
    LabConflictError
        The lab is not that of a lab's folder; nothing was written.
    TableError
        Tables to take ids from cannot be read, or have none; nothing was written.
    NamespaceConflictError
        The namespace is not that of the tables that are there; nothing was written.
    ArchiveBusyError
        Another run is writing the same tables.
    ScanError
        The archive went away or does not answer, none of its sessions could be read, a worker was
        killed, or the cluster failed; the tables are as they were.
    MissingExtraError
        A cluster was given, and Dask is not installed.
    OutputError
        The tables cannot be written; those that were there are whole.
    CommitError
        The new tables are written, but cannot be put in place; the next run tries again.

    Warns
    -----
    NoSessionsWarning
        There are no sessions, or no datasets: the tables are empty.
    TableWarning
        A table that was there could not be read, or was not ours, or of another archive.
    """
    start = time.perf_counter()
    op_timeout = check_op_timeout(op_timeout)
    root = check_root(root, op_timeout)
    folder = check_folder(root if out_dir is None else out_dir)
    check_replaceable(folder)
    options = Options(
        follow_links,
        parse_exclude(exclude),
        own_files(folder, root),
        check_threads(threads),
        op_timeout,
    )
    opened = open_workers(executor)
    check_jobs(n_jobs)
    given = parse_namespace(namespace)
    check_namespace(given, read_namespace(folder, root)[0], folder)
    request = Request(
        root=root,
        identity=identify(root),
        folder=folder,
        options=options,
        namespace=given,
        hash_ids=hash_ids,
        digests=check_digests(digest, hash_files=hash_files),
        ids_from=check_ids_from(ids_from, hash_ids=hash_ids),
        quick=quick,
        restart=restart,
    )
    walker = Walker(str(root), options)
    with opened as workers, Monitor(progress, walker.counter) as monitor:
        survey = Survey(walker.survey(), walker.issues(), walker.n_other_files)
        request = replace(
            request, lab=check_lab(lab, count_places(list_subjects(root, survey.units)))
        )
        with reporting_write_errors(folder, "the tables"), locked_state(folder):
            report = _index(request, survey, workers, n_jobs, monitor)
    if not report.n_datasets:
        what = "datasets" if report.n_sessions else "sessions"
        warnings.warn(f"No {what} found in {root}", NoSessionsWarning, stacklevel=2)
    return replace(report, seconds=time.perf_counter() - start)


def _index(
    request: Request,
    survey: Survey,
    workers: Workers | None,
    n_jobs: int | None,
    monitor: Monitor,
) -> IndexReport:
    """Scan what has to be scanned, and commit the tables. Under the state's lock."""
    folder, root = request.folder, request.root
    namespace = _find_namespace(folder, root, request.namespace)
    before = read_settings(folder)
    snapshot = Snapshot.find(folder) if before.get("root") == str(root) else None
    columns = request.list_columns(before if snapshot else {})
    settings = request.describe(namespace, snapshot, columns)
    quick = request.quick and snapshot is not None and lists_the_same(before, settings)
    if quick and snapshot and not request.ids_from and makes_the_same(before, settings):
        report = _repeat(request, snapshot, survey)
        if report:
            return report
    known = _find_known_ids(folder, request.ids_from)
    run = open_run(
        folder, settings, namespace or make_namespace(), survey.units, restart=request.restart
    )
    task = ShardTask(
        root=str(root),
        options=request.options,
        spool=str(run.shards),
        counters=str(run.path / "counters"),
        lab=request.lab,
        namespace=run.namespace if request.hash_ids else None,
        digests=request.digests,
        snapshot=str(snapshot.path) if snapshot else None,
        quick=quick,
        source=Walker,
    )
    receipts, n_workers = scan_shards(task, run, snapshot, survey.units, workers, n_jobs, monitor)
    gone = snapshot.list_gone(survey.units, survey.issues) if snapshot else _NO_CHANGES
    survey.units.clear()  # some hundred bytes for each
    monitor.stage = "write"
    # If it does not answer now, what was scanned before is worth keeping.
    check_root(root, request.options.op_timeout)
    with discarded_on_error(run):
        request.check_identity()
        rows = Rows(receipts, by_id=request.hash_ids)
        order, base, issues = gather(root, request.lab, survey.issues, rows)
    origin = Origin(str(root), run.namespace, run.generation, datetime.now())
    staging = Staging(folder, run.path, origin, with_index=request.hash_ids)
    n_datasets, n_bytes = _write_tables(staging, rows, order, known, columns)
    staging.write_rows("issues", [issues], ISSUES)
    staging.write_rows("changes", chain(rows.read("changes"), [gone.to_arrow()]), CHANGES)
    n_other_files = survey.n_other_files + sum(receipt.n_other_files for receipt in receipts)
    report = IndexReport(
        sessions_path=table_path(folder, "sessions"),
        datasets_path=table_path(folder, "datasets"),
        issues_path=issues_path(folder),
        n_sessions=len(order),
        n_datasets=n_datasets,
        n_bytes=n_bytes,
        n_other_files=n_other_files,
        issues=count_issues(issues),
        changes=count_changes(receipts, gone, n_datasets) if snapshot else None,
        n_known_sessions=known.n_sessions if known else 0,
        n_known_datasets=known.n_datasets if known else 0,
        n_shards=len(receipts),
        n_resumed=len(run.receipts),
        seconds=monitor.snapshot().seconds,
        namespace=run.namespace,
        root=root,
        cache_dir=base,
        n_jobs=n_workers,
    )
    told = {**settings, "ids_from": known.names if known else []}
    staging.write_report(
        describe_run(report, run=run, settings=told, issues=issues, receipts=receipts)
    )
    staging.commit(
        move={run.shards.name: f"snapshot-{run.generation}"},
        remove=[conflicts_path(folder).name, *list_snapshots(folder)],
    )
    remove_rows(folder / STATE_DIR / f"snapshot-{run.generation}")
    return report


def _repeat(request: Request, snapshot: Snapshot, survey: Survey) -> IndexReport | None:
    """Return the report of the last index, if all that can be seen quickly is as it was then."""
    folder = request.folder
    if (
        PASSING.isdisjoint(survey.issues.column("kind").to_pylist())
        and snapshot.is_of(folder)
        and snapshot.is_unchanged(str(request.root), survey.units)
        and (report := read_report(folder))
        # What could not be read then, a folder that hung say, may have no time to compare.
        and PASSING.isdisjoint(report.issues)
    ):
        discard_runs(folder)
        clear_changes(folder)
        return repeat_report(report)
    return None


def _find_known_ids(folder: Path, given: Sequence[Path]) -> KnownIds | None:
    """Open the tables whose ids are to win: those given, and our own if theirs were taken so."""
    is_taken = bool(read_settings(folder).get("ids_from"))
    own = folder if is_taken and all(table_path(folder, n).exists() for n in TABLES) else None
    if is_taken and not own:
        warnings.warn(
            f"the tables in {folder} had ids from others and are gone; give those again to keep "
            "the ids",
            TableWarning,
            stacklevel=3,
        )
    return KnownIds(given, own) if given or own else None


def _write_tables(
    staging: Staging,
    rows: Rows,
    order: pl.DataFrame,
    known: KnownIds | None,
    columns: Sequence[str],
) -> tuple[int, int]:
    """Write both tables; return the number of datasets, and of their bytes."""
    n_datasets = int(order["n_datasets"].cast(pl.UInt64).sum())
    if known:
        order = known.take_sessions(order, rows)
    staging.write_table("sessions", rows.merge_sessions(order), len(order))
    groups = group_sessions(order)
    n_bytes = 0
    if known:
        spilled = staging.path / "known"
        shutil.rmtree(spilled, ignore_errors=True)  # of a run that was interrupted
        known.spill_datasets(groups, spilled)

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal n_bytes
        for group, frame in rows.merge_datasets(groups, columns):
            n_bytes += int(frame["file_size"].sum())
            yield known.take_datasets(group, frame) if known else frame

    staging.write_table("datasets", frames(), n_datasets, columns)
    return n_datasets, n_bytes


def _find_namespace(folder: Path, root: Path, given: uuid.UUID | None) -> uuid.UUID | None:
    found, problems = read_namespace(folder, root)
    check_namespace(given, found, folder)
    kept = "" if found or given else ", and its ids, which cannot be kept,"
    for problem in problems:
        warnings.warn(f"{problem}; it{kept} will be replaced", TableWarning, stacklevel=3)
    return given or found
