"""Row groups that are encoded apart: the file is the one that Arrow writes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polars_alf.tables.row_groups import JoinedFile, RowGroup

TEXTS = st.none() | st.text(max_size=20)

ROWS = st.lists(
    st.tuples(
        TEXTS,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False),
        st.none() | st.booleans(),
        st.none() | st.sampled_from(["NOT_SET", "PASS", "FAIL"]),
    ),
    max_size=30,
)

SCHEMA = pa.schema(
    [
        pa.field("text", pa.string()),
        pa.field("number", pa.int64()),
        pa.field("fraction", pa.float64()),
        pa.field("flag", pa.bool_()),
        pa.field("qc", pa.dictionary(pa.int8(), pa.string(), ordered=True)),
    ],
    {b"pandas": b"{}"},
)

OPTIONS: list[dict[str, Any]] = [
    {},
    {"use_dictionary": False, "compression": "none"},
    {"use_dictionary": ["text"], "compression": {"text": "none", "number": "zstd"}},
    {"sorting_columns": [pq.SortingColumn(1), pq.SortingColumn(0, descending=True)]},
    {"data_page_size": 64, "write_batch_size": 4, "data_page_version": "2.0"},
    {"write_statistics": False, "version": "1.0"},
]


def make_table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = [[*column] for column in zip(*rows, strict=True)] or [[] for _ in SCHEMA]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def join(tables: Sequence[pa.Table], metadata: dict[str, str], **options: Any) -> bytes:
    file = io.BytesIO()
    joined = JoinedFile(file)
    encoded = {id(table): RowGroup.encode(table, **options) for table in tables[:5]}
    for table in tables:
        joined.add(encoded[id(table)])
    schema = tables[0].schema if tables else SCHEMA
    file.write(joined.make_footer(schema, metadata, **options))
    assert joined.n_rows == sum(map(len, tables))
    return file.getvalue()


def write_by_arrow(tables: Sequence[pa.Table], metadata: dict[str, str], **options: Any) -> bytes:
    file = io.BytesIO()
    schema = tables[0].schema if tables else SCHEMA
    with pq.ParquetWriter(file, schema, **options) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=len(table) or 1)
        writer.add_key_value_metadata(metadata)
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
@given(groups=st.lists(ROWS, max_size=5), text=st.text(max_size=300))
@settings(max_examples=40, deadline=None)
def test_the_file_is_that_of_arrow(
    options: dict[str, Any], groups: list[list[tuple[Any, ...]]], text: str
) -> None:
    tables = [make_table(rows) for rows in groups]
    written = join(tables, {"key": text}, **options)
    assert written == write_by_arrow(tables, {"key": text}, **options)


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [14, 15, 16, 127, 128, 33_000])
def test_many_row_groups(tmp_path: Path, n_groups: int) -> None:
    """Where the number of a list takes more bytes, and an ordinal more than 16 bits."""
    tables = [pa.table({"flag": [True]})] * n_groups
    options = {"write_statistics": False, "store_schema": False}
    written = join(tables, {}, **options)
    assert written == write_by_arrow(tables, {}, **options)
    path = tmp_path / "joined.pqt"
    path.write_bytes(written)
    assert pl.read_parquet(path)["flag"].sum() == n_groups


def test_a_footer_of_another_shape_is_refused() -> None:
    """As one that Arrow may write some day: a map, which no footer has yet."""
    group = RowGroup.encode(make_table([]))
    end = len(group.file) - 8
    footer = bytes([0x1B, 0x00, 0x00])
    tail = len(footer).to_bytes(4, "little") + b"PAR1"
    file = memoryview(bytes(group.file[:end]) + footer + tail)
    with pytest.raises(NotImplementedError, match="type 11"):
        JoinedFile(io.BytesIO()).add(RowGroup(file, group.metadata))


@pytest.mark.parametrize(
    "options", [{"write_page_index": True}, {"bloom_filter_options": {"text": True}}]
)
def test_what_has_positions_of_its_own_is_refused(options: dict[str, Any]) -> None:
    table = make_table([("a", 1, 0.5, True, "PASS")])
    with pytest.raises(NotImplementedError, match="more than the columns"):
        RowGroup.encode(table, **options)
