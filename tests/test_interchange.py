"""What other tools make of the frames, and what they copy."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cache_tables import break_columns
from polars.testing import assert_frame_equal

from polars_alf import index_archive, scan_archive, scan_datasets, scan_sessions

STRINGS = ("eid", "id", "rel_path", "hash")
OTHERS = ("file_size", "exists", "qc")


@pytest.fixture
def datasets(archive: Path) -> pl.LazyFrame:
    index_archive(archive)
    return scan_datasets(archive).drop("origin")


def addresses(column: pa.Array | pa.ChunkedArray) -> list[int | None]:
    """Return where the memory of a column lies."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return [buffer and buffer.address for chunk in chunks for buffer in chunk.buffers()]


def test_pyarrow_shares_the_memory_of_a_frame(datasets: pl.LazyFrame) -> None:
    frame = datasets.collect()
    table, again = pa.table(frame), pa.table(frame)
    for name in STRINGS + OTHERS:
        assert addresses(table[name]) == addresses(again[name])
    with_copies = frame.to_arrow()
    assert with_copies.schema.field("eid").type == pa.large_string()
    for name in OTHERS:
        assert addresses(with_copies[name]) == addresses(table[name])
    back = pl.DataFrame(table)
    assert_frame_equal(back, frame)
    assert addresses(pa.table(back)["eid"]) == addresses(table["eid"])


def test_pyarrow_reads_batches_as_they_come(datasets: pl.LazyFrame, tmp_path: Path) -> None:
    reader = pa.RecordBatchReader.from_stream(datasets.collect())
    assert sum(batch.num_rows for batch in reader) == 12
    batches = [pa.table(frame) for frame in datasets.collect_batches(chunk_size=5)]
    assert sum(batch.num_rows for batch in batches) == 12
    pq.write_table(datasets.collect().to_arrow(), tmp_path / "copy.pqt")
    assert_frame_equal(pl.from_arrow(pq.read_table(tmp_path / "copy.pqt")), datasets.collect())


def test_duckdb_takes_frames_and_gives_them_back(datasets: pl.LazyFrame, archive: Path) -> None:
    query = """
        SELECT subject, sum(file_size)::UBIGINT AS n_bytes
        FROM datasets JOIN sessions ON eid = sessions.id
        GROUP BY subject ORDER BY subject
    """
    expected = pl.DataFrame(
        {"subject": ["KS001", "KS002"], "n_bytes": [183, 61]},
        schema_overrides={"n_bytes": pl.UInt64},
    )
    with duckdb.connect() as connection:
        connection.register("sessions", scan_sessions(archive))
        connection.register("datasets", datasets)
        assert_frame_equal(connection.sql(query).pl(), expected)
    files = scan_archive(archive).collect()
    assert duckdb.sql("SELECT count(*) FROM files WHERE lab = 'wittenlab'").fetchall() == [(3,)]
    assert files.height == 12


def test_duckdb_reads_of_a_lazy_frame_what_its_query_needs(
    datasets: pl.LazyFrame, archive: Path
) -> None:
    break_columns(archive / "datasets.pqt", lambda _, column: column not in ("eid", "file_size"))
    found = duckdb.sql("SELECT eid, sum(file_size) FROM datasets GROUP BY eid").fetchall()
    assert [total for _, total in found] == [61] * 4


@pytest.mark.pandas
def test_pandas_shares_all_but_strings(datasets: pl.LazyFrame) -> None:
    frame = datasets.collect().rechunk()
    table = frame.to_arrow()
    found = frame.to_pandas(use_pyarrow_extension_array=True)
    assert str(found.dtypes["file_size"]) == "uint64[pyarrow]"
    assert found["rel_path"].str.endswith(".npy").sum() == 8
    for name in ("file_size", "exists"):
        assert addresses(pa.array(found[name].array)) == addresses(table[name])
    assert_frame_equal(pl.from_pandas(found).select(OTHERS[:2]), frame.select(OTHERS[:2]))
