"""Models of measurements: how throughput grows with concurrency, advice, and predicted times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from polars_alf.bench.figures import expr_rate
from polars_alf.bench.machine import Cache
from polars_alf.bench.operations import Operation

PREDICTED_COUNTS = (1_000_000, 100_000_000, 1_000_000_000)
"""Numbers of files to predict times for."""

GOOD_ENOUGH = 0.95
"""Share of the best rate that is as good: more calls at once would only burden other users."""

SATURATED_GROWTH = 1.1
"""Growth of the rate with twice the calls below which the storage is saturated."""

MIN_LEVELS = 4
"""Concurrencies that a fit needs: the law has three parameters."""


@dataclass(frozen=True, slots=True)
class Scalability:
    """Growth of throughput with concurrency.

    By the Universal Scalability Law the rate of n calls at once is
    ``rate_of_one * n / (1 + contention * (n - 1) + coherency * n * (n - 1))``. Its parameters, with
    their standard errors, are None where there are too few concurrencies for a fit.
    """

    rate_of_one: float | None
    contention: float | None
    coherency: float | None
    rate_of_one_error: float | None
    contention_error: float | None
    coherency_error: float | None
    fit_error: float | None  # relative: root mean square of the residuals of the rate's logarithm
    peak: float | None  # concurrency with the highest rate by the law; None where it always grows
    best_rate: float  # highest rate of a concurrency, as a median: what advice goes by, too
    # Concurrency at which storage that serves calls without delay to each other would reach that
    # rate: where the slope of the lowest concurrency meets it. The least and the most are those of
    # single repetitions.
    saturation: float
    least_saturation: float
    most_saturation: float
    is_saturated: bool  # whether the rate stopped growing; if not, saturation lies further on


def model_operations(measurements: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the `Scalability` of each operation with each cache."""
    return [
        {"operation": operation, "cache": cache} | asdict(describe_scalability(_select_rates(part)))
        for (operation, cache), part in measurements.group_by(
            ["operation", "cache"], maintain_order=True
        )
    ]


def _select_rates(part: pl.DataFrame) -> pl.DataFrame:
    """Return the rates that count: of bytes, of files that were listed, or of operations."""
    rate = pl.coalesce("byte_rate", expr_rate()).alias("rate")
    return part.select("concurrency", "repeat", rate)


def describe_scalability(rates: pl.DataFrame) -> Scalability:
    """Return the scalability of one operation from ``concurrency``, ``repeat``, ``rate``."""
    medians = _aggregate(rates, pl.col("rate").median())
    saturations = [
        _find_saturation(_aggregate(part, pl.col("rate").max()))
        for part in rates.partition_by("repeat")
    ]
    return Scalability(
        **_fit(rates),
        best_rate=max(medians.values()),
        saturation=_find_saturation(medians),
        least_saturation=min(saturations),
        most_saturation=max(saturations),
        is_saturated=_is_saturated(medians),
    )


def _aggregate(rates: pl.DataFrame, aggregate: pl.Expr) -> dict[int, float]:
    """Return an aggregate of the repetitions by concurrency, in rising order."""
    return dict(rates.group_by("concurrency").agg(aggregate).sort("concurrency").iter_rows())


def _find_saturation(rates: dict[int, float]) -> float:
    least = min(rates)
    return max(rates.values()) / (rates[least] / least)


def _is_saturated(medians: dict[int, float]) -> bool:
    if len(medians) < 2:
        return False
    *others, (last, rate) = medians.items()
    before, rate_before = max(others, key=lambda pair: pair[1])
    # Growth for twice the calls, however far apart the concurrencies are.
    growth: float = (rate / rate_before) ** (1 / math.log2(last / before))
    return growth < SATURATED_GROWTH


def _fit(rates: pl.DataFrame) -> dict[str, float | None]:
    """Return the fields of `Scalability` that a fit of the law gives, all None without one."""
    levels = rates["concurrency"].cast(pl.Float64).to_list()
    values = rates["rate"].to_list()
    names = ("rate_of_one", "contention", "coherency")
    nothing = dict.fromkeys([*names, *(f"{name}_error" for name in names), "fit_error", "peak"])
    if len(set(levels)) < MIN_LEVELS:
        return nothing
    import numpy as np
    from scipy.optimize import curve_fit

    x, y = np.array(levels), np.log(values)

    def log_rate(level: Any, *parameters: float) -> Any:
        return np.log(_apply_law(level, *parameters))

    start = max(rate / level for rate, level in zip(values, levels, strict=True))
    try:
        # Logarithms, as noise grows with the rate.
        best, covariance = curve_fit(
            log_rate,
            x,
            y,
            p0=(start, 0.05, 0.0001),
            bounds=((start * 1e-6, 0, 0), (np.inf, 1, np.inf)),
            x_scale=(start, 0.1, 0.001),
            max_nfev=10_000,
        )
    except RuntimeError:  # the fit does not converge
        return nothing
    residuals = log_rate(x, *best) - y
    contention, coherency = float(best[1]), float(best[2])
    peak = max(math.sqrt((1 - contention) / coherency), 1.0) if coherency > 0 else math.inf
    errors = [
        float(error) if np.isfinite(error) else None for error in np.sqrt(np.diag(covariance))
    ]
    return {
        **dict(zip(names, map(float, best), strict=True)),
        **dict(zip((f"{name}_error" for name in names), errors, strict=True)),
        "fit_error": float(np.sqrt(np.mean(residuals**2))),
        # A peak far beyond the measured concurrencies is only an extrapolation of noise.
        "peak": peak if peak < 10 * max(levels) else None,
    }


def _apply_law(level: Any, rate_of_one: float, contention: float, coherency: float) -> Any:
    """Return the rate by the law at a concurrency, or at an array of them."""
    return rate_of_one * level / (1 + contention * (level - 1) + coherency * level * (level - 1))


def apply_law(model: dict[str, Any], concurrency: float) -> float | None:
    """Return the rate of a fitted model at a concurrency, None without a fit."""
    if model["rate_of_one"] is None:
        return None
    parameters = (model[name] for name in ("rate_of_one", "contention", "coherency"))
    return float(_apply_law(concurrency, *parameters))


def choose_concurrency(rates: pl.DataFrame) -> int:
    """Return the lowest concurrency that is about as good as the best."""
    medians = _aggregate(rates, pl.col("rate").median())
    enough = GOOD_ENOUGH * max(medians.values())
    return min(level for level, rate in medians.items() if rate >= enough)


def recommend(measurements: pl.DataFrame, *, by_lists: bool = False) -> dict[str, int]:
    """Return the best ``jobs`` and ``threads`` of an index, and ``digest_jobs`` of one with MD5.

    Cold caches are preferred, as an archive is seldom in memory. Operations that were not measured
    give no advice; `by_lists` is as for `select_basis`.
    """
    advice = {}
    basis = select_basis(measurements, by_lists=by_lists)
    if len(basis):
        best = basis.filter(concurrency=choose_concurrency(_select_rates(basis)))
        advice = {"jobs": int(best["jobs"][0]), "threads": int(best["threads"][0])}
    digests = prefer_cold(measurements, Operation.MD5)
    if len(digests):
        advice["digest_jobs"] = choose_concurrency(_select_rates(digests))
    return advice


def select_basis(rows: pl.DataFrame, *, by_lists: bool) -> pl.DataFrame:
    """Return the measurements, or figures, that the options of an index go by.

    Those of indexes; but where these had fewer workers than they were given, which says nothing of
    more workers, those of lists, which is what an index waits for. Without an index there are none,
    or those of lists if `by_lists`: if these have all that an index asks for.
    """
    index = prefer_cold(rows, Operation.INDEX)
    if index.is_empty() and not by_lists:
        return index
    if len(index) and index.filter(pl.col("workers") < pl.col("jobs")).is_empty():
        return index
    return prefer_cold(rows, Operation.LIST)


def prefer_cold(rows: pl.DataFrame, operation: Operation) -> pl.DataFrame:
    """Return those of an operation: with cold caches, if there are any, else with warm ones."""
    rows = rows.filter(operation=str(operation))
    cold = rows.filter(cache=str(Cache.COLD))
    return cold if len(cold) else rows


@dataclass(frozen=True, slots=True)
class Prediction:
    """Likely, least and most seconds of a task with a number of files."""

    task: str
    basis: str  # operation whose measurements tell
    cache: str
    n_files: int
    seconds: float
    least_seconds: float
    most_seconds: float


def predict(
    measurements: pl.DataFrame,
    models: list[dict[str, Any]],
    mean_bytes: float,
    *,
    by_lists: bool = False,
) -> list[dict[str, Any]]:
    """Return a `Prediction` of indexes and of digests for each cache, with the best concurrency.

    `mean_bytes` is the mean size of a file. If `by_lists`, as for `select_basis`, lists tell the
    time of an index that was not measured, or not with all its workers.
    """
    advice = recommend(measurements, by_lists=by_lists)
    basis = select_basis(measurements, by_lists=by_lists)["operation"]
    from_lists = by_lists and str(Operation.LIST) in basis
    errors = {(model["operation"], model["cache"]): model["fit_error"] or 0.0 for model in models}
    found: list[Prediction] = []
    for (cache,), part in measurements.group_by("cache", maintain_order=True):
        best = part.filter(jobs=advice.get("jobs", 0), threads=advice.get("threads", 0))
        index, lists = (
            best.filter(operation=str(each)) for each in (Operation.INDEX, Operation.LIST)
        )
        if from_lists and len(lists):
            times = [(0.0, each) for each in 1 / lists.select(expr_rate()).to_series()]
            error = errors[Operation.LIST, cache]
            found += _predict("index", Operation.LIST, str(cache), PREDICTED_COUNTS, times, error)
        elif len(index):
            error = errors[Operation.INDEX, cache]
            found += predict_index(index, str(cache), PREDICTED_COUNTS, error)
        at_best = part.filter(concurrency=advice.get("digest_jobs", 0)).sort("repeat")
        reads = at_best.filter(operation=str(Operation.READ))["rate"]
        digests = at_best.filter(operation=str(Operation.MD5))["byte_rate"]
        if len(reads) and len(digests):
            times = [(0.0, each) for each in 1 / reads + mean_bytes / digests]
            error = errors[Operation.MD5, cache]
            found += _predict("digest", Operation.MD5, str(cache), PREDICTED_COUNTS, times, error)
    return [asdict(prediction) for prediction in found]


def predict_index(
    rows: pl.DataFrame, cache: str, counts: Sequence[int], error: float
) -> list[Prediction]:
    """Return predictions for numbers of files from measurements with one concurrency.

    `error` is relative, that of the model, and widens the prediction on both sides.
    """
    each = (pl.col("seconds") - pl.col("fixed_seconds")) / pl.col("n_ops")
    times = rows.select("fixed_seconds", each).rows()
    return _predict("index", Operation.INDEX, cache, counts, times, error)


def _predict(
    task: str,
    basis: Operation,
    cache: str,
    counts: Sequence[int],
    times: Sequence[tuple[float, float]],
    error: float,
) -> list[Prediction]:
    """Return predictions from the fixed seconds, and those of each file, of each repetition."""
    found = []
    # From the medians of the rates, as these are what figures show and advice goes by.
    fixed_seconds = statistics.median(fixed for fixed, _ in times)
    rate = statistics.median(1 / each for _, each in times)
    for n_files in counts:
        seconds = [fixed + n_files * each for fixed, each in times]
        least, most = min(seconds), max(seconds)
        likely = min(max(fixed_seconds + n_files / rate, least), most)
        found.append(
            Prediction(
                task,
                str(basis),
                cache,
                n_files,
                likely,
                least / (1 + error),
                most * (1 + error),
            )
        )
    return found
