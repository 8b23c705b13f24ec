"""What ONE's own client writes into the tables stays, and ONE reads what we keep."""

import datetime
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from amount import count_examples
from edits import EVERY_TYPE, add_columns, edit_table, make_database
from hypothesis import given, settings
from hypothesis import strategies as st
from one.api import One
from trees import make_tree

from polars_alf import (
    index_archive,
    merge_tables,
    restore_tables,
    scan_datasets,
    scan_sessions,
)
from polars_alf.alf.grammar import QC_NAMES

pytestmark = [
    pytest.mark.pandas,
    pytest.mark.filterwarnings("ignore:.*another program"),
]

KEYS = ["id", ["eid", "id"]]

CODE = """
import sys
from one.api import One
one = One(cache_dir=sys.argv[1], mode="local")
"""


@pytest.fixture
def root(tmp_path):
    """Make an archive with its tables."""
    session = {"alf/spikes.times.npy": 8, "alf/#2024-05-06#/spikes.times.npy": 9}
    tree = {f"lab/Subjects/S{n}/2020-01-01/001": session for n in (1, 2)}
    root = make_tree(tmp_path / "archive", tree)
    index_archive(root)
    return root


def save(one, **options):
    one._cache["_meta"]["modified_time"] = datetime.datetime.now() + datetime.timedelta(minutes=1)
    one.save_cache(**options)


def edit(root):
    """Edit all rows by ONE's own client."""
    one = One(cache_dir=root, mode="local")
    sessions, datasets = one._cache.sessions, one._cache.datasets
    sessions["projects"] = ["p1", "p2"]
    sessions["task_protocol"] = "biased"
    datasets["qc"] = datasets.qc.where(datasets.qc != "NOT_SET", "FAIL")
    datasets["default_revision"] = datasets.rel_path.str.contains("#").to_numpy(dtype=bool)
    sessions["weight"] = [20.5, np.nan]
    sessions["seen"] = pd.to_datetime(["2024-05-06T07:08:09", None])
    datasets["reviewer"] = pd.Series(["me", None, "you", None], index=datasets.index)
    datasets["kind"] = pd.Categorical(["x", "y", "x", None])
    datasets["votes"] = pd.array([1, None, 3, 4], dtype="Int64")
    datasets["tags"] = [["a"], ["a", "b"], [], None]
    save(one, clobber=True)  # else ONE leaves out columns that the tables do not have


def read(root):
    return [
        scan(root).drop("origin").with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))
        for scan in (scan_sessions, scan_datasets)
    ]


@pytest.mark.slow
def test_edits_by_one_are_kept_and_read_by_one(root, tmp_path):
    edit(root)
    before = [frame.collect() for frame in read(root)]
    merged = tmp_path / "merged"
    merged.mkdir()
    for _ in range(2):
        report = index_archive(root)
        assert (report.n_kept_sessions, report.n_kept_datasets) == (2, 4)
    merge_tables(root, merged)
    for folder in (root, merged):
        for frame, expected in zip(read(folder), before, strict=True):
            found = frame.collect()
            key = [column for column in ("eid", "id") if column in found.columns]
            assert found.sort(key).rows(named=True) == expected.sort(key).rows(named=True)
        one = One(cache_dir=root, tables_dir=folder, mode="local")
        sessions, datasets = one._cache.sessions, one._cache.datasets
        assert datasets["default_revision"].dtype == bool
        assert datasets["votes"].dtype == float, "as pandas has integers with gaps"
        assert datasets["qc"].dtype.ordered
        assert pd.api.types.is_datetime64_any_dtype(sessions["seen"].dtype)
        assert sessions["weight"].dtype == float
        assert list(datasets["tags"].map(lambda value: None if value is None else list(value))) == [
            ["a"],
            ["a", "b"],
            [],
            None,
        ]
        assert sorted(one.search(projects="p1")) == [sessions.index[sessions.projects == "p1"][0]]
        eid = one.search(subject="S1")[0]
        found = one.load_dataset(eid, "spikes.times.npy", download_only=True)
        assert found.name == "spikes.times.npy"
        assert "#2024-05-06#" in str(found), "the default revision"


@pytest.mark.slow
def test_ids_of_merged_tables_of_one_stay(root):
    # ONE leaves out the namespace, so the merge has to make one that is not that of the ids.
    save(One(cache_dir=root, mode="local"), clobber=True)
    before = [frame["id"].to_list() for frame in pl.collect_all(read(root))]
    merge_tables([root], root)
    index_archive(root)
    after = [frame["id"].to_list() for frame in pl.collect_all(read(root))]
    assert [sorted(ids) for ids in after] == [sorted(ids) for ids in before]


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
of_a_lab = st.one_of(
    *(
        st.lists(st.none() | kind, min_size=4, max_size=4)
        for kind in (
            texts,
            st.booleans(),
            st.floats(allow_nan=False),
            st.integers(-(2**40), 2**40),
        )
    )
)
edits_by_one = st.fixed_dictionaries(
    {},
    optional={
        "projects": st.lists(texts, min_size=2, max_size=2),
        "task_protocol": st.lists(texts, min_size=2, max_size=2),
        "weight": of_a_lab.map(lambda values: values[:2]),
        "qc": st.lists(st.sampled_from(QC_NAMES), min_size=4, max_size=4),
        # One of the two revisions in each session.
        "default_revision": st.lists(st.booleans(), min_size=2, max_size=2).map(
            lambda first: [value for is_first in first for value in (is_first, not is_first)]
        ),
        "reviewer": of_a_lab,
    },
)


@pytest.mark.slow
@given(edits_by_one, st.lists(st.sampled_from(["index", "merge", "restore"]), max_size=4))
@settings(max_examples=count_examples(25), deadline=None)
def test_whatever_one_writes_stays(edits, runs):
    """Through any runs, in their order; a restore puts back tables that have it too."""
    with tempfile.TemporaryDirectory() as folder:
        session = {"alf/spikes.times.npy": 8, "alf/#2024-05-06#/spikes.times.npy": 9}
        tree = {f"lab/Subjects/S{n}/2020-01-01/001": session for n in (1, 2)}
        root = make_tree(Path(folder, "archive"), tree)
        index_archive(root)
        one = One(cache_dir=root, mode="local")
        for name, values in edits.items():
            table = "datasets" if len(values) == 4 else "sessions"
            written = pd.Series(values, index=one._cache[table].index)
            if name == "qc":
                written = written.astype(one._cache[table]["qc"].dtype)
            one._cache[table][name] = written
        save(one, clobber=True)
        before = [frame.sort(key).collect() for frame, key in zip(read(root), KEYS, strict=True)]
        index_archive(root)  # so that a restore has tables of ONE to put back
        for run in runs:
            if run == "index":
                index_archive(root)
            elif run == "merge":
                merge_tables([root], root)
            else:
                restore_tables(root)
        for frame, key, expected in zip(read(root), KEYS, before, strict=True):
            found = frame.sort(key).collect()
            # A column without a value has nothing to keep, not even its type.
            empty = [c for c in expected.columns if expected[c].null_count() == len(expected)]
            assert found.drop(empty, strict=False).rows(named=True) == (
                expected.drop(empty).rows(named=True)
            )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sessions", "datasets"])
def test_columns_of_every_type_are_read_by_one(root, name):
    edit_table(root, name, add_columns)
    index_archive(root)
    one = One(cache_dir=root, mode="local")
    frame = one._cache[name]
    assert {*EVERY_TYPE} <= {*frame.columns}
    save(one)  # and written once more
    report = index_archive(root)
    assert getattr(report, f"n_kept_{name}")
    again = One(cache_dir=root, mode="local")._cache[name]
    assert again["note"].dropna().to_list() == frame["note"].dropna().to_list()
    assert again["count"].dropna().to_list() == frame["count"].dropna().to_list()


def test_one_reads_tables_of_a_database(root):
    make_database(root)
    shutil.rmtree(root / "lab/Subjects/S2")
    for _ in range(2):
        report = index_archive(root)
        one = One(cache_dir=root, mode="local")
        assert report.n_missing == 2
        assert len(one.search()) == 2
        eids = one.search(subject="S2")
        assert not one._cache.datasets.loc[eids[0], "exists"].any()
        assert one._cache.datasets["exists"].dtype == bool
        assert one._cache.sessions["number"].dtype == np.uint16
        save(one)


@pytest.mark.slow
def test_rows_that_one_adds_are_not_in_the_way(root):
    """ONE merges records of a database into the tables: their origin is then in the metadata."""
    from one.alf.cache import merge_tables as merge_into

    one = One(cache_dir=root, mode="local")
    record = one._cache.datasets.iloc[0].copy()
    record.name = (record.name[0], type(record.name[0])("11111111-1111-4111-8111-111111111111"))
    record["rel_path"] = "alf/remote.times.npy"
    merge_into(one._cache, datasets=record, origin="https://alyx.example.org")
    save(one)
    report = index_archive(root)
    assert report.n_missing == 1
    datasets = scan_datasets(root).filter(pl.col("rel_path") == "alf/remote.times.npy").collect()
    assert datasets.select("id", "exists").rows() == [
        ("11111111-1111-4111-8111-111111111111", False)
    ]
    subprocess.run([sys.executable, "-W", "ignore", "-c", CODE, str(root)], check=True)
