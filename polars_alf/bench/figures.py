"""From measurements to figures: one for each operation, cache and concurrency. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import polars as pl

from polars_alf.bench import models
from polars_alf.bench.machine import Cache
from polars_alf.bench.meters import PERCENTILES, find_percentiles, merge_histograms
from polars_alf.bench.operations import STREAMING, Operation

KEYS = ["operation", "cache", "concurrency"]

NOISY = 0.25
"""Spread of the repetitions, of their median, beyond which a figure is noise."""

FEW = 30
"""Operations below which it is, too."""

CLIENT_BOUND = 0.9
"""Share of the time at work from which on processors are the limit, not the storage."""

DELAYED = 0.1
"""Share of the time waited for a processor from which on other work on the machine disturbs."""

COUNTS = (1_000_000, 100_000_000, 1_000_000_000)
"""Numbers of files to predict times for."""

MEAN_BYTES = 1_000_000
"""Mean size of a file where it is not known from an archive: digests depend on it."""

_PERCENTILES = [*(f"p{level:g}" for level in PERCENTILES), "max", "mean"]


def make_figures(measurements: pl.DataFrame, latencies: pl.DataFrame) -> pl.DataFrame:
    """Return medians over the repetitions, their spread, and latencies.

    Parameters
    ----------
    measurements
        MEASUREMENTS.
    latencies
        LATENCIES.

    Returns
    -------
    polars.DataFrame
        In the order in which they were first measured; columns as in `describe_figures`.
    """
    rate = pl.col("rate")
    grouped = measurements.group_by(KEYS, maintain_order=True).agg(
        pl.col("jobs", "threads").first(),
        pl.len().alias("repeats"),
        pl.col("n_ops").sum(),
        rate.median(),
        rate.min().alias("least_rate"),
        rate.max().alias("most_rate"),
        pl.col("gross_rate", "byte_rate", "overhead_ns", "busy", "delayed").median(),
    )
    spread = (pl.col("most_rate") - pl.col("least_rate")) / rate
    return (
        grouped.with_columns(spread=spread)
        .with_columns(
            is_noise=(pl.col("spread") > NOISY) | (pl.col("n_ops") < FEW),
            is_client_bound=(pl.col("busy") > CLIENT_BOUND).fill_null(value=False),
        )
        .join(_describe_latencies(latencies), on=KEYS, how="left", maintain_order="left")
    )


def _describe_latencies(latencies: pl.DataFrame) -> pl.DataFrame:
    columns = {f"{name}_ns": pl.Float64() for name in _PERCENTILES}
    rows = [
        {**dict(zip(KEYS, key, strict=True)), **_name_percentiles(part)}
        for key, part in latencies.group_by(KEYS)
    ]
    keys = {name: latencies.schema[name] for name in KEYS}
    return pl.DataFrame(rows, schema={**keys, **columns})


def _name_percentiles(part: pl.DataFrame) -> dict[str, float | None]:
    histogram = merge_histograms([part.select("latency_ns", "n_ops")])
    return {f"{name}_ns": value for name, value in find_percentiles(histogram).items()}


def model_operations(measurements: pl.DataFrame) -> list[dict[str, Any]]:
    """Return how each operation's throughput grows, see `polars_alf.bench.models`."""
    found = []
    for (operation, cache), part in measurements.group_by(
        ["operation", "cache"], maintain_order=True
    ):
        rates = _rates(part)
        law = models.describe_scalability(rates)
        found.append({"operation": operation, "cache": cache} | asdict(law))
    return found


def _rates(part: pl.DataFrame) -> pl.DataFrame:
    """Return what grows: bytes where they count, else operations."""
    rate = pl.coalesce("byte_rate", "gross_rate").alias("gross_rate")
    return part.select("concurrency", "repeat", rate)


def recommend(measurements: pl.DataFrame) -> dict[str, int]:
    """Return ``jobs`` and ``threads`` for an index, and ``digest_jobs`` for one with digests.

    From cold caches where there are such: that is how an archive is met. What was not measured is
    left out.
    """
    found = {}
    index = _choose(measurements, Operation.INDEX)
    if len(index):
        rows = index.filter(concurrency=models.choose_concurrency(_rates(index)))
        found = {"jobs": int(rows["jobs"][0]), "threads": int(rows["threads"][0])}
    digests = _choose(measurements, Operation.MD5)
    if len(digests):
        found["digest_jobs"] = models.choose_concurrency(_rates(digests))
    return found


def _choose(measurements: pl.DataFrame, operation: Operation) -> pl.DataFrame:
    rows = measurements.filter(operation=str(operation))
    cold = rows.filter(cache=str(Cache.COLD))
    return cold if len(cold) else rows


def predict(
    measurements: pl.DataFrame, laws: list[dict[str, Any]], mean_bytes: float
) -> list[dict[str, Any]]:
    """Return the times to index and to digest `COUNTS` files, with each kind of cache.

    Parameters
    ----------
    measurements
        MEASUREMENTS.
    laws
        As `model_operations` gave them.
    mean_bytes
        Mean size of a file.
    """
    advice = recommend(measurements)
    errors = {(law["operation"], law["cache"]): law["fit_error"] or 0.0 for law in laws}
    return [
        asdict(prediction)
        for cache, part in measurements.group_by("cache", maintain_order=True)
        for prediction in _predict(part, str(cache[0]), advice, errors, mean_bytes)
    ]


def _predict(
    part: pl.DataFrame,
    cache: str,
    advice: dict[str, int],
    errors: dict[tuple[str, str], float],
    mean_bytes: float,
) -> Iterator[models.Prediction]:
    index = part.filter(
        operation=str(Operation.INDEX),
        jobs=advice.get("jobs", 0),
        threads=advice.get("threads", 0),
    )
    if len(index):
        yield from models.predict_index(index, cache, COUNTS, errors[Operation.INDEX, cache])
    at_best = part.filter(concurrency=advice.get("digest_jobs", 0)).sort("repeat")
    reads = at_best.filter(operation=str(Operation.READ))
    digests = at_best.filter(operation=str(Operation.MD5))
    if len(reads) and len(digests):
        error = errors[Operation.MD5, cache]
        yield from models.predict_digest(reads, digests, cache, COUNTS, mean_bytes, error)


def list_notes(figures: pl.DataFrame, models_found: list[dict[str, Any]]) -> list[str]:
    """Return what a reader should know before trusting figures."""
    notes = []
    noise = figures.filter("is_noise")
    if len(noise):
        share = f"{len(noise)} of {len(figures)} figures are noise"
        notes.append(
            f"{share}: repetitions differ by more than {NOISY:.0%}, or are too few operations; "
            "measure longer with --duration, or when the machine is quiet"
        )
    alone = figures.filter(pl.col("concurrency") == pl.col("jobs"))
    delayed = alone["delayed"].median()
    if isinstance(delayed, float) and delayed > DELAYED:
        notes.append(
            f"this machine was busy with other work: {delayed:.0%} of the time was spent waiting "
            "for a processor, so that storage looks slower than it is"
        )
    bound = figures.filter(pl.col("is_client_bound"), ~pl.col("operation").is_in([*STREAMING]))
    if len(bound):
        notes.append(
            f"in {len(bound)} of them the processors of this machine were the limit, not the "
            "storage, which may be able to do more for other clients; one Python process makes "
            "one fast call at a time whatever its threads, so more processes (--jobs) help there"
        )
    open_ended = [law["operation"] for law in models_found if not law["is_saturated"]]
    if open_ended:
        names = ", ".join(dict.fromkeys(open_ended))
        notes.append(f"not saturated up to the most calls at once: {names}; sweep further")
    return notes
