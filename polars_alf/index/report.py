"""Report of an index, for its caller and for whoever asks later."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

import polars as pl
import pyarrow as pa

from polars_alf._version import __version__
from polars_alf.alf.address import parse_location
from polars_alf.display import Shown, describe_size
from polars_alf.errors import TableError
from polars_alf.index.changes import ChangeKind
from polars_alf.index.checkpoint import Run
from polars_alf.index.options import IndexOptions, Settings
from polars_alf.index.shard_files import ShardSummary
from polars_alf.native import IMPLEMENTATION
from polars_alf.tables.contract import read_headers
from polars_alf.tables.files import read_report_values, scan_changes, scan_issues
from polars_alf.tables.history import Record, make_record

_EXAMPLES = 3

_SLOWEST = 10

_PATHS = ("sessions_path", "datasets_path", "issues_path")

_LOCATIONS = ("root", "cache_dir")


@dataclass(frozen=True, slots=True, repr=False)
class IndexReport(Shown):
    """Counts of what an index found, and the paths of its tables.

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
    changes
        Number of datasets by `polars_alf.schema.ChangeKind`, and of those ``unchanged``, since
        the last index of the same tables; None where there was none.
    n_known_sessions, n_known_datasets
        How many have their ids from the tables that were given for that.
    n_kept_sessions, n_kept_datasets
        How many have something that people or a database wrote, from those or the tables before.
    n_missing
        Datasets of a database without a file on this disk.
    n_shards, n_resumed
        Pieces that the work was cut into, and how many of them an interrupted run had finished.
    seconds
        How long it took.
    namespace
        What UUIDs were made in.
    root
        The archive, links resolved; the address of a bucket.
    cache_dir
        What to give to ONE as ``cache_dir``: the folder that its paths start from.
    n_jobs
        Number of workers.
    n_removed_sessions, n_removed_datasets
        Rows of the tables that were there and are in neither table now, whoever wrote them.
    n_changed_paths, n_paths_outside
        Paths of the list of changed paths (None where none was given), and how many of them lie
        outside of the archive.
    n_backoffs, least_share
        How often half of the threads were stopped, as the storage was crowded, and the share of
        them that was left when they were fewest.
    """

    sessions_path: Path
    datasets_path: Path
    issues_path: Path
    n_sessions: int
    n_datasets: int
    n_bytes: int
    n_other_files: int
    issues: dict[str, int]
    changes: dict[str, int] | None
    n_known_sessions: int
    n_known_datasets: int
    n_kept_sessions: int
    n_kept_datasets: int
    n_missing: int
    n_shards: int
    n_resumed: int
    seconds: float
    namespace: uuid.UUID
    root: PurePath
    cache_dir: PurePath
    n_jobs: int
    n_removed_sessions: int = 0
    n_removed_datasets: int = 0
    n_changed_paths: int | None = None
    n_paths_outside: int = 0
    n_backoffs: int = 0
    least_share: float = 1.0

    def scan_issues(self) -> pl.LazyFrame:
        """Return the issues, those of the whole archive first and then by their paths' shards."""
        return scan_issues(self.sessions_path.parent)

    def scan_changes(self) -> pl.LazyFrame:
        """Return what changed since the last index (CHANGES); no rows where there was none."""
        return scan_changes(self.sessions_path.parent)

    def _list_figures(self) -> dict[str, object]:
        return {
            "sessions": self.n_sessions,
            "datasets": self.n_datasets,
            "size": describe_size(self.n_bytes),
            "issues": self.issues,
            "changes": "first index" if self.changes is None else self.changes,
            "time": f"{self.seconds:.2f} s",
            "tables": self.sessions_path.parent,
        }

    def to_dict(self) -> dict[str, object]:
        """Return the report in values that JSON has."""
        values = asdict(self)
        return {
            name: str(value) if isinstance(value, PurePath | uuid.UUID) else value
            for name, value in values.items()
        }


def count_issues(issues: pa.Table) -> dict[str, int]:
    """Return the number of issues by kind, most frequent first."""
    return dict(Counter(issues.column("kind").to_pylist()).most_common())


def count_changes(
    summaries: Sequence[ShardSummary], gone: pl.DataFrame, n_datasets: int
) -> dict[str, int]:
    """Return the number of datasets by change, and of those that did not.

    ``gone`` are CHANGES that no shard has; ``n_datasets`` is the number of datasets now.
    """
    counts = Counter(gone["change"].to_list())
    for summary in summaries:
        counts.update(summary.n_changes)
    changes = {str(kind): counts[kind] for kind in ChangeKind}
    there = changes[ChangeKind.ADDED] + changes[ChangeKind.CHANGED]
    return changes | {"unchanged": n_datasets - there}


def repeat_report(report: IndexReport) -> IndexReport:
    """Return the report of an index that found everything as the last one left it."""
    return replace(
        report,
        changes=count_changes([], pl.DataFrame({"change": []}), report.n_datasets),
        n_known_sessions=0,
        n_known_datasets=0,
        n_shards=0,
        n_resumed=0,
        n_jobs=1,
        n_removed_sessions=0,
        n_removed_datasets=0,
        n_backoffs=0,
        least_share=1.0,
    )


def make_run_record(report: IndexReport, generation: str) -> Record:
    """Return the line of an index in the history of its tables."""
    return make_record(
        "index",
        generation,
        n_sessions=report.n_sessions,
        n_datasets=report.n_datasets,
        n_bytes=report.n_bytes,
        changes=report.changes,
        issues=sum(report.issues.values()),
        seconds=report.seconds,
    )


def describe_run(
    report: IndexReport,
    *,
    run: Run,
    options: IndexOptions,
    settings: Settings,
    issues: pa.Table,
    summaries: Sequence[ShardSummary],
) -> dict[str, object]:
    """Return what to keep of a run: options, counts, issues with examples, slowest shards."""
    slowest = sorted(summaries, key=lambda summary: summary.seconds, reverse=True)[:_SLOWEST]
    example = pl.struct("path", "message").head(_EXAMPLES)
    examples = pl.DataFrame(issues).group_by("kind").agg(example)
    return {
        "version": __version__,
        "core": IMPLEMENTATION,
        "generation": run.generation,
        "begun": run.begun.astimezone().isoformat(timespec="seconds"),
        "ended": datetime.now().astimezone().isoformat(timespec="seconds"),
        "options": options.to_dict(),
        "settings": dict(settings),
        "report": report.to_dict(),
        "examples": dict(examples.iter_rows()),
        "slowest_shards": [
            {
                "first_folder": summary.first_folder,
                "n_folders": summary.n_folders,
                "seconds": round(summary.seconds, 3),
            }
            for summary in slowest
        ],
    }


def read_run(folder: Path) -> dict[str, Any] | None:
    """Return what `describe_run` told of the index that made a folder's tables.

    Returns
    -------
    dict or None
        None where no index did, or where tables of another hand have taken the place of its own.
    """
    values = read_report_values(folder)
    generation = values.get("generation")
    try:
        headers = read_headers(folder).values()
    except TableError:
        return None
    is_theirs = generation and {header.generation for header in headers} == {generation}
    return values if is_theirs else None


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what the last index of a folder's tables was told; nothing where that is lost."""
    settings = read_report_values(folder).get("settings")
    return settings if isinstance(settings, dict) else {}


def read_report(folder: Path) -> IndexReport | None:
    """Return the report of the last index of a folder's tables, None where it is lost."""
    values: Any = read_report_values(folder).get("report")
    try:
        return IndexReport(
            **values
            | {name: Path(values[name]) for name in _PATHS}
            | {name: parse_location(values[name]) for name in _LOCATIONS}
            | {"namespace": uuid.UUID(values["namespace"])}
        )
    except (TypeError, ValueError, LookupError):
        return None
