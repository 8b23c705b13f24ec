"""Archives that are written like those of tables."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from storage import measure_quickly as bench
from trees import make_tree

import polars_alf
from polars_alf.bench.plan import plan_like
from polars_alf.errors import BenchError, OptionError

MIB = 1 << 20


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Return the tables of an archive of three subjects."""
    tree = {
        f"lab/Subjects/S{subject}/2020-01-0{day}/001": {
            "alf/spikes.times.npy": 100 * day,
            "alf/probe00/clusters.amps.npy": 0,
            "raw_video_data/_iblrig_leftCamera.raw.mp4": 2 * MIB,
        }
        for subject in range(3)
        for day in range(1, 4)
    }
    root = make_tree(tmp_path / "theirs", tree)
    polars_alf.index_archive(root)
    return root


def test_files_are_those_of_the_tables(tables: Path, tmp_path: Path) -> None:
    plan = plan_like(tables, 1000)
    files = {file.path: file.size for file in plan.files}
    found = {str(path.relative_to(tables)): path.stat().st_size for path in tables.rglob("*.*.*")}
    assert files == found
    assert plan.part in {f"lab/Subjects/S{subject}" for subject in range(3)}
    assert {file.size for file in plan.large} == {2 * MIB}
    assert len(plan.small) == 18
    assert plan.mean_bytes == pytest.approx(sum(found.values()) / 27)
    some = plan_like(tables, 4)
    assert len(some.files) == 4
    assert len({path.split("/")[2] for path in (file.path for file in some.files)}) == 1
    assert plan_like(tables, 4) == some, "by chance, but always the same"


def test_a_workload_like_tables_is_measured(tables: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    report = bench(target, like=tables, files=9)
    assert not list(target.iterdir())
    assert report.settings["like"] == str(tables)
    assert report.figures.filter(operation="index")["n_ops"].to_list() == [9]
    assert report.mean_bytes == pytest.approx(plan_like(tables, 9).mean_bytes)
    with pytest.raises(OptionError, match="--read-only writes nothing"):
        bench(target, like=tables, read_only=True)


def test_tables_lead_nowhere_else(tables: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(tables / "datasets.pqt")
    bad = frame.with_columns(rel_path=pl.format("../../../../../{}", "rel_path"))
    for path in tables.glob("*.pqt"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    bad.write_parquet(tmp_path / "datasets.pqt")
    with pytest.raises(BenchError, match="have no datasets"):
        plan_like(tmp_path, 10)
