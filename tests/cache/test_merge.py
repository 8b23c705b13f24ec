"""merge_tables beside the original, and where the original does harm."""

import copy
import datetime
import pickle
import random
import uuid

import one.alf.cache as theirs
import pandas as pd
import pytest
from amount import count_examples
from cache_tables import (
    EIDS,
    IDS,
    assert_same_cache,
    datasets_frames,
    make_datasets,
    make_sessions,
    sessions_frames,
    spell_ids,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from one.alf.spec import QC
from one.converters import datasets2records, ses2records
from pandas.testing import assert_frame_equal

from polars_alf import cache as ours
from polars_alf.errors import ColumnsError, TableError, UnknownTableError

pytestmark = [
    pytest.mark.pandas,
    pytest.mark.filterwarnings("error:::polars_alf"),
    pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning:one"),
]

DAY = datetime.date(2021, 2, 3)
SESSION = (EIDS[0], "lab", "subject", DAY, 1, "", "")
DATASET = (EIDS[0], IDS[0], "alf/spikes.times.npy", 12, "", True, "PASS")


def make_cache(sessions=None, datasets=None):
    cache = ours.default_cache()
    if sessions is not None:
        cache["sessions"] = sessions.sort_index()
    if datasets is not None:
        cache["datasets"] = datasets.sort_index()
    return cache


def assert_merges_alike(cache, **kwargs):
    expected, found = copy.deepcopy(cache), copy.deepcopy(cache)
    updated = ours.merge_tables(found, **copy.deepcopy(kwargs))
    try:
        expected_update = theirs.merge_tables(expected, **copy.deepcopy(kwargs))
    except KeyError:
        # Under pandas 3 the original cannot update with records that miss a value.
        assert pd.__version__ >= "3"
        return
    assert (updated is None) == (expected_update is None)
    # Under pandas 3 the original turns an index of strings to objects now and then.
    assert_same_cache(expected, found, check_index_type=False)


def change_columns(frame, drop, extra):
    changed = frame.drop(columns=[column for column in drop if column in frame.columns])
    return changed.assign(extra=1) if extra else changed


@pytest.mark.slow
@settings(deadline=None, max_examples=count_examples(150))
@given(
    table=datasets_frames(min_size=1),
    records=datasets_frames(min_size=1),
    mirrored=st.booleans(),
    drop=st.sets(st.sampled_from(["hash", "file_size", "exists", "qc"]), max_size=2),
    extra=st.booleans(),
    origin=st.none() | st.just("alyx"),
    seed=st.randoms(use_true_random=False),
)
def test_datasets(table, records, mirrored, drop, extra, origin, seed):
    if mirrored:
        table = table.assign(exists_aws=False, revision="")
    if set(drop) & {"exists", "qc"} and pd.__version__ < "3":
        drop = drop - {"exists", "qc"}  # the original warns, or fails
    columns = list(records.columns)
    seed.shuffle(columns)
    records = change_columns(records[columns], drop, extra)
    assert_merges_alike(make_cache(datasets=table), origin=origin, datasets=records)


@settings(deadline=None, max_examples=count_examples(60))
@given(
    table=sessions_frames(),
    records=sessions_frames(min_size=1),
    datasets=datasets_frames(min_size=1),
    more=datasets_frames(),
    strict=st.booleans(),
)
def test_sessions_and_datasets(table, records, datasets, more, strict):
    cache = make_cache(table, datasets)
    assert_merges_alike(cache, strict=strict, sessions=records, datasets=more)


@settings(deadline=None, max_examples=count_examples(60))
@given(
    table=datasets_frames(min_size=1),
    batches=st.lists(datasets_frames(min_size=1), min_size=2, max_size=4),
    step=st.sampled_from([1, 2, -1]),
)
def test_what_was_merged_into_before(table, batches, step):
    cache = make_cache(datasets=table)
    for records in batches:
        cache["datasets"] = cache["datasets"].iloc[::step]  # all the ids stay in the levels
        assert_merges_alike(cache, datasets=records)
        ours.merge_tables(cache, datasets=records)
        merged = cache["datasets"]
        assert merged.index.is_monotonic_increasing
        assert merged.index.is_unique
        assert pickle.loads(pickle.dumps(merged)).equals(merged)


@settings(deadline=None, max_examples=count_examples(30))
@given(records=datasets_frames(min_size=1), more=datasets_frames(min_size=1))
def test_levels_turned_round_in_the_same_memory(records, more):
    cache = make_cache()
    ours.merge_tables(cache, datasets=records)
    index = cache["datasets"].index
    cache["datasets"].index = pd.MultiIndex(
        levels=[level[::-1] for level in index.levels],
        codes=[
            len(level) - 1 - codes for level, codes in zip(index.levels, index.codes, strict=True)
        ],
        names=index.names,
    )
    assert cache["datasets"].index.equals(index)
    assert_merges_alike(cache, datasets=more)


@settings(deadline=None, max_examples=count_examples(30))
@given(data=st.data())
def test_ids_that_are_paths(data):
    paths = ["lab/a/2020-01-01/001", "b/2020-01-01/1", "é/2020-01-01/1"]
    frames = datasets_frames(paths, ["a.b.c", "alf/a.b.c", "é.b.c"], 1)
    assert_merges_alike(make_cache(datasets=data.draw(frames)), datasets=data.draw(frames))


def test_one_record():
    cache = make_cache(
        make_sessions([SESSION]), make_datasets([DATASET, (EIDS[1], IDS[1], *DATASET[2:])])
    )
    session, dataset = cache.sessions.iloc[0].copy(), cache.datasets.iloc[0].copy()
    dataset["exists"] = False
    assert_merges_alike(cache, sessions=session, datasets=dataset)
    dataset.name = (EIDS[2], IDS[2])
    session.name = EIDS[2]
    assert_merges_alike(cache, sessions=session, datasets=dataset)
    assert_merges_alike(ours.default_cache(), sessions=session, datasets=dataset)


def test_the_first_of_repeated_records_counts():
    rows = [(EIDS[0], IDS[0], name, 1, "", True, "PASS") for name in "abc"]
    assert_merges_alike(make_cache(datasets=make_datasets([DATASET])), datasets=make_datasets(rows))


def test_an_extra_table():
    cache = make_cache()
    models = make_datasets([DATASET])[["hash"]].rename(columns={"hash": "model"})
    cache["insertions"] = models.iloc[:0]
    assert_merges_alike(cache, insertions=models, origin="alyx")


def test_records_of_alyx():
    details = {
        "url": f"https://alyx/sessions/{EIDS[1]}",
        "subject": "subject",
        "start_time": "2021-02-03T10:11:12",
        "lab": "lab",
        "number": 1,
        "task_protocol": "ephys",
        "projects": ["a", "b"],
        "data_dataset_session_related": [
            {
                "id": str(uid),
                "file_size": 12,
                "hash": "",
                "data_url": "https://host/data/lab/Subjects/subject/2021-02-03/001/alf/"
                f"spikes.times.{uid}.npy",
                "default_revision": "True",
                "qc": "PASS",
            }
            for uid in IDS[:3]
        ],
    }
    session, datasets = ses2records(copy.deepcopy(details))
    cache = make_cache(make_sessions([SESSION]), make_datasets([DATASET]))
    assert_merges_alike(cache, sessions=session, datasets=datasets, origin="https://alyx")
    sessions = pd.DataFrame([session])
    found = copy.deepcopy(cache)
    ours.merge_tables(found, sessions=sessions)
    assert found["sessions"].index.name == "id"  # the original loses it
    record = {
        "url": f"https://alyx/datasets/{IDS[5]}",
        "session": f"https://alyx/sessions/{EIDS[2]}",
        "file_size": None,
        "hash": None,
        "default_dataset": True,
        "qc": "NOT_SET",
        "file_records": [
            {"exists": True, "data_url": details["data_dataset_session_related"][0]["data_url"]}
        ],
    }
    assert_merges_alike(cache, datasets=datasets2records(record))
    orphan = datasets2records({**record, "session": None})
    ours.merge_tables(found, datasets=orphan)
    ours.merge_tables(found, datasets=orphan)
    assert found["datasets"].index[-1][1] == IDS[5]
    assert pd.isna(found["datasets"].index[-1][0])
    assert len(found["datasets"]) == 2


# Where the original does harm.


def test_nothing_to_merge_keeps_the_time_of_the_last_change():
    cache = make_cache()
    cache["_meta"]["modified_time"] = then = datetime.datetime(2024, 1, 2)
    assert ours.merge_tables(cache, sessions=None, datasets=ours.EMPTY_DATASETS_FRAME) is None
    assert cache["_meta"]["modified_time"] == then


def test_all_tables_change_or_none():
    cache = make_cache(make_sessions([SESSION]), make_datasets([DATASET]))
    before = copy.deepcopy(cache)
    sessions = make_sessions([(EIDS[1], *SESSION[1:])])
    with pytest.raises(UnknownTableError, match="no table 'unknown': use one of") as caught:
        ours.merge_tables(cache, sessions=sessions, unknown=sessions)
    assert isinstance(caught.value, KeyError)
    with pytest.raises(ColumnsError) as caught:
        ours.merge_tables(
            cache, True, sessions=sessions, datasets=make_datasets([DATASET]).assign(a=1)
        )
    assert isinstance(caught.value, AssertionError)
    with pytest.raises(TableError, match="'datasets': column 'file_size'"):
        ours.merge_tables(
            cache, sessions=sessions, datasets=make_datasets([DATASET]).assign(file_size="big")
        )
    assert_same_cache(before, cache)


def test_arguments_stay_as_they_are():
    table, records = make_datasets([DATASET]), make_datasets([(*DATASET[:2], "b", *DATASET[3:])])
    cache = make_cache(datasets=table)
    before, given_records = cache.datasets.copy(), records.drop(columns="hash")
    ours.merge_tables(cache, datasets=given_records)
    assert_frame_equal(table, before)
    assert list(given_records.columns) == ["rel_path", "file_size", "exists", "qc"]


def test_levels_by_name():
    cache = make_cache(datasets=make_datasets([DATASET]))
    ours.merge_tables(cache, datasets=cache.datasets.reorder_levels(["id", "eid"]))
    assert list(cache.datasets.index) == [(EIDS[0], IDS[0])]
    ours.merge_tables(cache, datasets=cache.datasets.reset_index())
    assert list(cache.datasets.index) == [(EIDS[0], IDS[0])]


def test_strings_beside_uuids():
    rows = [DATASET, (EIDS[1], IDS[1], *DATASET[2:])]
    as_objects, as_strings = make_datasets(rows), spell_ids(make_datasets(rows))
    cache = make_cache(datasets=as_objects)
    ours.merge_tables(cache, datasets=as_strings)
    assert sorted(cache.datasets.index) == sorted(as_objects.index)
    cache = make_cache(datasets=as_strings)
    ours.merge_tables(cache, datasets=as_objects)
    assert_frame_equal(cache.datasets, as_strings.sort_index())
    cache = make_cache(datasets=as_strings.iloc[:0])
    ours.merge_tables(cache, datasets=as_objects)
    assert sorted(cache.datasets.index) == sorted(as_objects.index)
    # A table that was harmed already is put right.
    mixed = pd.Index([EIDS[0], str(EIDS[1])], name="id", dtype=object)
    cache["sessions"] = make_sessions([SESSION] * 2).set_axis(mixed)
    ours.merge_tables(cache, sessions=make_sessions([(str(EIDS[1]), *SESSION[1:])]))
    assert sorted(cache.sessions.index) == sorted(EIDS[:2])


@pytest.mark.parametrize(("table_id", "record_id"), [(EIDS[0], "b/2020-01-01/1"), ("b/1", EIDS[0])])
def test_ids_of_another_kind(table_id, record_id):
    cache = make_cache(make_sessions([(table_id, *SESSION[1:])]))
    with pytest.raises(TableError, match=r"do not fit the table 'sessions'.*UUID"):
        ours.merge_tables(cache, sessions=make_sessions([(record_id, *SESSION[1:])]))


def test_an_index_that_does_not_fit():
    cache = make_cache(datasets=make_datasets([DATASET]))
    with pytest.raises(TableError, match=r"the index is \['id'\], not \['eid', 'id'\]"):
        ours.merge_tables(cache, datasets=make_datasets([DATASET]).droplevel("eid"))


FULL = make_datasets([(EIDS[0], uid, *DATASET[2:]) for uid in IDS[:3]])
SOME = ["rel_path", "file_size"]


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (pd.DataFrame(), list(FULL)),
        (pd.DataFrame(index=FULL.index[:0]), list(FULL)),
        (pd.DataFrame(columns=list(ours.DATASETS_COLUMNS)), list(FULL)),
        (pd.DataFrame(columns=SOME), SOME),
        (FULL.iloc[:1][SOME], SOME),
        (FULL.iloc[:1].reset_index(), list(FULL)),
        (FULL.iloc[:1].reset_index()[["id", "eid", *SOME]], SOME),
        (FULL.iloc[:1].rename_axis([None, None]), list(FULL)),
    ],
)
@pytest.mark.parametrize("is_indexed", [True, False])
def test_no_row_vanishes_in_a_table_without_an_index_or_columns(table, columns, is_indexed):
    cache = make_cache()
    cache["datasets"] = table
    ours.merge_tables(cache, datasets=FULL if is_indexed else FULL.reset_index())
    assert cache.datasets.index.tolist() == FULL.sort_index().index.tolist()
    assert cache.datasets.index.names == ["eid", "id"]
    assert list(cache.datasets) == columns
    assert cache.datasets["rel_path"].tolist() == FULL["rel_path"].tolist()


def test_rows_that_are_numbered_have_their_ids_in_a_column():
    cache = make_cache()
    cache["insertions"] = pd.DataFrame({"pid": ["b", "a"], "width": [1, 2]})
    ours.merge_tables(cache, insertions=pd.DataFrame({"pid": ["c", "b"], "width": [3, 4]}))
    assert cache.insertions["width"].to_dict() == {"a": 2, "b": 4, "c": 3}
    cache["widths"] = pd.DataFrame({"width": [1, 2]})
    with pytest.raises(TableError, match=r"'widths': .*only numbered; index both by their ids"):
        ours.merge_tables(cache, widths=pd.DataFrame({"width": [3]}))
    cache["widths"].index = ["a", "b"]  # the cure
    ours.merge_tables(cache, widths=pd.DataFrame({"width": [3]}, index=["b"]))
    assert cache.widths["width"].to_dict() == {"a": 1, "b": 3}


def test_the_first_of_columns_with_one_name_counts():
    table = make_datasets([DATASET])
    cache = make_cache(datasets=pd.concat([table, table[["hash"]]], axis=1))
    records = make_datasets([(EIDS[1], IDS[1], *DATASET[2:])]).assign(hash="first")
    twice = pd.concat([records, records[["hash"]].assign(hash="second")], axis=1)
    ours.merge_tables(cache, datasets=twice)
    assert list(cache.datasets) == list(table)
    assert "first" in cache.datasets["hash"].tolist()
    assert "second" not in cache.datasets["hash"].tolist()


@pytest.mark.parametrize("is_old", [(True, False), (False, True), (True, True), (False, False)])
def test_project_is_projects_of_old_tables_and_records(is_old):
    frames = [
        make_sessions([(eid, *SESSION[1:6], name)]).rename(
            columns={"projects": "project"} if old else {}
        )
        for eid, name, old in zip(EIDS, ("one", "two"), is_old, strict=False)
    ]
    cache = make_cache(frames[0])
    ours.merge_tables(cache, sessions=frames[1])
    column = "project" if all(is_old) else "projects"
    assert cache.sessions[column].loc[EIDS[:2]].tolist() == ["one", "two"]
    assert len({"project", "projects"} & {*cache.sessions}) == 1


@pytest.mark.parametrize("qc", ["FAIL", "fail", "Fail", 40, 40.0, "40", QC.FAIL])
def test_qc_in_any_spelling(qc):
    cache = make_cache(datasets=make_datasets([DATASET]))
    rows = [DATASET, (EIDS[1], IDS[1], *DATASET[2:])]
    ours.merge_tables(cache, datasets=make_datasets(rows).assign(qc=qc))
    assert cache.datasets["qc"].dtype == ours.QC_TYPE
    assert cache.datasets["qc"].tolist() == ["FAIL", "FAIL"]


@pytest.mark.parametrize("qc", ["GOOD", 41, True, ""])
def test_qc_of_no_outcome(qc):
    cache = make_cache(datasets=make_datasets([DATASET]))
    with pytest.raises(TableError, match=f"'qc': {qc!r} is not a QC outcome"):
        ours.merge_tables(cache, datasets=make_datasets([DATASET]).assign(qc=qc))


def test_missing_qc_stays_missing():
    cache = make_cache(datasets=make_datasets([DATASET]))
    ours.merge_tables(cache, datasets=make_datasets([DATASET]).assign(qc=None))
    assert cache.datasets["qc"].isna().all()


def test_origins_after_save_cache_made_them_a_list():
    cache = make_cache(make_sessions([SESSION]))
    cache["_meta"]["raw"]["sessions"]["origin"] = ["a"]
    ours.merge_tables(cache, sessions=make_sessions([SESSION]), origin="b")
    assert cache["_meta"]["raw"]["sessions"]["origin"] == {"a", "b"}


def test_every_row_of_a_repeated_id_is_updated():
    cache = make_cache(make_sessions([SESSION] * 3))
    ours.merge_tables(cache, sessions=make_sessions([(EIDS[0], "new", *SESSION[2:])]))
    assert cache.sessions["lab"].tolist() == ["new"] * 3


def test_many_rows():
    shuffled = random.Random(0).sample([uuid.uuid5(EIDS[0], str(n)) for n in range(3000)], 3000)
    rows = [(EIDS[n % 3], uid, str(n), n, "", True, "PASS") for n, uid in enumerate(shuffled)]
    cache = make_cache(datasets=make_datasets(rows[:2000]))
    assert_merges_alike(cache, datasets=make_datasets(rows[1000:]).assign(hash="new"))
    few = make_datasets(rows).iloc[[5, 2500]]  # with all the ids in its levels
    ours.merge_tables(cache, datasets=few)
    assert len(cache.datasets) == 2001
    assert len(cache.datasets.index.levels[1]) == 2001
