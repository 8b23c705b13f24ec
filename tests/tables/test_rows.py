"""Rows of the tables from what was found on disk."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from polars_alf.tables.rows import drop_duplicate_sessions, sort_by_id

# Halves of ids that differ in their first bits, in their last ones, or not at all.
HALVES = st.sampled_from([0, 1, 2**19, 2**20, 2**44, 2**63, 2**64 - 1])

RANKS = st.sampled_from([0, 1, 2**20 - 1, 2**20, 2**32 - 1])

PATHS = st.lists(st.sampled_from(["S/1", "a/S/1", "b/S/1", "a/b/S/1", "T/2", "c/T/2"]), unique=True)


@given(PATHS)
def test_of_copies_the_one_with_the_fewest_folders_above_stays(paths: list[str]) -> None:
    rows = [(path[-3:], path) for path in paths]
    sessions = pl.LazyFrame(rows, {"id": pl.String, "session": pl.String}, orient="row")
    kept, dropped = (frame.collect() for frame in drop_duplicate_sessions(sessions, ["id"]))
    ordered = sorted(paths, key=lambda path: (path.count("/"), path))
    best = {path[-3:]: path for path in reversed(ordered)}
    assert kept["session"].to_list() == [path for path in paths if best[path[-3:]] == path]
    assert dropped.select("session", "kept").rows() == [
        (path, best[path[-3:]]) for path in paths if best[path[-3:]] != path
    ]


@given(st.lists(st.tuples(RANKS, HALVES, HALVES)))
def test_ids_sort_by_all_their_bits_within_their_session(rows: list[tuple[int, int, int]]) -> None:
    schema = {"rank": pl.UInt32, "high": pl.UInt64, "low": pl.UInt64}
    assert sort_by_id(pl.DataFrame(rows, schema, orient="row")).rows() == sorted(rows)
