"""The archive to measure: planned, and found."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage import measure_quickly as bench
from trees import TWO_LABS, make_tree

from polars_alf import index_archive
from polars_alf.bench.operations import Operation
from polars_alf.bench.plan import plan_synthetic
from polars_alf.errors import (
    BenchError,
)

CHANGING = {"create", "rename", "delete", "fsync", "readback"}


@settings(deadline=None)
@given(n_files=st.integers(1, 3000))
def test_the_plan_is_an_archive_of_datasets(n_files: int) -> None:
    plan = plan_synthetic(n_files)
    assert len(plan.small) == n_files
    assert len(plan.paths) == len(plan.files) + len(plan.folders)
    assert all(plan.has(f"archive/{path}") for path in plan.paths)
    assert plan.count_bytes(4096) >= sum(file.size for file in plan.files) + 4096 * len(
        plan.folders
    )
    assert plan.count_inodes() >= len(plan.paths) + n_files
    made = set()
    for folder in plan.folders:
        above = folder.rpartition("/")[0]
        assert not above or above in made
        made.add(folder)


@pytest.mark.parametrize(
    "path", ["archives", "archive/x", "scratch/x", "scratch/w1/a.npy", "scratch/w1/f1.npy/x", "x"]
)
def test_the_plan_knows_what_is_not_its_own(path: str) -> None:
    assert not plan_synthetic(10).has(path)


def test_the_archive_is_indexed_without_issues(tmp_path: Path) -> None:
    plan = plan_synthetic(100)
    make_tree(tmp_path, {file.path: 1 for file in plan.files})
    report = index_archive(tmp_path)
    assert (report.n_datasets, report.n_sessions, report.issues) == (104, 2, {})


def test_an_archive_that_is_there_is_only_read(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "archive", TWO_LABS)
    make_tree(root, {"cortexlab/Subjects/KS001/2020-01-01/001/raw.data.bin": 3 << 20})
    before = {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))}
    report = bench(root, read_only=True)
    assert {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))} == before
    assert set(report.figures["operation"]) == {*map(str, Operation)} - CHANGING
    assert report.figures.filter(operation="index")["n_ops"].item() == 17
    assert report.mean_bytes == pytest.approx(((3 << 20) + 244) / 13)
    folders = [
        path for path in root.rglob("*") if path.is_dir() and "20" in str(path.relative_to(root))
    ]
    listed = report.figures.filter(operation="list")["amount"].item()
    assert listed == pytest.approx(13 / len(folders)), "each folder in a date of any subject once"
    some = bench(root, read_only=True, files=1, operations=["index"])
    assert some.figures["n_ops"].item() == 9, "whole subjects, one of them"


def test_an_archive_without_datasets_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no datasets"):
        bench(tmp_path, read_only=True)


def test_an_archive_without_large_files_cannot_be_streamed(archive: Path) -> None:
    with pytest.raises(BenchError, match="no files to measure stream, md5 with"):
        bench(archive, read_only=True, operations=["md5", "stream"])
