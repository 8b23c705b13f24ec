"""What reaches a terminal, a pipe and a log."""

from __future__ import annotations

import errno
import io
import json
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import polars as pl
import pytest
from command_line import run, run_on_terminal
from rich.console import Console
from trees import SESSION, make_tree

import polars_alf
from polars_alf import index_archive
from polars_alf.cli import output, progress
from polars_alf.cli.interrupts import EXIT_INTERRUPTED, ending_on_interrupt
from polars_alf.errors import TableWarning
from polars_alf.parallel.progress import Progress

STEERING = "\u202eypn\u2066.a\u200f"
"""Marks that turn the direction of what is shown."""


@pytest.fixture(scope="module")
def steering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an archive with names that change how a terminal shows them."""
    folder = tmp_path_factory.mktemp("steering")
    root = make_tree(folder / f"archive {STEERING}", {"S/2020-01-01/001": SESSION})
    index_archive(root)
    make_tree(root, {f"S/2020-01-01/001/{STEERING}/x.y.npy": 1})
    index_archive(root)
    make_tree(root, {f"S/2020-01-01/001/{STEERING}/new.y.npy": 1})
    return root


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_names_do_not_steer_a_terminal(steering: Path) -> None:
    query = "SELECT rel_path FROM datasets"
    commands = ("issues", "changes", "verify", "prune", "info", "sql")
    for command in commands:
        arguments = (command, steering, *([query] if command == "sql" else []))
        assert STEERING in run(*arguments).stdout, "a pipe gets names as they are"
        code, shown = run_on_terminal(*arguments)
        assert code in (0, 3)
        assert "\\u202eypn\\u2066.a\\u200f" in shown, command
        assert not {"\u202e", "\u2066", "\u200f"}.intersection(shown), command


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_machines_get_names_as_they_are(steering: Path) -> None:
    query = "SELECT rel_path FROM datasets"
    for arguments in (
        ("changes", steering, "--json"),
        ("sql", steering, query, "--format", "csv"),
        ("sql", steering, query, "--format", "jsonl"),
    ):
        assert STEERING in run_on_terminal(*arguments)[1]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_errors_do_not_steer_a_terminal(tmp_path: Path) -> None:
    code, shown = run_on_terminal("index", tmp_path / f"no\x9b2J{STEERING}", stream="stderr")
    assert code == 1
    assert "no\\x9b2J\\u202eypn\\u2066.a\\u200f" in shown
    assert not {"\x9b", "\u202e", "\u2066", "\u200f"}.intersection(shown)


def test_an_error_is_one_line_and_has_a_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run("index", tmp_path / "no\nfolder")
    assert result.stderr.count("\n") == 1
    assert "no\\x0afolder does not exist; give" in result.stderr
    output.print_error(PermissionError(errno.EACCES, "Permission denied", "/data"))
    output.print_error(OSError(errno.EIO, "Input/output error", "/data"))
    denied, failed = capsys.readouterr().err.splitlines()
    assert denied.endswith("Permission denied: '/data'; see to its permissions")
    assert failed.endswith("Input/output error: '/data'; see to the storage, and try again")


def test_names_in_steps_steer_no_terminal() -> None:
    stream = io.StringIO()
    with progress.draw_bar(Console(file=stream, force_terminal=True, width=100)) as update:
        update(1, 2, "reading a\x1b[31m[red]b\nc")
    assert "reading a\\x1b[31m[red]b\\x0ac" in stream.getvalue()


def test_nothing_of_a_name_reaches_the_terminal_as_a_command(archive: Path) -> None:
    sessions = polars_alf.index_archive(archive).sessions_path
    frame = polars_alf.scan_sessions(archive).drop("origin").collect()
    frame.with_columns(lab=pl.lit("\x1b[31m[bold]red\n")).write_parquet(sessions)
    shown = run("info", archive).stdout
    assert "\x1b" not in shown
    assert "\\x1b[31m[bold]red\\x0a" in shown


def _progress(stage: str, seconds: float, n_resumed: int = 0) -> Progress:
    return Progress(stage, 1000, 10, 0, 1, 2, n_resumed, seconds)


def test_progress_in_json_is_a_line_a_second_and_one_a_stage() -> None:
    stream = io.StringIO()
    with progress.show_progress(Console(file=stream), as_json=True) as show:
        for tenth in range(25):
            show(_progress("scan", tenth / 10))
        show(_progress("write", 2.5))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["stage"], line["seconds"]) for line in lines] == [
        *(("scan", 0.0), ("scan", 1.0), ("scan", 2.0), ("write", 2.5)),
    ]
    assert lines[1]["files_per_second"] == 1000.0
    assert lines[1]["seconds_left"] == 1.0


@pytest.mark.parametrize("is_terminal", [False, True])
def test_an_interrupted_run_is_told_once(is_terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=is_terminal, width=160)
    with progress.show_progress(console) as show:
        for second in range(30):
            show(_progress("scan", second, n_resumed=1))
    text = "Going on with an interrupted run: 1 of 2 shards are done; --restart scans them again"
    assert stream.getvalue().count(text) == 1


def test_warnings_and_interrupts_are_messages(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        with ending_on_interrupt(output.print_message), output.running("all is whole"):
            warnings.warn("it is small", TableWarning, stacklevel=1)
            raise KeyboardInterrupt

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as ended:
            interrupt()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert ended.value.code == EXIT_INTERRUPTED
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "warning: it is small\ninterrupted; all is whole\n")


INTERRUPT = """
import os, signal, time
from polars_alf.cli.interrupts import ending_on_interrupt

class Swallows:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

def swallow():
    Swallows()
    time.sleep(60)

def clean_up():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    finally:
        time.sleep(0.7)
        print("cleaned up", flush=True)

with ending_on_interrupt(print):
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no timers there")
@pytest.mark.parametrize(("what", "lines"), [("swallow", []), ("clean_up", ["cleaned up"])])
def test_an_interrupt_is_repeated_until_it_is_heeded(what: str, lines: list[str]) -> None:
    code = f"{INTERRUPT}    {what}()"
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert ended.returncode == EXIT_INTERRUPTED
    assert ended.stdout.splitlines() == [*lines, "interrupted; nothing was begun"]
