"""The order of the tables, and the rows that stay."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
import pytest
from amount import count_examples
from hypothesis import given, settings
from hypothesis import strategies as st
from indexes import index_quietly, read_tables
from trees import Tree, make_tree

from polars_alf import index_archive, merge_tables, scan_archive, verify_archive
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


@pytest.mark.slow
@pytest.mark.parametrize("hash_ids", [True, False])
@pytest.mark.parametrize("spellings", [("1",), ("01",), ("1", "01")])
def test_of_numbers_that_one_takes_for_the_same_the_padded_one_stays(
    tmp_path: Path, spellings: tuple[str, ...], hash_ids: bool
) -> None:
    day = "lab/Subjects/S/2020-01-01"
    tree = {f"{day}/{name}/a.b.npy": 1 for name in spellings} | {f"{day}/001/a.b.npy": 3}
    root = make_tree(tmp_path / "archive", tree)
    report = index_archive(root, hash_ids=hash_ids)
    assert report.issues == {"duplicate_session": len(spellings)}
    sessions, datasets = read_tables(root)
    assert (len(sessions), datasets["file_size"].to_list()) == (1, [3])
    rows = report.scan_issues().collect()
    assert set(rows["path"]) == {f"{day}/{name}" for name in spellings}
    assert rows["message"].str.contains(f"{day}/001", literal=True).all()
    assert verify_archive(root).findings.is_empty()
    assert len(scan_archive(root).collect()) == len(tree)
    # Both cures of the message.
    (root / day / spellings[0]).rename(root / day / "002")
    for name in spellings[1:]:
        (root / day / name / "a.b.npy").rename(root / day / "001" / "c.d.npy")
        (root / day / name).rmdir()
    report = index_archive(root, hash_ids=hash_ids)
    assert (report.issues, report.n_sessions, report.n_datasets) == ({}, 2, len(tree))


def test_a_number_without_zeros_keeps_its_cure_where_it_can_be_done(tmp_path: Path) -> None:
    tree = {f"S/2020-01-01/{name}/a.b.npy": 1 for name in ("1", "01", "2")}
    root = make_tree(tmp_path / "archive", tree)
    report = index_archive(root)
    assert report.issues == {"unpadded_number": 2, "duplicate_session": 1}
    (root / "S/2020-01-01/01").rename(root / "S/2020-01-01/001")
    (root / "S/2020-01-01/2").rename(root / "S/2020-01-01/002")
    assert index_archive(root).issues == {"duplicate_session": 1}


def test_a_lab_that_is_given_makes_a_session_that_of_the_labs_folder(tmp_path: Path) -> None:
    # ONE opens lab/Subjects/S for both.
    tree = {f"S/2020-01-01/{name}/a.b.npy": 1 for name in ("001", "002")}
    tree["lab/Subjects/S/2020-01-01/1/a.b.npy"] = 3
    root = make_tree(tmp_path / "archive", tree)
    assert index_archive(root).n_sessions == 3
    report = index_archive(root, lab="lab")
    assert report.issues["duplicate_session"] == 1
    assert sorted(read_tables(root)[1]["file_size"]) == [1, 3]
    assert verify_archive(root).findings.is_empty()


_SPELT = st.tuples(
    st.sampled_from(["", "a/Subjects/", "b/Subjects/", "old/a/Subjects/"]),
    st.sampled_from(["S/2020-01-01", "S/2020-01-02", "T/2020-01-01"]),
    st.integers(1, 2),
    st.integers(1, 3),
)


@pytest.mark.slow
@settings(max_examples=count_examples(12), deadline=None)
@given(spelt=st.sets(_SPELT, max_size=12), hash_ids=st.booleans())
def test_one_folder_of_each_session_is_in_the_tables(
    spelt: set[tuple[str, str, int, int]], hash_ids: bool
) -> None:
    wanted: dict[tuple[str, str, int], str] = {}
    # As ONE opens them: originals before copies, the padded number first.
    for base, day, number, width in sorted(spelt, key=lambda one: (one[0].count("/"), -one[3])):
        key = (base.removeprefix("old/"), day, number)
        wanted.setdefault(key, f"{base}{day}/{number:0{width}}")
    with tempfile.TemporaryDirectory() as folder:
        root, merged = Path(folder, "archive"), Path(folder, "merged")
        merged.mkdir()
        files = {f"{base}{day}/{number:0{width}}" for base, day, number, width in spelt}
        sizes = {path: size for size, path in enumerate(sorted(files), start=1)}
        make_tree(root, {f"{path}/a.b.npy": size for path, size in sizes.items()})
        tables = Path(folder, "tables")
        tables.mkdir()
        report = index_quietly(root, tables, hash_ids=hash_ids)
        sessions, datasets = read_tables(tables)
        assert not sessions.select("lab", "subject", "date", "number").is_duplicated().any()
        assert set(datasets["file_size"]) == {sizes[path] for path in wanted.values()}
        issues = report.scan_issues().collect()
        dropped = issues.filter(pl.col("kind") == "duplicate_session")["path"]
        assert set(dropped) == files - {*wanted.values()}
        assert verify_archive(root, tables).findings.is_empty()
        if hash_ids:
            merge_tables([tables], merged)
            assert len(read_tables(merged)[0]) == len(sessions)
