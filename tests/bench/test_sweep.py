"""The sweep over all operations, with warm and cold caches."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import storage
from storage import measure_quickly as bench

from polars_alf.bench.operations import Operation
from polars_alf.bench.sweep import find_fixed_seconds

CHANGING = {"create", "rename", "delete", "fsync", "readback"}


def test_a_small_part_that_takes_longer_says_nothing() -> None:
    assert find_fixed_seconds((1000, 1.0), (10, 1.5)) == 0


@pytest.mark.thorough
def test_cold_and_warm_on_ext4(tmp_path: Path) -> None:
    with storage.mount_ext4(tmp_path / "storage", tmp_path / "image") as folder:
        report = bench(folder, cold=True, threads=[1, 2])
        assert not list(folder.iterdir())
    assert report.mount["file_system"] == "ext4"
    assert "noatime" in report.mount["options"].split(",")
    assert report.settings["cold"] == "drop_caches"
    operations = report.figures.group_by("cache").agg(pl.col("operation").unique())
    found = {cache: set(names) for cache, names in operations.iter_rows()}
    assert found["cold"] == {*map(str, Operation)} - CHANGING
    assert found["warm"] == {*map(str, Operation)}
    # A file that is met cold is met once.
    assert (report.figures.filter(cache="cold", operation="stat")["n_ops"] <= 84).all()
    assert {row["cache"] for row in report.predictions} == {"warm", "cold"}


def test_without_root_contents_alone_are_met_cold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polars_alf.bench.machine._DROP", tmp_path / "absent")
    report = bench(tmp_path, cold=True, operations=["stat", "read", "md5"])
    assert report.settings["cold"] == "posix_fadvise"
    assert report.figures.select("operation", "cache").rows() == [
        *(("stat", "warm"), ("read", "warm"), ("md5", "warm")),
        *(("read", "cold"), ("md5", "cold")),
    ]
    assert any("contents of files were not in memory" in note for note in report.notes)
