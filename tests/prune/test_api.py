"""Pruning: what a plan names, and above all what it never does."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import unicodedata
import uuid
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given, settings
from polars.testing import assert_frame_equal
from trees import SESSION, Fifo, Link, Tree, make_tree

from polars_alf import apply_removals, index_archive, plan_removals
from polars_alf.errors import (
    ArchiveBusyError,
    ArchiveNotFoundError,
    ForeignTablesError,
    KeptWarning,
    OptionError,
    StalePlanError,
    TableError,
    TornPairError,
)
from polars_alf.prune import api, apply, claims, folders
from polars_alf.prune.examine import OUTCOMES, REMOVALS
from polars_alf.schema import polars_schema
from polars_alf.tables import contract, files, transaction

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")

KS001 = "cortexlab/Subjects/KS001/2020-01-01/001"
DATASETS = [
    "_ibl_trials.intervals_bpod.csv",
    "alf/probe00/#2024-05-06#/spikes.times.npy",
    "alf/spikes.times.npy",
]
"""What `SESSION` has, in the order of the paths."""


def sessions_table(*rows: tuple[str, str, str, date, int]) -> pl.DataFrame:
    """Make a sessions table of id, lab, subject, date and number."""
    schema = {
        "id": pl.String,
        "lab": pl.String,
        "subject": pl.String,
        "date": pl.Date,
        "number": pl.UInt16,
    }
    return pl.DataFrame(rows, schema, orient="row")


def datasets_table(*rows: tuple[str | None, str | None]) -> pl.DataFrame:
    """Make a datasets table of eid and rel_path."""
    return pl.DataFrame(rows, {"eid": pl.String, "rel_path": pl.String}, orient="row")


def tables_of(eid: str, lab: str, number: int = 1, *rel_paths: str) -> dict[str, pl.DataFrame]:
    """Make the tables of one session of KS001 on 2020-01-01."""
    return {
        "sessions": sessions_table((eid, lab, "KS001", date(2020, 1, 1), number)),
        "datasets": datasets_table(*((eid, path) for path in rel_paths or DATASETS)),
    }


def files_of(root: Path) -> set[str]:
    """Return all but folders, links not followed, and none of our own."""
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if (path.is_symlink() or not path.is_dir())
        and files.STATE_DIR not in path.parts
        and path.suffix != ".pqt"
    }


def names(plan: pl.DataFrame, kind: str = "dataset") -> list[str]:
    return plan.filter(kind=kind)["path"].to_list()


def results(outcomes: pl.DataFrame) -> dict[str, str]:
    return dict(outcomes.select("path", "result").iter_rows())


def read_log(folder: Path) -> list[dict[str, object]]:
    text = files.removals_path(folder).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(params=[True, False], ids=["descriptors", "paths"])
def by_descriptor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a test as on systems that look names up in open folders, and as on those that do not."""
    if request.param and not folders.BY_DESCRIPTOR:
        pytest.skip("this system has no such descriptors")
    monkeypatch.setattr(folders, "BY_DESCRIPTOR", request.param)
    return bool(request.param)


# What a plan names


@pytest.mark.parametrize("hash_ids", [True, False])
@pytest.mark.parametrize("level", range(6))
def test_what_is_indexed_is_not_planned(
    archive: Path, tmp_path: Path, level: int, hash_ids: bool
) -> None:
    root = archive.joinpath(*KS001.split("/")[:level])
    tables = tmp_path / "tables"
    tables.mkdir()
    index_archive(archive, tables, hash_ids=hash_ids)
    plan = plan_removals(root, tables)
    assert plan.is_empty()
    assert plan.schema == polars_schema(REMOVALS)
    make_tree(root, {"stray.times.npy": 1})
    assert names(plan_removals(root, tables)) == (["stray.times.npy"] if level == 5 else [])


def test_strays_are_found_wherever_a_session_has_datasets(archive: Path) -> None:
    index_archive(archive)
    strays: Tree = {
        "stray.times.npy": 1,
        "alf/stray.times.npy": 2,
        "alf/probe00/#2024-05-06#/stray.times.npy": 3,
        "alf/probe00/#2025-01-01#/spikes.times.npy": 4,
        "my coll (1)/.hidden/stray.times.npy": 5,
    }
    not_alf: Tree = {"notes.txt": 1, "alf/._spikes.times.npy": 1, "README": 1, "a b.c.d": 1}
    make_tree(archive / KS001, strays | not_alf)
    make_tree(archive, {"loose.times.npy": 1, "cortexlab/loose.times.npy": 1, "x/y/z.a.b": 1})
    plan = plan_removals(archive)
    assert sorted(names(plan)) == sorted(f"{KS001}/{path}" for path in strays)
    assert plan["file_size"].sum() == 15
    assert plan["reason"].unique().to_list() == ["not in the datasets table"]
    before = files_of(archive)
    assert set(apply_removals(archive, plan)["result"]) == {"removed"}
    assert before - files_of(archive) == {f"{KS001}/{path}" for path in strays}
    assert plan_removals(archive).is_empty()


def test_sessions_that_have_no_row_go_with_their_folders(archive: Path) -> None:
    index_archive(archive)
    make_tree(
        archive,
        {
            "cortexlab/Subjects/KS009/2020-01-01/001": SESSION,
            "cortexlab/Subjects/KS010/2020-01-01/001/alf/probe00/x.y.npy": 1,
            "cortexlab/Subjects/KS010/2020-01-02/001": {},
            "cortexlab/Subjects/KS001/2020-01-01/003": {},
            "cortexlab/Subjects/KS001/2020-01-02/001/alf": {},
        },
    )
    plan = plan_removals(archive)
    subjects = "cortexlab/Subjects"
    assert names(plan) == [
        *(f"{subjects}/KS009/2020-01-01/001/{path}" for path in DATASETS),
        f"{subjects}/KS010/2020-01-01/001/alf/probe00/x.y.npy",
    ]
    assert set(plan.filter(kind="dataset")["reason"]) == {"its session is not in the tables"}
    # KS009 has notes.txt, so its folders stay.
    assert names(plan, "session") == [
        f"{subjects}/KS001/2020-01-01/003",
        f"{subjects}/KS001/2020-01-02/001",
        f"{subjects}/KS010/2020-01-01/001",
        f"{subjects}/KS010/2020-01-02/001",
    ]
    assert set(names(plan, "folder")) == {
        f"{subjects}/KS001/2020-01-02/001/alf",
        f"{subjects}/KS001/2020-01-02",
        f"{subjects}/KS010/2020-01-01/001/alf/probe00",
        f"{subjects}/KS010/2020-01-01/001/alf",
        f"{subjects}/KS010/2020-01-01",
        f"{subjects}/KS010/2020-01-02",
        f"{subjects}/KS010",
    }
    outcomes = apply_removals(archive, plan.sample(fraction=1, shuffle=True, seed=0))
    assert set(outcomes["result"]) == {"removed"}
    assert outcomes.schema == polars_schema(OUTCOMES)
    assert not (archive / subjects / "KS010").exists()
    assert (archive / subjects / "KS009/2020-01-01/001/alf/notes.txt").exists()
    assert plan_removals(archive).is_empty()


def test_empty_sessions_can_be_kept(archive: Path) -> None:
    index_archive(archive)
    make_tree(archive, {"cortexlab/Subjects/KS001/2020-01-01/003": {"a.b.c": 1}})
    plan = plan_removals(archive, remove_empty_sessions=False)
    assert set(plan["kind"]) == {"dataset"}
    apply_removals(archive, plan)
    assert (archive / "cortexlab/Subjects/KS001/2020-01-01/003").is_dir()


def test_empty_sessions_that_have_a_row_stay(archive: Path) -> None:
    empty = {f"cortexlab/Subjects/KS001/2020-01-0{day}/{day}": {} for day in (3, 4)}
    make_tree(archive, empty)
    index_archive(archive)
    make_tree(archive, {"cortexlab/Subjects/KS001/2020-01-03/3/a.b.c": 1})
    plan = plan_removals(archive)
    assert plan["path"].to_list() == ["cortexlab/Subjects/KS001/2020-01-03/3/a.b.c"]
    # A date that has an empty session with a row is not empty.
    make_tree(archive, {"cortexlab/Subjects/KS001/2020-01-04/005": {}})
    plan = plan_removals(archive)
    assert names(plan, "session") == ["cortexlab/Subjects/KS001/2020-01-04/005"]
    assert names(plan, "folder") == []


def test_rows_that_name_no_session_keep_all_folders(archive: Path) -> None:
    index_archive(archive)
    sessions, datasets = (pl.read_parquet(archive / f"{n}.pqt") for n in ("sessions", "datasets"))
    make_tree(archive, {"cortexlab/Subjects/KS001/2020-01-01/003": {}})
    row = sessions.head(1).with_columns(id=pl.lit(str(uuid.uuid4())), subject=None)
    assert len(plan_removals(archive, sessions=sessions, datasets=datasets)) == 1
    sessions = pl.concat([sessions, row])
    assert plan_removals(archive, sessions=sessions, datasets=datasets).is_empty()


def test_folders_at_and_above_the_root_stay(archive: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    index_archive(archive, tables)
    session = make_tree(archive / "cortexlab/Subjects/KS009/2020-01-01/001", {"alf": {}})
    found = {}
    for root in (session, session.parent, session.parent.parent):
        # No session below these roots has a row.
        with pytest.raises(ForeignTablesError):
            plan_removals(root, tables)
        found[root.name] = plan_removals(root, tables, force=True)["path"].to_list()
    assert found == {
        "001": [],
        "2020-01-01": ["001/alf", "001"],
        "KS009": ["2020-01-01/001/alf", "2020-01-01/001", "2020-01-01"],
    }


def test_what_the_index_leaves_out_can_be_kept(archive: Path) -> None:
    make_tree(archive / KS001, {"raw_video_data/_iblrig_leftCamera.raw.mp4": 9, "a.b.c": 1})
    index_archive(archive, exclude=["raw_video_data/", "a.b.c"])
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001": {}})
    assert len(names(plan_removals(archive))) == 2
    assert len(names(plan_removals(archive), "session")) == 1
    plan = plan_removals(archive, exclude=["raw_video_data/", "KS009/"])
    assert plan["path"].to_list() == [f"{KS001}/a.b.c"]


def test_workers_change_nothing(archive: Path) -> None:
    make_tree(archive, {f"lab/Subjects/S/2021-{i // 28 + 1:02}-{i % 28 + 1:02}/001": SESSION
                        for i in range(160)})  # fmt: skip
    index_archive(archive)
    make_tree(archive, {f"lab/Subjects/S/2021-01-{i:02}/001/a.b.c": i for i in range(1, 20)})
    seen = []
    one = plan_removals(archive, n_jobs=1, progress=seen.append)
    assert len(one) == 19
    assert seen[-1].files == 164 * 4 + 19
    assert_frame_equal(one, plan_removals(archive, n_jobs=2))


# Whatever the rows call a session, its files stay


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
    assert names(plan_removals(archive, tables)) == [f"{session}/{path}" for path in DATASETS]
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
    assert names(plan_removals(tmp_path, **tables)) == ["KS001/2020-01-01/001/x.y.z"]


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
    assert names(plan) == [f"{session}/stray.times.npy"]


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


# Tables that cannot be trusted


def test_missing_empty_and_foreign_tables_are_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ForeignTablesError, match=r"missing or empty.*index it first") as caught:
        plan_removals(archive)
    assert isinstance(caught.value, ValueError)
    other = make_tree(tmp_path / "other", {"lab/Subjects/S/2020-01-01/001": SESSION})
    index_archive(other)
    with pytest.raises(ForeignTablesError, match="no session that is in"):
        plan_removals(archive, other)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.warns(RuntimeWarning, match="No sessions"):
        index_archive(empty)
    with pytest.raises(ForeignTablesError, match="missing or empty"):
        plan_removals(archive, empty)
    with pytest.raises(ForeignTablesError):
        plan_removals(empty, other)
    for folder in (None, other, empty):
        assert len(names(plan_removals(archive, folder, force=True))) == 12


def test_one_table_alone_is_refused(archive: Path) -> None:
    index_archive(archive)
    (archive / "datasets.pqt").unlink()
    with pytest.raises(ForeignTablesError, match="missing or empty"):
        plan_removals(archive)


def test_tables_that_cannot_be_read_are_refused_even_by_force(archive: Path) -> None:
    index_archive(archive)
    good = {name: (archive / f"{name}.pqt").read_bytes() for name in ("sessions", "datasets")}
    index_archive(archive)
    (archive / "sessions.pqt").write_bytes(good["sessions"])
    with pytest.raises(TornPairError, match="different runs"):
        plan_removals(archive, force=True)
    (archive / "datasets.pqt").write_bytes(good["datasets"][:-9])
    with pytest.raises(TableError, match=r"datasets\.pqt"):
        plan_removals(archive, force=True)
    pl.DataFrame({"eid": ["a"]}).write_parquet(archive / "datasets.pqt")
    with pytest.raises(TableError, match=r"datasets\.pqt.*rel_path"):
        plan_removals(archive, force=True)


def test_a_commit_that_was_cut_off_is_finished_first(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_archive(archive)
    make_tree(archive / KS001, {"new.times.npy": 1})

    def cut_off(folder: Path) -> None:
        staging = next((folder / files.STATE_DIR).glob("run-*"))
        (staging / "sessions.pqt").replace(folder / "sessions.pqt")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transaction, "recover", lambda folder, **_: False)
        patch.setattr(
            transaction.Staging, "commit", _commit_until(transaction.Staging.commit, cut_off)
        )
        with pytest.raises(KeyboardInterrupt):
            index_archive(archive)
    with pytest.raises(TornPairError):
        contract.read_headers(archive)
    assert plan_removals(archive).is_empty(), "the new tables have the file"


def _commit_until(
    commit: Callable[..., None], cut_off: Callable[[Path], None]
) -> Callable[..., None]:
    def begin(staging: transaction.Staging, **options: object) -> None:
        commit(staging, **options)
        cut_off(staging.folder)

    return begin


def test_arguments_are_checked(archive: Path) -> None:
    tables = tables_of("a", "")
    with pytest.raises(OptionError, match="without the other"):
        plan_removals(archive, sessions=tables["sessions"])
    with pytest.raises(TableError, match=r"frame datasets.*rel_path"):
        plan_removals(archive, sessions=tables["sessions"], datasets=pl.DataFrame({"eid": ["a"]}))
    with pytest.raises(ArchiveNotFoundError):
        plan_removals(archive / "nowhere", **tables)
    with pytest.raises(OptionError, match="n_jobs"):
        plan_removals(archive, **tables, n_jobs=0)
    with pytest.raises(OptionError, match="inode"):
        apply_removals(archive, polars_schema(REMOVALS).to_frame().drop("inode"))
    with pytest.raises(OptionError, match="no path"):
        apply_removals(archive, polars_schema(REMOVALS).to_frame().clear(n=1))


@posix_only
def test_what_the_index_could_not_read_is_kept(
    archive: Path, tmp_path: Path, unprivileged: Callable[[], None]
) -> None:
    session = "cortexlab/Subjects/KS002/2020-02-29/001"
    closed = archive / session / "alf/probe00"
    closed.chmod(0)
    tables = tmp_path / "tables"
    tables.mkdir()
    tables.chmod(0o777)
    was = os.geteuid()
    unprivileged()
    report = index_archive(archive, tables)
    os.seteuid(was)
    assert report.issues == {"unreadable_directory": 1}
    closed.chmod(0o755)
    for folder, path in ((archive, f"{session}/alf"), (archive / session, "alf")):
        with pytest.warns(KeptWarning, match=rf"kept 1 .*'{path}/probe00/.*index again"):
            assert plan_removals(folder, tables).is_empty()
    moved = archive.rename(tmp_path / "moved")
    with pytest.warns(KeptWarning):
        assert plan_removals(moved, tables).is_empty()


@posix_only
def test_roots_inside_what_the_index_could_not_read_are_kept(
    archive: Path, tmp_path: Path, unprivileged: Callable[[], None]
) -> None:
    subject = archive / "cortexlab/Subjects/KS002"
    subject.chmod(0)
    tables = tmp_path / "tables"
    tables.mkdir()
    tables.chmod(0o777)
    was = os.geteuid()
    unprivileged()
    index_archive(archive, tables)
    os.seteuid(was)
    subject.chmod(0o755)
    for root in (subject, subject / "2020-02-29"):
        with pytest.warns(KeptWarning, match="index again"):
            assert plan_removals(root, tables, force=True).is_empty()


def test_copies_that_the_index_passed_over_are_kept(archive: Path) -> None:
    make_tree(archive, {f"backup/{KS001}": SESSION, f"backup/{KS001}/more.times.npy": 1})
    report = index_archive(archive)
    assert report.issues["duplicate_session"] == 1
    with pytest.warns(KeptWarning, match="more.times.npy"):
        assert plan_removals(archive).is_empty()


# Never through a link


@posix_only
def test_links_and_what_lies_behind_them_are_kept(archive: Path, tmp_path: Path) -> None:
    outside = make_tree(
        tmp_path / "outside",
        {"001": SESSION, "alf/a.b.c": 1, "x.y.z": 1, "S/2020-01-01/001": SESSION},
    )
    index_archive(archive)
    subject = archive / "cortexlab/Subjects/KS001"
    make_tree(
        archive,
        {
            "cortexlab/Subjects/KS001/2020-01-01/003": Link(str(outside / "001")),
            "cortexlab/Subjects/KS001/2020-03-03": Link(str(outside)),
            "cortexlab/Subjects/S": Link(str(outside / "S")),
            f"{KS001}/linked": Link(str(outside / "alf")),
            f"{KS001}/linked.file.npy": Link(str(outside / "x.y.z")),
            f"{KS001}/broken.file.npy": Link("nowhere"),
            f"{KS001}/pipe.file.npy": Fifo(),
            f"{KS001}/up": Link(".."),
        },
    )
    before = files_of(tmp_path)
    plan = plan_removals(archive)
    assert plan.is_empty()
    apply_removals(archive, plan)
    assert files_of(tmp_path) == before
    assert subject.exists()


@posix_only
def test_what_a_link_of_the_archive_leads_to_is_kept(tmp_path: Path) -> None:
    day = "KS001/2020-01-01"
    make_tree(
        tmp_path,
        {
            f"{day}/001": SESSION,
            # Linked sessions, files and collections, the real ones in sessions without a row.
            f"{day}/002": Link("../2020-02-02/001"),
            "KS001/2020-02-02/001": SESSION,
            f"{day}/001/linked.times.npy": Link("../../2020-03-03/001/real.times.npy"),
            "KS001/2020-03-03/001": {"real.times.npy": 1, "stray.times.npy": 1},
            f"{day}/001/linked": Link("../../2020-04-04/001/real"),
            "KS001/2020-04-04/001": {"real/real.times.npy": 1, "stray.times.npy": 1},
            "KS001/2020-05-05/001/real": {},
            f"{day}/003": Link("../2020-05-05/001"),
        },
    )
    index_archive(tmp_path, follow_links=True)
    sessions, datasets = (pl.read_parquet(tmp_path / f"{n}.pqt") for n in ("sessions", "datasets"))
    known = sessions.filter(date=date(2020, 1, 1))
    assert len(known) == 3
    datasets = datasets.filter(pl.col("eid").is_in(known["id"].implode()))
    assert "linked/real.times.npy" in datasets["rel_path"]
    with pytest.warns(KeptWarning, match="'KS001/2020-01-01/001/linked'"):
        plan = plan_removals(tmp_path, sessions=known, datasets=datasets)
    assert plan["path"].to_list() == [
        "KS001/2020-03-03/001/stray.times.npy",
        "KS001/2020-04-04/001/stray.times.npy",
    ]
    outcomes = apply_removals(tmp_path, plan)
    assert set(outcomes["result"]) == {"removed"}
    assert (tmp_path / day / "001/linked.times.npy").exists()


@posix_only
def test_empty_sessions_that_a_linked_folder_leads_to_are_kept(archive: Path) -> None:
    index_archive(archive)
    subject = "cortexlab/Subjects/KS001"
    make_tree(archive, {f"{subject}/2020-05-05/001": {}, f"{subject}/2020-06-06/001": {}})
    (archive / subject / "2020-07-07").symlink_to("2020-05-05")
    plan = plan_removals(archive)
    assert names(plan, "session") == [f"{subject}/2020-06-06/001"]


def test_files_in_no_session_that_rows_could_name_are_kept() -> None:
    # Should the walk ever see a session where the pattern of the rows does not.
    directories = pl.LazyFrame({"directory": ["S!/2020-01-01/001"]}).with_columns(
        session="directory"
    )
    owners = claims.list_owners(directories, "/archive")
    tables = tables_of("a", "")
    claimed = claims.claim_files(owners, tables["sessions"].lazy().cast(pl.String),
                                  tables["datasets"].lazy())  # fmt: skip
    entries = pl.LazyFrame({"entry": [7], "directory": ["S!/2020-01-01/001"], "name": ["a.b.c"]})
    assert claims.find_claimed(entries, owners, claimed).collect()["entry"].to_list() == [7]


@posix_only
@pytest.mark.parametrize("listed", [True, False])
def test_second_names_of_an_indexed_file_are_kept(
    archive: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    index_archive(archive)
    session = archive / KS001
    os.link(session / "alf/spikes.times.npy", session / "second.times.npy")
    (session / "stray.times.npy").touch()
    if not listed:  # as on Windows
        original = api._list_archive

        def without_inodes(*arguments: object) -> api._Listing:
            listing = original(*arguments)  # type: ignore[arg-type]
            entries = listing.entries.with_columns(inode=pl.lit(0, pl.UInt64))
            return api._Listing(entries, listing.directories, listing.links)

        monkeypatch.setattr(api, "_list_archive", without_inodes)
    assert names(plan_removals(archive)) == [f"{KS001}/stray.times.npy"]


@posix_only
def test_the_root_may_be_a_link(archive: Path, tmp_path: Path) -> None:
    index_archive(archive)
    link = tmp_path / "link"
    link.symlink_to(archive)
    make_tree(archive / KS001, {"stray.times.npy": 1})
    plan = plan_removals(link)
    assert results(apply_removals(link, plan)) == {f"{KS001}/stray.times.npy": "removed"}


def test_our_own_state_is_kept(archive: Path) -> None:
    index_archive(archive)
    make_tree(archive / KS001, {f"{files.STATE_DIR}/commit.json.0.tmp": 1, "sessions.pqt": 1})
    make_tree(archive, {f"cortexlab/Subjects/S/2020-01-01/001/{files.STATE_DIR}/a.b.c": 1})
    assert plan_removals(archive).is_empty()


# Applying


@pytest.fixture
def strays(archive: Path) -> Path:
    """Make an archive with an index, three strays and an empty session."""
    index_archive(archive)
    make_tree(archive / KS001, {f"alf/stray{i}.times.npy": f"stray {i}" for i in range(3)})
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001": {}})
    return archive


STRAY = f"{KS001}/alf/stray1.times.npy"


def _rewrite(path: Path) -> None:
    status = path.stat()
    path.write_text("Stray 1")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def _grow(path: Path) -> None:
    status = path.stat()
    path.write_text("stray 1, and more")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace(path: Path) -> None:
    status = path.stat()
    path.rename(path.with_name("old"))
    path.write_text("stray 1")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace_by_link(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.symlink_to("old")


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link_folder(path: Path) -> None:
    moved = path.parents[len(Path(KS001).parts) + 1] / "moved"
    path.parent.rename(moved)
    path.parent.symlink_to(moved)


@posix_only
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rewrite, "mtime_ns"),
        (_grow, "file_size"),
        (_replace, "inode"),
        (_replace_by_link, "something else"),
        (_replace_by_folder, "something else"),
        (_link_folder, "link"),
    ],
)
@pytest.mark.usefixtures("by_descriptor")
def test_what_has_changed_is_kept(
    strays: Path, change: Callable[[Path], None], message: str
) -> None:
    plan = plan_removals(strays).filter(path=STRAY)
    change(strays / STRAY)
    before = files_of(strays.parent)
    (outcome,) = apply_removals(strays, plan).to_dicts()
    assert (outcome["result"], message in outcome["message"]) == ("changed", True)
    assert files_of(strays.parent) == before
    assert (strays / STRAY).exists()
    assert [record["event"] for record in read_log(strays)] == ["removing", "changed"]


@posix_only
@pytest.mark.usefixtures("by_descriptor")
def test_what_is_gone_is_no_failure(strays: Path) -> None:
    plan = plan_removals(strays)
    (strays / STRAY).unlink()
    (strays / "cortexlab/Subjects/KS009/2020-01-01/001").rmdir()
    outcomes = results(apply_removals(strays, plan))
    assert [path for path in outcomes if outcomes[path] == "gone"] == [
        STRAY,
        "cortexlab/Subjects/KS009/2020-01-01/001",
    ]
    assert set(outcomes.values()) == {"removed", "gone"}


@pytest.mark.usefixtures("by_descriptor")
def test_folders_that_were_filled_or_replaced_are_kept(strays: Path) -> None:
    plan = plan_removals(strays)
    session = "cortexlab/Subjects/KS009/2020-01-01/001"
    (strays / session / "precious.txt").touch()
    outcomes = apply_removals(strays, plan).filter(pl.col("path").str.contains("KS009"))
    assert set(outcomes["result"]) == {"changed"}
    assert outcomes["message"][0] == "not empty"
    (strays / session / "precious.txt").unlink()
    (strays / session).rename(strays / "old")
    (strays / session).mkdir()
    assert results(apply_removals(strays, plan))[session] == "changed"
    assert (strays / session).is_dir()


@posix_only
def test_a_folder_swapped_for_a_link_at_the_last_moment(
    strays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_removals(strays).filter(path=STRAY)
    parent = (strays / STRAY).parent
    outside = make_tree(strays.parent / "outside", {Path(STRAY).name: "precious"})
    original = folders.Folder.remove_file

    def swap(folder: folders.Folder, name: str) -> None:
        parent.rename(strays.parent / "moved")
        parent.symlink_to(outside)
        original(folder, name)

    monkeypatch.setattr(folders.Folder, "remove_file", swap)
    assert results(apply_removals(strays, plan)) == {STRAY: "removed"}
    assert (outside / Path(STRAY).name).read_text() == "precious"
    assert not (strays.parent / "moved" / Path(STRAY).name).exists()


@pytest.mark.parametrize(
    "path",
    ["../precious.txt", "{}/../../../../../../precious.txt", "{}/./x.y.z", "//x.y.z", "", ".", "..",
     "{}/", "a\0b", "/etc/hostname"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["dataset", "session", "folder"])
@pytest.mark.usefixtures("by_descriptor")
def test_paths_that_lead_out_are_never_followed(strays: Path, path: str, kind: str) -> None:
    outside = make_tree(strays.parent, {"precious.txt": 1})
    row = plan_removals(strays).filter(path=STRAY)
    status = (outside / "precious.txt").stat()
    plan = row.with_columns(
        path=pl.lit(path.format(KS001)),
        kind=pl.lit(kind),
        inode=pl.lit(status.st_ino, pl.UInt64),
        mtime_ns=pl.lit(status.st_mtime_ns, pl.Int64),
        file_size=pl.lit(1, pl.UInt64),
    )
    before = files_of(strays.parent)
    (outcome,) = apply_removals(strays, plan).to_dicts()
    assert outcome["result"] == "failed"
    assert "no path relative to the archive" in outcome["message"]
    assert files_of(strays.parent) == before


@pytest.mark.parametrize("number", [errno.ENOTDIR, errno.ELOOP, errno.EMLINK])
def test_a_link_on_the_way_is_a_change_on_every_system(number: int) -> None:
    assert apply._judge_error(OSError(number, ""))[0] == "changed"


def test_other_kinds_are_not_removed(strays: Path) -> None:
    plan = plan_removals(strays).with_columns(kind=pl.lit("tree"))
    before = files_of(strays)
    assert set(apply_removals(strays, plan)["result"]) == {"changed"}
    assert files_of(strays) == before
    assert (strays / "cortexlab/Subjects/KS009/2020-01-01/001").is_dir()


@posix_only
def test_what_may_not_be_removed_fails_by_itself(
    strays: Path, unprivileged: Callable[[], None]
) -> None:
    for folder in (
        strays,
        strays / files.STATE_DIR,
        strays / "cortexlab/Subjects/KS009/2020-01-01",
    ):
        folder.chmod(0o777)
    for path in (strays / files.STATE_DIR).iterdir():
        path.chmod(0o666)
    plan = plan_removals(strays)
    unprivileged()
    outcomes = apply_removals(strays, plan)
    failed = outcomes.filter(result="failed")
    assert len(failed) == 5
    assert set(failed["message"]) == {"Permission denied"}
    assert outcomes.filter(result="removed")["kind"].to_list() == ["session"]


def test_a_plan_is_worth_nothing_once_the_tables_are_replaced(strays: Path, tmp_path: Path) -> None:
    plan = plan_removals(strays)
    index_archive(strays)  # now they have the strays
    with pytest.raises(StalePlanError, match="plan again"):
        apply_removals(strays, plan)
    assert (strays / STRAY).exists()
    assert plan_removals(strays).is_empty()
    with pytest.raises(StalePlanError):
        apply_removals(strays, plan, tmp_path)


def test_a_plan_waits_for_nobody(strays: Path) -> None:
    plan = plan_removals(strays)
    with transaction.locked_state(strays), pytest.raises(ArchiveBusyError):
        apply_removals(strays, plan)
    assert (strays / STRAY).exists()


def test_the_log_says_what_was_and_what_became_of_it(strays: Path) -> None:
    plan = plan_removals(strays)
    log = files.removals_path(strays)
    log.write_text('{"cut off', encoding="utf-8")
    outcomes = apply_removals(strays, plan)
    first, *lines = log.read_text(encoding="utf-8").splitlines()
    assert first == '{"cut off'
    records = [json.loads(line) for line in lines]
    assert [record["event"] for record in records] == ["removing"] * 6 + ["removed"] * 6
    assert [record["path"] for record in records] == outcomes["path"].to_list() * 2
    first = records[0]
    assert first.pop("time").endswith("+00:00")
    planned = plan.filter(path=first["path"]).drop("tables").to_dicts()[0]
    assert first == {"event": "removing", "root": str(strays)} | planned


@pytest.mark.parametrize("rows", [1, 2, 512])
def test_an_interrupt_leaves_a_truthful_log(
    strays: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(apply, "ROWS_PER_NOTE", rows)
    original = folders.Folder.remove_file
    done: list[str] = []

    def remove_two(folder: folders.Folder, name: str) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        original(folder, name)
        done.append(name)

    monkeypatch.setattr(folders.Folder, "remove_file", remove_two)
    plan = plan_removals(strays)
    with pytest.raises(KeyboardInterrupt):
        apply_removals(strays, plan)
    events = read_log(strays)
    assert [Path(str(e["path"])).name for e in events if e["event"] == "removed"] == done
    announced = {e["path"] for e in events if e["event"] == "removing"}
    assert {path for path in plan["path"] if not (strays / path).exists()} <= announced
    monkeypatch.undo()
    assert sorted(results(apply_removals(strays, plan)).values()) == ["gone"] * 2 + ["removed"] * 4


KILLED = """
import os, signal, sys
from polars_alf import apply_removals, plan_removals
from polars_alf.prune import apply, folders

apply.ROWS_PER_NOTE = 7
remove, left = folders.Folder.remove_file, [int(sys.argv[2])]

def remove_some(folder, name):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    remove(folder, name)

folders.Folder.remove_file = remove_some
apply_removals(sys.argv[1], plan_removals(sys.argv[1]))
"""


@posix_only
@pytest.mark.parametrize("n_removed", [0, 3, 7, 20])
def test_a_run_that_was_killed_can_be_repeated(archive: Path, n_removed: int) -> None:
    index_archive(archive)
    indexed = files_of(archive)
    make_tree(archive / KS001, {f"alf/stray{i:02}.times.npy": i for i in range(30)})
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001/alf/a.b.c": 1})
    arguments = [sys.executable, "-c", KILLED, str(archive), str(n_removed)]
    assert subprocess.run(arguments, timeout=60).returncode == -signal.SIGKILL
    events = read_log(archive)
    announced = {event["path"] for event in events if event["event"] == "removing"}
    removed = {event["path"] for event in events if event["event"] == "removed"}
    left = files_of(archive)
    assert indexed <= left
    assert len(left) == len(indexed) + 31 - n_removed
    assert not removed & left
    gone = {f"{KS001}/alf/stray{i:02}.times.npy" for i in range(30)} - left
    assert len(gone) == n_removed
    assert removed <= gone <= announced
    assert len(removed) == n_removed // 7 * 7
    plan = plan_removals(archive)
    assert set(names(plan)) == left - indexed
    assert set(apply_removals(archive, plan)["result"]) == {"removed"}
    assert files_of(archive) == indexed
    assert plan_removals(archive).is_empty()
    assert not (archive / "cortexlab/Subjects/KS009").exists()


def test_an_empty_plan_does_nothing(archive: Path) -> None:
    index_archive(archive)
    outcomes = apply_removals(archive, plan_removals(archive))
    assert outcomes.is_empty()
    assert outcomes.schema == polars_schema(OUTCOMES)


# Random archives, random tables

LABS = ["", "lab", "my-lab", "other"]
FILES = ["a.b.c", "alf/a.b.c", "alf/#2020#/a.b.c", "my coll/a.b.c", "notes.txt", "alf/log.txt"]
LINKS = ["", "file", "folder", "session"]


@st.composite
def sessions_on_disk(draw: st.DrawFn) -> dict[str, object]:
    """Draw a session, and what the tables say of it."""
    lab = draw(st.sampled_from(LABS))
    number = draw(st.sampled_from(["1", "01", "001", "2", "002"]))
    day = date(2020, 1, draw(st.integers(1, 2)))
    subject = draw(st.sampled_from(["S1", "S2"]))
    chosen = draw(st.sets(st.sampled_from(FILES)))
    row_lab = {"my-lab": ["my-lab", "lab", ""], "": ["", "lab", "filled"]}.get(lab, [lab, ""])
    return {
        "path": f"{lab}/Subjects/{subject}/{day}/{number}" if lab else f"{subject}/{day}/{number}",
        "files": chosen,
        "has_row": draw(st.booleans()),
        "row": (draw(st.sampled_from(row_lab)), subject, day, int(number)),
        "eid": draw(st.sampled_from(["uuid", "path"])),
        "rows": {name for name in chosen if draw(st.booleans())},
        "link": draw(st.sampled_from(LINKS)),
    }


def plain_files(root: Path) -> Iterator[str]:
    """Yield the regular files that no link leads to."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                yield path.relative_to(root).as_posix()


@posix_only
@settings(deadline=None, max_examples=150)
@given(
    drawn=st.lists(sessions_on_disk(), min_size=1, max_size=7, unique_by=lambda s: s["path"]),
    foreign=st.booleans(),
    odd=st.sampled_from(["", "../a.b.c", "/a.b.c", "a\0b"]),
    force=st.booleans(),
)
def test_a_plan_is_done_and_no_more(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[dict[str, object]],
    foreign: bool,
    odd: str,
    force: bool,
) -> None:
    top = tmp_path_factory.mktemp("random")
    root, outside = top / "archive", top / "outside"
    make_tree(outside, {"S1/2020-01-01/001": {"a.b.c": 3, "alf/a.b.c": 4}})
    sessions, datasets, indexed = [], [], set()
    for at, session in enumerate(drawn):
        folder = root / str(session["path"])
        folder.mkdir(parents=True, exist_ok=True)
        make_tree(folder, dict.fromkeys(session["files"], at + 1))  # type: ignore[call-overload]
        # Links into the session drawn before, or out of the archive.
        target = root / str(drawn[at - 1]["path"]) if at else outside / "S1/2020-01-01/001"
        names_of = {"file": ("linked.b.c", "a.b.c"), "folder": ("linked", "alf")}
        rel_paths = set(session["rows"])  # type: ignore[call-overload]
        if session["link"] in names_of:
            name, what = names_of[str(session["link"])]
            (folder / name).symlink_to(target / what)
            rel_paths |= {name, f"{name}/a.b.c"}
        elif session["link"] == "session":
            linked = folder.with_name(f"{90 + at:03}")
            linked.symlink_to(target)
            eid = f"linked {at}"
            sessions.append((eid, *session["row"][:3], 90 + at))  # type: ignore[index]
            datasets += [(eid, "a.b.c"), (eid, "alf/a.b.c")]
            indexed |= {(linked / "a.b.c").resolve(), (linked / "alf/a.b.c").resolve()}
        if session["has_row"]:
            lab, subject, day, number = session["row"]  # type: ignore[misc]
            spelt = "/".join(filter(None, (lab, subject, str(day), folder.name)))
            eid = spelt if session["eid"] == "path" else str(uuid.uuid4())
            sessions.append((eid, lab, subject, day, number))
            datasets += [(eid, rel_path) for rel_path in sorted(rel_paths)]
            indexed |= {(folder / rel_path).resolve() for rel_path in rel_paths}
    if foreign:
        sessions.append((str(uuid.uuid4()), "far", "X", date(2000, 1, 1), 1))
        datasets.append((sessions[-1][0], "z.z.z"))
    if odd and datasets:
        datasets.append((datasets[0][0], odd))
    tables = {"sessions": sessions_table(*sessions), "datasets": datasets_table(*datasets)}
    kept = {path for path in indexed if path.is_file()}
    before = files_of(top)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KeptWarning)
        try:
            plan = plan_removals(root, **tables, force=force, n_jobs=1)
        except ForeignTablesError:
            assert not force
            return
    planned = set(names(plan))
    real = {path for path in plain_files(root) if not path.endswith(".txt")}
    assert planned <= real
    outcomes = apply_removals(root, plan)
    assert set(outcomes["result"]) <= {"removed"}
    assert all(path.is_file() for path in kept)
    assert before - files_of(top) == {f"archive/{path}" for path in planned}
    for folder in (*names(plan, "session"), *names(plan, "folder")):
        assert not (root / folder).exists()
    for session in drawn:
        exists = (root / str(session["path"])).exists()
        assert exists or str(session["path"]) in names(plan, "session")
    # What no row could mean is planned: no row of the subject's day and number, no link, no path
    # that keeps what has its name.
    meant = {row[2:] for row in sessions}
    if not any(session["link"] for session in drawn) and not odd:
        for session in drawn:
            if session["row"][1:] not in meant:  # type: ignore[index]
                for name in session["files"]:  # type: ignore[attr-defined]
                    assert name.endswith(".txt") or f"{session['path']}/{name}" in planned


@pytest.mark.parametrize(
    "patterns", [["skip", "!*.npy"], ["skip/", "!keep.x.npy"], ["*.npy"], ["/lab"], ["**/001/"]]
)
def test_what_the_index_left_out_stays(tmp_path: Path, patterns: list[str]) -> None:
    root = make_tree(
        tmp_path / "archive",
        {
            "lab/Subjects/S/2020-01-01/001": {"skip/keep.x.npy": 1, "a.b.csv": 1, "c.d.npy": 1},
            "lab/Subjects/S/2020-01-02/002": {"skip/keep.x.npy": 1, "a.b.csv": 1, "c.d.npy": 1},
            "T/2020-01-02/002": {"a.b.csv": 1},
        },
    )
    index_archive(root, exclude=patterns)
    plan = plan_removals(root, exclude=patterns)
    assert plan.is_empty(), plan


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_what_a_dataset_that_is_a_link_leads_to_stays(archive: Path) -> None:
    index_archive(archive)
    session = "cortexlab/Subjects/KS001/2020-01-01/001"
    make_tree(archive, {session: {"alf/t.u.npy": 1, "raw/l.m.npy": Link("../alf/t.u.npy")}})
    make_tree(archive, {session: {"alf/other.u.npy": 1}})
    assert plan_removals(archive)["path"].to_list() == [f"{session}/alf/other.u.npy"]


def test_an_empty_text_is_no_folder_of_tables(archive: Path) -> None:
    index_archive(archive)
    with pytest.raises(OptionError, match="empty text"):
        plan_removals(archive, "")
