"""Whatever the rows call a session, its files stay."""

from __future__ import annotations

import unicodedata
import uuid
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from removals import DATASETS, datasets_table, list_names, sessions_table, tables_of
from trees import SESSION, make_tree

from polars_alf import apply_removals, index_archive, plan_removals
from polars_alf.errors import (
    ForeignTablesError,
    KeptWarning,
)
from polars_alf.prune import claims
from polars_alf.query.spill import select_hashed
from polars_alf.schema import TABLES


def test_rows_that_name_no_session_keep_all_folders(archive: Path) -> None:
    index_archive(archive)
    sessions, datasets = (pl.read_parquet(archive / f"{n}.pqt") for n in ("sessions", "datasets"))
    make_tree(archive, {"cortexlab/Subjects/KS001/2020-01-01/003": {}})
    row = sessions.head(1).with_columns(id=pl.lit(str(uuid.uuid4())), subject=None)
    assert len(plan_removals(archive, sessions=sessions, datasets=datasets)) == 1
    sessions = pl.concat([sessions, row])
    assert plan_removals(archive, sessions=sessions, datasets=datasets).is_empty()


@pytest.mark.slow
@pytest.mark.parametrize("eid", ["uuid", "KS001/2020-01-01/001", "cortexlab/KS001/2020-01-01/1"])
@pytest.mark.parametrize("lab", ["cortexlab", "", "other"])
@pytest.mark.parametrize("folder", ["", "cortexlab/Subjects/"])
@pytest.mark.parametrize("number", ["1", "01", "001"])
def test_sessions_in_any_spelling(
    tmp_path: Path, number: str, folder: str, lab: str, eid: str
) -> None:
    session = f"{folder}KS001/2020-01-01/{number}"
    make_tree(tmp_path, {session: SESSION, f"{session}/stray.times.npy": 1})
    eid = str(uuid.uuid4()) if eid == "uuid" else eid
    # `other` is the lab of nothing on disk: only where a folder says so, the tables are foreign.
    foreign = lab == "other" and folder != "" and not eid.endswith("lab/KS001/2020-01-01/1")
    foreign &= eid != "KS001/2020-01-01/001"
    tables = tables_of(eid, lab)
    if foreign:
        with pytest.raises(ForeignTablesError):
            plan_removals(tmp_path, **tables)
    plan = plan_removals(tmp_path, **tables, force=foreign)
    assert plan["path"].to_list() == [f"{session}/stray.times.npy"]


@pytest.mark.parametrize("lab", ["my-lab", "lab", ""])
def test_labs_as_one_cuts_them(tmp_path: Path, lab: str) -> None:
    session = "my-lab/Subjects/KS001/2020-01-01/001"
    make_tree(tmp_path, {session: SESSION, f"{session}/stray.times.npy": 1})
    plan = plan_removals(tmp_path, **tables_of(f"{lab}/KS001/2020-01-01/001", lab))
    assert plan["path"].to_list() == [f"{session}/stray.times.npy"]


def test_labs_that_one_cuts_to_the_same_keep_both(tmp_path: Path) -> None:
    labs = ("lab", "y-lab", "z-lab")
    make_tree(tmp_path, {f"{lab}/Subjects/KS001/2020-01-01/001": SESSION for lab in labs})
    plan = plan_removals(tmp_path, **tables_of("lab/KS001/2020-01-01/001", "lab"))
    assert plan.is_empty()


def test_labs_that_share_a_subject_are_told_apart(archive: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    index_archive(archive / "cortexlab", tables)
    session = "wittenlab/Subjects/KS001/2020-01-01/001"
    assert list_names(plan_removals(archive, tables)) == [f"{session}/{path}" for path in DATASETS]
    with pytest.raises(ForeignTablesError):
        plan_removals(archive / "wittenlab", tables)


def test_a_lab_that_was_renamed_is_not_lost(archive: Path) -> None:
    index_archive(archive)
    (archive / "cortexlab").rename(archive / "zortexlab")
    plan = plan_removals(archive)
    assert plan.is_empty()


def test_numbers_and_dates_of_any_type(archive: Path) -> None:
    index_archive(archive)
    sessions, datasets = (pl.read_parquet(archive / f"{n}.pqt") for n in ("sessions", "datasets"))
    for types in (
        {"date": pl.String, "number": pl.String},
        {"date": pl.Datetime("ns"), "number": pl.Float64},
    ):
        cast = sessions.cast(types)
        assert plan_removals(archive, sessions=cast, datasets=datasets).is_empty()
    padded = sessions.with_columns(pl.col("number").cast(pl.String).str.zfill(3))
    assert plan_removals(archive, sessions=padded.lazy(), datasets=datasets.lazy()).is_empty()


def test_other_letters_of_the_same_path_are_kept(tmp_path: Path) -> None:
    folder = unicodedata.normalize("NFD", "Électro")
    make_tree(tmp_path, {f"KS001/2020-01-01/001/{folder}/Spikes.times.npy": 1})
    make_tree(tmp_path, {"KS001/2020-01-01/001/x.y.z": 1})
    tables = tables_of("a", "", 1, unicodedata.normalize("NFC", "électro/spikes.times.npy"))
    assert list_names(plan_removals(tmp_path, **tables)) == ["KS001/2020-01-01/001/x.y.z"]


def test_a_session_inside_another_may_be_meant(tmp_path: Path) -> None:
    outer = "KS001/2020-01-01/001"
    inner = f"{outer}/backup/KS001/2020-02-02/7"
    make_tree(tmp_path, {outer: SESSION, inner: SESSION, f"{inner}/stray.times.npy": 1})
    sessions = sessions_table(
        ("a", "", "KS001", date(2020, 1, 1), 1), ("b", "", "KS001", date(2020, 2, 2), 7)
    )
    datasets = datasets_table(*((eid, path) for eid in "ab" for path in DATASETS))
    plan = plan_removals(tmp_path, sessions=sessions, datasets=datasets)
    assert plan["path"].to_list() == [f"{inner}/stray.times.npy"]
    # Only the inner one has a row: the outer one's datasets go, and no folder.
    plan = plan_removals(tmp_path, sessions=sessions[1:], datasets=datasets.filter(eid="b"))
    assert len(plan) == 4
    assert set(plan["kind"]) == {"dataset"}


def test_rows_without_a_session_keep_their_path_everywhere(tmp_path: Path) -> None:
    session = "KS001/2020-01-01/001"
    make_tree(tmp_path, {session: SESSION, f"{session}/stray.times.npy": 1})
    tables = tables_of("a", "", 1, "alf/spikes.times.npy")
    lost = datasets_table((str(uuid.uuid4()), DATASETS[0]), (None, DATASETS[1]), (None, None))
    tables["datasets"] = pl.concat([tables["datasets"], lost])
    with pytest.warns(KeptWarning, match="one of their 2 paths are kept"):
        plan = plan_removals(tmp_path, **tables)
    assert list_names(plan) == [f"{session}/stray.times.npy"]


def test_rows_of_sessions_that_only_the_datasets_have(tmp_path: Path) -> None:
    make_tree(tmp_path, {f"KS001/2020-01-01/00{number}": SESSION for number in (1, 2)})
    tables = tables_of("a", "")
    more = datasets_table(*(("KS001/2020-01-01/002", path) for path in DATASETS))
    tables["datasets"] = pl.concat([tables["datasets"], more])
    assert plan_removals(tmp_path, **tables).is_empty()


@pytest.mark.parametrize(
    "rel_path",
    [
        "/elsewhere/stray.times.npy",
        "../002/stray.times.npy",
        "alf/../stray.times.npy",
        "./stray.times.npy",
        "alf//stray.times.npy",
        "alf\\stray.times.npy",
        "C:\\data\\stray.times.npy",
        "C:stray.times.npy",
    ],
)
def test_odd_paths_keep_what_has_their_name(tmp_path: Path, rel_path: str) -> None:
    session = "KS001/2020-01-01/001"
    make_tree(tmp_path, {session: SESSION, f"{session}/alf/stray.times.npy": 1, "x.y.z": 1})
    tables = tables_of("a", "", 1, *DATASETS, rel_path)
    assert plan_removals(tmp_path, **tables).is_empty()


@pytest.mark.parametrize("rel_path", ["", "/", "..", "../..", "\0", "/etc/passwd", "a\0/b.c.d"])
def test_odd_paths_never_matter(tmp_path: Path, rel_path: str) -> None:
    outside = make_tree(tmp_path / "outside", {"x.y.z": 1})
    root = make_tree(tmp_path / "archive", {"KS001/2020-01-01/001": SESSION})
    make_tree(root, {"KS001/2020-01-01/001/b.c.d": 1})
    tables = tables_of("a", "", 1, *DATASETS, rel_path, f"{outside}/x.y.z")
    plan = plan_removals(root, **tables)
    assert plan["path"].to_list() == ["KS001/2020-01-01/001/b.c.d"]
    apply_removals(root, plan)
    assert (outside / "x.y.z").exists()


def test_files_in_no_session_that_rows_could_name_are_kept(tmp_path: Path) -> None:
    # Should the walk ever see a session where the pattern of the rows does not.
    directories = pl.LazyFrame({"directory": ["S!/2020-01-01/001"]}).with_columns(
        session="directory"
    )
    owners = claims.list_owners(directories, "/archive").with_columns(code=pl.lit(0, pl.UInt32))
    sessions, datasets = (tables_of("a", "")[name].cast(pl.String) for name in TABLES)
    rows = ([owners.collect()], [sessions], [datasets.select("eid")])
    meant = claims.claim_sessions(*rows, 1, tmp_path)
    claimed = claims.claim_files(select_hashed(meant.owners, datasets["eid"]), datasets)
    entries = pl.LazyFrame({"entry": [7], "directory": ["S!/2020-01-01/001"], "name": ["a.b.c"]})
    assert claims.find_claimed(entries, owners, claimed).collect()["entry"].to_list() == [7]
