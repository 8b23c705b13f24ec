"""Output of all commands: results on stdout, progress and messages on stderr, exit codes."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import polars as pl
import typer
from rich.filesize import decimal

from polars_alf.alf.paths import printable, visible
from polars_alf.cli import interrupts
from polars_alf.errors import KeptWarning, NoSessionsWarning, TableWarning, TakeoverWarning

if TYPE_CHECKING:  # rich is loaded where it draws: a quiet command needs none of it
    from rich.console import Console

    from polars_alf.parallel.progress import Progress

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 3
EXIT_BROKEN_PIPE = 141
"""As a shell tells that SIGPIPE ended a program."""

SECONDS_PER_LINE = 10.0
"""Time between lines of progress where no bar can be drawn: few enough for a log."""

ROWS_SHOWN = 10
"""Rows that are printed of a long table."""

Show: TypeAlias = "Callable[[Progress], None]"

Update: TypeAlias = Callable[[int, int, str], None]
"""Callback for what is done, how much there is (0 if unknown), and a text."""

_BYTES = ("file_size", "n_bytes", "n_bytes_spare")

_CORES = {"native": "native core", "python": "Python core"}
"""What `polars_alf.native.IMPLEMENTATION` is called."""

_STAGES = {"survey": "Listing subjects", "scan": "Scanning", "write": "Writing tables"}

_WIDE = 120
"""Columns of a terminal with room for a bar beside the figures."""


def describe_version(version: str, core: str | None) -> str:
    """Return a version and what its fast functions were: a `native.IMPLEMENTATION`, if known."""
    return f"polars-alf {version}" + (f" ({_CORES[core]})" if core in _CORES else "")


def print_visibly(text: str = "", file: IO[str] | None = None) -> None:
    """Print lines to stdout or a file; on a terminal, escape what could steer it."""
    stream = file or sys.stdout
    print(visible(text) if stream.isatty() else text, file=stream)


def print_message(text: str) -> None:
    """Print a message to stderr."""
    print_visibly(text, sys.stderr)


@contextmanager
def running(state: str) -> Iterator[None]:
    """Print warnings of this package at the end.

    `state` tells in what state an interrupt leaves things.
    """
    interrupts.leave(state)
    with warnings.catch_warnings(record=True) as caught:
        for category in (KeptWarning, NoSessionsWarning, TableWarning, TakeoverWarning):
            warnings.simplefilter("always", category)
        try:
            yield
            interrupts.leave("what the command has done stays done")
        except BrokenPipeError as error:
            # A connection to storage or to a cluster; Typer would end without a word.
            print_message(f"error: {error}")
            raise typer.Exit(EXIT_FAILED) from error
        finally:
            for warning in caught:
                print_message(f"warning: {warning.message}")


def print_fields(*fields: tuple[str, str]) -> None:
    """Print labels and values, one pair a line."""
    # Plain lines, whatever the width: they may be piped, and paths copied.
    for label, value in fields:
        print_visibly(f"{label:<12} {value}")


def print_json(head: dict[str, object], rows_name: str, rows: pl.DataFrame) -> None:
    """Print one JSON object, its last value an array with a row a line."""
    print(json.dumps(head)[:-1] + f', "{rows_name}": [', end="")
    if len(rows):
        lines = rows.write_ndjson().strip().split("\n")
        print("\n" + ",\n".join(lines) + "\n", end="")
    print("]}")


def print_first(frame: pl.DataFrame, title: str, rows: int = ROWS_SHOWN) -> None:
    """Print the first rows of a frame, and how many there are more; nothing if it is empty."""
    if frame.is_empty():
        return
    print_frame(frame.head(rows), title)
    if len(frame) > rows:
        print_visibly(f"… and {len(frame) - rows:,} more")


def print_frame(frame: pl.DataFrame, title: str = "") -> None:
    """Print a frame as a table, as wide as its values."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if title:
        print_visibly(f"\n{title}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, dtype in frame.schema.items():
        label = Text("size" if name in _BYTES else name)
        justify: Any = "right" if dtype.is_numeric() else "left"
        table.add_column(label, no_wrap=True, justify=justify)
    for row in frame.iter_rows(named=True):
        table.add_row(*(Text(_format_cell(name, value)) for name, value in row.items()))
    # As a pipe has no width, and paths are to be copied, nothing is cut or folded.
    console = Console(file=sys.stdout, width=100_000, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(table)
    print_visibly("\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n")))


def _format_cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in _BYTES:
        return decimal(int(value))
    if isinstance(value, int) and not isinstance(value, bool) and name != "year":
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(printable(str(item)) for item in value)
    return printable(str(value))


def open_console() -> Console:
    """Return the console of progress, on stderr."""
    from rich.console import Console

    # Rich takes a log for a terminal where FORCE_COLOR is set.
    return Console(stderr=True, force_terminal=sys.stderr.isatty())


def has_bar(console: Console) -> bool:
    """Whether a bar can be drawn: a terminal called dumb cannot go back in its line."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def show_progress(console: Console, *, as_json: bool = False) -> Iterator[Show]:
    """Yield a callback that shows progress: a bar on a terminal, else a line now and then.

    With `as_json` it prints JSON lines instead, one a second and one for each stage.
    """
    if as_json:
        yield _show_seldom(lambda progress: _print_json_line(progress, console.file), 1)
    elif not has_bar(console):
        show = _show_seldom(lambda progress: _print_line(progress, console.file), SECONDS_PER_LINE)
        yield _show_resumption_once(show, console)
    else:
        with draw_bar(console) as update:
            yield _show_resumption_once(
                lambda progress: update(
                    progress.shards,
                    progress.n_shards,
                    f"{_STAGES[progress.stage]}: {_describe_figures(progress)}",
                ),
                console,
            )


@contextmanager
def draw_bar(console: Console) -> Iterator[Update]:
    """Draw a bar on a terminal, until the end of the context."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = [BarColumn(bar_width=24)] if console.width >= _WIDE else []
    columns = (SpinnerColumn(), TimeElapsedColumn(), *bar, TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("…", total=None)
        yield lambda done, total, text: progress.update(
            task, completed=done, total=total or None, description=text
        )


def show_steps(quiet: bool) -> AbstractContextManager[Update | None]:
    """Return a context that shows steps: a bar on a terminal, else a line now and then."""
    if quiet:
        return nullcontext(None)
    console = open_console()
    return draw_bar(console) if has_bar(console) else nullcontext(_StepPrinter())


class _StepPrinter:
    """Print a step that is counted now and then, and every other step."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int, total: int, text: str) -> None:
        if not total:
            print_message(text)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_PER_LINE
            print_message(f"{done}/{total} {text}")


def _show_seldom(show: Show, seconds: float) -> Show:
    """Return a callback that calls `show` when a stage begins, and after some seconds each."""
    stage, due = "", 0.0

    def show_if_due(progress: Progress) -> None:
        nonlocal stage, due
        if progress.stage != stage or progress.seconds >= due:
            stage, due = progress.stage, progress.seconds + seconds
            show(progress)

    return show_if_due


def _show_resumption_once(show: Show, console: Console) -> Show:
    """Return a callback that calls `show`, and once prints what an interrupted run has done."""
    is_shown = False

    def show_both(progress: Progress) -> None:
        nonlocal is_shown
        if progress.n_resumed and not is_shown:
            is_shown = True
            text = (
                f"Going on with an interrupted run: {progress.n_resumed} of {progress.n_shards} "
                "shards are done; --restart scans them again"
            )
            console.print(text, highlight=False, markup=False, soft_wrap=True)
        show(progress)

    return show_both


def _print_line(progress: Progress, file: IO[str]) -> None:
    done = f" {progress.shards}/{progress.n_shards} shards," if progress.n_shards else ""
    figures = _describe_figures(progress) if progress.files else "…"
    print_visibly(f"{progress.seconds:.0f} s {_STAGES[progress.stage]}:{done} {figures}", file)


def _print_json_line(progress: Progress, file: IO[str]) -> None:
    values = asdict(progress) | {
        "files_per_second": round(_rate(progress), 1),
        "seconds_left": progress.seconds_left,
    }
    print(json.dumps(values), file=file, flush=True)


def _rate(progress: Progress) -> float:
    return progress.files / progress.seconds if progress.seconds else 0.0


def _describe_figures(progress: Progress) -> str:
    """Return files, sessions, rate, digested bytes and time left, in a line."""
    text = (
        f"{progress.files:,} files, {progress.sessions:,} sessions, {_rate(progress):,.0f} files/s"
    )
    if progress.n_bytes:
        speed = decimal(int(progress.n_bytes / progress.seconds))
        text += f", {decimal(progress.n_bytes)}, {speed}/s"
    if progress.seconds_left:
        text += f", {timedelta(seconds=round(progress.seconds_left))} left"
    return text
