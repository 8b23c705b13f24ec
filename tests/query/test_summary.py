"""What tables have in them, in figures."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from table_frames import make_datasets, make_sessions
from trees import make_tree

import polars_alf
from polars_alf import summarize_tables
from polars_alf.errors import ArchiveNotFoundError, OptionError


def test_an_archive_is_summarized(archive: Path) -> None:
    make_tree(archive, {"cortexlab/Subjects/KS003/2021-01-01/001": {}})
    polars_alf.index_archive(archive, hash_files=True)
    summary = summarize_tables(archive, n_largest=1)
    assert (summary.n_sessions, summary.n_datasets, summary.n_bytes) == (5, 12, 244)
    assert (summary.n_absent, summary.n_with_hash) == (0, 12)
    groups = {name: frame.rows() for name, frame in summary.groups.items()}
    assert groups == {
        "lab": [("cortexlab", 4, 9, 183), ("wittenlab", 1, 3, 61)],
        "subject": [("KS001", 3, 9, 183), ("KS002", 1, 3, 61), ("KS003", 1, 0, 0)],
        "year": [(2020, 4, 12, 244), (2021, 1, 0, 0)],
        "collection": [("alf/probe00", 4, 4, 120), ("alf", 4, 4, 80), (None, 4, 4, 44)],
        "extension": [("npy", 4, 8, 200), ("csv", 4, 4, 44)],
    }
    assert dict(summary.qc.rows())["NOT_SET"] == 12
    assert summary.largest["file_size"].to_list() == [30]
    assert summary.largest["path"].item().endswith("/alf/probe00/#2024-05-06#/spikes.times.npy")
    assert summary.duplicates.select("file_size", "datasets", "n_bytes_spare").rows() == [
        (30, 4, 90),
        (20, 4, 60),
        (11, 4, 33),
    ]


def test_a_summary_can_be_written_as_json(archive: Path) -> None:
    polars_alf.index_archive(archive)
    found = json.loads(json.dumps(summarize_tables(archive).to_dict()))
    assert found["lab"][0] == {
        "lab": "cortexlab",
        "sessions": 3,
        "datasets": 9,
        "n_bytes": 183,
    }
    assert found["qc"]["NOT_SET"] == 12
    assert found["duplicates"] == []


def test_what_is_not_known_does_not_stop_it() -> None:
    sessions = make_sessions([("e1", "s1")])
    rows = [("e1", "a", "alf/a.b.npy", None), ("e9", "b", "no alf", 5), ("e9", "c", "alf/c.d.x", 1)]
    datasets = make_datasets(rows).with_columns(exists=pl.col("id") != "a")
    summary = summarize_tables((sessions, datasets))
    assert (summary.n_datasets, summary.n_bytes, summary.n_absent) == (3, 6, 1)
    assert summary.groups["lab"].rows() == [(None, 0, 2, 6), ("lab", 1, 1, 0)]
    assert summary.groups["extension"].rows() == [
        (None, 1, 1, 5),
        ("x", 1, 1, 1),
        ("npy", 1, 1, 0),
    ]
    assert summary.largest["path"].to_list() == [
        "e9/no alf",
        "e9/alf/c.d.x",
        "lab/Subjects/s1/2024-05-06/001/alf/a.b.npy",
    ]


def test_empty_tables_are_summarized() -> None:
    summary = summarize_tables((make_sessions([]), make_datasets([])))
    assert (summary.n_sessions, summary.n_datasets, summary.n_bytes) == (0, 0, 0)
    assert all(frame.is_empty() for frame in summary.groups.values())


def test_what_cannot_be_summarized_is_said(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFoundError):
        summarize_tables(tmp_path / "nowhere")
    with pytest.raises(OptionError, match="n_largest"):
        summarize_tables(archive, n_largest=-1)


def test_datasets_without_an_id_belong_to_no_session() -> None:
    sessions = make_sessions([(None, "s1"), ("E1", "s1"), ("e1", "s2")])
    rows = [(None, "a", "alf/a.b.npy", 1), (None, "b", "alf/c.d.npy", 2), ("E1", "c", "x.y.npy", 4)]
    datasets = make_datasets([*rows, ("no id", "d", "alf/a.b.npy", 8)])
    groups = summarize_tables((sessions, datasets)).groups
    assert groups["subject"].rows() == [(None, 0, 3, 11), ("s1", 2, 1, 4), ("s2", 1, 0, 0)]
    assert groups["collection"].rows() == [("alf", 2, 3, 11), (None, 1, 1, 4)]
