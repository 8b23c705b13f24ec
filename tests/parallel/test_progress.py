"""Counting across threads and processes, and what is shown of it."""

from __future__ import annotations

import io
import time
from pathlib import Path

from rich.console import Console

from polars_alf.cli import progress
from polars_alf.parallel.progress import Counter, CounterFile, Monitor, Progress


def test_counters_share_a_file(tmp_path: Path) -> None:
    counters = CounterFile.create(tmp_path / "counters", 3)
    for index in range(3):
        CounterFile(tmp_path / "counters").slot(index).add(index, 1, 10)
    assert counters.total() == (3, 3, 30)
    counters.slot(2)
    assert counters.total() == (1, 2, 20), "a shard that starts again counts again"


def test_no_shards_at_all(tmp_path: Path) -> None:
    assert CounterFile.create(tmp_path / "counters", 0).total() == (0, 0, 0)


def test_monitor_calls_while_it_runs_and_at_the_end(tmp_path: Path) -> None:
    seen: list[Progress] = []
    survey = Counter()
    survey.add(files=2)
    with Monitor(seen.append, survey, interval=0.01) as monitor:
        counters = CounterFile.create(tmp_path / "counters", 1)
        monitor.begin_scan(counters, 1)
        counters.slot(0).add(files=7)
        time.sleep(0.1)
        during = len(seen)
    assert during > 1
    assert len(seen) > during
    assert (seen[-1].stage, seen[-1].files, seen[-1].n_shards) == ("scan", 9, 1)
    assert seen[-1].seconds > 0.1


def test_a_callback_that_fails_ends_the_calls_not_the_run() -> None:
    seen: list[Progress] = []

    def fail(progress: Progress) -> None:
        seen.append(progress)
        raise RuntimeError("no display")

    with Monitor(fail, interval=0.01):
        time.sleep(0.1)
    assert len(seen) == 1


def _progress(stage: str, seconds: float, n_bytes: int = 0) -> Progress:
    return Progress(stage, 1000, 10, n_bytes, 1, 2, 0, seconds)


def test_a_log_gets_a_line_now_and_then() -> None:
    stream = io.StringIO()
    with progress.show_progress(Console(file=stream, width=40)) as show:
        for tenth in range(250):
            show(_progress("scan", tenth / 10))
        show(_progress("write", 25.0))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert (
        lines[1] == "10 s Scanning: 1/2 shards, 1,000 files, 10 sessions, 100 files/s, 0:00:10 left"
    )


def test_rows_of_an_inventory_are_no_files() -> None:
    stream = io.StringIO()
    with progress.show_progress(Console(file=stream)) as show:
        show(Progress("inventory", 1000, 0, 0, 0, 0, 0, 2.0))
    assert stream.getvalue() == "2 s Reading the inventory: 1,000 rows, 500 rows/s\n"


def test_a_terminal_gets_a_bar_with_bytes() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=160)
    with progress.show_progress(console) as show:
        show(_progress("scan", 2.0, n_bytes=5_000_000))
        time.sleep(0.3)
    assert "1,000 files, 10 sessions, 500 files/s, 5.0 MB, 2.5 MB/s" in stream.getvalue()
