"""Tables of every hand: each program that writes them, and each that reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pytest
from one.alf import cache as one_cache
from one.api import One
from polars.testing import assert_frame_equal
from table_writers import DATASETS_TABLE, EIDS, SESSIONS_TABLE, WRITERS
from trees import make_tree
from written import convert_frame

import polars_alf
from polars_alf.cache import load_tables
from polars_alf.schema import TABLES, polars_schema

pytestmark = [
    pytest.mark.pandas,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

TRUTH = {"sessions": SESSIONS_TABLE, "datasets": DATASETS_TABLE}

Tables = dict[str, pl.DataFrame]
Frames = dict[str, Any]


LIMITS = {
    "ONE": {
        "pandas": "it skips what has no metadata of its own",
        "pandas_columns": "it keeps numbers as floats, and cannot sort UUIDs of Arrow",
        "pandas_unnamed": "it needs the names of the index",
        "polars": "it fails where there is no metadata at all",
        "polars_types": "it looks for its metadata where Polars does not write them",
        "duckdb": "it keeps sizes as the decimals of HUGEINT",
        "duckdb_plain": "it fails where there is no metadata at all",
        "pyarrow_uuids": "it moves dates to the day in Greenwich",
        "pyarrow_octets": "it takes 16 bytes for a text",
        "pyarrow_codes": "it reads no columns of one name",
    },
    "pandas": {"pyarrow_codes": "it reads no columns of one name"},
    "Polars": {
        "pandas_unnamed": "only the metadata of pandas say which columns are the ids",
        "pyarrow_uuids": "it panics over zones that are offsets",
        "pyarrow_octets": "it panics over zones that are offsets",
        "pyarrow_codes": "it reads no columns of one name",
    },
}
"""What other readers do with tables as they were written: who merges them helps all of these."""


def expect_failure(request: pytest.FixtureRequest, reader: str) -> None:
    """Expect a test to fail where the reader cannot read what the writer wrote."""
    reason = LIMITS[reader].get(request.node.callspec.params["written"])
    if reason:
        request.applymarker(pytest.mark.xfail(reason=f"{reader}: {reason}", strict=False))


@pytest.fixture(scope="module", params=WRITERS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the two tables as one of the programs does."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    WRITERS[request.param](folder, SESSIONS_TABLE, DATASETS_TABLE)
    return folder


def check(tables: Tables) -> None:
    """Compare tables with what was to be written."""
    for name, truth in TRUTH.items():
        found = tables[name].select(truth.columns)
        assert_frame_equal(found, truth, check_row_order=False, categorical_as_str=True)


def convert(frames: Frames) -> Tables:
    return {name: convert_frame(frames[name], polars_schema(TABLES[name])) for name in TABLES}


# Ours


def test_scans(written: Path) -> None:
    sessions, datasets = polars_alf.scan_sessions(written), polars_alf.scan_datasets(written)
    check({"sessions": sessions.collect(), "datasets": datasets.collect()})
    first = datasets.filter(pl.col("eid") == EIDS[1]).select("rel_path", "file_size").collect()
    assert first.rows() == [("alf/spikes.times.npy", 10)]


def test_load_tables(written: Path) -> None:
    check(convert(load_tables(written)))


def test_frames_of_the_files(written: Path, request: pytest.FixtureRequest) -> None:
    """Who reads the files with Polars gives us frames in the types of the files."""
    expect_failure(request, "Polars")
    frames = [pl.read_parquet(written / f"{name}.pqt") for name in TABLES]
    merged = polars_alf.merge_tables([tuple(frames)])  # type: ignore[list-item]
    check({"sessions": merged.sessions.collect(), "datasets": merged.datasets.collect()})


@pytest.mark.slow
def test_differences(written: Path) -> None:
    found = polars_alf.compare_tables(written, (SESSIONS_TABLE, DATASETS_TABLE))
    assert found.differences.is_empty()


@pytest.mark.slow
def test_summary(written: Path) -> None:
    found = polars_alf.summarize_tables(written)
    assert (found.n_sessions, found.n_datasets) == (2, 4)
    assert found.n_bytes == 2**53 + 1 + 2**40 + 10


@pytest.mark.slow
def test_ids_from(written: Path, tmp_path: Path) -> None:
    archive = make_tree(
        tmp_path / "archive",
        {
            "lab/Subjects/KS1/2021-02-28/001": {
                "alf/spikes.times.npy": 3,
                "alf/#2021-03-01#/spikes.times.npy": 3,
                "alf/probe00/_ibl_é.times.npy": 3,
            },
            "lab/Subjects/Éa/1999-12-31/012/alf/spikes.times.npy": 3,
        },
    )
    polars_alf.index_archive(archive, ids_from=written)
    indexed = polars_alf.scan_datasets(archive).collect()
    known = [column for column in ("eid", "id", "rel_path", "qc") if column in indexed.columns]
    assert_frame_equal(indexed.select(known), DATASETS_TABLE.select(known), check_row_order=False)
    sessions = polars_alf.scan_sessions(archive).collect()
    assert_frame_equal(
        sessions.select(SESSIONS_TABLE.columns), SESSIONS_TABLE, check_row_order=False
    )
    assert set(one_cache.load_tables(archive)["sessions"].index.map(str)) == set(EIDS)


@pytest.mark.slow
def test_metadata_that_polars_copies(written: Path, tmp_path: Path) -> None:
    """Who edits tables with Polars may keep all that their files note, our checksums too."""
    files = {name: written / f"{name}.pqt" for name in TABLES}
    for name, path in files.items():
        metadata = pl.read_parquet_metadata(path)
        table = polars_alf.scan_sessions if name == "sessions" else polars_alf.scan_datasets
        frame = table(written).select(TRUTH[name].columns).collect()
        frame.write_parquet(tmp_path / path.name, metadata=metadata)
    check(convert(load_tables(tmp_path)))
    sessions, datasets = polars_alf.scan_sessions(tmp_path), polars_alf.scan_datasets(tmp_path)
    check({"sessions": sessions.collect(), "datasets": datasets.collect()})


# Whoever wrote them, others read what we make of them


def read_with_one(folder: Path) -> Frames:
    frames: Frames = one_cache.load_tables(folder)
    return frames


def read_with_client(folder: Path) -> Frames:
    frames: Frames = One(cache_dir=folder, mode="local")._cache
    return frames


def read_with_pandas(folder: Path) -> Frames:
    return {name: pd.read_parquet(folder / f"{name}.pqt") for name in TABLES}


def read_with_duckdb(folder: Path) -> Frames:
    return {name: duckdb.sql(f"FROM read_parquet('{folder}/{name}.pqt')").df() for name in TABLES}


def read_with_fastparquet(folder: Path) -> Frames:
    fastparquet = pytest.importorskip("fastparquet", reason="fastparquet is not installed")
    return {name: fastparquet.ParquetFile(folder / f"{name}.pqt").to_pandas() for name in TABLES}


READERS = [
    read_with_one,
    read_with_client,
    read_with_pandas,
    read_with_duckdb,
    read_with_fastparquet,
]


@pytest.fixture(scope="module")
def merged(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merged")
    polars_alf.merge_tables(written, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("read", READERS)
def test_merged_tables(merged: Path, read: Callable[[Path], Frames]) -> None:
    frames = read(merged)
    # As times, or as nanoseconds, in those that have no dates.
    frames["sessions"]["date"] = pd.to_datetime(frames["sessions"]["date"]).dt.date
    check(convert(frames))


# As they were written


def test_one_reads_the_others(written: Path, request: pytest.FixtureRequest) -> None:
    expect_failure(request, "ONE")
    check(convert(read_with_one(written)))


def test_pandas_reads_the_others(written: Path, request: pytest.FixtureRequest) -> None:
    expect_failure(request, "pandas")
    assert [len(frame) for frame in read_with_pandas(written).values()] == [2, 4]


def test_duckdb_reads_the_others(written: Path) -> None:
    assert [len(frame) for frame in read_with_duckdb(written).values()] == [2, 4]
