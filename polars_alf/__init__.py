"""Index huge ALF archives into the tables that ONE opens, with Polars and Arrow.

Index an archive
    `index_archive` makes sessions.pqt and datasets.pqt, or refreshes them, and gives an
    `IndexReport`. `scan_issues` and `scan_changes` have what it found wrong and new.

Read tables, as lazy frames of Polars
    `scan_sessions` and `scan_datasets` of one folder or many, `scan_archive` without tables.
    `join_sessions`, `with_alf_parts` and `full_path` add columns, by themselves or in a pipe:
    ``scan_datasets(folder).pipe(join_sessions, scan_sessions(folder)).pipe(with_alf_parts)``.

Count, ask and look
    `summarize_tables`, `query_tables` (SQL), `compare_tables`, and `report`: a page with charts.

Keep archives and tables right
    `verify_archive`; `plan_removals`, `apply_removals` and `restore_removals`; `merge_tables`;
    `read_history` and `restore_tables`.

Measure storage
    `bench_storage`.

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
    from polars_alf.bench.results import StorageReport
    from polars_alf.index.api import index_archive
    from polars_alf.index.report import IndexReport
    from polars_alf.merge.api import MergedTables, merge_tables
    from polars_alf.page.api import ArchivePage, report
    from polars_alf.parallel.progress import Progress
    from polars_alf.prune.api import plan_removals
    from polars_alf.prune.apply import apply_removals
    from polars_alf.prune.trash import restore_removals
    from polars_alf.query.columns import full_path, join_sessions, with_alf_parts
    from polars_alf.query.diff import TableDifferences, compare_tables
    from polars_alf.query.scan import scan_datasets, scan_sessions
    from polars_alf.query.sql import query_tables
    from polars_alf.query.summary import TableSummary, summarize_tables
    from polars_alf.tables.files import scan_changes, scan_issues
    from polars_alf.tables.undo import RestoredTables, read_history, restore_tables
    from polars_alf.verify.api import Verification, verify_archive
    from polars_alf.walk.scan import scan_archive

# What a program does not use is not loaded: half of the time that a small index takes.
_MODULES = {
    "ArchivePage": "page.api",
    "IndexReport": "index.report",
    "MergedTables": "merge.api",
    "Progress": "parallel.progress",
    "RestoredTables": "tables.undo",
    "StorageReport": "bench.results",
    "TableDifferences": "query.diff",
    "TableSummary": "query.summary",
    "Verification": "verify.api",
    "apply_removals": "prune.apply",
    "bench_storage": "bench.api",
    "compare_tables": "query.diff",
    "full_path": "query.columns",
    "index_archive": "index.api",
    "join_sessions": "query.columns",
    "merge_tables": "merge.api",
    "plan_removals": "prune.api",
    "query_tables": "query.sql",
    "read_history": "tables.undo",
    "report": "page.api",
    "restore_removals": "prune.trash",
    "restore_tables": "tables.undo",
    "scan_archive": "walk.scan",
    "scan_changes": "tables.files",
    "scan_datasets": "query.scan",
    "scan_issues": "tables.files",
    "scan_sessions": "query.scan",
    "summarize_tables": "query.summary",
    "verify_archive": "verify.api",
    "with_alf_parts": "query.columns",
}

_ROOMS = ("errors", "schema")
"""Modules that are there without being imported by name."""


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, *_ROOMS]


__all__ = [
    "ArchivePage",
    "IndexReport",
    "MergedTables",
    "Progress",
    "RestoredTables",
    "StorageReport",
    "TableDifferences",
    "TableSummary",
    "Verification",
    "__version__",
    "apply_removals",
    "bench_storage",
    "compare_tables",
    "full_path",
    "index_archive",
    "join_sessions",
    "merge_tables",
    "plan_removals",
    "query_tables",
    "read_history",
    "report",
    "restore_removals",
    "restore_tables",
    "scan_archive",
    "scan_changes",
    "scan_datasets",
    "scan_issues",
    "scan_sessions",
    "summarize_tables",
    "verify_archive",
    "with_alf_parts",
]
