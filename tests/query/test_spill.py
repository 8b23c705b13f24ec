"""Tables that do not fit into memory are compared as those that do."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from amount import count_examples
from hypothesis import given, settings
from hypothesis import strategies as st
from table_frames import make_datasets, make_sessions

from polars_alf import compare_tables
from polars_alf.alf.ids import identify
from polars_alf.errors import OutputError
from polars_alf.query import spill
from polars_alf.query.spill import Spill, count_buckets, read_batches, select_hashed


@st.composite
def pairs(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Make tables with sessions and contents that are there several times, or are not known."""
    sessions = draw(
        st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("stu")), max_size=5)
    )
    rows = draw(
        st.lists(
            st.tuples(
                *(st.sampled_from(values) for values in ("abcde", "xyz", "opq")), st.integers(0, 2)
            ),
            max_size=20,
        )
    )
    hashes = draw(st.lists(st.sampled_from(["", "f" * 32]), min_size=len(rows), max_size=len(rows)))
    datasets = make_datasets(rows).with_columns(hash=pl.Series(hashes, dtype=pl.String))
    return make_sessions(sessions), datasets


@pytest.mark.slow
@settings(deadline=None, max_examples=count_examples(60))
@given(pairs(), pairs(), st.integers(1, 7))
def test_buckets_do_not_change_differences(
    old: tuple[pl.DataFrame, pl.DataFrame], new: tuple[pl.DataFrame, pl.DataFrame], n_rows: int
) -> None:
    whole = compare_tables(old, new)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ROWS_PER_BUCKET", "ROWS_PER_SLICE"):
            patch.setattr(spill, name, n_rows)
        parts = compare_tables(old, new)
    assert (parts.n_old, parts.n_new, parts.counts) == (whole.n_old, whole.n_new, whole.counts)
    order = pl.all()
    assert parts.differences.sort(order).equals(whole.differences.sort(order))


def test_rows_that_cannot_wait_on_disk_name_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "ROWS_PER_BUCKET", 1)
    rows = pl.DataFrame({"bucket": [0, 1], "text": ["a", "b"]})
    waiting = Spill(tmp_path / "gone")
    waiting.add(rows.head(1))
    with pytest.raises(OutputError, match=r"in .*gone: No such file .*; .* set TMPDIR to"):
        waiting.add(rows.tail(1))


def test_rows_of_all_types_come_back_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "ROWS_PER_BUCKET", 4)
    monkeypatch.setattr(spill, "ROWS_PER_SLICE", 4)
    rows = pl.DataFrame(
        {
            "text": ["a", None, "ü", "d", "e", "f", "g"],
            "category": pl.Series(list("xyxyzzx"), dtype=pl.Categorical),
            "outcome": pl.Series(list("pqppqqp"), dtype=pl.Enum(["p", "q"])),
            "large": pl.Series([2**100, None, 1, 2, 3, 4, 5], dtype=pl.Int128),
            "day": [date(2020, 1, 1)] * 7,
            "list": [[1], [], None, [1, 2], [3], [4], [5]],
            "nothing": [None] * 7,
        }
    )
    buckets = pl.Series("bucket", [0, 1, 0, None, 1, 5, 0], pl.UInt32)
    spilled = Spill(tmp_path)
    for part in read_batches(rows.with_columns(buckets).lazy()):
        spilled.add(part)
    assert [*tmp_path.rglob("*.arrow")]
    for bucket, members in ((0, [0, 2, 6]), (1, [1, 4]), (5, [5]), (3, [])):
        assert spilled.read(bucket).equals(rows[members])
        assert spilled.read(bucket).schema == rows.schema
    assert [count_buckets(n) for n in (0, 1, 4, 5, 40)] == [1, 1, 1, 2, 10]


def test_rows_are_found_by_hashes_of_ids() -> None:
    ids = ["a", "A", "é", "4d8c7767-981c-4347-8e5e-5d5fffe38534", "lab/KS001/2020-01-01/001", "a"]
    frame = pl.DataFrame({"eid": [*ids, None], "bucket": range(7)})
    hashed = frame.select("bucket", key=identify(pl.col("eid"))).sort("key")
    for wanted in ([], ["a"], [None], ["A", "A", None, "b", ids[3]], ids):
        found = select_hashed(hashed, pl.Series("eid", wanted, pl.String))
        assert found.sort("bucket").rows() == [
            row for row in frame.rows() if row[0] in wanted and row[0]
        ]
