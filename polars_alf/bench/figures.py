"""Figures of measurements, one for each operation, cache and concurrency, and notes on them."""

from __future__ import annotations

from typing import Any

import polars as pl

from polars_alf.bench.meters import HISTOGRAM, PERCENTILES, find_percentiles, merge_histograms
from polars_alf.bench.operations import STREAMING
from polars_alf.walk.shards import LEAST_FOLDERS

KEYS = ["operation", "cache", "concurrency"]

NOISE_SPREAD = 0.25
"""Spread of the repetitions, as a share of their median, above which a figure is noise."""

NOISE_OPERATIONS = 30
"""Number of operations below which a figure is noise."""

LEAST_DIFFERENCE = 0.1
"""Share by which medians differ at least where a system is faster: less would decide nothing."""

FILES_PER_SESSION = 72
"""Files of a session of the synthetic archive."""

SESSIONS_PER_WORKER = LEAST_FOLDERS
"""Sessions that an index leaves to one worker."""

CLIENT_BOUND = 0.9
"""Share of the time at work above which the processors are the limit, not the storage."""

DISTURBED = 0.1
"""Share of the time spent waiting for a processor above which other work disturbs."""


def expr_rate() -> pl.Expr:
    """Return the rates of operations, or of files where operations list many."""
    amount = pl.when(pl.col("byte_rate").is_null()).then("amount")
    return pl.col("rate") * amount.fill_null(1.0)


def make_figures(measurements: pl.DataFrame, latencies: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each operation, cache and concurrency, in the order of measurement.

    The medians of the repetitions (MEASUREMENTS), their spread, and percentiles of the latencies
    of all repetitions together (LATENCIES).
    """
    rate = pl.col("rate")
    return (
        measurements.group_by(KEYS, maintain_order=True)
        .agg(
            pl.col("jobs", "threads").first(),
            pl.len().alias("repeats"),
            pl.col("n_ops").sum(),
            rate.median(),
            rate.min().alias("least_rate"),
            rate.max().alias("most_rate"),
            pl.col("byte_rate", "amount", "busy", "delayed").median(),
            pl.col("workers").min(),
            pl.col("n_stalls").sum(),
            pl.col("stall_seconds").max(),
        )
        .with_columns(spread=(pl.col("most_rate") - pl.col("least_rate")) / rate)
        .with_columns(
            is_noise=(pl.col("spread") > NOISE_SPREAD) | (pl.col("n_ops") < NOISE_OPERATIONS),
            is_client_bound=(pl.col("busy") > CLIENT_BOUND).fill_null(value=False),
        )
        .join(_describe_latencies(latencies), on=KEYS, how="left", maintain_order="left")
    )


def _describe_latencies(latencies: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for key, part in latencies.group_by(KEYS):
        percentiles = find_percentiles(merge_histograms([part.select(HISTOGRAM.names())]))
        row = {f"{name}_ns": value for name, value in percentiles.items()}
        rows.append(dict(zip(KEYS, key, strict=True)) | row)
    names = [*(f"p{level:g}" for level in PERCENTILES), "max", "mean"]
    keys = {name: latencies.schema[name] for name in KEYS}
    return pl.DataFrame(rows, schema=keys | {f"{name}_ns": pl.Float64() for name in names})


def list_notes(figures: pl.DataFrame, models: list[dict[str, Any]], *, by_lists: bool) -> list[str]:
    """Return warnings to read before trusting the figures.

    `by_lists` is whether lists tell how long an index takes.
    """
    notes = []
    noise = figures.filter("is_noise")
    if len(noise):
        notes.append(
            f"{len(noise)} of {len(figures)} figures are noise: repetitions differ by more than "
            f"{NOISE_SPREAD:.0%}, or are too few operations; measure longer with --duration, or "
            "when the machine is quiet"
        )
    single = figures.filter(pl.col("concurrency") == pl.col("jobs"))
    delayed = single["delayed"].median()
    if isinstance(delayed, float) and delayed > DISTURBED:
        notes.append(
            f"this machine was busy with other work: {delayed:.0%} of the time was spent waiting "
            "for a processor, so that storage looks slower than it is"
        )
    bound = figures.filter(pl.col("is_client_bound"), ~pl.col("operation").is_in([*STREAMING]))
    if len(bound):
        notes.append(
            f"in {len(bound)} of {len(figures)} figures the processors of this machine were the "
            "limit, not the storage, which may be able to do more for other clients; one Python "
            "process makes one fast call at a time whatever its threads, so more processes "
            "(--jobs) help there"
        )
    stalled = figures.filter(pl.col("n_stalls") > 0).sort("stall_seconds", descending=True)
    if len(stalled):
        longest = stalled.row(0, named=True)
        notes.append(
            f"the storage stalled {int(stalled['n_stalls'].sum())} times, for up to "
            f"{longest['stall_seconds']:.1f} s: no call of {longest['operation']} was done, with "
            f"{longest['concurrency']} at once"
        )
    if by_lists and figures["workers"].count() == 0 and len(figures.filter(operation="list")):
        notes.append(
            "no index was measured: predicted times are those of lists alone, without the work of "
            "processors"
        )
    few = figures.filter(pl.col("workers") < pl.col("jobs"))
    if len(few):
        jobs, workers = int(max(few["jobs"])), int(min(few["workers"]))
        consequence = "predicted times are too long, and options go by how folders were listed"
        if by_lists:
            consequence = "predicted times are those of lists alone, and options go by these"
        notes.append(
            f"with so few sessions an index had {workers} of {jobs} workers: {consequence}; give "
            f"--files {jobs * SESSIONS_PER_WORKER * FILES_PER_SESSION} or more"
        )
    growing = dict.fromkeys(model["operation"] for model in models if not model["is_saturated"])
    if growing:
        notes.append(
            f"not saturated up to the most calls at once: {', '.join(growing)}; give more with "
            "--threads"
        )
    return notes
