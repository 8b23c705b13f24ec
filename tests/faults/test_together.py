"""Readers and writers of the same tables at once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from amount import IS_FULL
from scenes import check_folder, read_rows
from writer import make_session

import polars_alf

HERE = Path(__file__).parent
ROUNDS = 60 if IS_FULL else 12
READERS = ["cache", "frames", "bytes", "one", "client"]

pytestmark = [pytest.mark.thorough, pytest.mark.pandas]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    archive = tmp_path / "archive"
    for n in range(4):
        make_session(archive, f"S{n}")
    polars_alf.index_archive(archive)
    return archive


def start(*command: str | Path) -> subprocess.Popen[str]:
    script, *arguments = map(str, command)
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> dict[str, Any]:
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr[-3000:]
    return dict(json.loads(stdout.splitlines()[-1]))


def read_while(
    archive: Path, readers: Sequence[str], writers: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Read while others write; return what readers and writers say of it."""
    stop = archive.parent / "stop"
    reading = [start("reader.py", kind, archive, stop) for kind in readers]
    for process in reading:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    writing = [start("writer.py", kind, archive, str(ROUNDS)) for kind in writers]
    try:
        wrote = [end(process) for process in writing]
    finally:
        stop.touch()
    return [end(process) for process in reading], wrote


@pytest.mark.parametrize("writer", ["index", "hash", "quick"])
@pytest.mark.parametrize("reader", READERS)
def test_readers_see_one_generation_and_whole_files(
    written: Path, reader: str, writer: str
) -> None:
    (read,), (wrote,) = read_while(written, [reader], [writer])
    assert wrote["n_written"] == ROUNDS
    assert read["wrong"] == []
    assert read["n_sizes"] > 1, "it read while the tables changed"


def test_our_loader_waits_for_one(written: Path) -> None:
    (read,), (saved,) = read_while(written, ["cache"], ["save"])
    assert saved["n_written"] == ROUNDS
    assert read["wrong"] == []
    assert read["n_sizes"] > 1


def test_our_loader_sees_one_generation_while_all_write(written: Path) -> None:
    (read,), wrote = read_while(written, ["cache"], ["save", "index"])
    assert [each["n_written"] for each in wrote] == [ROUNDS, ROUNDS]
    assert read["wrong"] == []
    polars_alf.index_archive(written)
    check_folder_of(written)


def test_two_writers_never_write_at_once(written: Path) -> None:
    (read,), wrote = read_while(written, ["cache"], ["quick", "hash"])
    assert [each["n_written"] for each in wrote] == [ROUNDS, ROUNDS]
    assert any(each["n_refused"] for each in wrote), "they met"
    assert read["wrong"] == []
    report = polars_alf.index_archive(written)
    rows = read_rows(written)
    assert rows is not None
    assert rows["datasets"].height == 3 * rows["sessions"].height == report.n_datasets
    check_folder_of(written)


def check_folder_of(archive: Path) -> None:
    (archive / "lab").rename(archive.parent / "lab")
    check_folder(archive, is_settled=True)
