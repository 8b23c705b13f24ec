"""load_tables beside the original, and on tables that are not as they should be."""

import datetime
import json
import logging
import os
import pickle
import time
import uuid
from pathlib import Path

import one.alf.cache as theirs
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from amount import count_examples
from cache_tables import (
    EIDS,
    IDS,
    assert_same_cache,
    datasets_frames,
    halve_ids,
    make_datasets,
    make_sessions,
    sessions_frames,
    spell_ids,
    write_table,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from polars_alf import cache as ours
from polars_alf import merge_tables
from polars_alf.errors import TableError


@pytest.mark.parametrize("tables", [("sessions", "datasets"), iter(["insertions"]), "sessions"])
@pytest.mark.parametrize("as_text", [True, False])
def test_remove_table_files(tmp_path, caplog, tables, as_text):
    for name in ("sessions.pqt", "insertions.pqt", "cache_info.json", "notes.txt"):
        (tmp_path / name).touch()
    names = [tables] if isinstance(tables, str) else list(tables)
    removed = ours.remove_table_files(str(tmp_path) if as_text else tmp_path, tables=names)
    there = [name for name in names if name != "datasets"]
    assert removed == [tmp_path / "cache_info.json", *(tmp_path / f"{n}.pqt" for n in there)]
    assert not any(path.exists() for path in removed)
    assert (tmp_path / "notes.txt").exists()
    assert ("datasets.pqt not found" in caplog.text) == ("datasets" in names)
    assert {record.name for record in caplog.records} <= {"one.alf.cache"}


def test_remove_one_table_given_as_text(tmp_path):
    (tmp_path / "sessions.pqt").touch()
    assert ours.remove_table_files(tmp_path, "sessions") == [tmp_path / "sessions.pqt"]


pytestmark = [
    pytest.mark.pandas,
    pytest.mark.filterwarnings("error:::polars_alf"),
    pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning:one"),
]


SESSION = (EIDS[0], "lab", "subject", pd.Timestamp("2021-02-03").date(), 1, "", "")


DATASET = (EIDS[0], IDS[0], "alf/spikes.times.npy", 12, "", True, "PASS")


ONE_SESSION = spell_ids(make_sessions([SESSION]))


ONE_DATASET = spell_ids(make_datasets([DATASET]))


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


def assert_loads_alike(folder):
    assert_same_cache(theirs.load_tables(folder), ours.load_tables(folder))


@settings(deadline=None, max_examples=count_examples(60))
@given(
    sessions=sessions_frames(min_size=1),
    datasets=datasets_frames(min_size=1),
    spell=st.sampled_from([spell_ids, lambda frame: spell_ids(frame).reset_index(), halve_ids]),
    pandas_metadata=st.booleans(),
    is_sorted=st.booleans(),
)
def test_uuids(shared, sessions, datasets, spell, pandas_metadata, is_sorted):
    for name, frame in {"sessions": sessions, "datasets": datasets}.items():
        spelt = spell(frame.sort_index() if is_sorted else frame)
        # Without pandas' metadata integers come back as columns, which ONE does not understand.
        keep = pandas_metadata or spell is halve_ids
        write_table(shared / f"{name}.pqt", spelt, pandas_metadata=keep)
    if not pandas_metadata and spell is not halve_ids:
        # The original leaves qc unordered here, and the nullable integers as floats.
        loaded = ours.load_tables(shared)
        expected = theirs.load_tables(shared)
        assert loaded.datasets["qc"].dtype == ours.QC_TYPE
        for column in ("qc", "file_size"):
            wanted = ours.DATASETS_COLUMNS[column]
            expected["datasets"][column] = expected.datasets[column].astype(wanted)
        assert_same_cache(expected, loaded)
    else:
        assert_loads_alike(shared)


@settings(deadline=None, max_examples=count_examples(30))
@given(
    sessions=sessions_frames(["lab/a/2020-01-01/001", "b/2020-01-01/1", "é/2020-01-01/1"], 1),
    datasets=datasets_frames(["b/2020-01-01/1", "é/2020-01-01/1"], ["a.b.c", "alf/a.b.c"], 1),
    as_columns=st.booleans(),
)
def test_ids_that_are_paths(tmp_path_factory, sessions, datasets, as_columns):
    folder = tmp_path_factory.mktemp("paths")
    write_table(folder / "sessions.pqt", sessions.reset_index() if as_columns else sessions)
    write_table(folder / "datasets.pqt", datasets.reset_index() if as_columns else datasets)
    assert_loads_alike(folder)


@pytest.mark.parametrize("version", [None, "1.12.0", "1.13.0", "2.6.9", "2.7.0"])
@pytest.mark.parametrize("make_ids", [spell_ids, halve_ids])
def test_old_tables(tmp_path, version, make_ids):
    metadata = {"date_created": "2020-01-01 00:00", "origin": ["alyx"]}
    if version:
        metadata["min_api_version"] = version
    sessions = make_ids(make_sessions([SESSION])).rename(columns={"projects": "project"})
    datasets = make_ids(make_datasets([DATASET])).drop(columns="qc").assign(session_path="a/b")
    write_table(tmp_path / "sessions.pqt", sessions, metadata)
    write_table(tmp_path / "datasets.pqt", datasets, metadata)
    assert_loads_alike(tmp_path)


def test_session_ids_of_old_datasets_are_columns(tmp_path):
    datasets = halve_ids(make_datasets([DATASET])).reset_index(level=["eid_0", "eid_1"])
    write_table(tmp_path / "datasets.pqt", datasets)
    assert_loads_alike(tmp_path)


def test_no_folder_gives_the_empty_tables(tmp_path):
    assert_loads_alike(tmp_path / "absent")


def test_an_extra_table_and_another_pattern(tmp_path):
    insertions = spell_ids(make_datasets([DATASET]))[["hash"]].rename(columns={"hash": "model"})
    write_table(tmp_path / "insertions.pqt", insertions)
    write_table(tmp_path / "insertions.parquet", insertions)
    assert_loads_alike(tmp_path)
    pattern = "*.parquet"
    assert_same_cache(theirs.load_tables(tmp_path, pattern), ours.load_tables(tmp_path, pattern))


@pytest.mark.parametrize("version", [1, 3, 4, 5])
def test_only_versions_that_alf_uses_become_objects(tmp_path, version):
    eid = str(uuid.UUID(int=1 << 127, version=version))
    sessions = ONE_SESSION.set_axis(pd.Index([eid], name="id"))
    write_table(tmp_path / "sessions.pqt", sessions)
    assert_loads_alike(tmp_path)
    assert isinstance(
        ours.load_tables(tmp_path).sessions.index[0], str if version == 1 else uuid.UUID
    )


def test_ids_in_upper_case_beside_a_canonical_one(tmp_path):
    ids = [str(IDS[1]).upper(), IDS[2].hex, str(IDS[3])]
    sessions = pd.concat([ONE_SESSION] * 3).set_axis(pd.Index(ids, name="id"))
    write_table(tmp_path / "sessions.pqt", sessions)
    assert_loads_alike(tmp_path)


def test_ids_all_in_upper_case_stay_strings(tmp_path):
    write_table(tmp_path / "sessions.pqt", ONE_SESSION.rename(index=str.upper))
    assert_loads_alike(tmp_path)


def test_missing_session_ids_stay_missing(tmp_path):
    rows = [DATASET, (None, IDS[1], *DATASET[2:])]
    datasets = spell_ids(make_datasets(rows)).reset_index()
    datasets["eid"] = [str(EIDS[0]), None]
    write_table(tmp_path / "datasets.pqt", datasets.set_index(["eid", "id"]))
    assert_loads_alike(tmp_path)


def test_repeated_ids_are_kept_and_noted(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_table(tmp_path / "datasets.pqt", pd.concat([ONE_DATASET] * 3))
    assert_loads_alike(tmp_path)
    assert "ids of 2 rows are repeated" in caplog.text


def test_levels_in_another_order(tmp_path):
    swapped = ONE_DATASET.reorder_levels(["id", "eid"])
    write_table(tmp_path / "datasets.pqt", swapped)
    assert list(ours.load_tables(tmp_path).datasets.index) == [(EIDS[0], IDS[0])]


def test_an_index_whose_name_was_lost(tmp_path):
    write_table(tmp_path / "sessions.pqt", ONE_SESSION.rename_axis(None))
    sessions = ours.load_tables(tmp_path).sessions
    assert sessions.index.name == "id"
    assert sessions.index[0] == EIDS[0]


def test_use_like_the_original(tmp_path):
    rows = [(eid, i, f"{n}.a.b", n, "", True, "FAIL") for eid in EIDS for n, i in enumerate(IDS)]
    write_table(tmp_path / "datasets.pqt", spell_ids(make_datasets(rows)))
    loaded = [module.load_tables(tmp_path).datasets for module in (theirs, ours)]
    some = [(EIDS[1], IDS[3]), (EIDS[2], IDS[4])]
    for use in (
        lambda frame: frame.loc[EIDS[1]],
        lambda frame: frame.loc[(EIDS[1], IDS[3])],
        lambda frame: frame.loc[some],
        lambda frame: frame.loc[min(EIDS) : sorted(EIDS)[1]],
        lambda frame: frame.loc[(slice(None), IDS[3]), :],
        lambda frame: frame[frame.index.isin(some)],
        lambda frame: frame[frame.index.isin([IDS[5]], level="id")],
        lambda frame: frame.iloc[::-1].sort_index(),
        lambda frame: frame.drop(EIDS[0]).reset_index(),
        lambda frame: frame.groupby(level="eid")["file_size"].sum(),
        lambda frame: pickle.loads(pickle.dumps(frame)),
        lambda frame: frame.index.get_level_values("id").map(repr).to_frame(),
        lambda frame: frame.assign(exists=False),
    ):
        expected, found = map(use, loaded)
        assert type(found) is type(expected)
        assert found.equals(expected)
        assert found.index.equals(expected.index)
    ids = loaded[1].index.get_level_values("id")
    assert all(
        uid.is_safe is uuid.SafeUUID.unknown and hash(uid) == hash(uuid.UUID(str(uid)))
        for uid in ids
    )
    loaded[1].loc[(EIDS[1], IDS[3]), "exists"] = False
    assert not loaded[1].loc[(EIDS[1], IDS[3]), "exists"]


def write_bytes(content):
    return lambda path: path.write_bytes(content)


def write_half(path):
    write_table(path, ONE_SESSION)
    path.write_bytes(path.read_bytes()[:-100])


def write_with_damaged_pages(path):
    write_table(path, ONE_SESSION)
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(100) + content[104:])


def write_metadata(text):
    def write(path):
        table = pa.Table.from_pandas(ONE_SESSION)
        metadata = {**table.schema.metadata, "one_metadata": text}
        pq.write_table(table.replace_schema_metadata(metadata), path)

    return write


def write_frame(frame, metadata=None):
    return lambda path: write_table(path, frame, metadata)


MIXED = pd.concat([ONE_SESSION, ONE_SESSION.rename(index={str(EIDS[0]): "lab/a/2020-01-01/1"})])


@pytest.mark.parametrize(
    ("write", "cause"),
    [
        (write_bytes(b""), "no readable table"),
        (write_bytes(b"id,lab\n1,a\n" * 9), "no readable table.*not a parquet file"),
        (write_half, "no readable table"),
        (write_with_damaged_pages, "damaged"),
        (Path.mkdir, "no readable table"),
        (write_metadata("{"), "not JSON"),
        (write_metadata("[1]"), "not an object"),
        (write_frame(MIXED), "'lab/a/2020-01-01/1' is not a UUID"),
        (write_frame(ONE_DATASET), r"its index is \['eid', 'id'\], not \['id'\]"),
        (write_frame(ONE_SESSION.rename_axis("eid")), r"its index is \['eid'\]"),
        (write_frame(ONE_SESSION.reset_index(drop=True)), "none of its columns holds ids"),
    ],
)
def test_bad_tables(tmp_path, write, cause):
    path = tmp_path / "sessions.pqt"
    write(path)
    with pytest.raises(TableError, match=cause) as caught:
        ours.load_tables(tmp_path)
    assert str(path) in str(caught.value)
    assert "index the archive again" in str(caught.value)


def describe_columns(**values):
    return {"columns": [{"name": "id", "field_name": "id"} | values], "column_indexes": []}


@pytest.mark.parametrize(
    "noted",
    [
        {},
        {"columns": None},
        {"columns": [1]},
        {"columns": [{}], "column_indexes": []},
        describe_columns(pandas_type=7, numpy_type={}),
        describe_columns(pandas_type="unicode", numpy_type="no such type"),
        describe_columns() | {"index_columns": [{"kind": "range"}]},
        describe_columns() | {"index_columns": [{"kind": "range", "name": [], "step": 1}]},
        describe_columns() | {"index_columns": [["id"]]},
        describe_columns() | {"index_columns": ["missing"]},
    ],
    ids=str,
)
def test_metadata_of_pandas_that_makes_no_sense(tmp_path, noted):
    path = tmp_path / "sessions.pqt"
    write_table(path, ONE_SESSION)
    table = pq.read_table(path)
    metadata = table.schema.metadata | {b"pandas": json.dumps({"index_columns": ["id"]} | noted)}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(TableError, match=r"sessions\.pqt is not as it should be"):
        ours.load_tables(tmp_path)


def test_no_ids_is_a_key_error_as_in_the_original(tmp_path):
    write_table(tmp_path / "sessions.pqt", ONE_SESSION.reset_index(drop=True))
    for module in (theirs, ours):
        with pytest.raises(KeyError):
            module.load_tables(tmp_path)


def test_qc_of_no_outcome(tmp_path):
    write_table(tmp_path / "datasets.pqt", ONE_DATASET.assign(qc="GOOD"))
    with pytest.raises(TableError, match="'GOOD' is not a QC outcome"):
        ours.load_tables(tmp_path)


def test_what_is_no_table_is_skipped(tmp_path, caplog):
    (tmp_path / "folder.pqt").mkdir()
    write_table(tmp_path / "foreign.pqt", ONE_SESSION, {})
    cache = ours.load_tables(tmp_path)
    assert set(cache) == {"sessions", "datasets", "_meta"}
    assert "folder.pqt is a folder" in caplog.text
    assert "foreign.pqt has no metadata of ONE" in caplog.text


@pytest.mark.parametrize("metadata", [{}, {"origin": "lab"}])
def test_the_two_tables_need_no_metadata_of_one(tmp_path, caplog, metadata):
    write_table(tmp_path / "sessions.pqt", ONE_SESSION, metadata)
    write_table(tmp_path / "datasets.pqt", ONE_DATASET, metadata)
    assert theirs.load_tables(tmp_path)["sessions"].empty
    cache = ours.load_tables(tmp_path)
    assert cache["sessions"].index.tolist() == EIDS[:1]
    assert cache["_meta"]["loaded_time"] is not None
    assert "sessions.pqt has no metadata of ONE, which would skip it" in caplog.text
    merge_tables(tmp_path, tmp_path)  # the cure
    assert theirs.load_tables(tmp_path)["sessions"].index.tolist() == EIDS[:1]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("2024-01-02 03:04", "2024-01-02 03:04"),
        ("2024-01-02T03:04:05.5", "2024-01-02T03:04:05.5"),
        ("2024-01-02T03:04:05Z", "2024-01-02 04:04:05"),
        ("2024-01-02 03:04:05 +0200", "2024-01-02 02:04:05"),
        ("2024/01/02 03:04 UTC", "2024-01-02 04:04:00"),
        (1704164645, "2024-01-02 04:04:05"),
        ("yesterday", None),
        (None, None),
        (10**30, None),
    ],
)
def test_dates_of_any_form(tmp_path, monkeypatch, given, read):
    """The other table has one without a zone; ONE compares the two, and saves them."""
    monkeypatch.setenv("TZ", "Africa/Lagos")  # an hour east of Greenwich, all the year
    time.tzset()
    try:
        write_table(tmp_path / "sessions.pqt", ONE_SESSION, {"date_created": given})
        write_table(tmp_path / "datasets.pqt", ONE_DATASET, {"date_created": "2024-01-02 02:30"})
        cache = ours.load_tables(tmp_path)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert cache["sessions"].index.tolist() == EIDS[:1]
    assert cache["_meta"]["raw"]["sessions"].get("date_created") == read
    dates = [datetime.datetime(2024, 1, 2, 2, 30)]
    dates += [datetime.datetime.fromisoformat(read)] if read else []
    assert cache["_meta"]["created_time"] == min(dates)


@pytest.mark.parametrize("version", ["x", 2.7, None])
def test_a_version_that_is_none_is_an_old_one(tmp_path, version):
    metadata = {"date_created": "2020-01-01", "min_api_version": version}
    old = ONE_SESSION.rename(columns={"projects": "project"})
    write_table(tmp_path / "sessions.pqt", old, metadata)
    assert "projects" in ours.load_tables(tmp_path)["sessions"].columns


@pytest.mark.skipif(os.name != "posix", reason="everything can be read")
def test_unreadable(tmp_path, unprivileged):
    write_table(tmp_path / "sessions.pqt", ONE_SESSION).chmod(0)
    unprivileged()
    with pytest.raises(TableError, match="Permission denied"):
        ours.load_tables(tmp_path)


def write_generation(path, frame, generation):
    table = pa.Table.from_pandas(frame)
    noted = {
        "one_metadata": json.dumps({"date_created": "2024-01-01"}),
        "polars_alf": json.dumps({"generation": generation, "namespace": str(EIDS[0])}),
    }
    pq.write_table(table.replace_schema_metadata({**noted, **table.schema.metadata}), path)


def test_tables_of_two_generations(tmp_path):
    write_generation(tmp_path / "sessions.pqt", ONE_SESSION, "a")
    write_generation(tmp_path / "datasets.pqt", ONE_DATASET, "b")
    with pytest.raises(TableError, match="of different runs") as caught:
        ours.load_tables(tmp_path)
    assert "sessions.pqt" in str(caught.value)
    assert "datasets.pqt" in str(caught.value)
    write_generation(tmp_path / "datasets.pqt", ONE_DATASET, "a")
    assert_loads_alike(tmp_path)
    write_table(tmp_path / "datasets.pqt", ONE_DATASET)  # ONE saves without a generation
    assert_loads_alike(tmp_path)
