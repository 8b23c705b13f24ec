"""Histograms of latencies."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polars_alf.bench.meters import count_latencies, find_percentiles, merge_histograms


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=500))
def test_histograms_are_precise_and_add_up(values: list[int]) -> None:
    half = len(values) // 2
    parts = [array("q", values[:half]), array("q", values[half:])]
    whole = count_latencies(parts)
    assert merge_histograms(count_latencies([part]) for part in parts).equals(whole)
    found = find_percentiles(whole)
    exact = np.percentile(values, 50, method="inverted_cdf")
    assert found["p50"] == pytest.approx(exact, rel=0.005)
    assert found["max"] == pytest.approx(max(values), rel=0.005)
    assert found["mean"] == pytest.approx(np.mean(values), rel=0.005)
    assert (found["p99.9"] is None) == (len(values) < 10_000)
