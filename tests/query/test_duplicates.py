"""Datasets of the same content, found a part of the digests at a time."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_frames import make_datasets

from polars_alf.query import duplicates
from polars_alf.query.duplicates import find_duplicates

contents = st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from([None, 1, 2])))


@settings(deadline=None)
@given(contents=contents, n_rows=st.one_of(st.none(), st.integers(0, 4)), part=st.integers(1, 5))
def test_parts_find_what_a_count_finds(
    contents: list[tuple[str, int | None]], n_rows: int | None, part: int
) -> None:
    datasets = make_datasets([("e", str(n), f"{n}.b.npy", None) for n in range(len(contents))])
    datasets = datasets.with_columns(
        hash=pl.Series([digest for digest, _ in contents], dtype=pl.String),
        file_size=pl.Series([size for _, size in contents], dtype=pl.UInt64),
    )
    expected: dict[tuple[str, int | None], int] = {}
    for content in contents:
        if content[0]:
            expected[content] = expected.get(content, 0) + 1
    expected = {content: count for content, count in expected.items() if count > 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_HASHES_PER_PART", part)
        n_with_hash = sum(bool(digest) for digest, _ in contents)
        found = find_duplicates(datasets.lazy(), n_with_hash, n_rows)
    assert found.n_contents == len(expected)
    spare = [(size or 0) * (expected[digest, size] - 1) for digest, size in expected]
    assert found.n_bytes_spare == sum(spare)
    assert len(found.rows) == min(len(expected), len(expected) if n_rows is None else n_rows)
    for row in found.rows.iter_rows(named=True):
        content = (row["hash"], row["file_size"])
        assert row["datasets"] == expected[content]
        assert contents[int(row["rel_path"].partition(".")[0])] == content
    most = sorted(spare, reverse=True)[: len(found.rows)]
    assert [size or 0 for size in found.rows["n_bytes_spare"]] == most
