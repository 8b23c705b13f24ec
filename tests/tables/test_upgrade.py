"""Tables of any age and hand, as columns of today."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from cache_tables import (
    datasets_frames,
    halve_ids,
    sessions_frames,
    spell_ids,
    write_table,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from written import convert_frame, write_bare

from polars_alf import errors, scan_datasets, scan_sessions
from polars_alf.alf.grammar import QC_DTYPE
from polars_alf.cache import load_tables
from polars_alf.schema import DATASETS, SESSIONS, polars_schema

pytestmark = pytest.mark.pandas
ROW = {"id": "a", "lab": "l", "subject": "s", "date": date(2020, 1, 1), "number": 1}
DATASET = {"eid": "a", "id": "b", "rel_path": "a.b.npy"}


@pytest.mark.slow
@given(sessions_frames(min_size=1), datasets_frames(min_size=1), st.booleans())
@settings(max_examples=25, deadline=None)
def test_tables_of_one_1_are_read_as_the_shim_reads_them(
    tmp_path_factory: pytest.TempPathFactory,
    sessions: pd.DataFrame,
    datasets: pd.DataFrame,
    halved: bool,
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    spell = halve_ids if halved else spell_ids
    old_sessions = spell(sessions).rename(columns={"projects": "project"})
    old_datasets = spell(datasets).drop(columns="qc").assign(session_path="lab/Subjects/s")
    if halved:  # the oldest have the halves of eid beside the index
        old_datasets = old_datasets.reset_index(["eid_0", "eid_1"])
    write_table(folder / "sessions.pqt", old_sessions)
    write_table(folder / "datasets.pqt", old_datasets)
    cache = load_tables(folder)
    for scan, name, schema in (
        (scan_sessions, "sessions", polars_schema(SESSIONS)),
        (scan_datasets, "datasets", polars_schema(DATASETS)),
    ):
        found = scan(folder).drop("origin").collect()
        assert found.schema == schema
        assert_frame_equal(found, convert_frame(cache[name], schema), check_row_order=False)


def test_integer_ids_are_those_uuids(tmp_path: Path) -> None:
    ids = [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID(int=0x0123456789ABCDEF << 64)]
    ids += [uuid.uuid4() for _ in range(1000)]
    frame = pd.DataFrame(ROW | {"id": ids}).set_index("id")
    write_table(tmp_path / "sessions.pqt", halve_ids(frame))
    found = scan_sessions(tmp_path).select("id").collect(engine="streaming")
    assert found["id"].to_list() == [str(uid) for uid in ids]


def test_an_index_without_names(tmp_path: Path) -> None:
    frame = pd.DataFrame(DATASET, index=[0]).set_index(["eid", "id"])
    frame.index.names = [None, None]
    write_table(tmp_path / "datasets.pqt", frame)
    assert scan_datasets(tmp_path).select("eid", "id").collect().rows() == [("a", "b")]


@pytest.mark.parametrize(
    ("column", "values", "read"),
    [
        ("date", ["2020-02-29"], date(2020, 2, 29)),
        ("date", [datetime(2020, 2, 29, 12)], date(2020, 2, 29)),
        ("number", [3.0], 3),
        ("number", [7], 7),
        ("number", pl.Series([None]), None),
        ("lab", pl.Series(["l"], dtype=pl.Categorical), "l"),
        ("projects", pl.Series([None]), None),
    ],
)
def test_types_of_sessions(tmp_path: Path, column: str, values: object, read: object) -> None:
    write_bare(tmp_path, "sessions", ROW | {column: pl.Series(values)})
    frame = scan_sessions(tmp_path)
    assert frame.collect_schema()[column] == polars_schema(SESSIONS)[column]
    assert frame.select(column).collect().item() == read


@pytest.mark.parametrize(
    ("column", "values", "read"),
    [
        ("qc", ["fail"], "FAIL"),
        ("qc", [30], "WARNING"),
        ("qc", pl.Series(["PASS"], dtype=pl.Categorical), "PASS"),
        ("qc", pl.Series([None]), None),
        ("file_size", [float("nan")], None),
        ("file_size", pl.Series([None]), None),
        ("file_size", [12.0], 12),
        ("exists", [1], True),
        ("hash", pl.Series([None]), None),
    ],
)
def test_types_of_datasets(tmp_path: Path, column: str, values: object, read: object) -> None:
    write_bare(tmp_path, "datasets", DATASET | {column: pl.Series(values)})
    frame = scan_datasets(tmp_path)
    assert frame.collect_schema()[column] == polars_schema(DATASETS)[column]
    assert frame.select(column).collect().item() == read


def test_qc_compares_by_value(tmp_path: Path) -> None:
    outcomes = ["WARNING", "CRITICAL", "NOT_SET", "FAIL", "PASS"]
    columns = {key: pl.Series([value] * 5) for key, value in DATASET.items()}
    write_bare(tmp_path, "datasets", columns | {"qc": pl.Series(outcomes)})
    frame = scan_datasets(tmp_path)
    assert frame.sort("qc").collect()["qc"].to_list() == list(QC_DTYPE.categories)
    assert frame.filter(pl.col("qc") >= "FAIL").collect().height == 2


def test_a_foreign_table(tmp_path: Path) -> None:
    write_bare(tmp_path, "sessions", {"a": 1})
    with pytest.raises(errors.MissingIdsError, match=r"sessions.pqt .*holds the ids id"):
        scan_sessions(tmp_path)
    write_bare(tmp_path, "datasets", {"eid": "a", "id": "b"})
    with pytest.raises(errors.ColumnsError, match=r"datasets.pqt .*no column rel_path"):
        scan_datasets(tmp_path)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("sessions", ROW | {"id": 7}),
        ("sessions", ROW | {"subject": [1]}),
        ("sessions", ROW | {"date": 2.5}),
        ("datasets", DATASET | {"exists": "yes"}),
        ("datasets", DATASET | {"qc": True}),
    ],
)
def test_types_that_make_no_sense(tmp_path: Path, name: str, columns: dict[str, object]) -> None:
    path = write_bare(tmp_path, name, columns)
    scan = {"sessions": scan_sessions, "datasets": scan_datasets}[name]
    with pytest.raises(errors.TableError, match=r"its column \w+ is .*, not .*restore") as caught:
        scan(tmp_path)
    assert str(path) in str(caught.value)


def test_unknown_qc_is_named_when_it_is_read(tmp_path: Path) -> None:
    write_bare(tmp_path, "datasets", DATASET | {"qc": "splendid"})
    frame = scan_datasets(tmp_path)
    assert frame.select("id").collect().item() == "b"
    with pytest.raises(pl.exceptions.InvalidOperationError, match="SPLENDID"):
        frame.collect()
