"""Index an archive: survey, scan, merge, commit.

survey ──► scan (parallel) ──► spool ──► merge ──► commit
units      ENTRIES to rows,    a folder  in order  sessions.pqt and
shards     ids, digests        a shard   of ids    datasets.pqt, together
"""

from __future__ import annotations

import os
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa

from polars_alf import commits, spec, spool, store
from polars_alf.checks import (
    check_folder,
    check_lab,
    check_namespace,
    check_op_timeout,
    check_root,
    check_threads,
    parse_exclude,
    parse_namespace,
)
from polars_alf.errors import (
    NoSessionsWarning,
    OutputError,
    PolarsAlfError,
    ScanError,
    TableWarning,
)
from polars_alf.executors import Executor, check_executor, count_workers, run_tasks
from polars_alf.ids import make_namespace
from polars_alf.layout import Place, choose_base, count_places
from polars_alf.progress import CounterFile, Monitor, Progress
from polars_alf.scanning import ShardTask, choose_executor, index_shard
from polars_alf.schema import ISSUES, SESSIONS, IssueKind, make_table
from polars_alf.shards import plan_shards
from polars_alf.sources.listing import Options
from polars_alf.sources.posix import Walker
from polars_alf.tables import drop_duplicate_sessions


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an index found, and where it is.

    Parameters
    ----------
    sessions_path, datasets_path, issues_path
        The tables, and the issues (ISSUES, an Arrow IPC file).
    n_sessions, n_datasets
        Rows of the tables.
    n_bytes
        Size of all datasets together, in bytes.
    n_other_files
        Files that are not ALF datasets, or lie outside every session.
    issues
        Number of issues by kind (`polars_alf.schema.IssueKind`), most frequent first.
    seconds
        How long it took.
    namespace
        What UUIDs were made in.
    root
        The archive, links resolved.
    cache_dir
        What to give to ONE as ``cache_dir``: the folder that its paths start from.
    n_jobs
        Number of workers.
    """

    sessions_path: Path
    datasets_path: Path
    issues_path: Path
    n_sessions: int
    n_datasets: int
    n_bytes: int
    n_other_files: int
    issues: dict[str, int]
    seconds: float
    namespace: uuid.UUID
    root: Path
    cache_dir: Path
    n_jobs: int

    def scan_issues(self) -> pl.LazyFrame:
        """Return the issues, in the order of their paths' shards."""
        return store.scan_issues(self.sessions_path.parent)

    def to_dict(self) -> dict[str, object]:
        """Return the report in values that JSON has."""
        values = asdict(self)
        return {
            name: str(value) if isinstance(value, Path | uuid.UUID) else value
            for name, value in values.items()
        }


def index_archive(
    root: str | os.PathLike[str],
    out_dir: str | os.PathLike[str] | None = None,
    *,
    hash_ids: bool = True,
    hash_files: bool = False,
    lab: str | None = None,
    n_jobs: int | None = None,
    executor: Executor | None = None,
    namespace: uuid.UUID | str | None = None,
    follow_links: bool = False,
    exclude: str | Sequence[str] = (),
    threads: int | None = None,
    op_timeout: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> IndexReport:
    """Index an archive into ``sessions.pqt`` and ``datasets.pqt``.

    Parameters
    ----------
    root
        An archive, a lab, a Subjects folder, a subject, a date or a session.
    out_dir
        Existing folder for the tables; by default the root.
    hash_ids
        Whether ids are UUIDs, as ONE needs them; else they are paths.
    hash_files
        Whether to read every dataset for its MD5.
    lab
        Lab of the sessions that lie in no lab's folder. Never part of an id.
    n_jobs
        Number of workers; by default one for each processor.
    executor
        ``serial``, ``threads`` or ``processes``; by default processes, or serial where there is
        little to do. All give the same tables.
    namespace
        What UUIDs are made in, a UUID or any name; by default that of the tables that are there,
        or else a new one.
    follow_links
        Whether to enter linked directories that are not sessions.
    exclude
        What to leave out: one or several patterns as in .gitignore, relative to the root.
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
    NamespaceConflictError
        The namespace is not that of the tables that are there; nothing was written.
    ArchiveBusyError
        Another run is writing the same tables.
    ScanError
        The archive went away or does not answer, none of its sessions could be read, or a worker
        was killed; the tables are as they were.
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
    store.check_replaceable(folder)
    identity = _identify(root)
    options = Options(
        follow_links,
        parse_exclude(exclude),
        store.own_files(folder, root),
        check_threads(threads),
        op_timeout,
    )
    executor = check_executor(executor)
    n_jobs = count_workers(n_jobs)
    given = parse_namespace(namespace)
    check_namespace(given, store.read_namespace(folder, root)[0], folder)
    walker = Walker(str(root), options)
    with Monitor(progress, walker.counter) as monitor:
        units = walker.survey()
        lab = check_lab(lab, count_places(_list_subjects(root, units)))
        # Files that are read take longer than any shard's own cost.
        shards = plan_shards(units, least=1) if hash_files else plan_shards(units)
        n_jobs = min(n_jobs, max(len(shards), 1))
        executor = executor or choose_executor(len(shards), n_jobs, hash_files=hash_files)
        with _writing(folder), commits.locked_state(folder):
            origin = store.Origin(
                root=str(root),
                namespace=_choose_namespace(folder, root, given),
                generation=uuid.uuid4().hex,
                created=datetime.now(),
            )
            with commits.Staging(folder, origin, with_index=hash_ids) as staging:
                counters = staging.path / "counters"
                monitor.begin_scan(len(shards), CounterFile.create(counters, len(shards)))
                tasks = [
                    ShardTask(
                        root=str(root),
                        options=options,
                        shard=shard,
                        spool=str(staging.path),
                        counters=str(counters),
                        lab=lab,
                        namespace=origin.namespace if hash_ids else None,
                        hash_files=hash_files,
                    )
                    for shard in shards
                ]
                receipts = []
                for receipt in run_tasks(index_shard, tasks, executor=executor, n_jobs=n_jobs):
                    receipts.append(receipt)
                    monitor.shards += 1
                _check_identity(root, identity, op_timeout)
                monitor.stage = "write"
                sessions, base, issues = _gather(root, lab, walker.issues(), receipts)
                n_datasets = int(sessions["n_datasets"].sum())
                datasets = spool.merge_datasets(receipts, sessions)
                staging.write_table("sessions", [sessions.select(SESSIONS.names)], len(sessions))
                staging.write_table("datasets", datasets, n_datasets)
                staging.write_issues(issues)
                staging.commit()
    if not n_datasets:
        what = "datasets" if len(sessions) else "sessions"
        warnings.warn(f"No {what} found in {root}", NoSessionsWarning, stacklevel=2)
    kinds = Counter(issues.column("kind").to_pylist())
    return IndexReport(
        sessions_path=store.table_path(folder, "sessions"),
        datasets_path=store.table_path(folder, "datasets"),
        issues_path=store.issues_path(folder),
        n_sessions=len(sessions),
        n_datasets=n_datasets,
        n_bytes=int(sessions["n_bytes"].sum()),
        n_other_files=walker.n_other_files + sum(receipt.n_other_files for receipt in receipts),
        issues=dict(kinds.most_common()),
        seconds=time.perf_counter() - start,
        namespace=origin.namespace,
        root=root,
        cache_dir=base,
        n_jobs=1 if executor == "serial" else n_jobs,
    )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Tell of what could not be written where it was to be."""
    try:
        yield
    except PolarsAlfError:
        raise
    except OSError as error:
        raise OutputError(
            error.errno,
            f"the tables in {folder} cannot be written: {error.strerror or error}; make room "
            "there, or give another folder for them; tables that were there are as they were",
        ) from error


def _identify(root: Path) -> tuple[int, int]:
    status = root.stat()
    return status.st_dev, status.st_ino


def _check_identity(root: Path, identity: tuple[int, int], op_timeout: float | None) -> None:
    """Check that the archive was not unmounted, or replaced, while it was scanned.

    Raises
    ------
    ScanError, ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        It was.
    """
    if _identify(check_root(root, op_timeout)) != identity:
        raise ScanError(
            f"{root} is not the folder that it was when the run began; tables that were there are "
            "as they were; see to its mount, and run again"
        )


def _gather(
    root: Path, lab: str, issues: pa.Table, receipts: Sequence[spool.Receipt]
) -> tuple[pl.DataFrame, Path, pa.Table]:
    """Put together what the shards found.

    Parameters
    ----------
    issues
        Those of the survey.

    Returns
    -------
    sessions : polars.DataFrame
        In the order of the table.
    base : pathlib.Path
        The folder that ONE starts from.
    issues : pyarrow.Table
        All of them.
    """
    sessions, duplicates = _merge_sessions(receipts)
    places = _find_places(root, sessions)
    check_lab(lab, places)
    base = Path(*choose_base(root.parts, places))
    misplaced = _find_misplaced(places, root, base, lab)
    issues = pa.concat_tables([issues, misplaced, spool.read_issues(receipts), duplicates])
    _check_found(root, sessions, issues)
    return sessions, base, issues


def _list_subjects(root: Path, units: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the components of the subject that each unit seems to be of, before it is walked."""
    for unit in units:
        parts = (*root.parts, *filter(None, unit.split("/")))
        if spec.is_date(parts[-1]):
            yield parts[:-1]
        elif spec.is_number(parts[-1]):
            yield parts[:-2]


def _find_places(root: Path, sessions: pl.DataFrame) -> Counter[Place]:
    path = pl.concat_str(pl.lit(f"{root.as_posix()}/"), "session").str.strip_suffix("/")
    subject = path.str.replace(r"/[^/]*/[^/]*$", "")
    subjects = sessions.select(subject).to_series().unique()
    return count_places(Path(subject).parts for subject in subjects)


def _check_found(root: Path, sessions: pl.DataFrame, issues: pa.Table) -> None:
    """Check that an index without sessions is of an archive without sessions.

    Raises
    ------
    ScanError
        There may be sessions that could not be reached: storage that is gone, say.
    """
    lost = pl.DataFrame(issues).filter(
        pl.col("kind").is_in(
            [IssueKind.UNREADABLE_DIRECTORY, IssueKind.VANISHED, IssueKind.TIMED_OUT]
        )
    )
    if sessions.is_empty() and len(lost):
        raise ScanError(
            f"no session of {root} could be read, and {len(lost)} folders could not be listed, "
            f"{lost['path'][0]} for one ({lost['message'][0]}); tables that were there are as "
            "they were; see to the storage and its permissions"
        )


def _choose_namespace(folder: Path, root: Path, given: uuid.UUID | None) -> uuid.UUID:
    found, problems = store.read_namespace(folder, root)
    check_namespace(given, found, folder)
    kept = "" if found or given else ", and its ids, which cannot be kept,"
    for problem in problems:
        warnings.warn(f"{problem}; it{kept} will be replaced", TableWarning, stacklevel=3)
    return given or found or make_namespace()


def _merge_sessions(receipts: Sequence[spool.Receipt]) -> tuple[pl.DataFrame, pa.Table]:
    """Return the sessions of all shards in the order of the table, and issues of duplicates."""
    kept, dropped = pl.collect_all(drop_duplicate_sessions(spool.read_sessions(receipts).lazy()))
    issues = [
        (
            row["session"],
            IssueKind.DUPLICATE_SESSION.value,
            None,
            f"the session {row['name']} is also in {row['kept']}, which was taken; move one of "
            "them away, or index them apart",
        )
        for row in dropped.iter_rows(named=True)
    ]
    return kept.sort("key"), make_table(issues, ISSUES)


def _find_misplaced(places: Iterable[Place], root: Path, base: Path, lab: str) -> pa.Table:
    """Return an issue for each folder whose sessions ONE would look for elsewhere."""
    issues = []
    for place in sorted(places, key=lambda place: place.base):
        folder = Path(*place.base)
        if folder != base:
            message = f"ONE opens the sessions in {folder} only with that as its cache_dir; index "
            message += "it by itself, or move its subjects to the others"
        elif lab and place.lab is None:
            message = f"ONE looks for the sessions of the lab {lab!r} in {lab}/Subjects; move "
            message += "the folders of the subjects there"
        else:
            continue
        path = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else "."
        issues.append((path, IssueKind.MISPLACED_SESSION.value, None, message))
    return make_table(issues, ISSUES)
