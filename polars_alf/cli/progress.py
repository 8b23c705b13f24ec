"""Progress on stderr: a bar on a terminal, a line now and then elsewhere, or JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from typing import IO, TYPE_CHECKING, TypeAlias

from polars_alf.alf.paths import printable
from polars_alf.cli.output import print_message, print_visibly
from polars_alf.display import count, describe_backoffs, describe_size

if TYPE_CHECKING:  # rich is loaded where it draws: a quiet command needs none of it
    from rich.console import Console

    from polars_alf.parallel.progress import Progress

SECONDS_PER_LINE = 10.0
"""Time between lines of progress where no bar can be drawn: few enough for a log."""

SECONDS_OF_SHORT_WORK = 1.0
"""Time before the first counted step is printed where no bar can be drawn."""

Show: TypeAlias = "Callable[[Progress], None]"

Update: TypeAlias = Callable[[int, int, str], None]
"""Callback for what is done, how much there is (0 if unknown), and a text."""

_STAGES = {
    "inventory": "Reading the inventory",
    **{"survey": "Listing subjects", "scan": "Scanning"},
    **{"compare": "Comparing with the tables", "write": "Writing tables"},
}

_WIDE = 120
"""Columns of a terminal with room for a bar beside the figures."""


class ProgressKind(StrEnum):
    """Form of the progress on stderr."""

    AUTO = "auto"
    JSON = "json"
    NONE = "none"


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

    text = TextColumn("{task.description}", markup=False)
    bar = [BarColumn(bar_width=24)] if console.width >= _WIDE else []
    columns = (SpinnerColumn(), TimeElapsedColumn(), *bar, text)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("…", total=None)
        yield lambda done, total, step: progress.update(
            task, completed=done, total=total or None, description=printable(step)
        )


def show_steps(kind: ProgressKind, *, quiet: bool) -> AbstractContextManager[Update | None]:
    """Return a context that shows steps: a bar on a terminal, else a line now and then.

    It yields None where none are wanted.
    """
    if kind is ProgressKind.JSON:
        return nullcontext(_print_json_step)
    if quiet or kind is ProgressKind.NONE:
        return nullcontext(None)
    console = open_console()
    return draw_bar(console) if has_bar(console) else nullcontext(_StepPrinter())


def _print_json_step(done: int, total: int, text: str) -> None:
    values = {"step": text, "done": done, "total": total or None}
    print(json.dumps(values), file=sys.stderr, flush=True)


class _StepPrinter:
    """Print a step that is counted now and then, none of short work, and every other step."""

    def __init__(self) -> None:
        self._next = time.monotonic() + SECONDS_OF_SHORT_WORK

    def __call__(self, done: int, total: int, text: str) -> None:
        if not total:
            print_message(text)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_PER_LINE
            print_message(f"{done:,}/{total:,} {text}")


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
    if progress.stage == "inventory":
        return f"{count(progress.files, 'row')}, {_rate(progress):,.0f} rows/s"
    counts = f"{count(progress.files, 'file')}, {count(progress.sessions, 'session')}"
    text = f"{counts}, {_rate(progress):,.0f} files/s"
    if progress.n_bytes:
        speed = describe_size(int(progress.n_bytes / progress.seconds))
        text += f", {describe_size(progress.n_bytes)}, {speed}/s"
    if progress.n_backoffs:
        text += f", backed off {describe_backoffs(progress.n_backoffs, progress.least_share)}"
    if progress.seconds_left:
        text += f", {timedelta(seconds=round(progress.seconds_left))} left"
    return text
