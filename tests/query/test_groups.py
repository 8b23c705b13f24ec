"""Sums by the columns of tables, part after part, are those of all rows at once."""

from __future__ import annotations

import tempfile
from collections import defaultdict

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polars_alf.alf.grammar import parse_rel_path
from polars_alf.errors import OutputError
from polars_alf.query import groups, spill
from polars_alf.query.groups import OF_PATHS, sum_by_path

EIDS = st.none() | st.sampled_from([f"e{number}" for number in range(5)])
PATHS = st.sampled_from(["alf/a.b.npy", "alf/c.d.csv", "a.b.npy", "raw/x/a.b.npy", "no dataset"])
ROWS = st.lists(st.tuples(EIDS, PATHS, st.none() | st.integers(0, 2**63)), max_size=12)


@pytest.mark.parametrize("n_rows", [1, 2, 1000])
def test_sums_of_parts_are_those_of_all(n_rows: int) -> None:
    @given(ROWS)
    def check(rows: list[tuple[str | None, str, int | None]]) -> None:
        schema = {"eid": pl.String, "rel_path": pl.String, "file_size": pl.UInt64}
        datasets = pl.LazyFrame(rows, schema, orient="row")
        with pytest.MonkeyPatch.context() as patch:
            for name in ("ROWS_PER_BUCKET", "ROWS_PER_SLICE"):
                patch.setattr(spill, name, n_rows)
            patch.setattr(groups, "_MOST_SUMS", n_rows)
            found = sum_by_path(datasets, len(rows), OF_PATHS)
        assert {*found} == {*OF_PATHS}
        for name, frame in found.items():
            expected: dict[str | None, list[tuple[str | None, int]]] = defaultdict(list)
            for eid, path, size in rows:
                parts = parse_rel_path(path)
                part = getattr(parts, name) if parts else None
                expected[part].append((eid, size or 0))
            assert frame.n_unique() == len(frame)
            assert {row[0]: row[1:] for row in frame.iter_rows()} == {
                part: (len({eid for eid, _ in each}), len(each), sum(size for _, size in each))
                for part, each in expected.items()
            }

    check()


def test_few_rows_need_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    datasets = pl.LazyFrame({"eid": ["a"], "rel_path": ["alf/a.b.npy"], "file_size": [1]})
    found = sum_by_path(datasets, 1, ["collection"])["collection"]
    assert found.rows() == [("alf", 1, 1, 1)]
    monkeypatch.setattr(spill, "ROWS_PER_BUCKET", 1)
    with pytest.raises(OutputError, match=r"made in /nowhere.*: No such .*; set TMPDIR to a"):
        sum_by_path(pl.concat([datasets, datasets]), 2, ["collection"])
