"""What changed from one pair of tables to another."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_frames import make_datasets, make_sessions
from trees import make_tree

import polars_alf
from polars_alf import compare_tables
from polars_alf.errors import ArchiveNotFoundError, OptionError, TableNotFoundError
from polars_alf.query.diff import DIFFERENCES
from polars_alf.schema import polars_schema

SHOWN = ["table", "change", "old_path", "new_path", "columns"]
S1, S2 = (f"lab/Subjects/{name}/2024-05-06/001" for name in ("s1", "s2"))


def make_tables() -> tuple[pl.DataFrame, pl.DataFrame]:
    sessions = make_sessions([("e1", "s1"), ("e2", "s2")])
    rows = [(eid, f"{eid}{name}", f"alf/{name}", 10) for eid in ("e1", "e2") for name in "abcd"]
    digest = pl.format("{}{}", pl.lit("0" * 28), pl.col("id") + pl.lit("00"))
    return sessions, make_datasets(rows).with_columns(hash=digest)


def edit(datasets: pl.DataFrame, which: str, **values: object) -> pl.DataFrame:
    """Change values of one dataset."""
    is_it = pl.col("id") == which
    return datasets.with_columns(
        pl.when(is_it).then(pl.lit(value, datasets.schema[name])).otherwise(name).alias(name)
        for name, value in values.items()
    )


def test_the_same_tables_do_not_differ(archive: Path) -> None:
    polars_alf.index_archive(archive)
    found = compare_tables(archive, archive)
    assert found.differences.is_empty()
    assert found.differences.schema == polars_schema(DIFFERENCES)
    assert found.n_old == found.n_new == {"sessions": 4, "datasets": 12}
    none = {"added": 0, "removed": 0, "changed": 0, "renamed": 0}
    assert found.counts == {"sessions": none, "datasets": none}


def test_each_kind_of_change_is_found() -> None:
    sessions, old = make_tables()
    new = edit(old, "e1a", file_size=11, qc="PASS")
    new = edit(new, "e1b", id="new", rel_path="alf/renamed")
    new = new.filter(pl.col("id") != "e2c")
    new = pl.concat([new, make_datasets([("e2", "e2x", "alf/x", 1)])])
    found = compare_tables((sessions, old), (sessions, new))
    assert found.differences.select(SHOWN).rows() == [
        ("datasets", "changed", f"{S1}/alf/a", f"{S1}/alf/a", ["file_size", "qc"]),
        ("datasets", "renamed", f"{S1}/alf/b", f"{S1}/alf/renamed", ["id", "rel_path"]),
        ("datasets", "removed", f"{S2}/alf/c", None, None),
        ("datasets", "added", None, f"{S2}/alf/x", None),
    ]
    sizes = found.differences.select("old_size", "new_size").rows()
    assert sizes == [(10, 11), (10, 10), (10, None), (None, 1)]


def test_a_dataset_that_went_to_another_session_is_renamed() -> None:
    sessions, old = make_tables()
    new = edit(old, "e1b", id="other", eid="e2", rel_path="alf/moved")
    found = compare_tables((sessions, old), (sessions, new)).differences
    assert found.select(SHOWN).rows() == [
        ("datasets", "renamed", f"{S1}/alf/b", f"{S2}/alf/moved", ["id", "rel_path"])
    ]


def test_without_digests_a_renamed_file_is_removed_and_added() -> None:
    sessions, old = make_tables()
    old = old.with_columns(hash=pl.lit(""))
    new = edit(old, "e1b", id="new", rel_path="alf/renamed")
    changes = compare_tables((sessions, old), (sessions, new)).differences["change"]
    assert sorted(changes) == ["added", "removed"]


def test_copies_are_told_apart_one_by_one() -> None:
    sessions, old = make_tables()
    old = old.with_columns(hash=pl.lit("f" * 32))
    new = old.filter(pl.col("id") != "e1b")
    found = compare_tables((sessions, old), (sessions, new)).differences
    assert found.select("change", "old_path").rows() == [("removed", f"{S1}/alf/b")]


def test_sessions_are_compared_too() -> None:
    sessions, datasets = make_tables()
    new = sessions.with_columns(
        projects=pl.when(pl.col("id") == "e1").then(pl.lit("p")).otherwise("projects"),
        subject=pl.when(pl.col("id") == "e2").then(pl.lit("s9")).otherwise("subject"),
    )
    found = compare_tables((sessions, datasets), (new, datasets))
    rows = found.differences.filter(table="sessions").select(SHOWN[1:]).rows()
    assert rows == [
        ("changed", S1, S1, ["projects"]),
        ("renamed", S2, "lab/Subjects/s9/2024-05-06/001", ["subject"]),
    ]


@pytest.mark.slow
def test_tables_of_two_namespaces_differ_by_their_ids_only(archive: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        polars_alf.index_archive(archive, folder)
    found = compare_tables(*folders)
    assert (found.are_ids_apart, found.is_same) == (True, False)
    assert found.differences.is_empty(), "it is said once, and not of each row"
    assert compare_tables(*folders, ignore="id").is_same
    assert repr(found).startswith("<TableDifferences: ids none in both, sessions 4 → 4")
    (archive / "cortexlab/Subjects/KS001/2020-01-01/001/alf/spikes.times.npy").unlink()
    polars_alf.index_archive(archive, folders[1])
    found = compare_tables(*folders)
    assert found.differences["change"].to_list() == ["removed"], "paths are compared"


def test_tables_without_sessions_have_ids_that_are_not_apart(archive: Path, tmp_path: Path) -> None:
    polars_alf.index_archive(archive)
    sessions, datasets = polars_alf.scan_sessions(archive), polars_alf.scan_datasets(archive)
    nothing = (sessions.clear(), datasets.clear())
    found = compare_tables((sessions, datasets), nothing)
    assert not found.are_ids_apart
    assert found.counts["sessions"]["removed"] == 4


def test_archives_are_compared_through_their_tables(archive: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    polars_alf.index_archive(archive, old, hash_files=True, namespace="site")
    session = archive / "cortexlab/Subjects/KS001/2020-01-01/001"
    (session / "alf/spikes.times.npy").write_bytes(b"other content")
    (session / "_ibl_trials.intervals_bpod.csv").unlink()
    shutil.rmtree(archive / "cortexlab/Subjects/KS002")
    make_tree(archive, {"cortexlab/Subjects/KS003/2020-01-01/001": {}})
    polars_alf.index_archive(archive, hash_files=True, namespace="site")
    found = compare_tables(old, archive)
    assert found.counts == {
        "sessions": {"added": 1, "removed": 1, "changed": 0, "renamed": 0},
        "datasets": {"added": 0, "removed": 4, "changed": 1, "renamed": 0},
    }


edits = st.dictionaries(st.integers(0, 29), st.sampled_from(["remove", "size", "rename"]))


@pytest.mark.slow
@settings(deadline=None)
@given(edits, st.integers(0, 5))
def test_known_edits_are_found_and_nothing_else(edits: dict[int, str], n_added: int) -> None:
    sessions = make_sessions([(f"e{number}", f"s{number}") for number in range(3)])
    rows = [(f"e{number % 3}", f"d{number}", f"p{number}", number) for number in range(30)]
    digest = pl.format("{}{}", pl.lit("0" * 28), pl.col("id").str.pad_end(4, "0"))
    old = make_datasets(rows).with_columns(hash=digest)
    new = old
    for number, what in edits.items():
        if what == "remove":
            new = new.filter(pl.col("id") != f"d{number}")
        elif what == "size":
            new = edit(new, f"d{number}", file_size=1000 + number)
        else:
            new = edit(new, f"d{number}", rel_path=f"q{number}", id=f"n{number}")
    added = [("e0", f"a{number}", f"a{number}", 1) for number in range(n_added)]
    new = pl.concat([new, make_datasets(added)]).sample(fraction=1, shuffle=True, seed=1)
    found = compare_tables((sessions, old), (sessions, new)).differences
    changes = {"remove": "removed", "size": "changed", "rename": "renamed"}
    expected = [
        (changes[what], None if what == "remove" else f"{'q' if what == 'rename' else 'p'}{number}")
        for number, what in edits.items()
    ]
    expected += [("added", f"a{number}") for number in range(n_added)]
    name = pl.col("new_path").str.extract(r"([^/]+)$")
    assert sorted(found.select("change", name).rows(), key=str) == sorted(expected, key=str)


@pytest.mark.parametrize(
    ("old", "new", "is_changed"),
    [
        (1, "1", False),
        (1, "2", True),
        (1, 1.0, False),
        (True, "true", False),
        ([1], ["1"], True),
        (date(2020, 1, 1), "2020-01-01", False),
        (timedelta(days=1), "P1D", False),
        (b"a", 1, True),
        (None, "x", True),
    ],
)
def test_columns_of_two_types_are_compared_as_they_are_merged(
    old: object, new: object, is_changed: bool
) -> None:
    sessions = make_sessions([("e", "s")])
    pairs = [
        (sessions.with_columns(extra=pl.Series([value])), make_datasets([])) for value in (old, new)
    ]
    found = compare_tables(*pairs).differences
    assert found["columns"].to_list() == ([["extra"]] if is_changed else [])


def test_what_cannot_be_compared_is_said(archive: Path, tmp_path: Path) -> None:
    polars_alf.index_archive(archive)
    with pytest.raises(ArchiveNotFoundError):
        compare_tables(archive, tmp_path / "nowhere")
    with pytest.raises(TableNotFoundError):
        compare_tables(tmp_path, archive)
    with pytest.raises(OptionError, match="'sizes' to ignore"):
        compare_tables(archive, archive, ignore=["qc", "sizes"])
    with pytest.raises(OptionError, match="one frame"):
        compare_tables(archive, make_sessions([]))  # type: ignore[arg-type]
