"""Merge tables: open, deduplicate sessions, then datasets bucket by bucket, commit."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from polars_alf.alf import grammar
from polars_alf.alf.root import check_folder
from polars_alf.alf.spellings import accepting_old_spellings
from polars_alf.display import Shown
from polars_alf.errors import TableError
from polars_alf.insertions.api import stage_insertions
from polars_alf.merge.buckets import (
    Buckets,
    count_datasets,
    fill_groups,
    iter_buckets,
    plan_buckets,
)
from polars_alf.merge.duplicates import (
    CONFLICTS,
    Deduplicated,
    deduplicate_datasets,
    deduplicate_sessions,
)
from polars_alf.merge.sources import (
    RANK,
    Keep,
    Mergeable,
    Source,
    check_present,
    check_unchanged,
    choose_namespace,
    find_sources,
    gather_issues,
    warn_of_replaced_tables,
)
from polars_alf.parallel.progress import Steps, show_no_step
from polars_alf.query.revisions import DEFAULT_REVISION, has_choices, with_default_revisions
from polars_alf.query.scan import scan_pair
from polars_alf.schema import DATASETS, ISSUES, TABLES, polars_schema
from polars_alf.tables.contract import Origin
from polars_alf.tables.files import (
    check_replaceable,
    conflicts_path,
    reporting_write_errors,
    table_path,
)
from polars_alf.tables.history import make_record
from polars_alf.tables.keep import KEEP, check_keep
from polars_alf.tables.rows import sum_bytes
from polars_alf.tables.transaction import discard_runs, locked_state, staged


@dataclass(frozen=True, slots=True, repr=False)
class MergedTables(Shown):
    """Merged tables, and a report of the rows that were kept and left out.

    Parameters
    ----------
    sessions, datasets
        SESSIONS sorted by id, DATASETS sorted by eid and id.
    conflicts
        CONFLICTS: rows that were left out although they contradict those kept.
    sources
        A row for each of the tables, in the order of preference: ``tables``, ``created`` (null
        for frames), and for sessions and for datasets how many rows there are, how many were
        kept (``_kept``), and how many of the others say the same as those kept (``_duplicate``)
        or contradict them (``_conflict``).
    folder
        Folder of the merged tables; None where they are frames only.
    namespace
        Namespace of the ids of a later index into that folder.
    seconds
        Duration of the merge.
    """

    sessions: pl.LazyFrame
    datasets: pl.LazyFrame
    conflicts: pl.LazyFrame
    sources: pl.DataFrame
    folder: Path | None
    namespace: uuid.UUID
    seconds: float

    @property
    def n_sessions(self) -> int:
        """Number of merged sessions."""
        return int(self.sources["sessions_kept"].sum())

    @property
    def n_datasets(self) -> int:
        """Number of merged datasets."""
        return int(self.sources["datasets_kept"].sum())

    @property
    def n_duplicates(self) -> int:
        """Number of rows left out that say the same as those kept."""
        return self._count("_duplicate")

    @property
    def n_conflicts(self) -> int:
        """Number of rows left out that contradict those kept."""
        return self._count("_conflict")

    def _list_figures(self) -> dict[str, object]:
        return {
            "sessions": self.n_sessions,
            "datasets": self.n_datasets,
            "duplicates": self.n_duplicates,
            "conflicts": self.n_conflicts,
            "time": f"{self.seconds:.2f} s",
            "tables": self.folder or "frames",
        }

    def to_dict(self) -> dict[str, object]:
        """Return the report as values for JSON."""
        folder = self.folder
        return {
            "out_dir": folder and str(folder),
            "sessions_path": folder and str(table_path(folder, "sessions")),
            "datasets_path": folder and str(table_path(folder, "datasets")),
            "conflicts_path": folder and str(conflicts_path(folder)),
            "n_sessions": self.n_sessions,
            "n_datasets": self.n_datasets,
            "n_duplicates": self.n_duplicates,
            "n_conflicts": self.n_conflicts,
            "namespace": str(self.namespace),
            "seconds": self.seconds,
            "sources": self.sources.with_columns(pl.col("created").dt.to_string("iso")).to_dicts(),
        }

    def _count(self, suffix: str) -> int:
        columns = [f"{table}{suffix}" for table in TABLES]
        return int(self.sources.select(pl.sum_horizontal(columns).sum()).item())


@accepting_old_spellings(out_dir="out")
def merge_tables(
    tables: Mergeable,
    out: str | os.PathLike[str] | None = None,
    *,
    keep: Keep = "first",
    keep_generations: int = KEEP,
    progress: Steps | None = None,
) -> MergedTables:
    """Merge the tables of many archives, or many tables of parts of one.

    A session is the same in two tables if it has the same id, or the same lab, subject, date and
    number; a dataset if it has the same id, or the same rel_path, in the same session. Of those
    that are the same one row is kept. A session or dataset of any table is in the result, and so is
    each column that is not ours. Where the row that is kept has no value in such a column, or in
    ``qc``, ``projects`` or ``task_protocol``, it takes that of the first other that has one.

    Parameters
    ----------
    tables
        Folders of tables, patterns of them, or pairs of frames ``(sessions, datasets)``.
    out
        Existing folder for the merged tables; it may be one of `tables`. None merges into frames,
        in memory.
    keep
        Which of several rows to keep: those of the tables that were given ``first``, or those of
        the ``newest`` tables by the date in their metadata (of the same minute, those written
        last).
    keep_generations
        Number of earlier generations of the tables in `out` to keep, whoever wrote them,
        beside the new ones: `polars_alf.restore_tables` puts them back.
    progress
        Called with how many are done, how many there are, and what they are: first the tables whose
        sessions are merged, then the datasets.

    Returns
    -------
    MergedTables
        The merged tables, and a report of the rows that were kept and left out.

    Raises
    ------
    OptionError
        No tables were given, the newest of frames is to be kept, or an option is invalid.
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        A folder is missing, is a file, or cannot be written.
    TableError
        A table is missing, cannot be read, has rows without ids, or was replaced during the merge.
    ArchiveBusyError
        Another run is writing into `out`.
    OutputError, CommitError
        The merged tables cannot be written, or cannot replace those in `out`.

    Warns
    -----
    TableWarning
        Ids are of several namespaces; or tables of other archives in `out` were replaced.
    """
    start = time.perf_counter()
    check_keep(keep_generations)
    show = progress or show_no_step
    if out is None:
        return _merge_into_frames(find_sources(tables, keep), start, show)
    folder = check_folder(out)
    check_replaceable(folder)
    room = "make room there, about four times the size of the tables"
    with (
        reporting_write_errors(folder, "the merged tables", advice=room),
        locked_state(folder),
    ):
        discard_runs(folder)
        sources = find_sources(tables, keep)
        return _merge_into_folder(sources, folder, start, keep_generations, show)


def _merge_into_frames(sources: Sequence[Source], start: float, show: Steps) -> MergedTables:
    foreign = sources[0].columns["datasets"]
    kept = [pl.DataFrame(schema={**polars_schema(DATASETS), **foreign})]
    conflicts, counts = [], []
    with _reading():
        show(0, len(sources), "tables with merged sessions")
        sessions, buckets, totals = _merge_sessions(sources)
        for rows in _count_up(iter_buckets(sources, buckets, None), totals, show):
            datasets = deduplicate_datasets(rows, buckets.eids, foreign)
            kept.append(_choose_defaults(datasets.kept))
            conflicts.append(datasets.conflicts)
            counts.append(datasets.counts)
    return MergedTables(
        sessions=sessions.kept.lazy(),
        datasets=pl.concat(kept).lazy(),
        conflicts=_name_tables(pl.concat([sessions.conflicts, *conflicts]), sources).lazy(),
        sources=_count_rows(sources, totals, sessions.counts, counts),
        folder=None,
        namespace=choose_namespace(sources),
        seconds=time.perf_counter() - start,
    )


def _merge_into_folder(
    sources: Sequence[Source], folder: Path, start: float, keep_generations: int, show: Steps
) -> MergedTables:
    foreign = sources[0].columns
    origins = list(dict.fromkeys(origin for source in sources for origin in source.origins))
    warn_of_replaced_tables(folder, origins)
    origin = Origin(
        root=origins[0] if len(origins) == 1 else origins,
        namespace=choose_namespace(sources),
        generation=uuid.uuid4().hex,
        created=datetime.now(),
        uuid_filenames=any(source.uuid_filenames for source in sources),
    )
    show(0, len(sources), "tables with merged sessions")
    with _reading():
        sessions, buckets, totals = _merge_sessions(sources)
    counts: list[pl.DataFrame] = []
    n_datasets = n_bytes = 0
    with staged(folder, origin, with_index=_are_uuids(sessions.kept, buckets)) as staging:
        with _reading(), staging.open_rows("conflicts", CONFLICTS) as write_conflicts:
            write_conflicts(_name_tables(sessions.conflicts, sources))
            n_sessions = len(sessions.kept)
            staging.write_table("sessions", [sessions.kept], n_sessions, foreign["sessions"])

            def merge_datasets() -> Iterator[pl.DataFrame]:
                nonlocal n_bytes
                found = iter_buckets(sources, buckets, staging.path / "spill")
                for rows in _count_up(found, totals, show):
                    datasets = deduplicate_datasets(rows, buckets.eids, foreign["datasets"])
                    counts.append(datasets.counts)
                    n_bytes += sum_bytes(datasets.kept["file_size"])
                    write_conflicts(_name_tables(datasets.conflicts, sources))
                    yield _choose_defaults(datasets.kept)

            frames = fill_groups(merge_datasets())
            n_datasets = staging.write_table("datasets", frames, more=foreign["datasets"])
        stage_insertions(staging, [source.folder for source in sources if source.folder])
        issues = gather_issues(sources, len(origins) > 1)
        staging.write_rows("issues", [issues], ISSUES)
        check_unchanged(sources)
        record = make_record(
            "merge",
            origin.generation,
            n_sessions=len(sessions.kept),
            n_datasets=n_datasets,
            n_bytes=n_bytes,
            issues=len(issues),
            seconds=time.perf_counter() - start,
        )
        staging.commit(keep=keep_generations, record=record)
    merged_sessions, merged_datasets = scan_pair(folder)
    return MergedTables(
        sessions=merged_sessions,
        datasets=merged_datasets,
        conflicts=pl.scan_ipc(conflicts_path(folder), glob=False),
        sources=_count_rows(sources, totals, sessions.counts, counts),
        folder=folder,
        namespace=origin.namespace,
        seconds=time.perf_counter() - start,
    )


def _count_up(
    buckets: Iterable[pl.DataFrame], totals: pl.DataFrame, show: Steps
) -> Iterator[pl.DataFrame]:
    """Yield the datasets of buckets, and show how many are done."""
    total, done = int(totals["datasets"].sum()), 0
    for rows in buckets:
        show(done, total, "merged datasets")
        yield rows
        done += len(rows)
    show(done, total, "merged datasets")


@contextmanager
def _reading() -> Iterator[None]:
    """Re-raise errors of Polars as TableError."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise TableError(
            f"the tables cannot be merged: {error}; restore the file, or index that archive again, "
            "and see that there is room in the folder for the merged tables"
        ) from error


def _merge_sessions(sources: Sequence[Source]) -> tuple[Deduplicated, Buckets, pl.DataFrame]:
    """Return the merged sessions, the buckets of datasets, and the rows of each table by rank."""
    frames = [
        source.sessions.with_columns(pl.lit(rank, pl.UInt32).alias(RANK))
        for rank, source in enumerate(sources)
    ]
    rows = pl.concat(frames).collect(engine="streaming")
    check_present(rows, "sessions", "id", sources)
    sessions, eids = deduplicate_sessions(rows, sources[0].columns["sessions"])
    counts = count_datasets(sources, eids)
    totals = (
        pl.DataFrame({RANK: range(len(sources))}, schema={RANK: pl.UInt32})
        .join(rows.group_by(RANK).agg(sessions=pl.len()), on=RANK, how="left")
        .join(counts.group_by(RANK).agg(datasets=pl.sum("n_datasets")), on=RANK, how="left")
        .sort(RANK)
    )
    return sessions, plan_buckets(counts), totals


def _count_rows(
    sources: Sequence[Source],
    totals: pl.DataFrame,
    sessions: pl.DataFrame,
    datasets: Sequence[pl.DataFrame],
) -> pl.DataFrame:
    """Make the frame ``sources`` of `MergedTables` from the counts of rows and of those dropped."""
    names = pl.Series([source.name for source in sources], dtype=pl.String)
    created = [source.created and source.created[0] for source in sources]
    frame = totals.with_columns(tables=names, created=pl.Series(created, dtype=pl.Datetime))
    for table, counts in {
        "sessions": [sessions],
        "datasets": [sessions.clear(), *datasets],
    }.items():
        sums = pl.concat(counts).group_by(RANK).sum()
        n_rows, n_dropped, n_conflicts = (
            pl.col(column).fill_null(0).cast(pl.Int64)
            for column in (table, "n_dropped", "n_conflicts")
        )
        frame = frame.join(sums, on=RANK, how="left", maintain_order="left").select(
            pl.exclude(table, "n_dropped", "n_conflicts"),
            n_rows,
            (n_rows - n_dropped).alias(f"{table}_kept"),
            (n_dropped - n_conflicts).alias(f"{table}_duplicate"),
            n_conflicts.alias(f"{table}_conflict"),
        )
    return frame.select("tables", "created", pl.exclude(RANK, "tables", "created"))


def _choose_defaults(datasets: pl.DataFrame) -> pl.DataFrame:
    """Return whole sessions with a default revision for each dataset, if any table has defaults.

    A table that lacks the column says nothing of its datasets; two tables may each choose one.
    """
    if not has_choices(datasets.schema):
        return datasets
    dtype = datasets.schema[DEFAULT_REVISION]
    return with_default_revisions(datasets).with_columns(pl.col(DEFAULT_REVISION).cast(dtype))


def _name_tables(conflicts: pl.DataFrame, sources: Sequence[Source]) -> pl.DataFrame:
    names = pl.Series([source.name for source in sources], dtype=pl.String)
    return conflicts.with_columns(pl.lit(names).gather(pl.col("kept", "dropped")).name.keep())


def _are_uuids(sessions: pl.DataFrame, buckets: Buckets) -> bool:
    ids = pl.concat([sessions["id"], buckets.eids.alias("id")]).to_frame()
    return bool(ids.select(grammar.expr_is_uuid(pl.col("id")).all()).item())
