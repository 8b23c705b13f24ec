"""Rows of the tables from what was found on disk."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from polars_alf.tables.rows import drop_duplicate_sessions

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
