"""An index of an archive that is as the last one found it: the tables stay as they are.

Whether it is, the fingerprints of all directories tell before anything is listed, or the shards
that were made once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pyarrow as pa

from polars_alf.errors import TableError
from polars_alf.index.basis import Basis
from polars_alf.index.options import IndexOptions, Settings, makes_the_same
from polars_alf.index.report import IndexReport, make_run_record, read_report, repeat_report
from polars_alf.index.snapshot import clear_changes
from polars_alf.insertions.api import has_insertions
from polars_alf.schema import PASSING
from polars_alf.tables.files import namespace_path, scan_issues
from polars_alf.tables.generations import list_generations
from polars_alf.tables.history import append_records
from polars_alf.tables.parquet import find_damage
from polars_alf.tables.transaction import discard_runs
from polars_alf.walk.feed import Feed
from polars_alf.walk.walk import Walk


def makes_the_same_tables(
    settings: Settings, folder: Path, basis: Basis, options: IndexOptions
) -> bool:
    """Whether an archive that is as it was would have the tables that are there."""
    before = basis.before
    is_anew = options.restart or options.reset or bool(options.ids_from)
    # They are removed where new ones are put in place.
    is_anew |= options.keep_generations == 0 and bool(list_generations(folder, []))
    if is_anew or not makes_the_same(before, settings):
        return False
    wants_more = before.get("wants_defaults") != options.default_revisions
    wants_more |= options.insertions and not has_insertions(folder)
    if options.settings_from:
        wants_more |= before.get("settings_from") != options.settings_from.to_dict()
    return not wants_more


def has_issues(folder: Path, issues: pa.Table) -> bool:
    """Whether the last index into a folder found these ISSUES, and no others."""
    try:
        return scan_issues(folder).collect().equals(pl.DataFrame(issues))
    except (TableError, OSError, pl.exceptions.PolarsError):
        return False


def repeat_index(
    walk: Walk, issues: pa.Table, feed: Feed | None, folder: Path, basis: Basis
) -> IndexReport | None:
    """Return the report of the last index of an archive that is as it was, if that is known.

    `issues` are those of the archive, or of its survey. Removes the run, if there is one.
    """
    snapshot, report = basis.snapshot, read_report(folder)
    if (
        snapshot is None
        or report is None
        or basis.problems
        # Which hinders a prune until an index finds that the rest is still there.
        or report.n_removed_sessions
        or report.n_removed_datasets
        or not _has_namespace(folder, basis.namespace)
        or not snapshot.is_of(folder)
        or not PASSING.isdisjoint(issues.column("kind").to_pylist())
        # What could not be read then, a folder that hung say, may have no time to compare.
        or not PASSING.isdisjoint(report.issues)
        or find_damage(folder)
    ):
        return None
    discard_runs(folder)
    clear_changes(folder)
    report = replace(repeat_report(report), **describe_walk(walk, feed))
    timed = replace(report, seconds=walk.monitor.measure().seconds)
    append_records(folder, [make_run_record(timed, snapshot.generation)])
    return report


def _has_namespace(folder: Path, namespace: UUID | None) -> bool:
    """Whether the state of a folder keeps the namespace, lest it be lost with the tables."""
    try:
        return namespace_path(folder).read_text(encoding="utf-8").strip() == str(namespace)
    except (OSError, ValueError):
        return False


def describe_walk(walk: Walk, feed: Feed | None) -> Mapping[str, Any]:
    """Return what a report says of a feed, and of how the walk backed off."""
    done = walk.monitor.measure()
    n_paths, n_outside = (feed.n_paths, feed.n_outside) if feed else (None, 0)
    return {
        "n_changed_paths": n_paths,
        "n_paths_outside": n_outside,
        "n_backoffs": done.n_backoffs,
        "least_share": done.least_share,
    }
