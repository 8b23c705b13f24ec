"""The whole measurement, and options and folders that are refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import polars as pl
import pytest
import storage
from storage import measure_quickly as bench
from trees import TWO_LABS, make_tree

from polars_alf.bench.operations import Operation
from polars_alf.errors import (
    ArchiveNotADirectoryError,
    ArchiveNotFoundError,
    ArchivePermissionError,
    OptionError,
)


def test_every_operation_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    report = bench(tmp_path, repeats=2)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "state"}
    figures = report.figures
    assert set(figures["operation"]) == {str(operation) for operation in Operation}
    assert (figures["rate"] > 0).all()
    assert (figures["repeats"] == 2).all()
    called = figures.filter(pl.col("operation") != "index")
    assert (called["p50_ns"] > 0).all()
    assert (called["p50_ns"] <= called["max_ns"]).all()
    assert report.figures.filter(operation="index")["n_ops"].to_list() == [2 * 84]
    times = {(row["task"], row["n_files"]): row for row in report.predictions}
    assert len(times) == 6
    for row in times.values():
        assert 0 < row["least_seconds"] <= row["seconds"] <= row["most_seconds"]
    assert times["index", 10**9]["seconds"] > times["index", 10**6]["seconds"]
    assert report.mount["point"] in {str(tmp_path), *map(str, tmp_path.parents)}
    assert any("--cold" in note for note in report.notes)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"files": 0}, "number of files"),
        ({"threads": []}, "numbers of threads"),
        ({"threads": [1, 0]}, "numbers of threads"),
        ({"threads": [10**6]}, "numbers of threads"),
        ({"duration": 0}, "duration"),
        ({"duration": float("nan")}, "duration"),
        ({"repeats": 0}, "repeats"),
        ({"jobs": 0}, "jobs is 0"),
        ({"name": " "}, "name is empty"),
        ({"operations": ["fly"]}, "no operation 'fly'"),
        ({"operations": ["create"], "read_only": True}, "measures nothing"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, object], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        bench(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_path_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveNotFoundError, match=r"folder to measure in .* does not exist"):
        bench(tmp_path / "nowhere")
    with pytest.raises(ArchiveNotADirectoryError, match="is a file"):
        bench(tmp_path / "file")


def test_storage_that_is_read_only(tmp_path: Path) -> None:
    with storage.mount_tmpfs(tmp_path / "storage") as folder:
        make_tree(folder, TWO_LABS)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        with pytest.raises(ArchivePermissionError, match="Read-only file system"):
            bench(folder)
        report = bench(folder, read_only=True)
        assert report.mount["file_system"] == "tmpfs"
        assert "ro" in report.mount["options"].split(",")
