"""What a person sees: progress on stderr, summaries on stdout."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TextIO, TypeAlias

import polars as pl
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import (
    Progress as Bar,
)

from polars_alf.alf.paths import printable, visible
from polars_alf.index.report import IndexReport
from polars_alf.parallel.progress import Progress
from polars_alf.prune.examine import RemovalKind, RemovalResult

Show: TypeAlias = "Callable[[Progress], None]"

SECONDS_PER_LINE = 10.0
"""How often progress is told where it cannot be drawn: seldom enough for a log."""

_STAGES = {"survey": "Listing subjects", "scan": "Scanning", "write": "Writing tables"}

WIDE = 120
"""Columns of a terminal from which on there is room for a bar beside the figures."""

_PATHS_SHOWN = 10


def print_visibly(text: str = "", file: TextIO | None = None) -> None:
    """Print for a person: to a terminal, with all that could steer it spelt out.

    Parameters
    ----------
    text
        Lines, perhaps with names that others have chosen.
    file
        Where to; by default stdout.
    """
    stream = file or sys.stdout
    print(visible(text) if stream.isatty() else text, file=stream)


@contextmanager
def show_progress(console: Console, *, as_json: bool = False) -> Iterator[Show]:
    """Yield a callback that shows progress: a bar on a terminal, else a line now and then.

    Parameters
    ----------
    console
        Where to.
    as_json
        Whether to print JSON lines instead, one a second and one for each stage.
    """
    if as_json or not console.is_terminal:
        yield _JsonPrinter(console) if as_json else _LinePrinter(console)
        return
    columns: list[ProgressColumn] = [SpinnerColumn(), TimeElapsedColumn()]
    if console.width >= WIDE:
        columns.append(BarColumn(bar_width=24))
    columns.append(TextColumn("{task.description}: {task.fields[figures]}"))
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(_STAGES["survey"], total=None, figures="")
        yield lambda progress: _draw(bar, task, progress)


def describe_progress(progress: Progress) -> str:
    """Return the figures of a run in a line: files, sessions, rate, and what was digested."""
    rate = progress.files / progress.seconds if progress.seconds else 0.0
    text = f"{progress.files:,} files, {progress.sessions:,} sessions, {rate:,.0f} files/s"
    if progress.n_bytes:
        speed = decimal(int(progress.n_bytes / progress.seconds))
        text += f", {decimal(progress.n_bytes)}, {speed}/s"
    if progress.seconds_left:
        text += f", {timedelta(seconds=round(progress.seconds_left))} left"
    return text


def describe_resumption(progress: Progress) -> str:
    """Return what was found of an interrupted run."""
    return (
        f"Going on with an interrupted run: {progress.n_resumed} of {progress.n_shards} shards are "
        "done; --restart scans them again"
    )


def print_report(report: IndexReport) -> None:
    """Print what an index found, and where it is."""
    rate = (report.n_datasets + report.n_other_files) / report.seconds
    workers = "1 worker" if report.n_jobs == 1 else f"{report.n_jobs} workers"
    print_fields(
        ("Archive", str(report.root)),
        ("Sessions", f"{report.n_sessions:,}"),
        ("Datasets", f"{report.n_datasets:,} ({decimal(report.n_bytes)})"),
        ("Other files", f"{report.n_other_files:,} (not ALF, or in no session)"),
        ("Issues", f"{sum(report.issues.values()):,}"),
        *_optional_fields(report),
        ("Time", f"{report.seconds:.2f} s ({rate:,.0f} files/s, {workers})"),
        ("Tables", str(report.sessions_path)),
        ("", str(report.datasets_path)),
        ("Open with", _opening_line(report)),
    )
    if report.issues:
        _print_issues(report)


def _optional_fields(report: IndexReport) -> Iterator[tuple[str, str]]:
    if report.changes is not None:
        counts = [f"{n:,} {change}" for change, n in report.changes.items() if n]
        yield "Changes", f"{', '.join(counts) or 'none'} (since the last index)"
    if report.n_known_sessions:
        known = f"{report.n_known_sessions:,} sessions, {report.n_known_datasets:,} datasets"
        yield "Known ids", f"{known} (from the tables given)"
    if report.n_resumed:
        yield "Resumed", f"{report.n_resumed:,} of {report.n_shards:,} shards were done before"


def print_fields(*fields: tuple[str, str]) -> None:
    """Print labels and values, one pair a line."""
    # Plain lines, whatever the width: they may be piped, and paths copied.
    for label, value in fields:
        print_visibly(f"{label:<12} {value}")


def _print_issues(report: IndexReport) -> None:
    """Print the number of issues of each kind, with an example."""
    examples = report.scan_issues().unique("kind", keep="first", maintain_order=True).collect()
    shown = {row["kind"]: row for row in examples.iter_rows(named=True)}
    for kind, count in report.issues.items():
        row = shown[kind]
        print_visibly(f"\n{count:>6,} {kind}, for example {row['path']}\n       {row['message']}")
    print_visibly(
        f"\nAll of them: polars-alf issues {shlex.quote(str(report.sessions_path.parent))}"
    )


def print_plan(plan: pl.DataFrame, root: Path) -> None:
    """Print what a plan of removals (REMOVALS) would remove, with the first paths of each kind."""
    datasets = plan.filter(kind=RemovalKind.DATASET)
    folders = plan.filter(pl.col("kind") != RemovalKind.DATASET)
    reasons = datasets.group_by("reason", maintain_order=True).len()
    sessions = len(folders.filter(kind=RemovalKind.SESSION))
    print_fields(
        ("Archive", str(root)),
        ("Datasets", f"{len(datasets):,} ({decimal(int(datasets['file_size'].sum()))})"),
        *(("", f"{count:,}: {reason}") for reason, count in reasons.iter_rows()),
        ("Folders", f"{len(folders):,} ({sessions:,} of sessions)"),
    )
    for rows in (datasets, folders):
        for path in rows["path"].head(_PATHS_SHOWN):
            print_visibly(f"  {printable(path)}")
        if len(rows) > _PATHS_SHOWN:
            print_visibly(f"  … and {len(rows) - _PATHS_SHOWN:,} more")


def print_outcomes(outcomes: pl.DataFrame, log: Path) -> None:
    """Print what became of a plan (OUTCOMES), and each path that was not removed with its cause."""
    removed = outcomes.filter(result=RemovalResult.REMOVED)
    size = decimal(int(removed["file_size"].sum()))
    print_visibly(f"Removed {len(removed):,} of {len(outcomes):,} ({size}).")
    left = outcomes.filter(pl.col("result") != RemovalResult.REMOVED)
    for path, result, message in left.select("path", "result", "message").iter_rows():
        print_visibly(f"  {result}: {printable(path)}: {message}")
    print_visibly(f"Log: {log}")


def _opening_line(report: IndexReport) -> str:
    folder = report.sessions_path.parent
    tables_dir = "" if folder == report.cache_dir else f", tables_dir={str(folder)!r}"
    return f"One(cache_dir={str(report.cache_dir)!r}{tables_dir}, mode='local')"


class _LinePrinter:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._is_resumed = False
        self._next = SECONDS_PER_LINE

    def __call__(self, progress: Progress) -> None:
        if progress.n_resumed and not self._is_resumed:
            self._is_resumed = True
            self._print(describe_resumption(progress))
        if progress.stage != self._stage:
            self._stage = progress.stage
        elif progress.seconds < self._next:
            return
        self._next = progress.seconds + SECONDS_PER_LINE
        stage = _STAGES[progress.stage]
        done = f" {progress.shards}/{progress.n_shards} shards," if progress.n_shards else ""
        figures = describe_progress(progress) if progress.files else "…"
        self._print(f"{progress.seconds:.0f} s {stage}:{done} {figures}")

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class _JsonPrinter:
    def __init__(self, console: Console) -> None:
        self._file = console.file
        self._stage = ""
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        if progress.stage == self._stage and progress.seconds < self._next:
            return
        self._stage, self._next = progress.stage, progress.seconds + 1
        rate = progress.files / progress.seconds if progress.seconds else 0.0
        values = asdict(progress) | {
            "files_per_second": round(rate, 1),
            "seconds_left": progress.seconds_left,
        }
        print(json.dumps(values), file=self._file, flush=True)


def _draw(bar: Bar, task: TaskID, progress: Progress) -> None:
    if progress.n_resumed and progress.n_shards and bar.tasks[task].total is None:
        bar.console.print(describe_resumption(progress), highlight=False, markup=False)
    bar.update(
        task,
        description=_STAGES[progress.stage],
        total=progress.n_shards or None,
        completed=progress.shards,
        figures=describe_progress(progress),
    )
