"""Tables of a database in the folder of an archive: its rows, ids and digests stay."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from edits import edit_table, make_database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from trees import SESSION, make_tree
from tuning import tune

from polars_alf import (
    errors,
    index_archive,
    plan_removals,
    scan_datasets,
    scan_sessions,
    verify_archive,
)
from polars_alf.index import known_rows
from polars_alf.tables.contract import read_headers

pytestmark = pytest.mark.filterwarnings("ignore:.*another program")

ALYX = "https://alyx.example.org"
GONE = "wittenlab/Subjects/KS001/2020-01-01/001"
HERE = "cortexlab/Subjects/KS001/2020-01-01/001"


def _read(folder: Path) -> list[pl.DataFrame]:
    sessions = scan_sessions(folder).sort("id").collect()
    datasets = scan_datasets(folder).sort("eid", "id").collect()
    return [frame.drop("origin") for frame in (sessions, datasets)]


@pytest.fixture
def database(archive: Path) -> list[pl.DataFrame]:
    """Make tables of a database beside the archive, of which some files are not on this disk."""
    index_archive(archive, namespace="made")
    make_database(archive, ALYX)
    edit_database(archive, "datasets", pl.col("rel_path").is_not_null())
    shutil.rmtree(archive / GONE)
    (archive / HERE / "alf/spikes.times.npy").unlink()
    return _read(archive)


def edit_database(folder: Path, name: str, qc: pl.Expr) -> None:
    """Write outcomes, and columns of the database's own."""
    path = folder / f"{name}.pqt"

    table = pq.read_table(path)
    frame = pl.DataFrame(table).with_columns(
        qc=pl.when(qc).then(pl.lit("PASS")).otherwise(pl.lit("NOT_SET")),
        default_revision=pl.int_range(pl.len()) % 2 == 0,
    )
    pq.write_table(frame.to_arrow().replace_schema_metadata(table.schema.metadata), path)


@pytest.mark.slow
@pytest.mark.parametrize("rows_per_group", [5, 1000])
def test_rows_that_are_not_on_this_disk_stay(
    archive: Path,
    database: list[pl.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
    rows_per_group: int,
) -> None:
    tune(monkeypatch, rows_per_group=rows_per_group)
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001": SESSION})
    for _ in range(3):
        report = index_archive(archive)
        assert (report.n_sessions, report.n_datasets, report.n_missing) == (5, 15, 4)
        assert (report.n_kept_sessions, report.n_kept_datasets) == (0, 12)
        sessions, datasets = _read(archive)
        known = sessions.join(database[0].select("id"), on="id", how="semi")
        assert_frame_equal(known, database[0])
        known = datasets.join(database[1].select("eid", "id"), on=["eid", "id"], how="semi")
        assert_frame_equal(known.drop("exists"), database[1].drop("exists"))
        assert known["exists"].sum() == 8
        new = datasets.join(database[1].select("eid", "id"), on=["eid", "id"], how="anti")
        assert set(new["default_revision"]) == {False}
        assert datasets.select(pl.struct("eid", "id").is_duplicated().any()).item() is False
        assert list(read_headers(archive)["datasets"].origins) == [str(archive), ALYX]
    assert report.changes is not None
    assert report.changes["unchanged"] == 11


def test_a_file_that_comes_back_has_its_row_again(
    archive: Path, database: list[pl.DataFrame]
) -> None:
    index_archive(archive)
    make_tree(archive, {f"{GONE}/alf/spikes.times.npy": 20})
    report = index_archive(archive)
    assert report.n_missing == 3
    assert_frame_equal(_read(archive)[1].drop("exists"), database[1].drop("exists"))
    make_tree(archive, {f"{GONE}/alf/spikes.times.npy": 21, f"{HERE}/alf/spikes.times.npy": 20})
    index_archive(archive)
    changed = _read(archive)[1].filter(file_size=21)
    assert changed.select("hash", "qc").rows() == [("", "PASS")], "another size, another content"


def test_missing_rows_go_on_request(archive: Path, database: list[pl.DataFrame]) -> None:
    del database
    index_archive(archive)
    report = index_archive(archive, prune_missing=True, quick=True)
    assert (report.n_sessions, report.n_datasets, report.n_missing) == (3, 8, 0)
    assert _read(archive)[1]["exists"].all()
    make_tree(archive, {f"{GONE}/alf/spikes.times.npy": 20})
    index_archive(archive)
    shutil.rmtree(archive / GONE)
    report = index_archive(archive, max_removed=1.0)
    assert report.n_missing == 1, "still the tables of a database"


def test_their_own_tables_given_once_more(archive: Path, database: list[pl.DataFrame]) -> None:
    report = index_archive(archive, ids_from=archive)
    assert (report.n_known_sessions, report.n_missing) == (3, 4)
    assert_frame_equal(_read(archive)[0], database[0])


def test_a_subject_that_the_database_renamed(
    archive: Path, database: list[pl.DataFrame], tmp_path: Path
) -> None:
    """Newer tables are given; the older ones, which are there, have the session's old name."""
    given = tmp_path / "given"
    shutil.copytree(archive, given, ignore=lambda *_: ["cortexlab", "wittenlab", ".polars_alf"])
    (archive / "cortexlab/Subjects/KS002").rename(archive / "cortexlab/Subjects/KS003")
    edit_table(
        given, "sessions", lambda f: f.with_columns(pl.col("subject").replace("KS002", "KS003"))
    )
    index_archive(archive, ids_from=given)
    sessions = _read(archive)[0]
    assert sessions["id"].to_list() == database[0]["id"].to_list()
    assert "KS002" not in sessions["subject"]


def test_a_newer_export_is_given(
    archive: Path, database: list[pl.DataFrame], tmp_path: Path
) -> None:
    """Its new rows are added, also of sessions elsewhere; those that it renames are there once."""
    index_archive(archive)
    given = tmp_path / "given"
    shutil.copytree(archive, given, ignore=lambda *_: ["cortexlab", "wittenlab", ".polars_alf"])
    sessions, datasets = (frame.clone() for frame in database)
    new = str(uuid.uuid4())
    remote = sessions.head(1).with_columns(subject=pl.lit("remote"), id=pl.lit(new))
    moved = sessions["id"][0]
    path = pl.when(eid=moved).then(pl.lit("new/") + pl.col("rel_path")).otherwise("rel_path")
    datasets = datasets.with_columns(
        rel_path=path, qc=pl.lit("FAIL"), default_revision=pl.lit(value=True)
    )
    added = datasets.head(1).with_columns(eid=pl.lit(new), id=pl.lit(str(uuid.uuid4())))
    edit_table(given, "sessions", lambda _: pl.concat([sessions, remote]))
    edit_table_of_database(given, pl.concat([datasets, added]))
    for folder in (given, ()):
        report = index_archive(archive, ids_from=folder)
        found = _read(archive)
        assert {*found[0]["id"]} == {*sessions["id"], new}
        assert report.n_sessions == 5
        assert {*datasets["id"], *added["id"]} <= {*found[1]["id"]}
        assert not found[1].select(pl.struct("eid", "id").is_duplicated().any()).item()
        rows = found[1].filter(~pl.col("exists"))
        assert not rows.select(pl.struct("eid", "rel_path").is_duplicated().any()).item()
        assert {*found[1].filter(pl.col("eid") != moved)["qc"]} == {"FAIL"}


@pytest.mark.slow
def test_verify_and_prune_know_such_rows(archive: Path, database: list[pl.DataFrame]) -> None:
    del database
    for _ in range(2):
        found = verify_archive(archive)
        assert found.findings.filter(pl.col("kind") != "missing").is_empty()
        index_archive(archive)
    assert verify_archive(archive).findings.is_empty()
    stray = make_tree(archive / GONE, {"alf/spikes.times.npy": 20, "new.file.npy": 1})
    new = verify_archive(archive).findings.select("kind", "path").rows()
    assert ("new", f"{GONE}/new.file.npy") in new
    assert {kind for kind, _ in new} == {"new"}
    assert plan_removals(archive)["path"].to_list() == [f"{GONE}/new.file.npy"]
    assert stray.exists()


@pytest.mark.slow
def test_ids_that_cannot_be_used(
    archive: Path, database: list[pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id for two paths, two ids for a path, and an id that another has: each row stays."""
    tune(monkeypatch, rows_per_group=5)
    datasets = database[1].with_columns(pl.col("qc").cast(pl.String))
    one = pl.col("id").first().over("eid")
    copy = datasets.unique("eid", keep="first", maintain_order=True)
    copy = copy.with_columns(id=pl.lit(str(uuid.uuid4())))
    made = {
        "one id for all paths of a session": datasets.with_columns(id=one),
        "two ids for a path": pl.concat([datasets, copy]),
        "no UUID": datasets.with_columns(pl.col("id").str.slice(0, 20)),
    }
    for case, frame in made.items():
        edit_table_of_database(archive, frame)
        for _ in range(2):
            report = index_archive(archive)
            assert (report.n_sessions, report.n_datasets) == (4, 12), case
            found = _read(archive)[1]
            assert found["id"].n_unique() == 12, case
            assert found["id"].str.contains("^[0-9a-f-]{36}$").all(), case
            assert found["exists"].sum() == 8, case
            assert set(found["qc"]) == {"PASS"}, case


def edit_table_of_database(folder: Path, frame: pl.DataFrame) -> None:

    path = folder / "datasets.pqt"
    metadata = {"one_metadata": '{"origin": "alyx"}'}
    pq.write_table(frame.to_arrow().replace_schema_metadata(metadata), path)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
def test_sessions_whose_ids_cannot_be_used(
    archive: Path, database: list[pl.DataFrame], number: int
) -> None:
    sessions = database[0]
    remote = sessions[number].with_columns(subject=pl.lit("remote"))
    twin = remote.with_columns(subject=pl.lit("twin"), id=pl.lit(str(uuid.uuid4())))
    rows = pl.concat([sessions, remote, twin, twin.with_columns(id=pl.lit(str(uuid.uuid4())))])
    edit_table(archive, "sessions", lambda _: rows)
    for _ in range(2):
        report = index_archive(archive)
        found = _read(archive)[0]
        assert found["id"].n_unique() == len(found)
        assert {*sessions["subject"], "twin"} <= {*found["subject"]}
        assert report.n_datasets == 12


@pytest.mark.slow
@pytest.mark.parametrize("case", ["ids", "paths", "own"])
def test_ambiguous_ids_that_are_given(
    archive: Path, out_dir: Path, tmp_path: Path, case: str
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    index_archive(archive, folder)
    index_archive(archive, out_dir, namespace="own")
    own = _read(out_dir)[1]
    make_database(folder)
    first = pl.col("rel_path") == "alf/spikes.times.npy"
    twin = _read(folder)[1].filter(first).with_columns(id=pl.lit(str(uuid.uuid4())))

    def edit(frame: pl.DataFrame) -> pl.DataFrame:
        match case:
            case "ids":  # one for two paths
                return frame.with_columns(
                    id=pl.when(first).then(pl.col("id").filter(~first).first().over("eid"))
                    .otherwise("id")
                )  # fmt: skip
            case "paths":  # one of two ids
                return pl.concat([frame, twin.select(frame.columns).cast(dict(frame.schema))])
            case _:  # that of another dataset on this disk
                other = own.filter(rel_path="_ibl_trials.intervals_bpod.csv")["id"].sort()[0]
                return frame.filter(first).with_columns(id=pl.lit(other))

    edit_table(folder, "datasets", edit)
    report = index_archive(archive, out_dir, ids_from=folder)
    datasets = _read(out_dir)[1]
    assert datasets.height == 12
    assert not datasets.select(pl.struct("eid", "id").is_duplicated().any()).item()
    assert report.issues == {"ambiguous_id": {"ids": 8, "paths": 4, "own": 1}[case]}


def test_reset_makes_them_tables_of_the_disk(archive: Path, database: list[pl.DataFrame]) -> None:
    index_archive(archive)
    report = index_archive(archive, reset=True)
    assert (report.n_sessions, report.n_datasets, report.n_missing) == (3, 8, 0)
    assert _read(archive)[1]["default_revision"].all(), "by the rule, not as the database chose"
    assert not {*_read(archive)[0]["id"]} & {*database[0]["id"]}


def test_the_command_says_what_was_kept(archive: Path, database: list[pl.DataFrame]) -> None:
    del database
    command = [sys.executable, "-m", "polars_alf", "index", str(archive)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Kept         0 sessions, 12 datasets" in shown
    assert "Missing      4 datasets of a database" in shown


@pytest.mark.slow
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    gone=st.sets(st.integers(0, 5)),
    qc=st.lists(st.sampled_from(["NOT_SET", "PASS", "FAIL"]), min_size=6, max_size=6),
)
def test_no_row_of_a_database_is_gone(tmp_path: Path, gone: set[int], qc: list[str]) -> None:
    root = tmp_path / uuid.uuid4().hex
    paths = [f"lab/Subjects/S{n // 2}/2020-01-01/001/{'ab'[n % 2]}.b.npy" for n in range(6)]
    make_tree(root, dict.fromkeys(paths, 3))
    index_archive(root, executor="serial")
    make_database(root)
    edited = _read(root)[1].with_columns(qc=pl.Series(qc))
    edit_table_of_database(root, edited)
    for number in gone:
        (root / paths[number]).unlink()
    for number in {0, 2, 4} & gone & {number - 1 for number in gone}:
        (root / paths[number]).parent.rmdir()
    expected = _read(root)
    if len(gone) == 6:
        return  # an archive without datasets is refused elsewhere
    for _ in range(2):
        index_archive(root, executor="serial")
        sessions, datasets = _read(root)
        assert_frame_equal(sessions, expected[0])
        assert_frame_equal(datasets.drop("exists"), expected[1].drop("exists"))
        assert datasets["exists"].sum() == 6 - len(gone)


@pytest.mark.parametrize("order", ["reversed", "fewer"])
def test_tables_that_are_written_during_an_index_lose_nothing(
    archive: Path,
    database: list[pl.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
    order: str,
) -> None:
    sessions = archive / "sessions.pqt"
    real = known_rows.KnownRows.take_sessions

    def take(known: known_rows.KnownRows, *arguments: Any) -> pl.DataFrame:
        table = pq.read_table(sessions)
        frame = pl.DataFrame(table).reverse()
        if order == "fewer":
            frame = frame.filter(pl.col("id") != _find_gone(database))
        changed = frame.to_arrow().replace_schema_metadata(table.schema.metadata)
        pq.write_table(changed, sessions.with_suffix(".new"))
        sessions.with_suffix(".new").replace(sessions)
        return real(known, *arguments)

    monkeypatch.setattr(known_rows.KnownRows, "take_sessions", take)
    if order == "fewer":
        with pytest.raises(errors.TableError, match=r"is not there any more.* index again"):
            index_archive(archive)
        monkeypatch.undo()
        report = index_archive(archive)
        assert (report.n_sessions, report.n_missing) == (3, 1)
        return
    report = index_archive(archive)
    assert (report.n_sessions, report.n_datasets, report.n_missing) == (4, 12, 4)
    assert [frame["id"].to_list() for frame in _read(archive)] == [
        frame["id"].to_list() for frame in database
    ]


def _find_gone(database: list[pl.DataFrame]) -> str:
    lab, _, subject, _, _ = GONE.split("/")
    found = database[0].filter(lab=lab, subject=subject)
    (eid,) = found["id"]
    return str(eid)
