"""The smaller names of `polars_alf.cache` beside the originals."""

import subprocess
import sys
from pathlib import Path

import one.alf.cache as theirs
import pytest
from cache_tables import (
    EIDS,
    IDS,
    assert_same_cache,
    datasets_frames,
    halve_ids,
    make_datasets,
    sessions_frames,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from polars_alf import cache as ours
from polars_alf.errors import TableError

pytestmark = [
    pytest.mark.pandas,
    pytest.mark.filterwarnings("error:::polars_alf"),
    pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning:one"),
]


DATASET = (EIDS[0], IDS[0], "alf/spikes.times.npy", 12, "", True, "PASS")


def assert_same_frame(left, right):
    assert_frame_equal(left, right, check_index_type="exact")


def test_constants():
    assert ours.QC_TYPE == theirs.QC_TYPE
    assert ours.SESSIONS_COLUMNS == theirs.SESSIONS_COLUMNS
    assert ours.DATASETS_COLUMNS == theirs.DATASETS_COLUMNS
    assert_same_frame(ours.EMPTY_SESSIONS_FRAME, theirs.EMPTY_SESSIONS_FRAME)
    assert_same_frame(ours.EMPTY_DATASETS_FRAME, theirs.EMPTY_DATASETS_FRAME)


@pytest.mark.parametrize("origin", ["", "alyx"])
def test_default_cache(origin):
    assert_same_cache(theirs.default_cache(origin), ours.default_cache(origin))
    assert type(ours.default_cache()) is type(theirs.default_cache())
    assert ours.default_cache().sessions is not ours.EMPTY_SESSIONS_FRAME
    assert ours._metadata(Path("a")) == theirs._metadata(Path("a"))


@pytest.mark.parametrize(
    "path",
    [
        "lab/Subjects/subject/2021-02-03/001",
        "subject/2021-02-03/1/",
        Path("my.subject-1/2021-02-03/012"),
    ],
)
def test_session_info(path):
    assert ours._get_session_info(path) == theirs._get_session_info(path)


def test_session_info_of_what_is_no_session():
    with pytest.raises(ValueError, match="'subject/2021-02-31/1' is not a session"):
        ours._get_session_info("subject/2021-02-31/1")


@settings(deadline=None, max_examples=40)
@given(
    table=sessions_frames() | datasets_frames(),
    name=st.sampled_from([None, "sessions", "datasets"]),
    version=st.sampled_from([None, "1.12.9", "1.13.0", "2.6", "2.7.0", "3"]),
    halved=st.booleans(),
    data=st.data(),
)
def test_patch_tables(table, name, version, halved, data):
    if halved and len(table):
        table = halve_ids(table)
    if data.draw(st.booleans()):
        table = table.rename(columns={"projects": "project"}).assign(session_path="")
        table = table.drop(columns="qc", errors="ignore")
    before = table.copy()
    found = ours.patch_tables(table, version, name)
    assert_same_frame(table, before)
    assert_same_frame(found, theirs.patch_tables(table.copy(), version, name))


def test_halves_that_are_no_pairs():
    table = halve_ids(make_datasets([DATASET])).droplevel("id_1")
    with pytest.raises(TableError, match="are not pairs"):
        ours.patch_tables(table)


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_without_pandas():
    done = run_python("import sys; sys.modules['pandas'] = None; import polars_alf.cache")
    assert 'needs pandas: pip install "polars-alf[pandas]"' in done.stderr
    assert "MissingExtraError" in done.stderr


def test_without_one(tmp_path):
    done = run_python(
        "import sys; sys.modules['iblutil'] = sys.modules['one'] = None\n"
        "import pickle\n"
        "from polars_alf.cache import load_tables\n"
        f"cache = load_tables({str(tmp_path)!r})\n"
        "assert cache.sessions is cache['sessions']\n"
        "cache.extra = 1\n"
        "assert pickle.loads(pickle.dumps(cache))['extra'] == 1\n"
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    "name",
    [
        "DATASETS_COLUMNS",  # Alyx
        "EMPTY_DATASETS_FRAME",  # ONE's own users
        "SESSIONS_COLUMNS",  # Alyx
        "_iter_datasets",  # iblalyx and ibllib, of ONE 1
        "_make_datasets_df",  # ibllib
        "_metadata",  # Alyx
        "iter_datasets",  # iblrig
        "iter_sessions",  # iblrig
        "load_tables",
        "make_parquet_db",  # brainbox
        "merge_tables",
        "patch_tables",
        "remove_missing_datasets",
        "remove_table_files",
    ],
)
def test_names_that_other_programs_import(name):
    assert name in ours.__all__
    assert getattr(ours, name) is not None
