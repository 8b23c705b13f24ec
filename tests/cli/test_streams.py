"""Standard streams that are closed, full, or read by nobody, and terminals of few means."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import command_line
import polars as pl
import pytest
from apart import run_apart
from command_line import MAIN, run_on_terminal
from trees import SESSION, make_tree

from polars_alf import index_archive

resource = pytest.importorskip("resource")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="streams as on POSIX")

COMMAND = (sys.executable, "-m", "polars_alf")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an archive with its tables, an issue, and a dataset that they lack."""
    sessions = {f"S/2020-01-{day:02}/001": SESSION for day in range(1, 11)}
    root = make_tree(tmp_path_factory.mktemp("streams") / "archive", sessions)
    make_tree(root, {"S/2021-13-45/001": SESSION})
    index_archive(root)
    make_tree(root, {"S/2020-01-01/001/alf/new.times.npy": 1})
    return root


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command, its streams as given."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([*COMMAND, *map(str, arguments)], text=True, **streams)  # type: ignore[call-overload, no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["index", "info", "prune"])
def test_a_stream_that_is_closed_is_the_null_device(
    root: Path, tmp_path: Path, closed: str, command: str
) -> None:
    folder = root
    if command == "index":
        folder = make_tree(tmp_path / "archive", {"S/2020-01-01/001": SESSION})
    line = f'exec "$@" {closed}'
    ended = subprocess.run(
        ["sh", "-c", line, "sh", *COMMAND, command, str(folder)], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert bool(ended.stdout) == (">&-" not in closed.split())
    assert "Traceback" not in ended.stderr
    if command == "index":
        # What is printed goes into no file that has the number of a stream.
        assert len(pl.read_parquet(folder / "datasets.pqt")) == 3
        changes = index_archive(folder).changes or {}
        assert {change for change, count in changes.items() if count} == {"unchanged"}


@pytest.fixture
def broken_pipe() -> Iterator[int]:
    """Give the end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


ALL_ROWS = "SELECT a.*, b.id x FROM datasets a CROSS JOIN datasets b CROSS JOIN datasets c"

RESULTS = {
    "help": ("--help",),
    "version": ("--version",),
    "report": ("index",),
    "report as JSON": ("index", "--json"),
    "frame": ("info",),
    "JSON": ("info", "--json"),
    "JSON and rows": ("verify", "--json"),
    "JSON lines": ("issues", "--json"),
    "plan": ("prune", "--json"),
    "table": ("sql", "SELECT * FROM datasets"),
    "CSV": ("sql", ALL_ROWS, "--format", "csv"),
    "ndjson": ("sql", ALL_ROWS, "--format", "jsonl"),
    "Parquet": ("sql", ALL_ROWS, "--format", "parquet"),
}


def list_arguments(root: Path, out_dir: Path, result: str) -> list[str]:
    command, *rest = RESULTS[result]
    if command.startswith("-"):
        return [command]
    return [command, str(root), *rest, *(["--out", str(out_dir)] if command == "index" else [])]


def list_messages(stderr: str) -> list[str]:
    """Return the lines that are no progress."""
    return [line for line in stderr.splitlines() if not re.match(r"\d+ s ", line)]


WITHOUT_READER = f"""
import os
reader, writer = os.pipe()
os.dup2(writer, 1)
os.close(writer)
os.close(reader)
{MAIN}
"""


@pytest.mark.slow
@pytest.mark.parametrize("result", RESULTS)
def test_a_reader_that_has_ended_is_no_failure_to_speak_of(
    root: Path, out_dir: Path, result: str
) -> None:
    ended = run_apart(WITHOUT_READER, list_arguments(root, out_dir, result))
    lines = list_messages(ended.stderr)
    assert (ended.returncode, lines) == (141, []), "as a shell tells of SIGPIPE"


def test_the_first_lines_of_many(root: Path) -> None:
    line = 'set -o pipefail; "$@" | head -1'
    command = [*COMMAND, "sql", str(root), ALL_ROWS, "--format", "csv"]
    ended = subprocess.run(["bash", "-c", line, "bash", *command], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (141, "")
    assert ended.stdout.startswith("id,eid,") or ended.stdout.startswith("eid,")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
@pytest.mark.parametrize("result", RESULTS)
def test_a_full_disk_is_a_failure(root: Path, out_dir: Path, result: str) -> None:
    ended = command_line.run(*list_arguments(root, out_dir, result), stdout="/dev/full")
    lines = list_messages(ended.stderr)
    assert ended.returncode == 1
    (line,) = lines
    assert line.startswith("error: the result cannot be written to stdout: No space left on device")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_file_that_cannot_be_written_is_named(root: Path, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"answer.{form}"
    ended = run(
        *("sql", root, ALL_ROWS, "--out", file),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    expected = f"error: {file} cannot be written: File too large; give another file\n"
    assert (ended.returncode, ended.stderr) == (1, expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("progress", ["auto", "json"])
def test_a_run_goes_on_without_messages(
    root: Path, broken_pipe: int, tmp_path: Path, progress: str
) -> None:
    folder = make_tree(tmp_path / progress, {"S/2020-01-01/001": SESSION})
    ended = run("index", folder, "--json", "--progress", progress, stderr=broken_pipe)
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["n_datasets"] == 3
    failed = run("index", folder / "nowhere", stderr=broken_pipe)
    assert failed.returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_line_of_progress_reaches_a_pipe_as_it_is_written(archive: Path, unbuffered: str) -> None:
    big = archive / "cortexlab/Subjects/KS001/2020-01-01/001/huge.file.npy"
    with big.open("wb") as file:
        file.truncate(1 << 36)  # minutes of digesting
    with subprocess.Popen(
        [*COMMAND, "index", str(archive), "--hash-files"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    ) as process:
        assert process.stderr is not None
        readable, _, _ = select.select([process.stderr], [], [], 30)
        line = os.read(process.stderr.fileno(), 4096) if readable else b""
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert b"Scanning" in line


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_all_of_a_result_reaches_a_pipe_that_does_not_wait(root: Path, unbuffered: str) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    command = [*COMMAND, "sql", str(root), ALL_ROWS, "--format", "csv"]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stdout=theirs, env=environment) as process, open(ours) as file:
        os.close(theirs)
        time.sleep(1)  # the pipe is full by then
        rows = file.readlines()
        assert process.wait(30) == 0
    assert len(rows) == 1 + len(pl.read_parquet(root / "datasets.pqt")) ** 3


def test_what_is_confirmed_was_seen_before(root: Path) -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [*COMMAND, "prune", str(root), "--apply", "--progress", "none"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        seen = b""
        while b"new.times.npy" not in seen:  # else both would wait for ever
            part = process.stdout.read1()  # type: ignore[attr-defined]
            assert part, seen
            seen += part
        os.write(ours, b"n\n")
        assert process.wait(60) == 1
    os.close(ours)
    os.close(theirs)
    assert (root / "S/2020-01-01/001/alf/new.times.npy").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}], ids=["dumb", "no color"]
)
def test_terminals_of_few_means(
    root: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, shown = run_on_terminal("verify", root, stream="stderr")
    assert code == 3
    assert "\x1b[3" not in shown, "no colour"
    if variables["TERM"] == "dumb":
        assert "\x1b" not in shown
        assert re.search(r" s (Scanning|Comparing)", shown), "lines in place of a bar"


def test_a_log_is_no_terminal_whatever_colours_are_forced(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    ended = run("verify", root)
    assert "\x1b" not in ended.stdout + ended.stderr


@pytest.mark.slow
def test_an_environment_of_nothing_but_a_language(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "é", {"sé/2020-01-01/001": SESSION})
    for language in ("C", "POSIX"):
        ended = run("index", root, env={"LANG": language, "TERM": "dumb"})
        assert ended.returncode == 0, ended.stderr
        assert str(root) in ended.stdout
