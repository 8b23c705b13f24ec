"""The order of the tables, and the rows that stay."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from indexes import read_tables
from trees import Tree, make_tree

from polars_alf import index_archive
from polars_alf.schema import DATASETS, SESSIONS, polars_schema


def test_tables_are_sorted_and_ids_unique(archive: Path, out_dir: Path) -> None:
    index_archive(archive, out_dir)
    sessions, datasets = read_tables(out_dir)
    assert sessions["id"].is_sorted()
    assert sessions["id"].is_unique().all()
    assert datasets.equals(datasets.sort("eid", "id"))
    assert datasets["id"].is_unique().all()
    assert set(datasets["eid"]) == set(sessions["id"])


def test_session_without_datasets_keeps_its_row(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "archive", {"S/2020-01-01/001": {}, "S/2020-01-01/002": {"alf/a.b.npy": 1}}
    )
    report = index_archive(root)
    assert (report.n_sessions, report.n_datasets) == (2, 1)
    assert sorted(read_tables(root)[0]["number"]) == [1, 2]


@pytest.mark.parametrize(
    ("tree", "what"),
    [({}, "sessions"), ({"S/2020-01-01/001": {}}, "datasets"), ({"some/file.txt": 1}, "sessions")],
)
@pytest.mark.parametrize("hash_ids", [True, False])
def test_empty_archive_gives_empty_tables_and_a_warning(
    tmp_path: Path, tree: Tree, what: str, hash_ids: bool
) -> None:
    root = make_tree(tmp_path / "archive", tree)
    with pytest.warns(RuntimeWarning, match=f"No {what} found in"):
        index_archive(root, hash_ids=hash_ids)
    sessions, datasets = read_tables(root)
    expected = polars_schema(DATASETS)
    assert {n: d for n, d in datasets.schema.items() if n != "qc"} == {
        n: d for n, d in expected.items() if n != "qc"
    }
    assert dict(sessions.schema) == dict(polars_schema(SESSIONS))
    assert datasets.is_empty()


def test_collections_keep_their_real_path(tmp_path: Path) -> None:
    # ONE's own index drops such a collection, so both files would share one id.
    root = make_tree(
        tmp_path / "archive",
        {"S/2020-01-01/001": {"my coll": {"a.b.npy": 1}, "a+b": {"a.b.npy": 1}}},
    )
    report = index_archive(root)
    _, datasets = read_tables(root)
    assert sorted(datasets["rel_path"]) == ["a+b/a.b.npy", "my coll/a.b.npy"]
    assert datasets["id"].n_unique() == 2
    assert report.issues == {"invalid_collection": 2}


def test_copies_of_a_session_yield_to_the_original(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "archive",
        {
            "backup/lab/Subjects/S/2020-01-01/001": {"a.b.npy": 1, "c.d.npy": 1},
            "lab/Subjects/S/2020-01-01/001": {"a.b.npy": 2},
        },
    )
    report = index_archive(root)
    sessions, datasets = read_tables(root)
    assert (len(sessions), report.n_sessions, report.n_datasets) == (1, 1, 1)
    assert datasets["file_size"].to_list() == [2]
    assert report.n_bytes == 2
    assert report.issues == {"duplicate_session": 1}
    issues = report.scan_issues().filter(pl.col("kind") == "duplicate_session").collect()
    assert issues["path"].to_list() == ["backup/lab/Subjects/S/2020-01-01/001"]
