"""What the measurements say: throughput against concurrency, where it ends, and times to come.

Pure, and all but the fit without a library. Rates are those of the program as it ran: what it
takes for itself is part of an index too.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

ENOUGH = 0.95
"""Share of the best rate that is as good: more calls at once are only a burden to others."""

SATURATED = 1.1
"""What twice the calls must bring at least for storage not to be saturated yet."""

LEAST_LEVELS = 4
"""Concurrencies that a fit needs: it has three parameters."""


@dataclass(frozen=True, slots=True)
class Scalability:
    """How throughput grows with concurrency.

    By the Universal Scalability Law n calls at once get
    ``rate_of_one * n / (1 + contention * (n - 1) + coherency * n * (n - 1))`` done a second.

    Parameters
    ----------
    rate_of_one, contention, coherency
        Parameters of the law; None where there are too few concurrencies for a fit.
    rate_of_one_error, contention_error, coherency_error
        Their standard errors.
    fit_error
        Root of the mean square of the residuals of the rate's logarithm: a relative error.
    peak
        Concurrency beyond which the law has throughput fall; None where it never does.
    best_rate
        Highest rate that was measured. Other work on a machine only ever takes from a rate.
    saturation, least_saturation, most_saturation
        Concurrency at which a storage that serves calls without delay to each other would reach
        that rate: where the slope of the fewest calls at once meets the best rate. The least and
        the most are of the repetitions by themselves.
    is_saturated
        Whether the rate stopped growing within the concurrencies measured; else `saturation` is
        as far as was looked.
    """

    rate_of_one: float | None
    contention: float | None
    coherency: float | None
    rate_of_one_error: float | None
    contention_error: float | None
    coherency_error: float | None
    fit_error: float | None
    peak: float | None
    best_rate: float
    saturation: float
    least_saturation: float
    most_saturation: float
    is_saturated: bool


@dataclass(frozen=True, slots=True)
class Prediction:
    """How long a number of files takes, in seconds: likely, at least and at most."""

    task: str
    cache: str
    n_files: int
    seconds: float
    least_seconds: float
    most_seconds: float


def describe_scalability(rates: pl.DataFrame) -> Scalability:
    """Return how throughput grows.

    Parameters
    ----------
    rates
        ``concurrency``, ``repeat`` and ``gross_rate`` of one operation with one kind of cache.
    """
    bests = _take(rates, pl.col("gross_rate").max())
    knees = [
        _find_knee(_take(part, pl.col("gross_rate").max())) for part in rates.partition_by("repeat")
    ]
    fitted = _fit(rates)
    return Scalability(
        **fitted,
        best_rate=max(bests.values()),
        saturation=_find_knee(bests),
        least_saturation=min(knees),
        most_saturation=max(knees),
        is_saturated=_is_saturated(_take(rates, pl.col("gross_rate").median())),
    )


def predict_law(law: Scalability, concurrency: float) -> float | None:
    """Return the rate that the law has for so many calls at once, None without a fit."""
    if law.rate_of_one is None or law.contention is None or law.coherency is None:
        return None
    return float(_rate(concurrency, law.rate_of_one, law.contention, law.coherency))


def choose_concurrency(rates: pl.DataFrame) -> int:
    """Return the least concurrency that is about as good as the best."""
    medians = _take(rates, pl.col("gross_rate").median())
    enough = ENOUGH * max(medians.values())
    return min(level for level, rate in medians.items() if rate >= enough)


def predict_index(
    rows: pl.DataFrame, cache: str, counts: Sequence[int], error: float
) -> list[Prediction]:
    """Return how long it takes to index so many files.

    Parameters
    ----------
    rows
        MEASUREMENTS of indexes with one concurrency.
    counts
        Numbers of files.
    error
        Relative error to add on both sides: that of the model of concurrency.
    """
    fixed = rows["fixed_seconds"].to_list()
    each = [
        (whole - part) / n
        for whole, part, n in zip(rows["seconds"], fixed, rows["n_ops"], strict=True)
    ]
    return [
        _predict("index", cache, n, [f + n * e for f, e in zip(fixed, each, strict=True)], error)
        for n in counts
    ]


def predict_digest(
    reads: pl.DataFrame,
    digests: pl.DataFrame,
    cache: str,
    counts: Sequence[int],
    mean: float,
    error: float,
) -> list[Prediction]:
    """Return how long it takes to read so many files for their MD5.

    Parameters
    ----------
    reads, digests
        MEASUREMENTS of small files and of large ones, with one concurrency.
    counts
        Numbers of files.
    mean
        Their mean size, in bytes.
    error
        As for `predict_index`.
    """
    pairs = zip(reads["gross_rate"], digests["byte_rate"], strict=True)
    each = [1 / opened + mean / digested for opened, digested in pairs]
    return [_predict("digest", cache, n, [n * e for e in each], error) for n in counts]


def _predict(
    task: str, cache: str, n_files: int, seconds: Sequence[float], error: float
) -> Prediction:
    return Prediction(
        task=task,
        cache=cache,
        n_files=n_files,
        seconds=statistics.median(seconds),
        least_seconds=min(seconds) / (1 + error),
        most_seconds=max(seconds) * (1 + error),
    )


def _take(rates: pl.DataFrame, one: pl.Expr) -> dict[int, float]:
    """Return one of the repetitions' rates by concurrency, in rising order."""
    return dict(rates.group_by("concurrency").agg(one).sort("concurrency").iter_rows())


def _find_knee(rates: dict[int, float]) -> float:
    least = min(rates)
    return max(rates.values()) / (rates[least] / least)


def _is_saturated(medians: dict[int, float]) -> bool:
    if len(medians) < 2:
        return False
    *others, (last, rate) = medians.items()
    before, rate_before = max(others, key=lambda pair: pair[1])
    # What growth would be for twice the calls, however far apart they are.
    doubled: float = (rate / rate_before) ** (1 / math.log2(last / before))
    return doubled < SATURATED


def _fit(rates: pl.DataFrame) -> dict[str, float | None]:
    levels = rates["concurrency"].cast(pl.Float64).to_list()
    values = rates["gross_rate"].to_list()
    names = ("rate_of_one", "contention", "coherency")
    nothing = dict.fromkeys([*names, *(f"{name}_error" for name in names), "fit_error", "peak"])
    if len(set(levels)) < LEAST_LEVELS:
        return nothing
    import numpy as np
    from scipy.optimize import curve_fit

    x, y = np.array(levels), np.log(values)

    def law(level: Any, *parameters: float) -> Any:
        return np.log(_rate(level, *parameters))

    first = max(rate / level for rate, level in zip(values, levels, strict=True))
    try:
        # Of logarithms, since noise grows with the rate.
        best, covariance = curve_fit(
            law,
            x,
            y,
            p0=(first, 0.05, 0.0001),
            bounds=((first * 1e-6, 0, 0), (np.inf, 1, np.inf)),
            x_scale=(first, 0.1, 0.001),
            max_nfev=10_000,
        )
    except RuntimeError:  # no fit was found
        return nothing
    residuals = law(x, *best) - y
    contention, coherency = float(best[1]), float(best[2])
    peak = max(math.sqrt((1 - contention) / coherency), 1.0) if coherency > 0 else math.inf
    errors = [
        float(error) if np.isfinite(error) else None for error in np.sqrt(np.diag(covariance))
    ]
    return {
        **dict(zip(names, map(float, best), strict=True)),
        **dict(zip((f"{name}_error" for name in names), errors, strict=True)),
        "fit_error": float(np.sqrt(np.mean(residuals**2))),
        # Far beyond what was measured, a peak is nothing but an extrapolation of noise.
        "peak": peak if peak < 10 * max(levels) else None,
    }


def _rate(level: Any, rate_of_one: float, contention: float, coherency: float) -> Any:
    """Return the law's rate; also for arrays of levels."""
    return rate_of_one * level / (1 + contention * (level - 1) + coherency * level * (level - 1))
