"""The rows that stay, and conflicts."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from merges import check_merged, index, make_pair, pairs
from table_frames import Row, write_tables
from trees import SESSION, make_tree

import polars_alf
import polars_alf.cache
from polars_alf import merge_tables
from polars_alf.errors import (
    TableWarning,
)
from polars_alf.tables import contract


@pytest.mark.slow
@settings(deadline=None)
@given(pairs)
def test_frames_are_merged_as_said(pairs: list[tuple[list[Row], list[Row]]]) -> None:
    check_merged(merge_tables([make_pair(*pair) for pair in pairs]), pairs)


def test_of_rows_with_one_id_the_first_or_the_newest_stays(tmp_path: Path) -> None:
    old = write_tables(tmp_path / "old", make_pair([("e", "s")], [("e", "d", "p", 1)]), 1)
    new = write_tables(tmp_path / "new", make_pair([("e", "s")], [("e", "d", "p", 2)]), 2)

    def sizes(tables: list[Path], **options: object) -> list[int]:
        merged = merge_tables(tables, **options)  # type: ignore[arg-type]
        return merged.datasets.collect()["file_size"].to_list()

    assert sizes([old, new]) == [1]
    assert sizes([new, old]) == [2]
    assert sizes([old, new], keep="newest") == [2]
    assert sizes([new, old], keep="newest") == [2]
    # Of the same minute, that which was written last.
    same = write_tables(tmp_path / "same", make_pair([("e", "s")], [("e", "d", "p", 3)]), 2)
    os.utime(same / "datasets.pqt", (1e9, 1e9))
    assert sizes([same, new], keep="newest") == [2]


def test_conflicts_say_what_was_left_out(tmp_path: Path) -> None:
    one = write_tables(
        tmp_path / "one", make_pair([("e", "s")], [("e", "a", "p", 1), ("e", "b", "q", 1)])
    )
    two = write_tables(
        tmp_path / "two", make_pair([("e", "t")], [("e", "a", "p", 2), ("e", "b", "r", 1)])
    )
    merged = merge_tables([one, two])
    conflicts = merged.conflicts.collect()
    assert set(conflicts["kept"]) == {str(one)}
    assert set(conflicts["dropped"]) == {str(two)}
    columns = ["table", "id", "differs", "kept_path", "dropped_path", "kept_size", "dropped_size"]
    paths = (f"lab/Subjects/{name}/2024-05-06/001" for name in "st")
    assert conflicts.select(columns).rows() == [
        ("sessions", None, ["subject"], *paths, None, None),
        ("datasets", "a", ["file_size"], "p", "p", 1, 2),
        ("datasets", "b", ["rel_path"], "q", "r", 1, 1),
    ]
    counts = merged.sources.row(1, named=True)
    assert counts["datasets_conflict"] == 2
    assert counts["sessions_conflict"] == 1


def test_digests_and_sizes_that_one_table_lacks_are_no_conflict() -> None:
    sessions, datasets = make_pair([("e", "s")], [("e", "d", "p", 1)])
    unknown = datasets.with_columns(hash=pl.lit(""), file_size=pl.lit(None, pl.UInt64))
    known = datasets.with_columns(hash=pl.lit("0" * 32))
    merged = merge_tables([(sessions, known), (sessions, unknown)])
    assert (merged.n_duplicates, merged.n_conflicts) == (2, 0)
    other = datasets.with_columns(hash=pl.lit("1" * 32))
    merged = merge_tables([(sessions, known), (sessions, other)])
    assert merged.conflicts.collect()["differs"].to_list() == [["hash"]]


def test_one_archive_in_two_namespaces_is_there_once(archive: Path, tmp_path: Path) -> None:
    folders = [index(archive, tmp_path / name, name) for name in ("a", "b")]
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001": SESSION})
    index(archive, folders[1], "b")
    out_dir = tmp_path / "merged"
    out_dir.mkdir()
    with pytest.warns(TableWarning, match="2 namespaces"):
        merged = merge_tables(folders, out_dir)
    assert (merged.n_sessions, merged.n_datasets) == (5, 15)
    first = polars_alf.scan_sessions(folders[0]).collect()
    assert set(first["id"]) < set(merged.sessions.collect()["id"])
    assert merged.namespace == contract.read_headers(folders[0])["datasets"].namespace
    assert set(merged.conflicts.collect()["table"]) == {"sessions"}


def test_two_rows_of_one_session_stay_two() -> None:
    pairs = [
        make_pair(
            [(f"{name}{n}", "KS001") for n in range(2)],
            [(f"{name}{n}", f"{name}{n}", "a.b.npy", 1) for n in range(2)],
        )
        for name in "ab"
    ]
    merged = merge_tables(pairs)
    assert (merged.n_sessions, merged.n_datasets) == (4, 4)
