"""The survey: many directories at once find what the directories one by one do."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from trees import SESSION, make_tree

from polars_alf.alf.root import open_root
from polars_alf.errors import ScanError
from polars_alf.walk import folders
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.walker import Walker

DATES = ("2020-01-01", "2020-02-30", "0000-00-00")

ODD = {
    "lab1/Subjects/S001/notes.txt": b"x",
    "lab1/Subjects/S002/obj.attr.npy": b"stray",
    "lab1/Subjects/S003": {},
    "lab1/Subjects/S004/2020-01-01/001": SESSION,
    "lab1/Subjects/S004/.polars_alf/report.json": b"{}",
    "lab1/Subjects/S004/sessions.pqt": b"own",
    "lab1/Subjects/S005/polars_alf_bench_0123456789ab/x": b"",
    "lab1/Subjects/S005/polars_alf_bench_not": {},
    "lab1/Subjects/S006/2020-01-01x/2020-01-02/001": SESSION,
    "lab1/Subjects/S006/20200101/1": {},
    "lab1/Subjects/S007/.snapshot/2020-01-01": {},
    "lab 2/Subjects/S/2020-01-01": {},
    "deep/er/and/deeper/S/2020-01-01/001": SESSION,
    "2020-01-01": {},
    "001": {},
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    subjects = {f"lab1/Subjects/M{n:03}/{DATES[n % 3]}": {} for n in range(200)}
    root = make_tree(tmp_path / "archive", {**subjects, **ODD})
    (root / "lab1/Subjects/linked").symlink_to(root / "deep", target_is_directory=True)
    (root / "lab1/Subjects/S008").symlink_to(root / "nowhere")
    os.mkfifo(root / "lab1/Subjects/S001/pipe")
    return root


def survey(
    root: Path, n_threads: int = 1, **options: object
) -> tuple[list[str], pl.DataFrame, pl.DataFrame, int]:
    walker = Walker(
        open_root(root),
        WalkOptions(**options),  # type: ignore[arg-type]
        n_threads=n_threads,
    )
    found = sorted(walker.survey())
    listings = pl.DataFrame(walker.listings()).sort("directory")
    issues = pl.DataFrame(walker.issues())
    return found, issues.sort(issues.columns), listings, walker.n_other_files


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("at_once", [1, 7, 64])
def test_many_at_once_are_as_one_by_one(
    tree: Path, n_threads: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What has a time limit, or patterns, is listed directory by directory.
    own = {"lab1/Subjects": ("sessions.pqt",)}
    expected = survey(tree, op_timeout=60.0, own_files=own)
    assert_same(survey(tree, exclude=("nothing.has.this.name",), own_files=own), expected)
    monkeypatch.setattr(folders, "FOLDERS_AT_ONCE", at_once)
    assert_same(survey(tree, n_threads, own_files=own), expected)
    assert len(expected[0]) == 205
    kinds = {"broken_link", "linked_directory", "outside_session", "snapshot", "special_file"}
    assert {*expected[1]["kind"]} == {*kinds, "unusual_lab"}


def assert_same(found: tuple[object, ...], expected: tuple[object, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, pl.DataFrame) and isinstance(other, pl.DataFrame):
            assert_frame_equal(one, other)
        else:
            assert one == other


def test_storage_that_grows_slow_is_left_to_more_threads(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = survey(tree, op_timeout=60.0)
    monkeypatch.setattr(folders, "FOLDERS_AT_ONCE", 3)
    noted: list[object] = []
    for after in (1, 3, 20):
        walker = Walker(open_root(tree), WalkOptions(), n_threads=3)
        concurrency = walker._find_concurrency()
        concurrency.learned = 1
        monkeypatch.setattr(walker, "_find_concurrency", lambda found=concurrency: found)
        monkeypatch.setattr(folders.Meter, "count", lambda *_: True)

        def note(*_: object, found: object = concurrency, limit: int = after) -> None:
            noted.append(found)
            if noted.count(found) == limit:
                found.learned = 4  # type: ignore[attr-defined]

        left: list[object] = []

        def survey_at_once(
            *arguments: object,
            begin: object = walker._folders.survey,
            left: list[object] = left,
        ) -> object:
            found = begin(*arguments)  # type: ignore[operator]
            left += found[1]
            return found

        monkeypatch.setattr(walker._folders, "survey", survey_at_once)
        monkeypatch.setattr(concurrency, "note", note)
        assert sorted(walker.survey()) == expected[0]
        assert_frame_equal(pl.DataFrame(walker.listings()).sort("directory"), expected[2])
        assert left
        noted.clear()


def test_a_root_that_cannot_be_listed(tree: Path) -> None:
    walker = Walker(open_root(tree), WalkOptions())
    tree.rename(tree.with_name("away"))
    with pytest.raises(ScanError, match="can no longer be listed"):
        walker.survey()


def test_a_root_that_is_a_date(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "lab/Subjects/S/2020-01-01", {"001": SESSION, "x/002": SESSION})
    assert survey(root)[0] == survey(root, op_timeout=60.0)[0] == ["001"]
