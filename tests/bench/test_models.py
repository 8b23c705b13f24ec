"""Models: the law of scalability, the best concurrency, predicted times."""

from __future__ import annotations

import math
from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polars_alf.bench.models import choose_concurrency, describe_scalability, predict_index
from polars_alf.bench.sweep import find_fixed_seconds

LEVELS = (1, 2, 4, 8, 16, 32, 64)


def make_rates(rate: Callable[[int], float], levels: tuple[int, ...] = LEVELS) -> pl.DataFrame:
    rows = [(level, repeat, rate(level)) for repeat in range(3) for level in levels]
    return pl.DataFrame(rows, ["concurrency", "repeat", "rate"], orient="row")


@settings(deadline=None)
@given(st.floats(10, 1e6), st.floats(0.001, 0.5), st.floats(1e-5, 0.01))
def test_a_law_is_found_again(one: float, contention: float, coherency: float) -> None:
    law = describe_scalability(
        make_rates(lambda n: one * n / (1 + contention * (n - 1) + coherency * n * (n - 1)))
    )
    assert law.rate_of_one == pytest.approx(one, rel=0.01)
    assert law.contention == pytest.approx(contention, rel=0.05, abs=1e-4)
    assert law.coherency == pytest.approx(coherency, rel=0.05, abs=1e-5)
    assert law.fit_error is not None
    assert law.fit_error < 0.001
    peak = max(math.sqrt((1 - contention) / coherency), 1)
    assert law.peak == pytest.approx(peak, rel=0.1)


@pytest.mark.parametrize("servers", [1, 4, 16])
def test_storage_that_serves_so_many_at_a_time_saturates_there(servers: int) -> None:
    law = describe_scalability(make_rates(lambda n: 1000.0 * min(n, servers)))
    assert law.saturation == law.least_saturation == law.most_saturation == servers
    assert law.is_saturated
    assert law.best_rate == 1000 * servers


def test_storage_that_is_never_saturated_says_so() -> None:
    law = describe_scalability(make_rates(lambda n: 50.0 * n))
    assert not law.is_saturated
    assert law.saturation == 64
    assert law.peak is None


def test_one_level_that_went_badly_is_not_growth() -> None:
    rates = {1: 100.0, 2: 200.0, 4: 400.0, 8: 410.0, 16: 250.0, 32: 405.0, 64: 400.0}
    assert describe_scalability(make_rates(rates.__getitem__)).is_saturated
    assert describe_scalability(make_rates(rates.__getitem__, (1, 2, 16, 32))).is_saturated is False


def test_few_levels_make_no_fit() -> None:
    law = describe_scalability(make_rates(lambda n: 50.0 * n, (1, 2)))
    assert law.rate_of_one is law.fit_error is law.peak is None
    assert not describe_scalability(make_rates(lambda n: 50.0, (1,))).is_saturated


def test_the_least_concurrency_that_is_as_good_is_chosen() -> None:
    rates = {1: 100.0, 2: 190.0, 4: 250.0, 8: 255.0, 16: 257.0, 32: 200.0, 64: 90.0}
    assert choose_concurrency(make_rates(rates.__getitem__)) == 4


@settings(deadline=None)
@given(st.floats(0, 10), st.floats(1e-6, 1e-2))
def test_times_are_predicted_from_two_sizes(fixed: float, each: float) -> None:
    whole, part = 10_000, 1_000
    found = find_fixed_seconds((whole, fixed + whole * each), (part, fixed + part * each))
    assert found == pytest.approx(fixed, abs=1e-6)
    rows = pl.DataFrame(
        {"fixed_seconds": [found], "seconds": [fixed + whole * each], "n_ops": [whole]}
    )
    (predicted,) = predict_index(rows, "warm", [10**9], error=0.1)
    assert predicted.seconds == pytest.approx(fixed + 10**9 * each, rel=1e-3)
    assert predicted.most_seconds == pytest.approx(1.1 * predicted.seconds)
    assert predicted.least_seconds == pytest.approx(predicted.seconds / 1.1)
