"""Merge tables: open, choose sessions, choose datasets range by range, commit."""

from __future__ import annotations

import os
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa

from polars_alf.alf import grammar
from polars_alf.alf.ids import make_namespace
from polars_alf.alf.root import check_folder
from polars_alf.errors import TableError, TableWarning
from polars_alf.merge.buckets import Plan, count_datasets, iter_buckets, plan_buckets
from polars_alf.merge.choose import CONFLICTS, RANK, Choice, choose_datasets, choose_sessions
from polars_alf.merge.sources import Keep, Mergeable, Source, check_unchanged, find_sources
from polars_alf.query.scan import scan_pair
from polars_alf.schema import DATASETS, ISSUES, TABLES, polars_schema
from polars_alf.tables.contract import Origin, read_headers
from polars_alf.tables.files import (
    check_replaceable,
    conflicts_path,
    issues_path,
    reporting_write_errors,
    scan_issues,
    table_path,
)
from polars_alf.tables.rows import ROWS_PER_GROUP
from polars_alf.tables.transaction import discard_runs, locked_state, staged

_LOST = ["n_dropped", "n_conflicts"]


@dataclass(frozen=True, slots=True)
class MergedTables:
    """Tables that were merged, and what became of their rows.

    Parameters
    ----------
    sessions, datasets
        SESSIONS sorted by id, DATASETS sorted by eid and id.
    conflicts
        CONFLICTS: rows that were left out although they say something else than those kept.
    sources
        A row for each of the tables, in the order of preference: ``tables``, ``created`` (null
        for frames), and for sessions and for datasets how many rows there are, how many were
        kept, and how many of the others were the same (``_duplicate``) or in conflict.
    folder
        Where the merged tables are; None where they are frames only.
    namespace
        What a later index into that folder makes its ids in.
    seconds
        How long it took.
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
        """Rows of the merged sessions."""
        return int(self.sources["sessions_kept"].sum())

    @property
    def n_datasets(self) -> int:
        """Rows of the merged datasets."""
        return int(self.sources["datasets_kept"].sum())

    @property
    def n_duplicates(self) -> int:
        """Rows that were left out as another says the same."""
        return self._count("_duplicate")

    @property
    def n_conflicts(self) -> int:
        """Rows that were left out although they say something else."""
        return self._count("_conflict")

    def to_dict(self) -> dict[str, object]:
        """Return the report in values that JSON has."""
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

    def _count(self, what: str) -> int:
        columns = [f"{table}{what}" for table in TABLES]
        return int(self.sources.select(pl.sum_horizontal(columns).sum()).item())


def merge_tables(
    tables: Mergeable, out_dir: str | os.PathLike[str] | None = None, *, keep: Keep = "first"
) -> MergedTables:
    """Merge the tables of many archives, or many tables of parts of one.

    A session is the same in two tables if it has the same id, or the same lab, subject, date and
    number; a dataset if it has the same id, or the same rel_path, in the same session. Of those
    that are the same one row is kept whole. What is in any of the tables is in the result.

    Parameters
    ----------
    tables
        Folders of tables, patterns of them, or pairs of frames ``(sessions, datasets)``.
    out_dir
        Existing folder for the merged tables; it may be one of `tables`. None merges into frames,
        in memory.
    keep
        Which of several rows to keep: those of the tables that were given ``first``, or those of
        the ``newest``, by the date that the tables have in their metadata (of the same minute,
        those written last).

    Returns
    -------
    MergedTables
        The merged tables, and what became of the rows.

    Raises
    ------
    OptionError
        No tables were given, frames were given to keep the newest of, or an option makes no
        sense.
    ArchiveNotFoundError, ArchiveNotADirectoryError, ArchivePermissionError
        About a folder.
    TableError
        A table is missing, cannot be read, has rows without ids, or was replaced meanwhile.
    ArchiveBusyError
        Another run is writing into `out_dir`.
    OutputError, CommitError
        The merged tables cannot be written, or not be put in place.

    Warns
    -----
    TableWarning
        Columns that ONE's tables do not have were left out; ids come from several namespaces; or
        the tables that were in `out_dir` are of other archives, and were replaced.
    """
    start = time.perf_counter()
    if out_dir is None:
        return _merge_into_frames(find_sources(tables, keep), start)
    folder = check_folder(out_dir)
    check_replaceable(folder)
    room = "make room there, about four times the size of the tables"
    with (
        reporting_write_errors(folder, "the merged tables", advice=room),
        locked_state(folder),
    ):
        discard_runs(folder)
        sources = find_sources(tables, keep)
        return _merge_into_folder(sources, folder, start)


def _merge_into_frames(sources: Sequence[Source], start: float) -> MergedTables:
    with _reading():
        choice, plan, counts = _choose_sessions(sources)
        kept, conflicts = [polars_schema(DATASETS).to_frame()], [choice.conflicts]
        dropped: list[pl.DataFrame] = []
        for rows in iter_buckets(sources, plan, None):
            datasets = choose_datasets(rows, plan.eids)
            kept.append(datasets.kept.select(DATASETS.names))
            conflicts.append(datasets.conflicts)
            dropped.append(datasets.n_dropped)
    return MergedTables(
        sessions=choice.kept.drop(RANK).lazy(),
        datasets=pl.concat(kept).lazy(),
        conflicts=_name_tables(pl.concat(conflicts), sources).lazy(),
        sources=_report(sources, choice, counts, dropped),
        folder=None,
        namespace=_choose_namespace(sources),
        seconds=time.perf_counter() - start,
    )


def _merge_into_folder(sources: Sequence[Source], folder: Path, start: float) -> MergedTables:
    origins = list(dict.fromkeys(origin for source in sources for origin in source.origins))
    _warn_of_others(folder, origins)
    origin = Origin(
        root=origins[0] if len(origins) == 1 else origins,
        namespace=_choose_namespace(sources),
        generation=uuid.uuid4().hex,
        created=datetime.now(),
    )
    with _reading():
        choice, plan, counts = _choose_sessions(sources)
    dropped: list[pl.DataFrame] = []
    with staged(folder, origin, with_index=_are_uuids(choice.kept, plan)) as staging:
        with _reading(), staging.open_rows("conflicts", CONFLICTS) as write_conflicts:
            write_conflicts(_name_tables(choice.conflicts, sources))
            staging.write_table("sessions", [choice.kept.drop(RANK)], len(choice.kept))

            def datasets() -> Iterator[pl.DataFrame]:
                for rows in iter_buckets(sources, plan, staging.path / "spill"):
                    chosen = choose_datasets(rows, plan.eids)
                    dropped.append(chosen.n_dropped)
                    write_conflicts(_name_tables(chosen.conflicts, sources))
                    yield chosen.kept.select(DATASETS.names)

            staging.write_table("datasets", _regroup(datasets()))
        staging.write_rows("issues", [_gather_issues(sources, len(origins) > 1)], ISSUES)
        check_unchanged(sources)
        staging.commit()
    sessions, merged = scan_pair(folder)
    return MergedTables(
        sessions=sessions,
        datasets=merged,
        conflicts=pl.scan_ipc(conflicts_path(folder), glob=False),
        sources=_report(sources, choice, counts, dropped),
        folder=folder,
        namespace=origin.namespace,
        seconds=time.perf_counter() - start,
    )


@contextmanager
def _reading() -> Iterator[None]:
    """Tell of tables that could not be read to their end."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise TableError(
            f"the tables cannot be merged: {error}; restore the file, or index that archive again, "
            "and see that there is room in the folder for the merged tables"
        ) from error


def _choose_sessions(sources: Sequence[Source]) -> tuple[Choice, Plan, pl.DataFrame]:
    """Return the choice of sessions, the ranges of datasets, and the rows of every table."""
    sessions = [
        source.sessions.with_columns(pl.lit(rank, pl.UInt32).alias(RANK))
        for rank, source in enumerate(sources)
    ]
    rows = pl.concat(sessions).collect(engine="streaming")
    for rank, source in enumerate(sources):
        if rows.filter(pl.col(RANK) == rank)["id"].null_count():
            raise TableError(f"sessions of {source.name} has a row without id; index it again")
    choice, eids = choose_sessions(rows)
    counts = count_datasets(sources, eids)
    totals = (
        pl.DataFrame({RANK: range(len(sources))}, schema={RANK: pl.UInt32})
        .join(rows.group_by(RANK).agg(n_sessions=pl.len()), on=RANK, how="left")
        .join(counts.group_by(RANK).agg(pl.col("n_datasets").sum()), on=RANK, how="left")
    )
    return choice, plan_buckets(counts), totals


def _report(
    sources: Sequence[Source], choice: Choice, counts: pl.DataFrame, dropped: list[pl.DataFrame]
) -> pl.DataFrame:
    """Make the frame ``sources`` of `MergedTables`."""
    lost = {"sessions": [choice.n_dropped], "datasets": dropped}
    frame = counts.with_columns(
        tables=pl.Series([source.name for source in sources], dtype=pl.String),
        created=pl.Series(
            [source.created and source.created[0] for source in sources], dtype=pl.Datetime
        ),
    )
    columns: list[pl.Expr] = []
    for table, frames in lost.items():
        sums = pl.concat([choice.n_dropped.clear(), *frames]).group_by(RANK).sum()
        names = [f"{table}_dropped", f"{table}_conflict"]
        sums = sums.select(RANK, *(pl.col(c).alias(n) for c, n in zip(_LOST, names, strict=True)))
        frame = frame.join(sums, on=RANK, how="left", maintain_order="left")
        n_rows, n_dropped, n_conflicts = (
            pl.col(name).fill_null(0).cast(pl.Int64) for name in (f"n_{table}", *names)
        )
        columns += [
            n_rows.alias(table),
            (n_rows - n_dropped).alias(f"{table}_kept"),
            (n_dropped - n_conflicts).alias(f"{table}_duplicate"),
            n_conflicts.alias(f"{table}_conflict"),
        ]
    return frame.select("tables", "created", *columns)


def _name_tables(conflicts: pl.DataFrame, sources: Sequence[Source]) -> pl.DataFrame:
    names = pl.Series([source.name for source in sources], dtype=pl.String)
    return conflicts.with_columns(pl.lit(names).gather(pl.col("kept", "dropped")).name.keep())


def _regroup(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Put frames together to row groups, as duplicates have left some of them small."""
    waiting: list[pl.DataFrame] = []
    n_rows = 0
    for frame in frames:
        if waiting and n_rows + len(frame) > ROWS_PER_GROUP:
            yield pl.concat(waiting, rechunk=True)
            waiting, n_rows = [], 0
        waiting.append(frame)
        n_rows += len(frame)
    if n_rows:
        yield pl.concat(waiting, rechunk=True)


def _are_uuids(sessions: pl.DataFrame, plan: Plan) -> bool:
    """Tell whether ids are UUIDs, and so the index of the tables."""
    ids = pl.concat([sessions["id"], plan.eids.alias("id")]).to_frame()
    return bool(ids.select(grammar.expr_is_uuid(pl.col("id")).all()).item())


def _choose_namespace(sources: Sequence[Source]) -> uuid.UUID:
    found = list(dict.fromkeys(source.namespace for source in sources if source.namespace))
    if len(found) > 1:
        warnings.warn(
            f"the ids of the tables were made in {len(found)} namespaces; a later index into the "
            f"folder of the merged tables makes its ids in {found[0]}, that of "
            f"{next(source.name for source in sources if source.namespace)}; to have one only, "
            "index with the same --namespace",
            TableWarning,
            stacklevel=4,
        )
    return found[0] if found else make_namespace()


def _warn_of_others(folder: Path, origins: Sequence[str]) -> None:
    """Warn of tables that are not among those merged, and go."""
    try:
        headers = read_headers(folder)
    except TableError as error:
        warnings.warn(f"{error}; it will be replaced", TableWarning, stacklevel=4)
        return
    there = {origin for header in headers.values() for origin in header.origins}
    if not there <= set(origins):
        warnings.warn(
            f"the tables in {folder} are of {', '.join(sorted(there))}; they will be replaced",
            TableWarning,
            stacklevel=4,
        )


def _gather_issues(sources: Sequence[Source], several: bool) -> pa.Table:
    """Return the issues of all tables; with their archive where that is not the same for all."""
    frames = [polars_schema(ISSUES).to_frame()]
    for source in sources:
        if source.folder and issues_path(source.folder).exists():
            issues = scan_issues(source.folder)
            if several and len(source.origins) == 1:
                issues = issues.with_columns(
                    path=pl.format("{}/{}", pl.lit(source.origins[0]), "path")
                )
            frames.append(issues.collect())
    return pl.concat(frames).unique(maintain_order=True).to_arrow().cast(ISSUES)
