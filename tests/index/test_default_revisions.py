"""Which revisions ONE loads by default, in tables of an index."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from amount import count_examples
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st
from one.alf.exceptions import ALFError, ALFWarning
from one.api import One
from one.util import filter_datasets
from trees import make_tree
from tuning import tune

import polars_alf
import polars_alf.cache
from polars_alf.errors import OutputError
from polars_alf.schema import DATASETS

SESSION = "lab/Subjects/KS001/2020-01-01/001"
PLAIN = "alf/probe00/spikes.times.npy"
OLD = "alf/probe00/#2023-01-01#/spikes.times.npy"
NEW = "alf/probe00/#2024-01-01#/spikes.times.npy"
NEWEST = "alf/probe00/#2025-01-01#/spikes.times.npy"
AMPS = "alf/probe00/#2023-01-01#/spikes.amps.npy"

revisions = st.sampled_from(["", "#1#/", "#2#/", "#10#/", "#2024-01-01#/", "#a.b#/"])
paths = st.tuples(
    st.sampled_from(["", "alf/", "alf/probe00/"]),
    revisions,
    st.sampled_from(["a.b.npy", "c.d.npy"]),
).map("".join)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Make an archive with arrays of one number, which tells the revision."""
    root = tmp_path / "archive"
    for number, path in enumerate([PLAIN, OLD, NEW, AMPS]):
        file = root / SESSION / path
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.array([number]))
    return make_tree(root, {"lab/Subjects/KS002/2020-01-01/001": {PLAIN: 1}})


def find_defaults(folder: Path) -> set[str]:
    """Return the defaults of the session with revisions."""
    sessions = polars_alf.scan_sessions(folder).filter(subject="KS001")
    datasets = polars_alf.scan_datasets(folder).filter("default_revision")
    return set(datasets.join(sessions, left_on="eid", right_on="id").collect()["rel_path"])


@pytest.mark.slow
@pytest.mark.pandas
def test_one_lists_and_loads_default_revisions(archive: Path, out_dir: Path) -> None:
    polars_alf.index_archive(archive, out_dir, default_revisions=False)
    without = One(archive, tables_dir=out_dir, mode="local")
    (eid,) = without.search(subject="KS001")
    with pytest.raises(ALFError, match="No default revisions"):
        without.list_datasets(eid, default_revisions_only=True)
    polars_alf.index_archive(archive, out_dir)
    one = One(archive, tables_dir=out_dir, mode="local")
    assert set(one.list_datasets(eid, default_revisions_only=True)) == {NEW, AMPS}
    assert set(one.list_datasets(eid)) == {PLAIN, OLD, NEW, AMPS}
    assert set(one.list_datasets(default_revisions_only=True)) == {NEW, AMPS, PLAIN}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ALFWarning)
        assert one.load_dataset(eid, "spikes.times", collection="alf/probe00")[0] == 2
        assert (
            one.load_dataset(eid, "spikes.times", collection="alf/probe00", revision="2023-06-01")[
                0
            ]
            == 1
        )
    assert one._cache["datasets"]["default_revision"].dtype == bool
    one.save_cache(clobber=True)
    assert find_defaults(out_dir) == {NEW, AMPS}


@pytest.mark.slow
@pytest.mark.pandas
@settings(max_examples=count_examples(25), deadline=None)
@given(st.sets(paths, min_size=1, max_size=10), st.integers(1, 4))
def test_the_defaults_are_those_that_one_would_load(found: set[str], rows: int) -> None:
    """ONE chooses the same rows of tables that have no such column."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = make_tree(Path(folder), {SESSION: dict.fromkeys(sorted(found), 1)})
        tune(patch, rows_per_group=rows)
        polars_alf.index_archive(root, default_revisions=True, executor="serial")
        ours = find_defaults(root)
        table = pd.read_parquet(root / "datasets.pqt").drop(columns="default_revision")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ALFWarning)
        theirs = filter_datasets(table, assert_unique=False, qc="CRITICAL")
    assert ours == set(theirs["rel_path"])


def test_a_new_revision_becomes_the_default(archive: Path) -> None:
    polars_alf.index_archive(archive, default_revisions=True)
    make_tree(archive / SESSION, {NEWEST: 1})
    polars_alf.index_archive(archive)
    assert find_defaults(archive) == {NEWEST, AMPS}
    (archive / SESSION / NEWEST).unlink()
    polars_alf.index_archive(archive)
    assert find_defaults(archive) == {NEW, AMPS}


def list_columns(folder: Path) -> list[str]:
    return polars_alf.scan_datasets(folder).drop("origin").collect_schema().names()


@pytest.mark.slow
@pytest.mark.parametrize("quick", [False, True])
def test_the_column_comes_with_revisions(archive: Path, quick: bool) -> None:
    for path in (OLD, NEW, AMPS):
        (archive / SESSION / path).unlink()
    for asked, has_column in ((None, False), (False, False), (True, True), (None, False)):
        polars_alf.index_archive(archive, default_revisions=asked, quick=quick)
        assert list_columns(archive) == DATASETS.names + ["default_revision"] * has_column
    polars_alf.index_archive(archive, default_revisions=False, quick=quick)
    assert list_columns(archive) == DATASETS.names
    make_tree(archive / SESSION, {NEW: 1})
    polars_alf.index_archive(archive, default_revisions=False, quick=quick)
    assert list_columns(archive) == DATASETS.names
    polars_alf.index_archive(archive, quick=quick)
    assert find_defaults(archive) == {NEW}
    make_tree(archive / SESSION, {NEWEST: 1})
    polars_alf.index_archive(archive, quick=quick)
    assert find_defaults(archive) == {NEWEST}


def test_an_interrupted_index_knows_of_revisions_that_it_saw_before(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("polars_alf.tables.transaction.Staging.write_table", fail)
        with pytest.raises(OutputError):
            polars_alf.index_archive(archive, executor="serial")
    report = polars_alf.index_archive(archive)
    assert report.n_resumed == report.n_shards
    assert find_defaults(archive) == {NEW, AMPS}


def choose(folder: Path, path: str, rejected: str) -> None:
    """Choose another revision, as a person does who edits the table."""
    frame = pl.read_parquet(folder / "datasets.pqt").with_columns(
        default_revision=pl.col("default_revision") & (pl.col("rel_path") != rejected)
        | (pl.col("rel_path") == path)
    )
    frame.write_parquet(folder / "datasets.pqt")


@pytest.mark.slow
def test_what_a_person_chose_stays_and_all_else_follows_the_rule(archive: Path) -> None:
    make_tree(archive / SESSION, {"alf/a.b.npy": 1, "alf/#1#/a.b.npy": 1})
    polars_alf.index_archive(archive)
    choose(archive, OLD, NEW)
    for _ in range(2):
        polars_alf.index_archive(archive)
        assert find_defaults(archive) == {OLD, AMPS, "alf/#1#/a.b.npy"}
    make_tree(archive / SESSION, {NEWEST: 1, "alf/#2#/a.b.npy": 1})
    polars_alf.index_archive(archive, default_revisions=False)
    assert find_defaults(archive) == {OLD, AMPS, "alf/#2#/a.b.npy"}, "it cannot go"
    (archive / SESSION / OLD).unlink()
    polars_alf.index_archive(archive)
    assert find_defaults(archive) == {NEWEST, AMPS, "alf/#2#/a.b.npy"}
    polars_alf.index_archive(archive, reset=True)
    assert find_defaults(archive) == {NEWEST, AMPS, "alf/#2#/a.b.npy"}


@pytest.mark.pandas
def test_a_cache_that_one_saved_does_not_hold_defaults_back(archive: Path) -> None:
    polars_alf.index_archive(archive)
    One(archive, mode="local").save_cache(clobber=True)
    make_tree(archive / SESSION, {NEWEST: 1})
    polars_alf.index_archive(archive)
    assert find_defaults(archive) == {NEWEST, AMPS}


@pytest.mark.slow
def test_merged_tables_have_a_default_of_each_dataset(archive: Path, tmp_path: Path) -> None:
    other, merged = tmp_path / "other", tmp_path / "merged"
    merged.mkdir()
    make_tree(other, {"lab/Subjects/KS003/2020-01-01/001": {PLAIN: 1}})
    make_tree(other, {SESSION: {PLAIN: 1, NEWEST: 1}})
    polars_alf.index_archive(other, default_revisions=False)
    polars_alf.index_archive(archive)
    for tables in ([archive, other], [other, archive]):
        with pytest.warns(polars_alf.errors.TableWarning):
            found = polars_alf.merge_tables(tables).datasets.collect()
        with pytest.warns(polars_alf.errors.TableWarning):
            polars_alf.merge_tables(tables, merged)
        assert found.drop("default_revision").equals(
            polars_alf.scan_datasets(merged)
            .collect()
            .select(found.columns)
            .drop("default_revision")
        )
        for datasets in (found, polars_alf.scan_datasets(merged).collect()):
            counted = datasets.group_by("eid", pl.col("rel_path").str.replace("#.*#/", "")).agg(
                pl.sum("default_revision")
            )
            assert (counted["default_revision"] == 1).all()


@pytest.mark.pandas
def test_the_drop_in_has_the_columns_of_one(archive: Path) -> None:
    from one.alf.cache import DATASETS_COLUMNS

    polars_alf.index_archive(archive)
    _, path = polars_alf.cache.make_parquet_db(archive)
    frame = pd.read_parquet(path)
    assert {*frame.columns, *frame.index.names} == {*DATASETS_COLUMNS}


@pytest.mark.slow
def test_choices_of_a_database_stay(archive: Path, tmp_path: Path) -> None:
    database, out = tmp_path / "database", tmp_path / "out"
    database.mkdir()
    out.mkdir()
    polars_alf.index_archive(archive, database, namespace="database")
    for name in ("sessions", "datasets"):
        frame = pl.read_parquet(database / f"{name}.pqt")
        if name == "datasets":
            frame = frame.filter(pl.col("rel_path") != AMPS).with_columns(
                default_revision=pl.col("rel_path") == OLD
            )
        frame.write_parquet(database / f"{name}.pqt")
    polars_alf.index_archive(archive, out, ids_from=database, default_revisions=True)
    assert find_defaults(out) == {OLD, AMPS}
    make_tree(archive / SESSION, {NEWEST: 1})
    polars_alf.index_archive(archive, out)
    assert find_defaults(out) == {OLD, AMPS}


@pytest.mark.slow
def test_the_command_asks_for_them(archive: Path) -> None:
    assert run("index", archive, "--no-default-revisions", "--quiet").returncode == 0
    assert list_columns(archive) == DATASETS.names
    assert run("index", archive, "--default-revisions", "--quiet").returncode == 0
    assert find_defaults(archive) == {NEW, AMPS}
