"""The report, the issues and the progress of an index."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
from command_line import run
from indexes import read_tables
from trees import SESSION, make_tree

from polars_alf import Progress, __version__, index_archive
from polars_alf.native import IMPLEMENTATION


def test_report_counts_what_is_there(archive: Path, out_dir: Path) -> None:
    report = index_archive(archive, out_dir)
    assert report.sessions_path == out_dir / "sessions.pqt"
    assert report.datasets_path == out_dir / "datasets.pqt"
    assert (report.n_sessions, report.n_datasets, report.n_bytes) == (4, 12, 4 * 61)
    assert (report.n_other_files, report.issues) == (4, {})
    assert report.cache_dir == archive
    sessions, datasets = read_tables(out_dir)
    assert (len(sessions), len(datasets)) == (4, 12)


@pytest.mark.slow
def test_no_file_of_ours_is_another_file(archive: Path, out_dir: Path) -> None:
    index_archive(archive / "cortexlab")
    index_archive(archive)
    (archive / "reports").mkdir()
    index_archive(archive, archive / "reports")
    for folder in (out_dir, archive, archive / "reports"):
        for exclude in ((), ("*.tmp",)):
            assert index_archive(archive, folder, exclude=exclude).n_other_files == 4
            assert index_archive(archive, folder, exclude=exclude, quick=True).n_other_files == 4
    (archive / "reports/.polars_alf").rename(archive / "reports/other")
    assert index_archive(archive, out_dir).n_other_files > 4, "tables of others are counted"


def test_progress_ends_with_the_whole(archive: Path) -> None:
    seen: list[Progress] = []
    index_archive(archive, progress=seen.append)
    assert (seen[-1].files, seen[-1].sessions) == (16, 4)
    assert seen[-1].shards == seen[-1].n_shards > 0
    assert seen[-1].stage == "write"


def test_issues_are_kept_beside_the_tables_and_replaced(archive: Path) -> None:
    bad = make_tree(archive / "cortexlab/Subjects/KS001/2021-13-45", {"001": SESSION})
    report = index_archive(archive)
    issue, *strays = report.scan_issues().collect().to_dicts()
    assert {stray["kind"] for stray in strays} == {"outside_session"}
    assert issue == {
        "path": "cortexlab/Subjects/KS001/2021-13-45",
        "kind": "invalid_date",
        "errno": None,
        "message": "'2021-13-45' is no calendar date, so there are no sessions in it; rename it",
    }
    bad.rename(bad.with_name("2021-12-31"))
    assert index_archive(archive).scan_issues().collect().is_empty()


def test_info_shows_the_last_run(archive: Path) -> None:
    (archive / "cortexlab/Subjects/KS001/2020-01-01/001/my coll").mkdir()
    (archive / "cortexlab/Subjects/KS001/2020-01-01/001/my coll/a.b.npy").touch()
    index_archive(archive, exclude="*.tmp")
    shown = run("info", archive).stdout
    assert f"polars-alf {__version__} ({IMPLEMENTATION} core)" in shown.replace("Python", "python")
    assert "*.tmp" in shown
    assert re.search(r"1 invalid_collection, for example\s+cortexlab/", shown)
    assert "Slowest shards" in shown
    info = json.loads(run("info", archive, "--json").stdout)["run"]
    assert (info["version"], info["core"]) == (__version__, IMPLEMENTATION)
    assert info["report"]["n_datasets"] == 13
    assert info["slowest_shards"][0]["n_folders"] == 3
    # Tables of another hand have no such report.
    for name in ("sessions", "datasets"):
        path = archive / f"{name}.pqt"
        pl.read_parquet(path).write_parquet(path)
    assert json.loads(run("info", archive, "--json").stdout)["run"] is None
