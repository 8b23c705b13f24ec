"""The real ONE: its own index gives the same tables, and its client opens ours."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import uuid
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from make_archive import make_archive
from one.alf import cache as one_cache
from one.api import One
from pandas.testing import assert_frame_equal
from trees import TWO_LABS, make_tree

from polars_alf import cache, index_archive
from polars_alf.alf import grammar
from polars_alf.alf.paths import printable

pytestmark = [
    pytest.mark.pandas,
    # ONE's remarks on which of several revisions it loads.
    pytest.mark.filterwarnings("ignore::one.alf.exceptions.ALFWarning"),
]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a clean archive that ONE can index: three labs, 1,440 files."""
    root = tmp_path_factory.mktemp("clean") / "archive"
    make_archive(root, labs=3, subjects=5, sessions=4, files=72)
    return root


def load(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    tables = one_cache.load_tables(folder)
    return tables["sessions"], tables["datasets"]


def folders(tmp_path: Path) -> tuple[Path, Path]:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    return theirs, ours


def roots(archive: Path) -> list[Path]:
    lab = sorted(archive.iterdir())[1]
    subject = sorted((lab / "Subjects").iterdir())[0]
    date = sorted(subject.iterdir())[0]
    return [archive, lab, lab / "Subjects", subject, date, sorted(date.iterdir())[0]]


@pytest.mark.slow
@pytest.mark.parametrize("level", range(6))
def test_paths_as_ids_give_the_frames_of_one(clean: Path, tmp_path: Path, level: int) -> None:
    root = roots(clean)[level]
    theirs, ours = folders(tmp_path)
    one_cache.make_parquet_db(root, theirs, hash_ids=False)
    index_archive(root, ours, hash_ids=False, default_revisions=False)
    for one, other in zip(load(theirs), load(ours), strict=True):
        assert len(one) > 0
        assert_frame_equal(one, other)
    for name in ("sessions", "datasets"):
        assert_frame_equal(
            pd.read_parquet(theirs / f"{name}.pqt"), pd.read_parquet(ours / f"{name}.pqt")
        )


def test_uuids_give_the_frames_of_one_up_to_the_ids(clean: Path, tmp_path: Path) -> None:
    theirs, ours = folders(tmp_path)
    one_cache.make_parquet_db(clean, theirs)
    index_archive(clean, ours, default_revisions=False)
    keys = ["lab", "subject", "date", "number"]
    tables = []
    for folder in (theirs, ours):
        sessions, datasets = load(folder)
        assert isinstance(sessions.index[0], uuid.UUID)
        assert sessions.index.is_monotonic_increasing
        assert datasets.index.is_monotonic_increasing
        assert (sessions.index.names, list(datasets.index.names)) == (["id"], ["eid", "id"])
        # The ids differ, so the session's own columns stand for them.
        datasets = datasets.join(sessions[keys], on="eid").reset_index(drop=True)
        tables.append(
            (
                sessions.sort_values(keys).reset_index(drop=True),
                datasets.sort_values([*keys, "rel_path"]).reset_index(drop=True),
            )
        )
    for one, other in zip(*tables, strict=True):
        assert len(one) > 0
        assert_frame_equal(one, other)


@pytest.mark.slow
def test_digests_are_those_of_one(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    make_archive(root, labs=1, subjects=1, sessions=1, files=16, content="small")
    theirs, ours = folders(tmp_path)
    one_cache.make_parquet_db(root, theirs, hash_ids=False, hash_files=True)
    index_archive(root, ours, hash_ids=False, hash_files=True, default_revisions=False)
    one, other = load(theirs)[1], load(ours)[1]
    assert one["hash"].nunique() > 10
    assert_frame_equal(one, other)


def test_dtypes_are_those_of_one_even_when_empty(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="No sessions found"):
        index_archive(tmp_path)
    for ours, expected in zip(
        load(tmp_path),
        (one_cache.EMPTY_SESSIONS_FRAME, one_cache.EMPTY_DATASETS_FRAME),
        strict=True,
    ):
        assert list(ours.index.names) == list(expected.index.names)
        assert list(ours.columns) == list(expected.columns)
        for name in ours.columns.drop("qc", errors="ignore"):
            if expected[name].dtype == object and name != "date":
                assert pd.api.types.is_string_dtype(ours[name].dtype)
            else:
                assert ours[name].dtype == expected[name].dtype
    # No Parquet file without rows keeps categories for ONE's own loader, only their order.
    assert load(tmp_path)[1]["qc"].cat.ordered
    assert cache.load_tables(tmp_path)["datasets"]["qc"].dtype == one_cache.QC_TYPE


def test_hazards_of_one_do_not_come_back(tmp_path: Path) -> None:
    """Trees on which ONE's own index stops, or makes a table that cannot be loaded."""
    root = make_tree(
        tmp_path / "archive",
        TWO_LABS
        | {
            "cortexlab/Subjects/KS001/2020-01-01/001/alf/._spikes.times.npy": 4,
            "cortexlab/Subjects/KS009/2021-13-45/001/a.b.npy": 1,
            "cortexlab/Subjects/KS009/2021-12-01/001": {},
        },
    )
    report = index_archive(root)
    sessions, datasets = load(root)
    assert len(sessions) == 5
    assert len(datasets) == 12
    assert datasets["rel_path"].notna().all()
    assert report.issues == {"invalid_date": 1, "outside_session": 1}


def test_drop_in_gives_the_tables_of_one(clean: Path, tmp_path: Path) -> None:
    theirs, ours = folders(tmp_path)
    expected = one_cache.make_parquet_db(clean, theirs, hash_ids=False)
    paths = cache.make_parquet_db(clean, ours, hash_ids=False)
    assert [path.name for path in paths] == [path.name for path in expected]
    for name in ("sessions", "datasets"):
        assert_frame_equal(one_cache.load_tables(theirs)[name], cache.load_tables(ours)[name])
    assert_frame_equal(one_cache._make_sessions_df(clean), cache._make_sessions_df(clean))
    assert_frame_equal(one_cache._make_datasets_df(clean), cache._make_datasets_df(clean))


@pytest.mark.parametrize("flat", [False, True])
def test_no_dataset_is_passed_over_in_silence(tmp_path: Path, flat: bool) -> None:
    """Every file with a dataset's name is in the tables, or below the path of an issue."""
    root = tmp_path / "archive"
    summary = make_archive(root, labs=2, subjects=4, sessions=2, files=36, odd=True, flat=flat)
    assert len(summary.odd) > 40
    report = index_archive(root, hash_ids=False)
    tables = cache.load_tables(root)
    indexed = {f"{eid}/{row.rel_path}" for (eid, _), row in tables["datasets"].iterrows()}
    assert len(indexed) == report.n_datasets
    reported = set(report.scan_issues().collect()["path"])
    silent = []
    for path in root.rglob("*"):
        within = path.relative_to(root)
        if within.parts[0] == ".polars_alf" or not grammar.is_dataset_name(path.name):
            continue
        name = "/".join(part for part in within.parts if part != "Subjects")
        above = {printable(str(folder)) for folder in (within, *within.parents)} - {"."}
        if path.is_file() and name not in indexed and not above & reported:
            silent.append(within)
    assert silent == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = One(cache_dir=root, mode="local")
        assert len(client.search()) == report.n_sessions


# The client, on an archive of 20 subjects and more than 50,000 files


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an archive with real content, and index it, once for all workers of pytest-xdist."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root, made = shared / "large", shared / "large.made"
    with FileLock(shared / "large.lock"):
        if not made.exists():
            options = {"labs": 4, "subjects": 20, "sessions": 35, "files": 72, "content": "small"}
            summary = make_archive(root, **options)
            assert summary.files >= 50_000
            report = index_archive(root)
            assert (report.n_sessions, report.n_datasets) == (700, summary.datasets)
            assert report.issues == {}
            made.touch()
    return root


@pytest.fixture(scope="module")
def one(large: Path) -> One:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return One(cache_dir=large, mode="local")


def sessions_on_disk(root: Path) -> list[tuple[str, str, datetime.date, int]]:
    return [
        (
            path.parts[-5],
            path.parts[-3],
            datetime.date.fromisoformat(path.parts[-2]),
            int(path.name),
        )
        for path in root.glob("*/Subjects/*/*/*")
    ]


@pytest.mark.slow
def test_client_finds_every_session(one: One, large: Path) -> None:
    eids = one.search()
    assert len(eids) == 700
    assert {Path(one.eid2path(eid)) for eid in eids} == set(large.glob("*/Subjects/*/*/*"))


@pytest.mark.slow
def test_client_searches(one: One, large: Path) -> None:
    known = sessions_on_disk(large)
    lab, subject, date, number = known[123]
    later = date + datetime.timedelta(days=30)
    for terms, expected in [
        ({"laboratory": lab}, [s for s in known if s[0] == lab]),
        ({"subject": subject}, [s for s in known if s[1] == subject]),
        ({"date_range": [str(date), str(later)]}, [s for s in known if date <= s[2] <= later]),
        ({"number": number}, [s for s in known if s[3] == number]),
        ({"datasets": "spikes.times.npy"}, known),
        ({"datasets": "no.such.npy"}, []),
        (
            {"subject": subject, "number": number},
            [s for s in known if (s[1], s[3]) == (subject, number)],
        ),
    ]:
        details = one.search(details=True, **terms)[1] if expected else []
        found = {(d["lab"], d["subject"], d["date"], d["number"]) for d in details}
        assert found == set(expected), terms
        assert len(one.search(**terms)) == len(expected)


@pytest.mark.slow
def test_client_lists_and_loads(one: One, large: Path) -> None:
    for eid in one.search()[::100]:
        path = Path(one.eid2path(eid))
        names = one.list_datasets(eid)
        on_disk = {
            file.relative_to(path).as_posix() for file in path.rglob("*.*.*") if file.is_file()
        }
        assert set(names) == on_disk
        times = one.load_dataset(eid, "spikes.times.npy", collection="alf/probe00/pykilosort")
        file = path / "alf/probe00/pykilosort/spikes.times.npy"
        np.testing.assert_array_equal(times, np.load(file))
        assert len(times) > 0
        spikes = one.load_object(eid, "spikes", collection="alf/probe00/pykilosort")
        np.testing.assert_array_equal(spikes["times"], times)
        assert len(spikes["clusters"]) == len(times)


@pytest.mark.slow
def test_second_index_keeps_every_id(one: One, large: Path) -> None:
    before = {eid: one.list_datasets(eid, details=True) for eid in one.search()[::50]}
    index_archive(large)
    again = One(cache_dir=large, mode="local")
    assert list(again.search()) == list(one.search())
    for eid, datasets in before.items():
        assert_frame_equal(again.list_datasets(eid, details=True), datasets)


@pytest.mark.slow
def test_lab_root_opens_from_the_folder_that_the_report_names(large: Path, tmp_path: Path) -> None:
    lab = sorted(path for path in large.iterdir() if path.is_dir() and path.name[0] != ".")[0]
    report = index_archive(lab, tmp_path)
    client = One(cache_dir=report.cache_dir, tables_dir=tmp_path, mode="local")
    (eid, *_) = client.search()
    assert Path(client.eid2path(eid)).is_dir()
    assert len(client.load_dataset(eid, "spikes.times.npy", collection="alf/probe00/pykilosort"))


@pytest.mark.slow
def test_the_demonstration_ends_with_what_works(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    make_archive(root, labs=1, subjects=2, sessions=2, files=20, content="small")
    index_archive(root, hash_files=True, default_revisions=True)
    code = "import sys; from index import OPEN_WITH_ONE; exec(OPEN_WITH_ONE)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "scripts")}
    command = [sys.executable, "-c", code, str(root)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert "ONE found 4 sessions, and loaded" in ended.stderr
    assert "mismatch" not in ended.stderr
