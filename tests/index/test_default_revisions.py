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


@pytest.mark.pandas
def test_one_lists_and_loads_default_revisions(archive: Path, out_dir: Path) -> None:
    polars_alf.index_archive(archive, out_dir)
    without = One(archive, tables_dir=out_dir, mode="local")
    (eid,) = without.search(subject="KS001")
    with pytest.raises(ALFError, match="No default revisions"):
        without.list_datasets(eid, default_revisions_only=True)
    polars_alf.index_archive(archive, out_dir, default_revisions=True)
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


@pytest.mark.pandas
@settings(max_examples=count_examples(25), deadline=None)
@given(st.sets(paths, min_size=1, max_size=10), st.integers(1, 4))
def test_the_defaults_are_those_that_one_would_load(found: set[str], rows: int) -> None:
    """ONE chooses the same rows of tables that have no such column."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = make_tree(Path(folder), {SESSION: dict.fromkeys(sorted(found), 1)})
        tune(patch, rows_per_group=rows)
        polars_alf.index_archive(root, default_revisions=True)
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


@pytest.mark.parametrize("quick", [False, True])
def test_the_column_comes_and_stays(archive: Path, quick: bool) -> None:
    polars_alf.index_archive(archive)
    assert "default_revision" not in polars_alf.scan_datasets(archive).collect_schema()
    polars_alf.index_archive(archive, default_revisions=True, quick=quick)
    assert find_defaults(archive) == {NEW, AMPS}
    polars_alf.index_archive(archive, quick=quick)
    assert find_defaults(archive) == {NEW, AMPS}
    make_tree(archive / SESSION, {NEWEST: 1})
    polars_alf.index_archive(archive, default_revisions=False, quick=quick)
    assert find_defaults(archive) == {NEW, AMPS}, "it is as it was"
    polars_alf.index_archive(archive, quick=quick)
    assert find_defaults(archive) == {NEW, AMPS}


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


def test_the_command_asks_for_them(archive: Path) -> None:
    assert run("index", archive, "--default-revisions", "--quiet").returncode == 0
    assert find_defaults(archive) == {NEW, AMPS}
    assert run("index", archive, "--no-default-revisions", "--quiet").returncode == 0
    assert find_defaults(archive) == {NEW, AMPS}
