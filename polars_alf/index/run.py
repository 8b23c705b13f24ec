"""One run of an index: survey, list, write.

survey ──► list (parallel) ──► shards on disk ──► merge ──────► commit
dated      ENTRIES to rows,    a folder           in the order  sessions.pqt and
folders    ids, digests        a shard            of the ids    datasets.pqt, together

Here it is decided what has to be listed; `index.write` makes the tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from polars_alf.alf.ids import make_namespace
from polars_alf.alf.root import FolderPath, warn_of_no_sessions
from polars_alf.display import warn_caller
from polars_alf.errors import NoSessionsWarning, TableWarning
from polars_alf.index.array import open_array
from polars_alf.index.basis import (
    Basis,
    check_found,
    check_own_lab,
    open_folders,
    storing_inventory,
)
from polars_alf.index.changed import ChangedPaths
from polars_alf.index.checkpoint import open_run, scratch_folder
from polars_alf.index.earlier import open_known_rows
from polars_alf.index.options import IndexOptions
from polars_alf.index.repeat import makes_the_same_tables, repeat_index
from polars_alf.index.report import IndexReport
from polars_alf.index.shard import index_shards
from polars_alf.index.snapshot import write_survey
from polars_alf.index.write import FinishedRun, write_tables
from polars_alf.parallel.progress import Progress
from polars_alf.tables.files import reporting_write_errors
from polars_alf.tables.transaction import locked_state
from polars_alf.walk.feed import Feed, read_feed
from polars_alf.walk.inventory import Inventory
from polars_alf.walk.sources import open_archive
from polars_alf.walk.walk import Survey, Walk, open_walk


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
        storing_inventory(options, opened, root, progress) as (options, inventory),
        open_walk(opened, options.walk, progress) as walk,
    ):
        # What a feed leaves out, and the shards of an array, the lock must keep in place.
        survey = None if feed or options.assemble else walk.survey()
        if survey:
            check_own_lab(opened, options, survey)
        with reporting_write_errors(folder, "the tables"), locked_state(folder):
            report = _index(walk, survey, feed, inventory, folder, options)
    if not report.n_sessions:
        warn_of_no_sessions(opened)
    elif not report.n_datasets:
        warn_caller(f"No datasets found in {opened}", NoSessionsWarning)
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
    basis = Basis.find(walk.root, folder, options, inventory)
    settings = basis.settings
    if feed:
        settings = {**settings, "feed": feed.checksum}
    changed = _find_changed(walk, feed, basis, options)
    array = open_array(folder, basis) if options.assemble else None
    if array:
        survey = array.survey
    elif survey is None:
        survey = changed.survey if changed else walk.survey()
    check_found(walk.root, folder, options, survey, basis)
    unchanged = None
    if not array:
        unchanged = _find_unchanged(walk, changed, folder, basis, options)
    is_same = unchanged is not None and _is_all(unchanged, survey, basis)
    is_same = is_same and makes_the_same_tables(settings, folder, basis, options)
    if is_same and (report := repeat_index(walk, survey.issues, feed, folder, basis)):
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
            walk,
            options,
            run,
            survey.folders,
            basis.snapshot,
            unchanged,
            changed,
            basis.same_device,
        )
    write_survey(run.shards, survey, options.clock_ns)
    finished = FinishedRun.close(run, summaries, n_jobs, survey, basis.snapshot)
    # If it does not answer now, the shards are worth keeping.
    if not inventory:
        open_archive(walk.root.path, options.walk)
    report = write_tables(walk, finished, feed, known, settings, folder, basis, options)
    _warn_of_moved(sum(summary.n_moved for summary in summaries), options)
    return report


def _find_changed(
    walk: Walk, feed: Feed | None, basis: Basis, options: IndexOptions
) -> ChangedPaths | None:
    """Return the paths that changed, None where no feed tells."""
    if feed is None:
        return None
    is_proven = basis.same_device or options.ignore_inode
    if basis.snapshot and is_proven and basis.lists_the_same:
        return ChangedPaths(feed, basis.snapshot, walk)
    warn_caller(
        "the list of changed paths was not used, and all was listed: it tells nothing without an "
        "earlier index of the same archive with the same options for what to list",
        TableWarning,
    )
    return None


def _find_unchanged(
    walk: Walk,
    changed: ChangedPaths | None,
    folder: Path,
    basis: Basis,
    options: IndexOptions,
) -> frozenset[str] | None:
    """Return the names of the snapshot's shards of which every directory is as it was.

    None where each directory is to be listed.
    """
    snapshot = basis.snapshot
    if changed:
        return changed.find_unchanged(walk, folder)
    if not (snapshot and options.quick and basis.same_device and basis.lists_the_same):
        return None
    checks = snapshot.list_checks()
    with scratch_folder(folder) as scratch:
        found = walk.visit(checks, scratch, workers=walk.choose_workers(len(checks), idle=True))
        return frozenset(name for name in found if name)


def _is_all(unchanged: frozenset[str], survey: Survey, basis: Basis) -> bool:
    """Whether all of the archive is as it was, and nothing beside it is there."""
    snapshot = basis.snapshot
    if snapshot is None:
        return False
    return unchanged == {*snapshot.folders["shard"]} and snapshot.has_folders(survey.folders)


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
    warn_caller(
        f"{n_moved:,} datasets have the size and time of the last index, but another inode or "
        f"device, so that they may be other files: {done}",
        TableWarning,
    )
