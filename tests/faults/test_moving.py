"""An archive that changes while it is indexed: what stands still is right in every run."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from amount import IS_FULL
from scenes import paths_of, read_rows
from trees import Tree, make_tree

import polars_alf

pytestmark = pytest.mark.thorough

N_RUNS = 50 if IS_FULL else 6
SEEDS = range(2)

STILL: Tree = {
    f"lab/Subjects/S{subject}/2020-01-0{day}/001/{folder}still{n}.times.npy": "still" * n
    for subject in range(3)
    for day in (1, 2, 3)
    for folder in ("", "alf/", "alf/probe00/", "quiet/")
    for n in range(3)
}

OPTIONS: list[dict[str, Any]] = [
    {"executor": "serial"},
    {"executor": "serial", "quick": True},
    {"executor": "threads", "jobs": 2, "hash_files": True},
    {"executor": "serial", "threads": 16},
    {"executor": "processes", "jobs": 2, "hash_files": True, "quick": True},
    {"executor": "serial", "threads": 8, "op_timeout": 30.0, "quick": True},
]


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[Path]:
    """Make an archive that does not stand still until the end of the test."""
    archive = make_tree(tmp_path / "archive", STILL)
    stop = tmp_path / "stop"
    mover = Path(__file__).with_name("mover.py")
    movers = [
        subprocess.Popen(
            [sys.executable, str(mover), str(archive), str(stop), str(seed)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in SEEDS
    ]
    yield archive
    stop.touch()
    for process in movers:
        assert json.loads(process.communicate()[0])["n_moves"] > 100


def test_what_stands_still_is_right(moving: Path, tmp_path: Path) -> None:
    tables, still = tmp_path / "tables", tmp_path / "still"
    for folder in (tables, still):
        folder.mkdir()
    quiet = make_tree(tmp_path / "quiet", STILL)
    polars_alf.index_archive(quiet, still, namespace="test")
    expected = _read_still(still)
    digests = {
        path: hashlib.md5(str(content).encode()).hexdigest() for path, content in STILL.items()
    }
    n_moved = 0
    for run in range(N_RUNS):
        options = OPTIONS[run % len(OPTIONS)]
        report = polars_alf.index_archive(moving, tables, namespace="test", **options)
        rows = read_rows(tables)
        assert rows is not None
        datasets = rows["datasets"]
        assert datasets["id"].n_unique() == datasets.height == report.n_datasets
        assert rows["sessions"]["id"].n_unique() == rows["sessions"].height
        assert set(datasets["eid"]) <= set(rows["sessions"]["id"])
        found = _read_still(tables)
        assert found.drop("hash").equals(expected.drop("hash"))
        if options.get("hash_files"):
            assert dict(found["path", "hash"].iter_rows()) == digests
        n_moved += datasets.height - found.height
        if run:
            changes = report.scan_changes().collect()
            about = changes.filter(pl.col("path").str.contains("still"))
            assert about.is_empty(), about
    assert n_moved


def test_a_merge_of_moving_tables_is_whole(moving: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second", "merged")]
    for folder in folders:
        folder.mkdir()
    for folder in folders[:2]:
        polars_alf.index_archive(moving, folder, namespace="test", executor="serial")
    polars_alf.merge_tables(folders[:2], folders[2])
    rows = read_rows(folders[2])
    assert rows is not None
    assert rows["datasets"]["id"].n_unique() == rows["datasets"].height
    assert _read_still(folders[2]).height == len(STILL)


def test_pruning_takes_nothing_that_came_later(moving: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    for _ in range(N_RUNS // 2):
        polars_alf.index_archive(moving, tables, executor="serial")
        plan = polars_alf.plan_removals(moving, tables)
        outcomes = polars_alf.apply_removals(moving, plan, tables)
        assert set(outcomes["path"]) == set(plan["path"])
        assert all((moving / path).exists() for path in STILL)
        assert not outcomes["path"].str.contains("still").any()


def _read_still(tables: Path) -> pl.DataFrame:
    """Return path, size, hash and ids of the datasets that stand still."""
    rows = read_rows(tables)
    assert rows is not None
    paths = paths_of(rows)
    ids = rows["datasets"].select("eid", "id")
    frame = pl.concat([paths, ids], how="horizontal")
    return frame.filter(pl.col("path").str.contains("still")).sort("path")
