"""Compare storage systems: several reports in one, with ratios. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from polars_alf.benching.figures import KEYS
from polars_alf.benching.results import StorageReport
from polars_alf.errors import OptionError

RATIOS = pl.Schema(
    {
        "label": pl.String,
        "what": pl.String,  # an operation, or what a time is predicted for
        "cache": pl.String,
        "concurrency": pl.Int64,  # null for a predicted time
        "ratio": pl.Float64,  # how many times faster than the first system
        "is_noise": pl.Boolean,  # whether either figure is
    }
)


def name_apart(reports: Sequence[StorageReport]) -> list[StorageReport]:
    """Return reports of which no two have the same label.

    Raises
    ------
    OptionError
        There are fewer than two.
    """
    if len(reports) < 2:
        raise OptionError("one result is nothing to compare; give two or more")
    labels = [report.label for report in reports]
    return [
        report
        if labels.count(report.label) == 1
        else replace(report, label=f"{report.label} ({i})")
        for i, report in enumerate(reports, start=1)
    ]


def compare_reports(reports: Sequence[StorageReport]) -> pl.DataFrame:
    """Return how many times faster each system is than the first (RATIOS).

    What was measured of only one of two is left out.
    """
    first, *others = reports
    frames = [RATIOS.to_frame()]
    for other in others:
        frames += [_compare_figures(first, other), _compare_predictions(first, other)]
    return pl.concat([frame.select(RATIOS.names()).cast(RATIOS) for frame in frames])


def _compare_figures(first: StorageReport, other: StorageReport) -> pl.DataFrame:
    columns = [*KEYS, "rate", "byte_rate", "is_noise"]
    joined = other.figures.select(columns).join(
        first.figures.select(columns), on=KEYS, suffix="_first", maintain_order="left"
    )
    # A piece of a file is as large in both: bytes and pieces have the same ratio.
    return joined.select(
        "cache", "concurrency",
        label=pl.lit(other.label),
        what=pl.col("operation"),
        ratio=pl.col("rate") / pl.col("rate_first"),
        is_noise=pl.col("is_noise") | pl.col("is_noise_first"),
    )  # fmt: skip


def _compare_predictions(first: StorageReport, other: StorageReport) -> pl.DataFrame:
    keys = ["task", "cache", "n_files"]
    columns = {"task": pl.String, "cache": pl.String, "n_files": pl.Int64, "seconds": pl.Float64}
    frames = [
        pl.DataFrame([{name: row[name] for name in columns} for row in report.predictions], columns)
        for report in (other, first)
    ]
    return (
        frames[0]
        .join(frames[1], on=keys, suffix="_first", maintain_order="left")
        .select(
            "cache",
            label=pl.lit(other.label),
            what=pl.format("{} {} million files", "task", pl.col("n_files") // 1_000_000),
            concurrency=pl.lit(None, pl.Int64),
            ratio=pl.col("seconds_first") / pl.col("seconds"),
            is_noise=pl.lit(value=False),
        )
    )
