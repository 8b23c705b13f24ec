"""Columns that are not ours: their types, and their values as they are stored."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from polars import DataType

from polars_alf.tables.foreign import (
    Columns,
    list_foreign,
    mark_columns,
    merge_columns,
    restore_columns,
    storable_type,
)


def _store(frame: pl.DataFrame, columns: Columns | None = None) -> pl.DataFrame:
    found = merge_columns([list_foreign(frame.schema, [])]) if columns is None else columns
    return frame.select(mark_columns(frame.schema, found)).select(restore_columns(found))


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([True, None]),
        pl.Series([1, None], dtype=pl.UInt8),
        pl.Series([0.5, None]),
        pl.Series(["a", None]),
        pl.Series([b"\xff", None]),
        pl.Series([dt.datetime(2024, 5, 6, 7), None]),
        pl.Series([dt.datetime(2024, 5, 6, 7), None]).dt.replace_time_zone("UTC"),
        pl.Series([dt.date(2024, 5, 6), None]),
        pl.Series([dt.timedelta(hours=1), None]),
        pl.Series([[1, None], None]),
        pl.Series([["a"], []]),
    ],
)
def test_plain_columns_stay_as_they_are(values: pl.Series) -> None:
    stored = _store(values.to_frame("column")).to_series()
    assert stored.dtype == values.dtype
    assert stored.equals(values, null_equal=True)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pl.Series(["a", None], dtype=pl.Categorical), ["a", None]),
        (pl.Series(["a", None], dtype=pl.Enum(["a", "b"])), ["a", None]),
        (pl.Series([{"x": 1, "y": b"\xff"}, None]), ['{"x": 1, "y": "ff"}', None]),
        (pl.Series([[[1], [2]], None]), ["[[1], [2]]", None]),
        (pl.Series([[{"x": dt.date(2024, 5, 6)}], None]), ['[{"x": "2024-05-06"}]', None]),
        (pl.Series([[1, 2], None], dtype=pl.Array(pl.Int8, 2)), ["[1, 2]", None]),
        (pl.Series([1, None], dtype=pl.Int128), ["1", None]),
        (pl.Series([None, None], dtype=pl.Null), [None, None]),
    ],
)
def test_others_become_text(values: pl.Series, texts: list[str | None]) -> None:
    stored = _store(values.to_frame("column")).to_series()
    assert stored.dtype == pl.String
    assert stored.to_list() == texts


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        (pl.Int8(), pl.Int64(), pl.Int64()),
        (pl.Int64(), pl.Float64(), pl.Float64()),
        (pl.Int64(), pl.UInt64(), pl.String()),
        (pl.Boolean(), pl.Boolean(), pl.Boolean()),
        (pl.Boolean(), pl.Int8(), pl.String()),
        (pl.Null(), pl.List(pl.Int8()), pl.List(pl.Int8())),
        (pl.Date(), pl.Null(), pl.Date()),
        (pl.Datetime("ns"), pl.Datetime("us"), pl.Datetime("us")),
        (pl.Datetime("us", "UTC"), pl.Datetime("us"), pl.String()),
        (pl.Datetime("us", "UTC"), pl.Datetime("ms", "Asia/Tokyo"), pl.Datetime("ms", "UTC")),
        (pl.Duration("us"), pl.String(), pl.String()),
        (pl.List(pl.Int8()), pl.List(pl.String()), pl.String()),
        (pl.List(pl.Int8()), pl.Struct({"x": pl.Int8()}), pl.String()),
        (pl.Categorical(), pl.String(), pl.String()),
    ],
)
def test_columns_of_several_tables_have_a_type_for_all(
    first: DataType, second: DataType, common: DataType
) -> None:
    tables = [list_foreign({"column": dtype}, []) for dtype in (first, second)]
    for several in (tables, tables[::-1]):
        columns = merge_columns(several)
        assert columns == {"column": common}
        for dtype in (first, second):
            frame = pl.DataFrame(schema={"column": dtype})
            assert _store(frame, columns).schema == columns
    assert storable_type(common) == common


def test_columns_that_one_reads_have_no_nulls() -> None:
    columns: Columns = {"default_revision": pl.Boolean(), "xxh3_128": pl.String()}
    assert _store(pl.DataFrame({"other": [1]}), columns).rows() == [(False, "")]
    assert _store(pl.DataFrame({"other": [1]}), {"default_revision": pl.String()}).rows() == [
        (None,)
    ]
