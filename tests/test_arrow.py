"""Frames become the tables that schemas describe, with the types that readers expect."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from polars_alf.alf.grammar import QC_NAMES
from polars_alf.arrow import make_table, to_arrow
from polars_alf.index.snapshot import CHANGES
from polars_alf.schema import DATASETS, ISSUES, polars_schema

TEXTS = st.none() | st.text(max_size=20)
ROWS = st.lists(
    st.tuples(
        TEXTS,
        TEXTS,
        TEXTS,
        st.none() | st.integers(0, 2**64 - 1),
        TEXTS,
        st.none() | st.booleans(),
        st.none() | st.sampled_from([*QC_NAMES]),
    ),
    max_size=8,
)


@given(ROWS, st.integers(0, 4), st.integers(0, 4))
def test_a_frame_becomes_what_a_cast_makes_of_it(
    rows: list[tuple[object, ...]], start: int, length: int
) -> None:
    names = ("eid", "id", "rel_path", "file_size", "hash", "exists", "qc")
    assert {*names} == {*DATASETS.names}
    schema = {name: polars_schema(DATASETS)[name] for name in names}
    frame = pl.DataFrame(rows, schema, orient="row").slice(start, length)
    table = to_arrow(frame, DATASETS)
    table.validate(full=True)
    assert table.schema == DATASETS
    assert table.equals(frame.select(DATASETS.names).to_arrow().cast(DATASETS))


@given(st.lists(st.tuples(st.text(), st.text(), st.none() | st.integers(0, 200), st.text())))
def test_rows_come_back_from_a_table(rows: list[tuple[object, ...]]) -> None:
    table = make_table(rows, ISSUES)
    table.validate(full=True)
    assert table.schema == ISSUES
    assert [tuple(row.values()) for row in table.to_pylist()] == rows


def test_no_rows_make_an_empty_table() -> None:
    table = make_table([], CHANGES)
    assert (table.schema, len(table)) == (CHANGES, 0)
    assert table.equals(pa.Table.from_pylist([], CHANGES))
