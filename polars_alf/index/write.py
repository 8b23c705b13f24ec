"""The tables of a finished run: merge the shards, write, check what goes, commit."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, starmap
from pathlib import Path
from typing import Any, Self

import polars as pl
import pyarrow as pa

from polars_alf.arrow import make_table
from polars_alf.errors import MassRemovalError
from polars_alf.index.basis import Basis
from polars_alf.index.changes import CHANGES
from polars_alf.index.checkpoint import Run, discarded_on_error, mark_refused
from polars_alf.index.earlier import warn_replaced
from polars_alf.index.guard import check_removals
from polars_alf.index.known_rows import KnownRows
from polars_alf.index.merge import (
    Group,
    ShardRows,
    check_sessions,
    group_sessions,
    iter_groups,
)
from polars_alf.index.options import IndexOptions, Settings
from polars_alf.index.repeat import (
    describe_walk,
    has_issues,
    makes_the_same_tables,
    repeat_index,
)
from polars_alf.index.report import (
    IndexReport,
    count_changes,
    count_issues,
    describe_run,
    make_run_record,
    read_report,
)
from polars_alf.index.session_settings import SettingsReader
from polars_alf.index.shard_files import ShardSummary, remove_rows
from polars_alf.index.snapshot import Snapshot, list_snapshots
from polars_alf.insertions.api import has_insertions, stage_insertions
from polars_alf.query.revisions import DEFAULT_REVISION, with_default_revisions
from polars_alf.schema import ISSUES, SESSIONS, polars_schema
from polars_alf.tables.contract import Origin
from polars_alf.tables.files import STATE_DIR, conflicts_path, issues_path, table_path
from polars_alf.tables.named_rows import IS_NAMED
from polars_alf.tables.rows import sum_bytes
from polars_alf.tables.transaction import Staging
from polars_alf.walk.feed import Feed
from polars_alf.walk.walk import Survey, Walk

_MOST_GROUPS = 8192
"""Row groups of a table, or else its footer, which is read whole, would take as long as a query."""

_NO_CHANGES = polars_schema(CHANGES).to_frame()


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run whose shards are all on disk.

    Parameters
    ----------
    run
        The run.
    summaries
        Of all its shards, in the order of their paths.
    n_jobs
        How many workers there were.
    issues
        ISSUES of the survey.
    n_other_files
        Files above the dates.
    gone
        CHANGES of the dated folders that are not there any more.
    """

    run: Run
    summaries: Sequence[ShardSummary]
    n_jobs: int
    issues: pa.Table
    n_other_files: int
    gone: pl.DataFrame

    @classmethod
    def close(
        cls,
        run: Run,
        summaries: Sequence[ShardSummary],
        n_jobs: int,
        survey: Survey,
        snapshot: Snapshot | None,
    ) -> Self:
        """Keep what the tables need of a survey, whose folders are forgotten."""
        gone = snapshot.list_gone(survey.folders, survey.issues) if snapshot else _NO_CHANGES
        survey.forget_folders()
        return cls(run, summaries, n_jobs, survey.issues, survey.n_other_files, gone)

    def is_repeated(
        self,
        issues: pa.Table,
        settings: Settings,
        folder: Path,
        basis: Basis,
        options: IndexOptions,
    ) -> bool:
        """Whether the run would make the rows of the tables that are in a folder.

        `issues` are those of the whole archive.
        """
        report = read_report(folder)
        if report is None or basis.snapshot is None or not basis.same_device:
            return False
        # What is made of other files may differ where the archive is as it was.
        has_more = options.settings_from or has_insertions(folder)
        return (
            not has_more
            and report.n_other_files == self.n_other_files_of_all
            and self.gone.is_empty()
            and not any(summary.n_changes or summary.n_moved for summary in self.summaries)
            and makes_the_same_tables(settings, folder, basis, options)
            and basis.snapshot.has_shards(self.run.shards)
            and has_issues(folder, issues)
        )

    @property
    def n_other_files_of_all(self) -> int:
        """Files that are no datasets, above the dates and below them."""
        return self.n_other_files + sum(shard.n_other_files for shard in self.summaries)

    def open_rows(self, options: IndexOptions) -> ShardRows:
        """Open the rows of all shards."""
        return ShardRows(
            [Path(summary.path) for summary in self.summaries],
            by_id=options.hash_ids,
            with_names=bool(options.uuid_filenames),
            rows_per_group=options.rows_per_group,
        )


def write_tables(
    walk: Walk,
    finished: FinishedRun,
    feed: Feed | None,
    known: KnownRows | None,
    settings: Settings,
    folder: Path,
    basis: Basis,
    options: IndexOptions,
) -> IndexReport:
    """Write the tables of a finished run, and commit them. Under the state's lock.

    `known` are rows of other tables to take ids and values from; `settings` are those of the run.
    Raises the errors of `index_archive`; the tables that were there are as they were then.
    """
    root, run = walk.root, finished.run
    walk.monitor.stage = "write"
    pa.default_memory_pool().release_unused()  # what the walk took, and each thread would keep
    with discarded_on_error(run):
        root.check_unchanged()
        rows = finished.open_rows(options)
        order, base, issues = check_sessions(root, options.lab, finished.issues, rows)
    is_repeated = known is None and finished.is_repeated(issues, settings, folder, basis, options)
    if is_repeated and (report := repeat_index(walk, issues, feed, folder, basis)):
        return replace(
            report,
            n_shards=len(finished.summaries),
            n_resumed=len(run.summaries),
            n_jobs=finished.n_jobs,
        )
    roots = [str(root), *known.databases] if known else [str(root)]
    origin = Origin(
        roots if len(roots) > 1 else roots[0],
        run.namespace,
        run.generation,
        datetime.now(),
        uuid_filenames=bool(options.uuid_filenames),
    )
    staging = Staging(folder, run.path, origin, with_index=options.hash_ids)
    reader = (
        SettingsReader(options.settings_from, root.prefix, []) if options.settings_from else None
    )
    makes_defaults = _decide_defaults(options, known, finished.summaries)
    n_sessions, n_datasets, n_bytes = _write_rows(
        staging, rows, order, known, basis.columns, reader, makes_defaults=makes_defaults
    )
    stage_insertions(staging, options.ids_from, wanted=options.insertions)
    more = list(reader.issues) if reader else []
    if known:
        more += (*known.issues, *known.datasets.issues())
    issues = pa.concat_tables([issues, make_table(more, ISSUES)])
    staging.write_rows("issues", [issues], ISSUES)
    staging.write_rows("changes", chain(rows.read("changes"), [finished.gone.to_arrow()]), CHANGES)
    n_files = n_datasets - (known.datasets.n_missing if known else 0)
    changes = None
    if basis.snapshot:
        changes = count_changes(finished.summaries, finished.gone, n_files)
    try:
        removals = check_removals(folder, root, staging.path, issues, changes, options)
    except MassRemovalError:
        mark_refused(run)
        raise
    warn_replaced(basis.problems)
    report = IndexReport(
        sessions_path=table_path(folder, "sessions"),
        datasets_path=table_path(folder, "datasets"),
        issues_path=issues_path(folder),
        n_sessions=n_sessions,
        n_datasets=n_datasets,
        n_bytes=n_bytes,
        n_other_files=finished.n_other_files_of_all,
        issues=count_issues(issues),
        changes=changes,
        n_shards=len(finished.summaries),
        n_resumed=len(run.summaries),
        seconds=walk.monitor.measure().seconds,
        namespace=run.namespace,
        root=root.path,
        cache_dir=base,
        n_jobs=finished.n_jobs,
        n_removed_sessions=removals.n_sessions,
        n_removed_datasets=removals.n_datasets,
        **_describe_known(known),
        **describe_walk(walk, feed),
    )
    kept = {
        **settings,
        "device": root.device,
        "ids_from": known.names if known else [],
        "wants_defaults": options.default_revisions,
        "keeps_choices": known is not None and known.keeps_choices,
        "settings_from": options.settings_from and options.settings_from.to_dict(),
    }
    staging.write_report(
        describe_run(
            report,
            run=run,
            options=options,
            settings=kept,
            issues=issues,
            summaries=finished.summaries,
        )
    )
    name = f"snapshot-{run.generation}"
    staging.commit(
        move={run.shards.name: name},
        remove=[conflicts_path(folder).name, *list_snapshots(folder)],
        keep=options.keep_generations,
        record=make_run_record(report, run.generation),
    )
    remove_rows(folder / STATE_DIR / name)
    return report


def _describe_known(known: KnownRows | None) -> dict[str, Any]:
    """Return what a report says of rows of other tables."""
    return {
        "n_known_sessions": known.n_known_sessions if known else 0,
        "n_known_datasets": known.datasets.n_known if known else 0,
        "n_kept_sessions": known.n_kept_sessions if known else 0,
        "n_kept_datasets": known.datasets.n_kept if known else 0,
        "n_missing": known.datasets.n_missing if known else 0,
    }


def _decide_defaults(
    options: IndexOptions, known: KnownRows | None, summaries: Sequence[ShardSummary]
) -> bool:
    """Decide whether default revisions are computed where nobody chose one."""
    if options.default_revisions:
        return True
    if known and known.keeps_choices:
        return False  # what a database has chosen is left as it is
    if known and known.has_choices:
        return True
    has_revisions = any(summary.has_revisions for summary in summaries)
    return options.default_revisions is None and has_revisions


def _write_rows(
    staging: Staging,
    rows: ShardRows,
    order: pl.DataFrame,
    known: KnownRows | None,
    columns: Sequence[str],
    reader: SettingsReader | None,
    *,
    makes_defaults: bool,
) -> tuple[int, int, int]:
    """Write both tables; return their numbers of rows, and the bytes of all files.

    `makes_defaults` is whether default revisions are computed where nobody chose one.
    """
    more: dict[str, pl.DataType] = dict.fromkeys(columns, pl.String())
    kept: dict[str, pl.DataType] = {}
    n_files = int(order["n_datasets"].cast(pl.UInt64).sum())
    if known:
        spilled = staging.path / "known"
        shutil.rmtree(spilled, ignore_errors=True)  # of a run that was interrupted
        order = known.take_sessions(order, rows, spilled / "sessions", staging.origin.namespace)
        known.spill_sessions(order, rows.rows_per_group, spilled)
        kept = known.columns["sessions"]
        more |= known.columns["datasets"]
    if makes_defaults:
        more[DEFAULT_REVISION] = pl.Boolean()

    def make_sessions(part: Group) -> pl.DataFrame:
        picked = rows.pick_sessions(part.sessions)
        frame = picked.select(SESSIONS.names)
        if known:
            frame = known.complete_sessions(part.number, frame)
        return reader.fill(frame, picked["session"]) if reader else frame

    slices = starmap(Group, enumerate(order.iter_slices(rows.rows_per_group)))
    if known or reader:  # which count and report, part after part
        staging.write_table("sessions", map(make_sessions, slices), len(order), kept)
    else:
        staging.write_table("sessions", slices, len(order), kept, make=make_sessions)

    sizes: list[int] = []
    wanted = [*columns, IS_NAMED] if known and known.uuid_filenames else columns

    def make_datasets(group: Group) -> pl.DataFrame:
        frame = rows.merge_datasets(group.sessions, wanted)
        sizes.append(sum_bytes(frame["file_size"]))
        if known:
            texts = frame.with_columns(pl.col("rel_path").cast(pl.String))
            frame = known.datasets.complete(group.number, texts)
        # All rows of a session, and so all revisions of a dataset, are in one group.
        return with_default_revisions(frame) if makes_defaults else frame

    if known:
        groups = group_sessions(order, rows.rows_per_group, known.count_missing())
        pa.default_memory_pool().release_unused()  # what the sessions took
        known.spill_datasets(groups, rows, spilled)
    else:
        groups = group_sessions(order, max(rows.rows_per_group, n_files // _MOST_GROUPS))
    n_datasets = None if known else n_files
    parts = iter_groups(groups, all_groups=known is not None)
    written = staging.write_table("datasets", parts, n_datasets, more, make=make_datasets)
    return len(order), written, sum(sizes)
