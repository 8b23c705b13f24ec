"""What a person sees: progress on stderr, summaries on stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import (
    Progress as Bar,
)
from rich.table import Table

from polars_alf.indexing import IndexReport
from polars_alf.progress import Progress
from polars_alf.schema import RemovalKind, RemovalResult

SECONDS_PER_LINE = 10.0
"""How often progress is told where it cannot be drawn: seldom enough for a log."""

_STAGES = {"survey": "Listing subjects", "scan": "Scanning", "write": "Writing tables"}
_ISSUES_SHOWN = 12
_PATHS_SHOWN = 10


@contextmanager
def show_progress(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Yield a callback that shows progress: a bar on a terminal, else a line now and then."""
    if not console.is_terminal:
        yield _LinePrinter(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(_STAGES["survey"], total=None, figures="")
        yield lambda progress: _draw(bar, task, progress)


def describe_progress(progress: Progress) -> str:
    """Return the figures of a run in a line: files, sessions, rate, and bytes if digested."""
    rate = progress.files / progress.seconds if progress.seconds else 0.0
    text = f"{progress.files:,} files, {progress.sessions:,} sessions, {rate:,.0f} files/s"
    if progress.n_bytes:
        speed = decimal(int(progress.n_bytes / progress.seconds))
        text += f", {decimal(progress.n_bytes)} digested at {speed}/s"
    return text


def print_report(report: IndexReport, console: Console) -> None:
    """Print what an index found, and where it is."""
    rate = (report.n_datasets + report.n_other_files) / report.seconds
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("Archive", str(report.root))
    table.add_row("Sessions", f"{report.n_sessions:,}")
    table.add_row("Datasets", f"{report.n_datasets:,} ({decimal(report.n_bytes)})")
    table.add_row("Other files", f"{report.n_other_files:,} (not ALF, or in no session)")
    table.add_row("Issues", f"{sum(report.issues.values()):,}")
    table.add_row("Time", f"{report.seconds:.2f} s ({rate:,.0f} files/s, {report.n_jobs} workers)")
    table.add_row("Tables", f"{report.sessions_path}\n{report.datasets_path}")
    table.add_row("Open with", _opening_line(report))
    console.print(table, soft_wrap=False, highlight=False)
    if report.issues:
        console.print()
        print_issues(report, console)


def print_issues(report: IndexReport, console: Console) -> None:
    """Print the number of issues of each kind, with an example."""
    examples = report.scan_issues().unique("kind", keep="first", maintain_order=True).collect()
    shown = {row["kind"]: row for row in examples.iter_rows(named=True)}
    table = Table(box=None, pad_edge=False, title="Issues", title_justify="left")
    table.add_column("Kind", no_wrap=True)
    table.add_column("Count", justify="right")
    table.add_column("For example", overflow="fold")
    for kind, count in report.issues.items():
        row = shown[kind]
        table.add_row(kind, f"{count:,}", f"{row['path']!r}: {row['message']}")
    console.print(table, highlight=False, markup=False)
    console.print(f"All of them: polars-alf issues {report.sessions_path.parent}", highlight=False)


def print_plan(plan: pl.DataFrame, root: Path, console: Console) -> None:
    """Print what a plan of removals (REMOVALS) would remove, with the first paths of each kind."""
    datasets = plan.filter(kind=RemovalKind.DATASET)
    folders = plan.filter(pl.col("kind") != RemovalKind.DATASET)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("Archive", str(root))
    table.add_row("Datasets", f"{len(datasets):,} ({decimal(int(datasets['file_size'].sum()))})")
    for reason, count in datasets.group_by("reason", maintain_order=True).len().iter_rows():
        table.add_row("", f"{count:,}: {reason}")
    sessions = len(folders.filter(kind=RemovalKind.SESSION))
    table.add_row("Folders", f"{len(folders):,} ({sessions:,} of sessions)")
    console.print(table, soft_wrap=False, highlight=False, markup=False)
    for rows in (datasets, folders):
        for path in rows["path"].head(_PATHS_SHOWN):
            console.print(f"  {path}", highlight=False, markup=False, soft_wrap=True)
        if len(rows) > _PATHS_SHOWN:
            console.print(f"  … and {len(rows) - _PATHS_SHOWN:,} more", highlight=False)


def print_outcomes(outcomes: pl.DataFrame, log: Path, console: Console) -> None:
    """Print what became of a plan (OUTCOMES), and each path that was not removed with its cause."""
    removed = outcomes.filter(result=RemovalResult.REMOVED)
    size = decimal(int(removed["file_size"].sum()))
    console.print(f"Removed {len(removed):,} of {len(outcomes):,} ({size}).", highlight=False)
    for path, result, message in (
        outcomes.filter(pl.col("result") != RemovalResult.REMOVED)
        .select("path", "result", "message")
        .iter_rows()
    ):
        console.print(
            f"  {result}: {path}: {message}", highlight=False, markup=False, soft_wrap=True
        )
    console.print(f"Log: {log}", highlight=False, markup=False, soft_wrap=True)


def _opening_line(report: IndexReport) -> str:
    folder = report.sessions_path.parent
    tables_dir = "" if folder == report.cache_dir else f", tables_dir={str(folder)!r}"
    return f"One(cache_dir={str(report.cache_dir)!r}{tables_dir}, mode='local')"


class _LinePrinter:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._next = SECONDS_PER_LINE

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self._stage:
            self._stage = progress.stage
        elif progress.seconds < self._next:
            return
        self._next = progress.seconds + SECONDS_PER_LINE
        stage = _STAGES[progress.stage]
        done = f" {progress.shards}/{progress.n_shards} shards," if progress.n_shards else ""
        figures = describe_progress(progress) if progress.files else "…"
        self._console.print(
            f"{progress.seconds:.0f} s {stage}:{done} {figures}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _draw(bar: Bar, task: TaskID, progress: Progress) -> None:
    bar.update(
        task,
        description=_STAGES[progress.stage],
        total=progress.n_shards or None,
        completed=progress.shards,
        figures=describe_progress(progress),
    )
