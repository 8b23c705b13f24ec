"""Parquet files: only what a query needs is read, and damage is named."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq
import pytest
from cache_tables import (
    break_columns,
)
from polars.testing import assert_frame_equal

from polars_alf import errors, index_archive, scan_datasets, scan_sessions
from polars_alf.alf.grammar import QC_DTYPE
from polars_alf.errors import TableError
from polars_alf.tables.checksums import write_checksummed
from polars_alf.tables.parquet import open_table, scan_table

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def test_a_table_that_is_replaced_meanwhile(path: Path) -> None:
    scanned = scan_table(path)
    pl.read_parquet(path).drop("hash").head(2).write_parquet(path)
    with pytest.raises(TableError, match="replaced by another table"):
        scanned.collect()
    with open_table(path) as table:
        pl.DataFrame({"a": [1]}).write_parquet(path.with_name("new"))
        path.with_name("new").replace(path)
        assert table.read().num_rows == 2


@pytest.mark.parametrize("limit", [0, 1, 5, 100])
def test_a_limit_takes_the_first_rows(path: Path, limit: int) -> None:
    whole = pl.read_parquet(path)
    for _ in range(2):
        assert_frame_equal(scan_table(path).head(limit).collect(), whole.head(limit))
        found = scan_table(path).filter(pl.col("file_size") > 11).head(limit).collect()
        assert_frame_equal(found, whole.filter(pl.col("file_size") > 11).head(limit))
        assert scan_table(path).select(pl.len()).collect().item() == 12
        pq.write_table(pq.read_table(path), path, row_group_size=5)
        whole = scan_table(path).collect()


def test_no_thread_of_arrows_holds_a_file_of_pythons(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lets go of it while the interpreter ends would take the process along."""
    foreign = pl.read_parquet(path)
    pl.concat([foreign] * 500).write_parquet(path, row_group_size=1000)
    openers, readers = set(), set()

    class Recorder(io.FileIO):
        def __init__(self, path: Path, mode: str) -> None:
            openers.add(threading.get_ident())
            super().__init__(path, mode)

        def readinto(self, buffer: WriteableBuffer) -> int | None:
            readers.add(threading.get_ident())
            return super().readinto(buffer)

    monkeypatch.setattr(Path, "open", lambda path, mode: io.BufferedReader(Recorder(path, mode)))
    with open_table(path) as table:
        assert table.read().num_rows == 6000
    assert scan_table(path).collect().height == 6000
    assert readers == openers


@pytest.fixture
def in_row_groups(tmp_path: Path) -> Path:
    """Make datasets of ten sessions, a row group each; all but that of session 3 are broken."""
    folder = tmp_path / "groups"
    folder.mkdir()
    columns = {
        "eid": [f"eid-{row // 5}" for row in range(50)],
        "id": [f"id-{row:02}" for row in range(50)],
        "rel_path": [f"alf/a{row}.b.npy" for row in range(50)],
        "file_size": pl.Series(range(50), dtype=pl.Int64),
        "qc": ["PASS"] * 50,
    }
    path = folder / "datasets.pqt"
    rows = pl.DataFrame(columns).to_arrow()
    write_checksummed(
        path, rows.schema, range(0, 50, 5), lambda at: rows.slice(at, 5), use_dictionary=False
    )
    break_columns(path, lambda group, column: group != 3)
    return folder


def test_a_filter_on_eid_reads_one_row_group(in_row_groups: Path) -> None:
    datasets = scan_datasets(in_row_groups)
    found = datasets.filter(pl.col("eid") == "eid-3").collect()
    assert found["file_size"].to_list() == [15, 16, 17, 18, 19]
    assert found["qc"].dtype == QC_DTYPE
    several = datasets.filter(
        pl.col("eid").is_in(["eid-3"]), pl.col("rel_path").str.contains("17"), pl.col("qc") > "FAIL"
    )
    assert several.collect().is_empty()
    with pytest.raises(errors.TableError, match="is damaged"):
        datasets.filter(pl.col("eid") == "eid-4").collect()


def test_a_filter_reads_one_row_group_of_one_file_among_many(
    in_row_groups: Path, tables: Path
) -> None:
    frame = scan_datasets([tables, in_row_groups])
    assert frame.filter(pl.col("eid") == "eid-3").collect().height == 5


def test_columns_that_are_not_asked_for_are_not_read(tables: Path) -> None:
    break_columns(tables / "datasets.pqt", lambda _, column: column not in ("eid", "file_size"))
    total = scan_datasets(tables).group_by("eid").agg(pl.col("file_size").sum()).collect()
    assert total["file_size"].to_list() == [61] * 4


def test_the_index_leaves_statistics(archive: Path) -> None:
    index_archive(archive)
    metadata = pq.read_metadata(archive / "datasets.pqt").row_group(0)
    for index in range(metadata.num_columns):
        assert metadata.column(index).is_stats_set
        assert metadata.column(index).statistics.has_min_max


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"no table", b"PAR1" + bytes(100) + b"PAR1"], ids=len
)
def test_a_file_that_is_no_table(tables: Path, content: bytes) -> None:
    path = tables / "sessions.pqt"
    path.write_bytes(content)
    with pytest.raises(errors.TableError, match="restore the file") as caught:
        scan_sessions(tables)
    assert str(path) in str(caught.value)


def test_a_truncated_table(tables: Path) -> None:
    path = tables / "datasets.pqt"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(errors.TableError, match="no readable table"):
        scan_datasets(tables)


def test_a_folder_in_the_place_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "sessions.pqt").mkdir()
    with pytest.raises(errors.TableError, match="no readable table"):
        scan_sessions(tmp_path)


def test_a_table_that_may_not_be_read(tables: Path, unprivileged: Callable[[], None]) -> None:
    (tables / "sessions.pqt").chmod(0)
    unprivileged()
    with pytest.raises(errors.TableError, match=r"no readable table: .*; see to its permissions"):
        scan_sessions(tables)
