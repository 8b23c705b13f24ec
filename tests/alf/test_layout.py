"""Labs, and the folder that ONE starts from, wherever the root lies."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from indexes import NAMESPACE, read_folder, read_tables
from polars.testing import assert_frame_equal
from trees import SESSION, make_tree

from polars_alf import errors, index_archive
from polars_alf.alf.layout import Base, choose_base, count_bases
from polars_alf.walk import walker


@pytest.mark.parametrize(
    ("below", "levels"),
    [
        ("cortexlab", 1),
        ("cortexlab/Subjects", 2),
        ("cortexlab/Subjects/KS001", 3),
        ("cortexlab/Subjects/KS001/2020-01-01", 4),
        ("cortexlab/Subjects/KS001/2020-01-01/001", 5),
    ],
)
def test_a_root_within_gives_the_rows_of_the_whole(
    archive: Path, out_dir: Path, tmp_path: Path, below: str, levels: int
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    index_archive(archive, whole, namespace=NAMESPACE)
    report = index_archive(archive / below, out_dir, namespace=NAMESPACE)
    sessions, datasets = read_tables(out_dir)
    all_sessions, all_datasets = read_tables(whole)
    assert 1 <= len(sessions) == 4 - [0, 1, 1, 2, 2, 3][levels]
    assert_frame_equal(sessions, all_sessions.join(sessions, on="id", how="semi"))
    assert_frame_equal(
        datasets, all_datasets.join(sessions, left_on="eid", right_on="id", how="semi")
    )
    assert report.cache_dir == archive
    assert report.issues == {}


def test_lab_fills_in_where_folders_have_none(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "archive", {"KS001/2020-01-01/001": SESSION})
    report = index_archive(root, lab="mylab", namespace=NAMESPACE)
    sessions, _ = read_tables(root)
    assert sessions["lab"].to_list() == ["mylab"]
    assert sessions["id"].to_list() == [str(uuid.uuid3(NAMESPACE, "KS001/2020-01-01/001"))]
    assert report.issues == {"misplaced_session": 1}
    assert "mylab/Subjects" in report.scan_issues().collect()["message"][0]


def test_lab_of_the_folder_may_be_repeated(archive: Path, out_dir: Path) -> None:
    index_archive(archive / "cortexlab", out_dir, lab="cortexlab")
    assert set(read_tables(out_dir)[0]["lab"]) == {"cortexlab"}


@pytest.mark.parametrize("folder", ["my-lab", "lab", "y-lab", "lab.old", "l a b"])
def test_a_lab_folder_is_taken_whole(tmp_path: Path, folder: str) -> None:
    root = make_tree(
        tmp_path / "archive",
        {
            f"{folder}/Subjects/KS001/2020-01-01/001": SESSION,
            "z-lab/Subjects/KS001/2020-01-01/001": SESSION,
        },
    )
    report = index_archive(root)
    sessions, datasets = read_tables(root)
    assert sorted(sessions["lab"]) == sorted([folder, "z-lab"])
    assert datasets["id"].n_unique() == 6
    assert report.issues["unusual_lab"] == (1 if folder == "lab" else 2)


def test_a_stray_date_does_not_decide_where_one_starts(archive: Path, out_dir: Path) -> None:
    # By its path, the archive itself is the subject of this session.
    make_tree(archive, {"2021-03-04/001/a.b.npy": 1})
    report = index_archive(archive, out_dir)
    assert report.cache_dir == archive
    assert report.issues == {"misplaced_session": 1}
    index_archive(archive, out_dir, exclude=["/2021-03-04"])


def test_lab_that_contradicts_the_folders(archive: Path, out_dir: Path) -> None:
    with pytest.raises(errors.LabConflictError, match="wittenlab") as caught:
        index_archive(archive, out_dir, lab="cortexlab")
    assert isinstance(caught.value, ValueError)
    assert read_folder(out_dir) == {}


@pytest.mark.parametrize("lab", ["a/b", "..", "a\0b", " ", "a\n", "\udcff"])
def test_lab_that_no_folder_can_have(archive: Path, out_dir: Path, lab: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        index_archive(archive / "cortexlab", out_dir, lab=lab)


def test_an_archive_in_dated_folders(tmp_path: Path) -> None:
    # Snapshots: ONE opens each of them, not the folder that holds them.
    root = make_tree(
        tmp_path / "snapshots",
        {
            "2024-05-01/labA/Subjects/S/2020-01-01/001": SESSION,
            "2024-05-02/labA/Subjects/S/2020-01-01/002": SESSION,
        },
    )
    report = index_archive(root)
    assert (report.n_sessions, report.cache_dir) == (2, root)
    assert report.issues == {"misplaced_session": 2}
    before = read_folder(root)
    with pytest.raises(errors.LabConflictError, match="labA"):
        index_archive(root, lab="other")
    assert {k: v for k, v in read_folder(root).items() if k.endswith(".pqt")} == {
        k: v for k, v in before.items() if k.endswith(".pqt")
    }


@pytest.mark.parametrize("below", ["", "/2020-02-29", "/2020-02-29/001"])
def test_lab_conflicts_are_found_before_the_scan(
    archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    monkeypatch.setattr(walker.Walker, "walk", None)
    with pytest.raises(errors.LabConflictError, match="cortexlab"):
        index_archive(f"{archive}/cortexlab/Subjects/KS002{below}", out_dir, lab="other")
    assert read_folder(out_dir) == {}


@given(st.lists(st.tuples(st.sampled_from(["x", "y", "x/y"]), st.sampled_from([None, "l1", "l2"]))))
def test_most_subjects_decide_where_one_starts(places: list[tuple[str, str | None]]) -> None:
    subjects = [
        [*base.split("/"), *([lab, "Subjects"] if lab else []), "S"] for base, lab in places
    ]
    counted = Counter(base for base, _ in places)
    chosen = "/".join(choose_base(["x", "y"], count_bases(subjects)))
    assert counted[chosen] == max(counted.values(), default=0)
    assert choose_base(["z"], count_bases([])) == ("z",)


def test_the_base_that_most_subjects_share() -> None:
    subjects = [
        ("/", "data", "labA", "Subjects", "S1"),
        ("/", "data", "labB", "Subjects", "S1"),
        ("/", "data", "below", "S1"),
    ]
    bases = count_bases(subjects)
    assert bases[Base(("/", "data"), "labA")] == bases[Base(("/", "data", "below"), None)] == 1
    assert choose_base(("/", "data", "labA"), bases) == ("/", "data")
    assert choose_base(("/",), bases) == ("/",), "a base below the root is no choice"
