"""Tables of any order and size, merged range by range."""

from __future__ import annotations

import functools
import uuid
from pathlib import Path

import pytest
from amount import count_examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from merges import check_merged, make_pair, pairs
from table_frames import Row, write_tables
from trees import list_state

from polars_alf import merge_tables
from polars_alf.merge import api
from polars_alf.merge.buckets import plan_buckets


@pytest.mark.slow
@settings(
    max_examples=count_examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pairs, st.integers(1, 7))
def test_files_are_merged_as_frames_are(
    tmp_path: Path, pairs: list[tuple[list[Row], list[Row]]], size: int
) -> None:
    work = tmp_path / uuid.uuid4().hex
    folders = [
        write_tables(work / str(number), make_pair(*pair)) for number, pair in enumerate(pairs)
    ]
    out_dir = work / "merged"
    out_dir.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "plan_buckets", functools.partial(plan_buckets, rows_per_bucket=size))
        merged = merge_tables(folders, out_dir)
    check_merged(merged, pairs)
    assert list_state(out_dir) == [
        "conflicts.arrow",
        "history.jsonl",
        "issues.arrow",
        "lock",
        "namespace",
    ]


def test_tables_that_are_not_sorted_become_sorted(tmp_path: Path) -> None:
    rows = [(f"e{number % 7}", f"d{number}", f"p{number}", 1) for number in range(50)]
    sessions = [(f"e{number}", f"s{number}") for number in (3, 1, 6, 0, 5, 2, 4)]
    folder = write_tables(tmp_path / "a", make_pair(sessions, rows[::-1]))
    merged = merge_tables(folder)
    assert merged.datasets.collect().select("eid", "id").rows() == sorted(row[:2] for row in rows)
