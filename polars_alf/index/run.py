"""One run of an index: survey, list, merge, commit.

survey ──► list (parallel) ──► shards on disk ──► merge ──────► commit
dated      ENTRIES to rows,    a folder           in the order  sessions.pqt and
folders    ids, digests        a shard            of the ids    datasets.pqt, together
"""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from polars_alf.alf.ids import make_namespace
from polars_alf.alf.root import FolderPath
from polars_alf.arrow import make_table
from polars_alf.errors import MassRemovalError, NoSessionsWarning, TableWarning
from polars_alf.index.array import open_array
from polars_alf.index.basis import (
    Basis,
    check_found,
    check_own_lab,
    open_folders,
    storing_inventory,
)
from polars_alf.index.changed import ChangedPaths
from polars_alf.index.changes import CHANGES
from polars_alf.index.checkpoint import discarded_on_error, mark_refused, open_run, scratch_folder
from polars_alf.index.earlier import open_known_rows, warn_replaced
from polars_alf.index.guard import check_removals
from polars_alf.index.known_rows import KnownRows
from polars_alf.index.merge import ShardRows, check_sessions, group_sessions
from polars_alf.index.options import (
    IndexOptions,
    makes_the_same,
)
from polars_alf.index.report import (
    IndexReport,
    count_changes,
    count_issues,
    describe_run,
    make_run_record,
    read_report,
    repeat_report,
)
from polars_alf.index.session_settings import SettingsReader
from polars_alf.index.shard import index_shards
from polars_alf.index.shard_files import ShardSummary, remove_rows
from polars_alf.index.snapshot import Snapshot, clear_changes, list_snapshots, write_survey
from polars_alf.insertions.api import has_insertions, stage_insertions
from polars_alf.parallel.progress import Progress
from polars_alf.query.revisions import DEFAULT_REVISION, with_default_revisions
from polars_alf.schema import ISSUES, PASSING, SESSIONS, polars_schema
from polars_alf.tables.contract import Origin
from polars_alf.tables.files import (
    STATE_DIR,
    conflicts_path,
    issues_path,
    reporting_write_errors,
    table_path,
)
from polars_alf.tables.history import append_records
from polars_alf.tables.named_rows import IS_NAMED
from polars_alf.tables.rows import sum_bytes
from polars_alf.tables.transaction import Staging, discard_runs, locked_state
from polars_alf.walk.feed import Feed, read_feed
from polars_alf.walk.inventory import Inventory
from polars_alf.walk.shards import Survey, Walk, open_walk
from polars_alf.walk.sources import open_archive

_NO_CHANGES = polars_schema(CHANGES).to_frame()


def run_index(
    root: FolderPath,
    out: FolderPath | None,
    options: IndexOptions,
    progress: Callable[[Progress], None] | None = None,
) -> IndexReport:
    """Index an archive by options; parameters, errors and warnings of `index_archive`."""
    start = time.perf_counter()
    opened, folder, options = open_folders(root, out, options)
    feed = read_feed(options.changed_from, opened, root) if options.changed_from else None
    with (
        storing_inventory(options, opened, root) as (options, inventory),
        open_walk(opened, options.walk, progress) as walk,
    ):
        # What a feed leaves out, and the shards of an array, the lock must keep in place.
        survey = None if feed or options.assemble else walk.survey()
        if survey:
            check_own_lab(opened, options, survey)
        with reporting_write_errors(folder, "the tables"), locked_state(folder):
            report = _index(walk, survey, feed, inventory, folder, options)
    if not report.n_datasets:
        missing = "datasets" if report.n_sessions else "sessions"
        warnings.warn(f"No {missing} found in {opened}", NoSessionsWarning, stacklevel=4)
    return replace(report, seconds=time.perf_counter() - start)


def _index(
    walk: Walk,
    survey: Survey | None,
    feed: Feed | None,
    inventory: Inventory | None,
    folder: Path,
    options: IndexOptions,
) -> IndexReport:
    """Index what is not finished, and commit the tables. Under the state's lock."""
    root = walk.root
    basis = Basis.find(root, folder, options)
    before, snapshot, settings = basis.before, basis.snapshot, basis.settings
    array = open_array(folder, basis) if options.assemble else None
    changed = None
    if inventory:
        settings = {**settings, "inventory": inventory.checksum}
    if feed:
        settings = {**settings, "feed": feed.checksum}
        is_proven = basis.same_device or options.ignore_inode
        if snapshot and is_proven and basis.lists_the_same:
            changed = ChangedPaths(feed, snapshot, walk)
        else:
            _warn_of_feed()
    if array:
        survey = array.survey
    elif survey is None:
        survey = changed.survey if changed else walk.survey()
    check_found(root, folder, options, survey, basis)
    unchanged = None
    is_quick = options.quick and basis.same_device and basis.lists_the_same
    if snapshot and not array and (changed or is_quick):
        if changed:
            unchanged = changed.find_unchanged(walk, folder)
        else:
            unchanged = _find_unchanged(walk, survey, folder, snapshot)
        is_all = unchanged == {*snapshot.folders["shard"]} and snapshot.has_folders(survey.folders)
        wants_more = before.get("wants_defaults") != options.default_revisions
        wants_more |= options.insertions and not has_insertions(folder)
        if options.settings_from:
            wants_more |= before.get("settings_from") != options.settings_from.to_dict()
        is_the_same = makes_the_same(before, settings) and not wants_more
        if is_all and not options.ids_from and is_the_same:
            report = _repeat(folder, snapshot, survey)
            if report:
                report = replace(report, **_describe_feed(feed), **_describe_backoffs(walk))
                timed = replace(report, seconds=walk.monitor.measure().seconds)
                append_records(folder, [make_run_record(timed, snapshot.generation)])
                return report
    known = open_known_rows(folder, options)
    if array:
        run, summaries, n_jobs = array.run, array.run.summaries, array.n_parts
    else:
        run = open_run(
            folder,
            settings,
            basis.namespace or make_namespace(),
            survey.folders,
            restart=options.restart,
            accept_refused=options.max_removed is not None,
        )
        summaries, n_jobs = index_shards(
            walk, options, run, survey.folders, snapshot, unchanged, changed, basis.same_device
        )
    write_survey(run.shards, survey, options.clock_ns)
    gone = snapshot.list_gone(survey.folders, survey.issues) if snapshot else _NO_CHANGES
    survey.folders.clear()  # some hundred bytes for each
    walk.monitor.stage = "write"
    # If it does not answer now, the shards are worth keeping.
    if not inventory:
        open_archive(root.path, options.walk)
    with discarded_on_error(run):
        root.check_unchanged()
        rows = ShardRows(
            [Path(summary.path) for summary in summaries],
            by_id=options.hash_ids,
            with_names=bool(options.uuid_filenames),
            rows_per_group=options.rows_per_group,
        )
        order, base, issues = check_sessions(root, options.lab, survey.issues, rows)
    roots = [str(root), *known.databases] if known else [str(root)]
    origin = Origin(
        roots if len(roots) > 1 else roots[0],
        run.namespace,
        run.generation,
        datetime.now(),
        uuid_filenames=bool(options.uuid_filenames),
    )
    staging = Staging(folder, run.path, origin, with_index=options.hash_ids)
    makes_defaults = _decide_defaults(options, known, summaries)
    mapping = options.settings_from
    reader = SettingsReader(mapping, root.prefix, []) if mapping else None
    n_sessions, n_datasets, n_bytes = _write_tables(
        staging, rows, order, known, basis.columns, reader, makes_defaults=makes_defaults
    )
    stage_insertions(staging, options.ids_from, wanted=options.insertions)
    if reader:
        issues = pa.concat_tables([issues, make_table(reader.issues, ISSUES)])
    if known:
        issues = pa.concat_tables([issues, make_table(known.issues, ISSUES)])
    staging.write_rows("issues", [issues], ISSUES)
    staging.write_rows("changes", chain(rows.read("changes"), [gone.to_arrow()]), CHANGES)
    n_files = n_datasets - (known.n_missing if known else 0)
    changes = count_changes(summaries, gone, n_files) if snapshot else None
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
        n_other_files=survey.n_other_files + sum(shard.n_other_files for shard in summaries),
        issues=count_issues(issues),
        changes=changes,
        n_known_sessions=known.n_known_sessions if known else 0,
        n_known_datasets=known.n_known_datasets if known else 0,
        n_kept_sessions=known.n_kept_sessions if known else 0,
        n_kept_datasets=known.n_kept_datasets if known else 0,
        n_missing=known.n_missing if known else 0,
        n_shards=len(summaries),
        n_resumed=len(run.summaries),
        seconds=walk.monitor.measure().seconds,
        namespace=run.namespace,
        root=root.path,
        cache_dir=base,
        n_jobs=n_jobs,
        n_removed_sessions=removals.n_sessions,
        n_removed_datasets=removals.n_datasets,
        **_describe_feed(feed),
        **_describe_backoffs(walk),
    )
    kept = {
        **settings,
        "device": root.device,
        "ids_from": known.names if known else [],
        "wants_defaults": options.default_revisions,
        "keeps_choices": known is not None and known.keeps_choices,
        "settings_from": mapping and mapping.to_dict(),
    }
    staging.write_report(
        describe_run(
            report, run=run, options=options, settings=kept, issues=issues, summaries=summaries
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
    _warn_of_moved(sum(summary.n_moved for summary in summaries), options)
    return report


def _warn_of_feed() -> None:
    """Warn that a feed was of no use."""
    warnings.warn(
        "the list of changed paths was not used, and all was listed: it tells nothing without an "
        "earlier index of the same archive with the same options for what to list",
        TableWarning,
        stacklevel=5,
    )


def _describe_feed(feed: Feed | None) -> dict[str, Any]:
    """Return what the report says of a feed."""
    n_paths, n_outside = (feed.n_paths, feed.n_outside) if feed else (None, 0)
    return {"n_changed_paths": n_paths, "n_paths_outside": n_outside}


def _describe_backoffs(walk: Walk) -> dict[str, Any]:
    """Return what the report says of how a walk backed off."""
    done = walk.monitor.measure()
    return {"n_backoffs": done.n_backoffs, "least_share": done.least_share}


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


def _warn_of_moved(n_moved: int, options: IndexOptions) -> None:
    """Warn that digests were not taken over, although sizes and times are the same."""
    if not n_moved:
        return
    done = (
        "they were read again for their digests; where files are only moved or mounted again, "
        "--ignore-inode (ignore_inode=True) takes digests over"
        if options.digests
        else "their digests were left out of the tables; --hash-files makes them again, or, if the "
        "files were only moved or mounted again, --ignore-inode (ignore_inode=True) brings them "
        "back"
    )
    warnings.warn(
        f"{n_moved:,} datasets have the size and time of the last index, but another inode or "
        f"device, so that they may be other files: {done}",
        TableWarning,
        stacklevel=5,
    )


def _find_unchanged(walk: Walk, survey: Survey, folder: Path, snapshot: Snapshot) -> frozenset[str]:
    """Return the names of the snapshot's shards of which every directory is as it was."""
    if not snapshot.has_folders(survey.folders):
        # The walk that follows looks at each directory anyway.
        return frozenset()
    checks = snapshot.list_checks()
    with scratch_folder(folder) as scratch:
        found = walk.visit(checks, scratch, workers=walk.choose_workers(len(checks), idle=True))
        return frozenset(name for name in found if name)


def _repeat(folder: Path, snapshot: Snapshot, survey: Survey) -> IndexReport | None:
    """Return the report of the last index of an archive that is as it was, if that is known."""
    if (
        PASSING.isdisjoint(survey.issues.column("kind").to_pylist())
        and snapshot.is_of(folder)
        and (report := read_report(folder))
        # What could not be read then, a folder that hung say, may have no time to compare.
        and PASSING.isdisjoint(report.issues)
    ):
        discard_runs(folder)
        clear_changes(folder)
        return repeat_report(report)
    return None


def _write_tables(
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
    n_datasets: int | None = int(order["n_datasets"].cast(pl.UInt64).sum())
    if known:
        spilled = staging.path / "known"
        shutil.rmtree(spilled, ignore_errors=True)  # of a run that was interrupted
        order = known.take_sessions(order, rows, spilled / "sessions", staging.origin.namespace)
        groups = group_sessions(order, rows.rows_per_group, known.count_missing())
        known.spill_datasets(groups, spilled)
        kept = known.columns["sessions"]
        more |= known.columns["datasets"]
        n_datasets = None
    else:
        groups = group_sessions(order, rows.rows_per_group)
    if makes_defaults:
        more[DEFAULT_REVISION] = pl.Boolean()

    def session_frames() -> Iterator[pl.DataFrame]:
        for part in order.iter_slices(rows.rows_per_group):
            picked = rows.pick_sessions(part)
            frame = picked.select(SESSIONS.names)
            if known:
                frame = known.complete_sessions(frame)
            yield reader.fill(frame, picked["session"]) if reader else frame

    staging.write_table("sessions", session_frames(), len(order), kept)
    n_bytes = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal n_bytes
        wanted = [*columns, IS_NAMED] if known and known.uuid_filenames else columns
        for group, frame in rows.merge_datasets(groups, wanted, every_group=known is not None):
            n_bytes += sum_bytes(frame["file_size"])
            if known:
                frame = known.complete_datasets(group, frame)
            # All rows of a session, and so all revisions of a dataset, are in one group.
            yield with_default_revisions(frame) if makes_defaults else frame

    return len(order), staging.write_table("datasets", frames(), n_datasets, more), n_bytes
