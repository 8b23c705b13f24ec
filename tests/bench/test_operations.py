"""Operations: items for all threads, and calls as fast as in C."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from polars_alf.bench.operations import plan_levels, share_out


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 40))
def test_shares_are_of_all_items(n_items: int, concurrency: int, jobs: int) -> None:
    (level,) = plan_levels([concurrency], jobs)
    shares = share_out(range(n_items), level)
    assert len(shares) == level.jobs
    assert max(map(len, shares)) == level.threads
    assert sum(map(len, shares)) == concurrency
    flat = [item for share in shares for part in share for item in part]
    assert set(flat) == set(range(n_items))
    assert len(flat) == max(n_items, concurrency)
