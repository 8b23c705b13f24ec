"""Index huge ALF archives into the tables that ONE opens, with Polars and Arrow."""

from importlib import import_module
from typing import TYPE_CHECKING

from polars_alf._version import __version__

if TYPE_CHECKING:
    from polars_alf.benching import StorageReport, bench_storage
    from polars_alf.comparing import TableDifferences, compare_tables
    from polars_alf.indexing import index_archive
    from polars_alf.merging import MergedTables, merge_tables
    from polars_alf.parts import full_path, join_sessions, with_alf_parts
    from polars_alf.progress import Progress
    from polars_alf.pruning import apply_removals, plan_removals
    from polars_alf.querying import query_tables
    from polars_alf.reading import scan_datasets, scan_sessions
    from polars_alf.reports import IndexReport
    from polars_alf.summarizing import TableSummary, summarize_tables
    from polars_alf.verifying import Verification, verify_archive
    from polars_alf.walking import scan_archive

# What a program does not use is not loaded: half of the time that a small index takes.
_MODULES = {
    "IndexReport": "reports",
    "MergedTables": "merging",
    "Progress": "progress",
    "StorageReport": "benching",
    "TableDifferences": "comparing",
    "TableSummary": "summarizing",
    "Verification": "verifying",
    "apply_removals": "pruning",
    "bench_storage": "benching",
    "compare_tables": "comparing",
    "full_path": "parts",
    "index_archive": "indexing",
    "join_sessions": "parts",
    "merge_tables": "merging",
    "plan_removals": "pruning",
    "query_tables": "querying",
    "scan_archive": "walking",
    "scan_datasets": "reading",
    "scan_sessions": "reading",
    "summarize_tables": "summarizing",
    "verify_archive": "verifying",
    "with_alf_parts": "parts",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "IndexReport",
    "MergedTables",
    "Progress",
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
    "scan_archive",
    "scan_datasets",
    "scan_sessions",
    "summarize_tables",
    "verify_archive",
    "with_alf_parts",
]
