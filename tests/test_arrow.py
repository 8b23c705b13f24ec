"""Frames become the tables that schemas describe, with the types that readers expect."""

from __future__ import annotations

import sys

import polars as pl
import pyarrow as pa
import pytest
from apart import run_apart
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from polars_alf.alf.grammar import QC_NAMES
from polars_alf.arrow import copy_texts, make_table, to_arrow, to_coded_arrow
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


KEEP_FEW = """
import re, sys, time
import polars as pl
from polars_alf.arrow import copy_texts

def measure():
    with open("/proc/self/status") as status:
        return int(re.search(r"RssAnon:\\s*([0-9]+)", status.read())[1]) / 1000

before = measure()
kept = []
for _ in range(20):
    text = pl.format("a text of some forty characters or more {}", pl.int_range(200_000))
    rows = pl.select(text=text)
    few = rows.filter(pl.col("text").str.ends_with("77777"))
    kept.append(copy_texts(few) if sys.argv[1] == "copies" else few)
del rows, few, text
for _ in range(100):  # what is free is given back after half a second
    time.sleep(0.1)
    if measure() - before < 100:
        break
print(measure() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory as on Linux")
def test_texts_that_are_kept_do_not_keep_others() -> None:
    # 20 times 200,000 texts of 46 bytes, of which a handful are kept.
    assert float(run_apart(KEEP_FEW, ["copies"]).stdout) < 100
    assert float(run_apart(KEEP_FEW, ["views"]).stdout) > 130, "if so, nobody needs copies"


def test_copied_texts_are_the_same() -> None:
    rows = pl.DataFrame({"a": ["x", None, ""], "b": [1, 2, None], "c": [["y"], None, [None]]})
    assert_frame_equal(copy_texts(rows), rows)
    assert_frame_equal(copy_texts(rows.clear()), rows.clear())


def test_codes_stay_codes_of_what_is_used() -> None:
    schema = pa.schema([("number", pa.int64()), ("text", pa.string())], {b"key": b"value"})
    texts = pl.Series("text", ["c", None, "b", "c"], dtype=pl.Enum([*"abcd"]))
    table = to_coded_arrow(pl.DataFrame([texts, pl.Series("number", [1, 2, 3, 4])]), schema)
    assert table.schema.metadata == schema.metadata
    assert table.schema.names == schema.names
    (chunk,) = table.column("text").chunks
    assert chunk.dictionary.to_pylist() == ["b", "c"]
    assert chunk.to_pylist() == ["c", None, "b", "c"]


def test_texts_stay_texts() -> None:
    schema = pa.schema([("text", pa.string())])
    frame = pl.DataFrame({"text": ["a", None]})
    assert to_coded_arrow(frame, schema).equals(to_arrow(frame, schema))
    assert to_coded_arrow(frame, schema).schema == schema
