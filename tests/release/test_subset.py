"""Tables of a part of others."""

from __future__ import annotations

import datetime
import tempfile
import uuid
import warnings
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indexes import read_folder
from one.api import One
from table_frames import make_datasets, make_sessions, write_tables
from trees import make_tree

import polars_alf
from polars_alf.errors import (
    ArchiveNotFoundError,
    NoSessionsWarning,
    OptionError,
    OverwriteError,
    QueryError,
    TableError,
    TableNotFoundError,
    TableWarning,
)
from polars_alf.query.diff import Change
from polars_alf.release.subset import read_ids

LATER = "alf/probe00/#2025-01-01#/spikes.times.npy"


@pytest.fixture
def tables(archive: Path, tmp_path: Path) -> Path:
    """Make tables of an archive in which one dataset has three revisions."""
    make_tree(
        archive / "cortexlab/Subjects/KS001/2020-01-01/001",
        {LATER: 40, "alf/probe00/spikes.times.npy": 10},
    )
    folder = tmp_path / "source"
    folder.mkdir()
    polars_alf.index_archive(archive, folder, namespace="site")
    return folder


def read(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    return (
        polars_alf.scan_sessions(folder).drop("origin").collect(),
        polars_alf.scan_datasets(folder).drop("origin").collect(),
    )


def test_a_condition_chooses_sessions_with_their_datasets(tables: Path, out_dir: Path) -> None:
    before = read_folder(tables)
    release = polars_alf.subset_tables(tables, out_dir, where="subject = 'KS001'")
    sessions, datasets = read(out_dir)
    all_sessions, all_datasets = read(tables)
    wanted = all_sessions.filter(subject="KS001")
    assert sessions.equals(wanted)
    rows = all_datasets.filter(pl.col("eid").is_in(wanted["id"].implode()))
    assert datasets.equals(rows)
    assert release.manifest["n_sessions"] == len(sessions) == 3
    assert release.manifest["n_datasets"] == len(datasets) == 11
    assert release.manifest["n_bytes"] == datasets["file_size"].sum()
    assert read_folder(tables) == before
    history = polars_alf.read_history(out_dir)
    assert history.select("run", "n_sessions", "n_datasets").rows() == [("subset", 3, 11)]


def test_conditions_may_ask_about_datasets(tables: Path, out_dir: Path) -> None:
    query = f"id IN (SELECT eid FROM datasets WHERE rel_path = '{LATER}')"
    polars_alf.subset_tables(tables, out_dir, where=query)
    assert len(read(out_dir)[0]) == 1


def test_ids_choose_sessions_or_datasets(tables: Path, out_dir: Path) -> None:
    sessions, datasets = read(tables)
    eids = sessions["id"].sort()[1:3]
    polars_alf.subset_tables(tables, out_dir, eids=map(uuid.UUID, eids))
    assert read(out_dir)[0]["id"].to_list() == eids.to_list()
    some = datasets.filter(pl.col("rel_path").str.ends_with(".csv"))
    polars_alf.subset_tables(tables, out_dir, dataset_ids=some["id"], eids=eids)
    found = read(out_dir)[1]
    assert set(found["id"]) == set(some.filter(pl.col("eid").is_in(eids.implode()))["id"])
    with pytest.raises(OptionError, match="no session of the tables, and 1 more"):
        polars_alf.subset_tables(tables, out_dir, eids=[uuid.UUID(int=1), "x", eids[0]])
    with pytest.raises(OptionError, match="no dataset of the tables"):
        polars_alf.subset_tables(tables, out_dir, dataset_ids=[eids[0]])


def test_other_tables_choose_what_they_have(archive: Path, tables: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other", tmp_path / "out"
    other.mkdir()
    out.mkdir()
    # Of other ids: paths are compared.
    polars_alf.index_archive(archive / "wittenlab", other, namespace="other", exclude="*.csv")
    polars_alf.subset_tables(tables, out, like=other)
    sessions, datasets = read(out)
    assert sessions["lab"].to_list() == ["wittenlab"]
    assert set(datasets["rel_path"]) == set(read(other)[1]["rel_path"])
    assert set(datasets["id"]) < set(read(tables)[1]["id"])
    assert set(datasets["id"]).isdisjoint(read(other)[1]["id"])


@pytest.mark.pandas
def test_one_reads_the_default_revisions_of_a_part(
    tables: Path, archive: Path, out_dir: Path
) -> None:
    polars_alf.subset_tables(tables, out_dir, where="subject = 'KS001'", tag="2024_Q2")
    one = One(archive, tables_dir=out_dir, mode="local")
    eid = one.search(
        subject="KS001", date_range=["2020-01-01", "2020-01-01"], number=1, lab="cortexlab"
    )[0]
    names = one.list_datasets(eid, default_revisions_only=True)
    assert sorted(names) == sorted(
        [LATER, "_ibl_trials.intervals_bpod.csv", "alf/spikes.times.npy"]
    )
    assert one._cache["_meta"]["raw"]["datasets"]["database_tags"] == ["2024_Q2"]
    assert one._cache["datasets"]["default_revision"].dtype == bool


def test_a_choice_that_is_there_stays(tables: Path, tmp_path: Path) -> None:
    sessions, datasets = read(tables)
    older = "alf/probe00/#2024-05-06#/spikes.times.npy"
    chosen = datasets.with_columns(
        default_revision=pl.col("rel_path") == older, lab_note=pl.lit("x")
    )
    source, out = tmp_path / "chosen", tmp_path / "out"
    out.mkdir()
    source.mkdir()
    sessions.write_parquet(source / "sessions.pqt")
    chosen.write_parquet(source / "datasets.pqt")
    polars_alf.subset_tables(source, out, where="true")
    found = read(out)[1]
    probes = found.filter(pl.col("rel_path").str.contains("probe00"), pl.col("default_revision"))
    assert set(probes["rel_path"]) == {older}
    assert set(found["lab_note"]) == {"x"}
    # Without the row that was chosen, the last of the others is it.
    ids = found.filter(pl.col("rel_path") != older)["id"]
    polars_alf.subset_tables(source, out, dataset_ids=ids)
    rest = read(out)[1].filter(pl.col("rel_path").str.contains("probe00"))
    assert rest.filter("default_revision")["rel_path"].to_list() == [LATER]


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    st.sets(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["", "#1#/", "#2#/", "#10#/"])),
        min_size=1,
    )
)
def test_each_dataset_has_one_default(rows: set[tuple[str, str]]) -> None:
    datasets = make_datasets(
        [("s", f"{name}{r}", f"alf/{r}spikes.{name}.npy", 1) for name, r in sorted(rows)]
    )
    with tempfile.TemporaryDirectory() as folder:
        source = write_tables(Path(folder, "source"), (make_sessions([("s", "S")]), datasets))
        out = Path(folder, "out")
        out.mkdir()
        polars_alf.subset_tables(source, out, where="true")
        found = read(out)[1].filter("default_revision")
    wanted = {name: max(r for n, r in rows if n == name) for name, _ in rows}
    assert set(found["id"]) == {f"{name}{r}" for name, r in wanted.items()}


def test_an_empty_part_is_a_part(tables: Path, out_dir: Path) -> None:
    with pytest.warns(NoSessionsWarning, match="No session is in the part"):
        release = polars_alf.subset_tables(tables, out_dir, where="false")
    assert (release.manifest["n_sessions"], release.manifest["n_datasets"]) == (0, 0)
    assert [len(frame) for frame in read(out_dir)] == [0, 0]


def test_an_empty_part_replaces_no_release(tables: Path, out_dir: Path) -> None:
    polars_alf.subset_tables(tables, out_dir, where="true")
    before = read_folder(out_dir)
    with pytest.raises(OverwriteError, match="no session is in the part"):
        polars_alf.subset_tables(tables, out_dir, where="false")
    assert read_folder(out_dir) == before


def test_a_bundle_of_other_tables_is_told_of(tables: Path, out_dir: Path) -> None:
    polars_alf.subset_tables(tables, out_dir, where="true")
    polars_alf.publish_tables(out_dir)
    message = r"cache\.zip has not the tables that are there now; publish"
    with pytest.warns(TableWarning, match=message):
        polars_alf.subset_tables(tables, out_dir, where="subject = 'KS001'")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=f".*{message}")
        warnings.filterwarnings("ignore", message=".*manifest")
        polars_alf.restore_tables(out_dir)


def test_a_release_is_put_back_with_its_manifest(tables: Path, out_dir: Path) -> None:
    releases = [
        polars_alf.subset_tables(tables, out_dir, where=where)
        for where in ("true", "subject = 'KS001'")
    ]
    assert releases[0].checksum != releases[1].checksum
    for release in releases:
        with warnings.catch_warnings():
            warnings.simplefilter("error", TableWarning)
            polars_alf.restore_tables(out_dir)
        found = polars_alf.verify_manifest(out_dir)
        assert (found.checksum, found.problems) == (release.checksum, ())


def test_a_release_whose_manifest_cannot_be_made_replaces_none(
    tables: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise TableError("it cannot be made")

    polars_alf.subset_tables(tables, out_dir, where="true")
    before = read_folder(out_dir)
    monkeypatch.setattr("polars_alf.release.subset.write_manifest", fail)
    with pytest.raises(TableError, match="cannot be made"):
        polars_alf.subset_tables(tables, out_dir, where="subject = 'KS001'")
    assert read_folder(out_dir) == before


def test_a_manifest_of_other_tables_is_told_of(tables: Path, out_dir: Path) -> None:
    polars_alf.subset_tables(tables, out_dir, where="subject = 'KS001'")
    polars_alf.merge_tables([tables], out_dir)
    polars_alf.restore_tables(out_dir)
    with pytest.warns(TableWarning, match=r"manifest\.json is of other files than the tables"):
        polars_alf.restore_tables(out_dir)
    assert polars_alf.verify_manifest(out_dir).problems
    with warnings.catch_warnings():
        warnings.simplefilter("error", TableWarning)
        polars_alf.restore_tables(out_dir)
    assert not polars_alf.verify_manifest(out_dir).problems


def test_nothing_else_is_replaced(tables: Path, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(OptionError, match="which part"):
        polars_alf.subset_tables(tables, out)
    with pytest.raises(OptionError, match="give another folder"):
        polars_alf.subset_tables(tables, tables, where="true")
    with pytest.raises(QueryError):
        polars_alf.subset_tables(tables, out, where="colour = 1")
    with pytest.raises(ArchiveNotFoundError):
        polars_alf.subset_tables(tables, tmp_path / "nowhere", where="true")
    with pytest.raises(TableNotFoundError):
        polars_alf.subset_tables(out, tmp_path, where="true")
    polars_alf.index_archive(archive)
    with pytest.raises(OverwriteError, match="no release"):
        polars_alf.subset_tables(tables, archive, where="true")
    first = polars_alf.subset_tables(tables, out, where="true")
    second = polars_alf.subset_tables(tables, out, where="subject = 'KS002'")
    assert second.manifest["n_sessions"] < first.manifest["n_sessions"]
    polars_alf.restore_tables(out)
    assert len(read(out)[0]) == first.manifest["n_sessions"]


@pytest.mark.slow
@pytest.mark.parametrize("group", [1, 3, 100])
def test_groups_of_rows_make_no_difference(
    tables: Path, tmp_path: Path, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    one.mkdir()
    many.mkdir()
    whole = polars_alf.subset_tables(tables, one, where="true")
    monkeypatch.setattr("polars_alf.release.subset.ROWS_AT_ONCE", group)
    parts = polars_alf.subset_tables(tables, many, where="true")
    assert whole.checksum == parts.checksum
    assert read(one)[1].equals(read(many)[1])
    assert polars_alf.compare_tables(one, many).counts["datasets"][Change.ADDED] == 0


@pytest.mark.pandas
def test_ids_are_read_as_one_saves_them(tables: Path, archive: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    polars_alf.subset_tables(tables, copy, where="true")
    one = One(archive, tables_dir=copy, mode="local")
    one._cache["_loaded_datasets"] = one._cache["datasets"].index.get_level_values("id")[:3].values
    for kind, only in (("eids", True), ("dataset_ids", False)):
        saved, path = one.save_loaded_ids(sessions_only=only, clear_list=False)
        assert read_ids(path) == {kind: [str(value) for value in saved]}
    plain = tmp_path / "ids.txt"
    plain.write_text("a\n\nb\n")
    assert read_ids(plain) == {"eids": ["a", "b"]}
    plain.write_text("")
    assert read_ids(plain) == {"eids": []}
    with pytest.raises(OptionError, match="cannot be read"):
        read_ids(tmp_path / "nowhere")
    assert isinstance(pd.read_csv(path), pd.DataFrame)


@pytest.mark.parametrize("kind", ["datasets", "sessions"])
def test_ids_of_the_other_table_have_a_cure(
    tables: Path, out_dir: Path, tmp_path: Path, kind: str
) -> None:
    scan = {"sessions": polars_alf.scan_sessions, "datasets": polars_alf.scan_datasets}[kind]
    file, wrong, right = (
        tmp_path / "ids.txt",
        *(("dataset_uuid", "eid") if kind == "sessions" else ("eid", "dataset_uuid")),
    )
    ids = scan(tables).select("id").collect()["id"].to_list()
    file.write_text("\n".join([wrong, *ids]))
    with pytest.raises(OptionError, match=f"begin their file with the line {right}"):
        polars_alf.subset_tables(tables, out_dir, **read_ids(file))
    file.write_text("\n".join([right, *ids]))
    release = polars_alf.subset_tables(tables, out_dir, **read_ids(file))
    assert release.manifest[f"n_{kind}"] == len(ids)


def test_sessions_keep_the_day_that_they_have(tables: Path, out_dir: Path) -> None:
    polars_alf.subset_tables(tables, out_dir, where="date = '2020-02-29'")
    assert read(out_dir)[0]["date"].to_list() == [datetime.date(2020, 2, 29)]
