"""Index huge ALF archives into the tables that ONE opens, with Polars and Arrow.

Index an archive
    `index_archive` makes sessions.pqt and datasets.pqt, or refreshes them, and gives an
    `IndexReport`; `index_part` lists a part of a huge one, as one of a job array. `scan_issues` and
    `scan_changes` have what an index found wrong and new.

Read tables, as lazy frames of Polars
    `scan_sessions` and `scan_datasets` of one folder or many, `scan_archive` without tables.
    `join_sessions`, `with_alf_parts` and `full_path` add columns, by themselves or in a pipe:
    ``scan_datasets(folder).pipe(join_sessions, scan_sessions(folder)).pipe(with_alf_parts)``.

Count, ask and look
    `summarize_tables`, `query_tables` (SQL), `compare_tables`, `measure_growth` (by lab, say), and
    `report`: a page with charts.

Keep archives and tables right
    `verify_archive`; `check_archive` and `check_tables`; `plan_removals`, `apply_removals` and
    `restore_removals`; `merge_tables` and `scan_conflicts`; `read_history` and `restore_tables`.

Give ONE what a database would, and make releases
    `write_insertions` and `scan_insertions`, `with_default_revisions`; `split_tables`,
    `subset_tables`, `publish_tables` and `verify_manifest`.

Measure storage
    `bench_storage` and `compare_storage`.

`polars_alf.errors` has the exceptions, `polars_alf.schema` the columns, `polars_alf.cache` the
names of one.alf.cache, and `polars_alf.one` puts them into ONE. The command polars-alf does all
of this, too.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from polars_alf._version import __version__

if TYPE_CHECKING:
    from polars_alf import errors as errors
    from polars_alf import schema as schema
    from polars_alf.bench.api import bench_storage
    from polars_alf.bench.comparison import StorageComparison, compare_storage
    from polars_alf.bench.results import StorageReport
    from polars_alf.check.api import ArchiveCheck, check_archive, check_tables
    from polars_alf.check.template import Template
    from polars_alf.index.api import index_archive, index_part
    from polars_alf.index.array import PartReport
    from polars_alf.index.report import IndexReport
    from polars_alf.index.session_settings import SettingsMapping
    from polars_alf.insertions.api import Insertions, scan_insertions, write_insertions
    from polars_alf.merge.api import MergedTables, merge_tables
    from polars_alf.merge.conflicts import scan_conflicts
    from polars_alf.page.api import ArchivePage, report
    from polars_alf.parallel.progress import Progress
    from polars_alf.prune.api import plan_removals
    from polars_alf.prune.apply import apply_removals
    from polars_alf.prune.trash import restore_removals
    from polars_alf.query.columns import full_path, join_sessions, with_alf_parts
    from polars_alf.query.diff import TableDifferences, compare_tables
    from polars_alf.query.growth import measure_growth
    from polars_alf.query.revisions import with_default_revisions
    from polars_alf.query.scan import scan_datasets, scan_sessions
    from polars_alf.query.sql import query_tables
    from polars_alf.query.summary import TableSummary, summarize_tables
    from polars_alf.release.bundle import Bundle, publish_tables
    from polars_alf.release.manifest import ManifestCheck, verify_manifest
    from polars_alf.release.split import SplitTables, split_tables
    from polars_alf.release.subset import Release, subset_tables
    from polars_alf.tables.files import scan_changes, scan_issues
    from polars_alf.tables.undo import RestoredTables, read_history, restore_tables
    from polars_alf.verify.api import Verification, verify_archive
    from polars_alf.walk.scan import scan_archive

# What a program does not use is not loaded: half of the time that a small index takes.
_MODULES = {
    "ArchiveCheck": "check.api",
    "Bundle": "release.bundle",
    "ArchivePage": "page.api",
    "IndexReport": "index.report",
    "Insertions": "insertions.api",
    "ManifestCheck": "release.manifest",
    "MergedTables": "merge.api",
    "PartReport": "index.array",
    "Progress": "parallel.progress",
    "Release": "release.subset",
    "RestoredTables": "tables.undo",
    "SettingsMapping": "index.session_settings",
    "SplitTables": "release.split",
    "StorageComparison": "bench.comparison",
    "StorageReport": "bench.results",
    "TableDifferences": "query.diff",
    "TableSummary": "query.summary",
    "Template": "check.template",
    "Verification": "verify.api",
    "apply_removals": "prune.apply",
    "bench_storage": "bench.api",
    "check_archive": "check.api",
    "check_tables": "check.api",
    "compare_storage": "bench.comparison",
    "compare_tables": "query.diff",
    "full_path": "query.columns",
    "index_archive": "index.api",
    "index_part": "index.api",
    "join_sessions": "query.columns",
    "measure_growth": "query.growth",
    "merge_tables": "merge.api",
    "plan_removals": "prune.api",
    "publish_tables": "release.bundle",
    "query_tables": "query.sql",
    "read_history": "tables.undo",
    "report": "page.api",
    "restore_removals": "prune.trash",
    "restore_tables": "tables.undo",
    "scan_archive": "walk.scan",
    "scan_changes": "tables.files",
    "scan_conflicts": "merge.conflicts",
    "scan_datasets": "query.scan",
    "scan_insertions": "insertions.api",
    "scan_issues": "tables.files",
    "scan_sessions": "query.scan",
    "split_tables": "release.split",
    "subset_tables": "release.subset",
    "summarize_tables": "query.summary",
    "verify_archive": "verify.api",
    "verify_manifest": "release.manifest",
    "with_alf_parts": "query.columns",
    "with_default_revisions": "query.revisions",
    "write_insertions": "insertions.api",
}

_ROOMS = ("errors", "schema")
"""Modules that are there without being imported by name."""


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module(f"{__name__}.alf.process_limits").check_limits()
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, *_ROOMS]


__all__ = [
    "ArchiveCheck",
    "ArchivePage",
    "Bundle",
    "IndexReport",
    "Insertions",
    "ManifestCheck",
    "MergedTables",
    "PartReport",
    "Progress",
    "Release",
    "RestoredTables",
    "SettingsMapping",
    "SplitTables",
    "StorageComparison",
    "StorageReport",
    "TableDifferences",
    "TableSummary",
    "Template",
    "Verification",
    "__version__",
    "apply_removals",
    "bench_storage",
    "check_archive",
    "check_tables",
    "compare_storage",
    "compare_tables",
    "full_path",
    "index_archive",
    "index_part",
    "join_sessions",
    "measure_growth",
    "merge_tables",
    "plan_removals",
    "publish_tables",
    "query_tables",
    "read_history",
    "report",
    "restore_removals",
    "restore_tables",
    "scan_archive",
    "scan_changes",
    "scan_conflicts",
    "scan_datasets",
    "scan_insertions",
    "scan_issues",
    "scan_sessions",
    "split_tables",
    "subset_tables",
    "summarize_tables",
    "verify_archive",
    "verify_manifest",
    "with_alf_parts",
    "with_default_revisions",
    "write_insertions",
]
