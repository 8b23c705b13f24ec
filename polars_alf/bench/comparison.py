"""Reports of several storage systems side by side: a verdict, conclusions, and the ratios."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl

from polars_alf.alf.address import is_address
from polars_alf.bench.figures import KEYS, LEAST_DIFFERENCE, NOISE_SPREAD
from polars_alf.bench.operations import Operation
from polars_alf.bench.results import StorageReport, read_report
from polars_alf.bench.verdict import make_verdict
from polars_alf.bench.words import join_words
from polars_alf.display import Shown
from polars_alf.errors import OptionError, ResultError

RATIOS = pl.Schema(
    {
        "label": pl.String,
        "what": pl.String,  # an operation, or a task whose time is predicted
        "cache": pl.String,
        "concurrency": pl.Int64,  # null for a predicted time
        "n_files": pl.Int64,  # null but for a predicted time
        "ratio": pl.Float64,  # how many times as fast as the first system, by medians
        "least_ratio": pl.Float64,  # by the worst repetition, and the best one of the first system
        "most_ratio": pl.Float64,
        # Whether one is faster in all repetitions, and by LEAST_DIFFERENCE; else it may be noise.
        "is_clear": pl.Boolean,
    }
)

DIFFERENCES = pl.Schema(
    {
        "label": pl.String,
        "what": pl.String,
        "cache": pl.String,
        "from_concurrency": pl.Int64,
        "to_concurrency": pl.Int64,
        "faster": pl.String,  # label of the faster system; null where none is
        "least_ratio": pl.Float64,  # how many times as fast it, or the one with higher medians, is
        "most_ratio": pl.Float64,
    }
)
"""Neighbouring numbers of calls at once with the same faster system."""

CONCLUSIONS = pl.Schema(
    {
        "label": pl.String,
        "what": pl.String,  # a task, an operation, or "stalls"
        "cache": pl.String,  # null for stalls
        "n_files": pl.Int64,  # of a task, whose time is predicted
        "value": pl.Float64,  # best rate of an operation, seconds of a task, number of stalls
        "least": pl.Float64,
        "most": pl.Float64,  # of stalls, seconds of the longest
        "concurrency": pl.Int64,  # of the best rate
    }
)
"""The schema of the figures by which systems are compared."""


@dataclass(frozen=True, slots=True, repr=False)
class StorageComparison(Shown):
    """Several storage systems side by side.

    Parameters
    ----------
    reports
        The report of each system, with different labels.
    verdict
        Sentences, the most important first.
    conclusions
        Predicted times, best rates and stalls of each system.
    differences
        Which system is faster than the first, or slower, at how many calls at once.
    ratios
        All that both have, and how many times as fast each system is as the first.
    notes
        What else differs between the systems, to know before trusting the ratios.
    """

    reports: list[StorageReport]
    verdict: list[str]
    conclusions: pl.DataFrame
    differences: pl.DataFrame
    ratios: pl.DataFrame
    notes: list[str]

    @property
    def labels(self) -> list[str]:
        """Names of the systems."""
        return [report.label for report in self.reports]

    def find_slower(self, share: float) -> pl.DataFrame:
        """Return the rows of `ratios` with rates clearly below the first system's by a share.

        Predicted times are left out: they follow from the rates of indexes and of digests.
        """
        return self.ratios.filter(
            "is_clear", pl.col("concurrency").is_not_null(), pl.col("ratio") <= 1 - share
        )

    def _list_figures(self) -> dict[str, object]:
        clear = self.ratios["is_clear"]
        return {
            "systems": ", ".join(self.labels),
            "verdict": self.verdict[0],
            "ratios": len(self.ratios),
            "clear": int(clear.sum()),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all but the reports, in values that JSON has."""
        return {
            "labels": self.labels,
            "verdict": self.verdict,
            "notes": self.notes,
            "conclusions": self.conclusions.to_dicts(),
            "differences": self.differences.to_dicts(),
            "ratios": self.ratios.to_dicts(),
        }


def compare_storage(*results: str | os.PathLike[str] | StorageReport) -> StorageComparison:
    """Compare storage systems with the first of them.

    Parameters
    ----------
    results
        Two or more: folders that `polars-alf bench` wrote, or what `bench_storage` returned.

    Returns
    -------
    StorageComparison
        A verdict, conclusions, and the ratios behind them.

    Raises
    ------
    OptionError
        There are fewer than two.
    ResultError
        One cannot be read, or has no figure in common with the first.
    """
    reports = [
        each if isinstance(each, StorageReport) else read_report(Path(each)) for each in results
    ]
    if len(reports) < 2:
        raise OptionError("one result is nothing to compare; give two or more")
    reports = _fill_caches(_count_alike(_name_apart(reports)))
    first, *others = reports
    frames = [RATIOS.to_frame()]
    for other in others:
        parts = [_compare_figures(first, other), _compare_predictions(first, other)]
        if all(part.is_empty() for part in parts):
            raise ResultError(
                f"{other.label} and {first.label} have no figure in common; measure both with the "
                "same --operations and --threads"
            )
        named = [part.with_columns(label=pl.lit(other.label)) for part in parts]
        frames += [part.select(RATIOS.names()).cast(RATIOS) for part in named]
    ratios = pl.concat(frames)
    differences = _find_differences(ratios, first.label)
    conclusions = _list_conclusions(reports)
    labels = [report.label for report in reports]
    verdict = make_verdict(labels, conclusions, differences, ratios)
    return StorageComparison(
        reports, verdict, conclusions, differences, ratios, _list_notes(reports)
    )


def _name_apart(reports: Sequence[StorageReport]) -> list[StorageReport]:
    """Return reports with a number in labels that repeat."""
    labels = [report.label for report in reports]
    return [
        report
        if labels.count(report.label) == 1
        else replace(report, label=f"{report.label} ({i})")
        for i, report in enumerate(reports, start=1)
    ]


def _count_alike(reports: list[StorageReport]) -> list[StorageReport]:
    """Return reports in which lists count folders, if they do in one, of an earlier version."""
    is_list = pl.col("operation") == str(Operation.LIST)
    amounts = [report.figures.filter(is_list)["amount"] for report in reports]
    if not any(amount.null_count() for amount in amounts):
        return reports
    return [
        replace(
            report,
            figures=report.figures.with_columns(amount=pl.when(~is_list).then("amount")),
            models=[_scale_model(model, amount) for model in report.models],
        )
        for report, amount in zip(reports, amounts, strict=True)
    ]


def _scale_model(model: dict[str, Any], amounts: pl.Series) -> dict[str, Any]:
    """Return the model of an operation, that of lists in calls a second."""
    if model["operation"] != Operation.LIST or not amounts.count():
        return model
    names = ("rate_of_one", "rate_of_one_error", "best_rate")
    return model | {name: model[name] and model[name] / amounts[0] for name in names}


def _fill_caches(reports: list[StorageReport]) -> list[StorageReport]:
    """Return reports in which the figures of buckets count for warm and for cold caches.

    This machine keeps nothing of a bucket in its caches, so that it makes no difference to them.
    """
    caches = sorted({cache for report in reports for cache in report.figures["cache"]})
    return [
        replace(
            report,
            figures=pl.concat(report.figures.with_columns(cache=pl.lit(each)) for each in caches),
            models=[model | {"cache": each} for each in caches for model in report.models],
            predictions=[row | {"cache": each} for each in caches for row in report.predictions],
        )
        if is_address(report.path)
        else report
        for report in reports
    ]


def _compare_figures(first: StorageReport, other: StorageReport) -> pl.DataFrame:
    # A single repetition shows no spread: it is taken to be as large as that of noise.
    once = pl.col("repeats") < 2
    frames = [
        report.figures.select(
            *KEYS,
            "rate",
            "amount",
            least=pl.when(once).then(pl.col("rate") / (1 + NOISE_SPREAD)).otherwise("least_rate"),
            most=pl.when(once).then(pl.col("rate") * (1 + NOISE_SPREAD)).otherwise("most_rate"),
        )
        for report in (other, first)
    ]
    joined = frames[0].join(frames[1], on=KEYS, suffix="_first", maintain_order="left")
    # A request lists more files than a folder has. Where one does not tell, operations count.
    more = (pl.col("amount") / pl.col("amount_first")).fill_null(1.0)
    return joined.select(
        "cache", "concurrency",
        what=pl.col("operation"),
        n_files=pl.lit(None, pl.Int64),
        ratio=pl.col("rate") / pl.col("rate_first") * more,
        least_ratio=pl.col("least") / pl.col("most_first") * more,
        most_ratio=pl.col("most") / pl.col("least_first") * more,
    ).with_columns(is_clear=_IS_CLEAR)  # fmt: skip


def _compare_predictions(first: StorageReport, other: StorageReport) -> pl.DataFrame:
    frame, frame_first = (_frame_predictions(report) for report in (other, first))
    joined = frame.join(
        frame_first,
        on=["task", "basis", "cache", "n_files"],
        suffix="_first",
        maintain_order="left",
    )
    return joined.select(
        "cache", "n_files",
        what=pl.col("task"),
        concurrency=pl.lit(None, pl.Int64),
        ratio=pl.col("seconds_first") / pl.col("seconds"),
        least_ratio=pl.col("least_seconds_first") / pl.col("most_seconds"),
        most_ratio=pl.col("most_seconds_first") / pl.col("least_seconds"),
    ).with_columns(is_clear=_IS_CLEAR)  # fmt: skip


_IS_CLEAR = ((pl.col("least_ratio") > 1) & (pl.col("ratio") >= 1 + LEAST_DIFFERENCE)) | (
    (pl.col("most_ratio") < 1) & (pl.col("ratio") <= 1 / (1 + LEAST_DIFFERENCE))
)


def _frame_predictions(report: StorageReport) -> pl.DataFrame:
    schema = {"task": pl.String, "basis": pl.String, "cache": pl.String, "n_files": pl.Int64}
    schema |= dict.fromkeys(("seconds", "least_seconds", "most_seconds"), pl.Float64)
    return pl.DataFrame(
        [{name: row[name] for name in schema} for row in report.predictions], schema
    )


def _find_differences(ratios: pl.DataFrame, first: str) -> pl.DataFrame:
    winner = pl.when(pl.col("ratio") > 1).then("label").otherwise(pl.lit(first))
    figures = ratios.filter(pl.col("concurrency").is_not_null()).with_columns(
        faster=pl.when("is_clear").then(winner),
        times=pl.max_horizontal("ratio", 1 / pl.col("ratio")),
    )
    rows = []
    for (label, what, cache), part in figures.group_by(
        ["label", "what", "cache"], maintain_order=True
    ):
        levels = part.sort("concurrency").iter_rows(named=True)
        for faster, neighbours in groupby(levels, key=lambda row: row["faster"]):
            group = list(neighbours)
            times = [row["times"] for row in group]
            span = group[0]["concurrency"], group[-1]["concurrency"]
            rows.append((label, what, cache, *span, faster, min(times), max(times)))
    return pl.DataFrame(rows, DIFFERENCES, orient="row")


def _list_conclusions(reports: Iterable[StorageReport]) -> pl.DataFrame:
    frames = [CONCLUSIONS.to_frame()]
    for report in reports:
        tasks = _frame_predictions(report).select(
            "cache", "n_files", what="task", value="seconds", least="least_seconds",
            most="most_seconds",
        )  # fmt: skip
        unit = pl.col("amount").fill_null(1.0)
        best = (
            report.figures.sort("rate", descending=True)
            .group_by("operation", "cache", maintain_order=True)
            .first()
            .select(
                "cache", "concurrency", what="operation", value=pl.col("rate") * unit,
                least=pl.col("least_rate") * unit, most=pl.col("most_rate") * unit,
            )
        )  # fmt: skip
        order = pl.col("what").cast(pl.Enum([*map(str, Operation)]))
        stalls = report.figures.select(
            what=pl.lit("stalls"),
            value=pl.col("n_stalls").sum().cast(pl.Float64),
            most=pl.col("stall_seconds").max(),
        ).filter(pl.lit(report.figures["n_stalls"].count() > 0))
        parts = [tasks, best.sort(order, "cache", descending=[False, True]), stalls]
        whole = pl.concat([CONCLUSIONS.to_frame(), *parts], how="diagonal_relaxed")
        frames.append(whole.with_columns(label=pl.lit(report.label)).select(CONCLUSIONS.names()))
    return pl.concat(frames)


_CONDITIONS: dict[str, Callable[[StorageReport], object]] = {
    "the machine": lambda report: (report.machine["cpu"], report.machine["n_cpus"]),
    "--files": lambda report: report.settings["files"],
    "--jobs": lambda report: report.settings["jobs"],
    "--like": lambda report: report.settings.get("like"),
    "--read-only": lambda report: report.settings["read_only"],
    "--cluster": lambda report: report.settings.get("cluster") is not None,
}


def _list_notes(reports: Sequence[StorageReport]) -> list[str]:
    notes = []
    in_buckets = [report.label for report in reports if is_address(report.path)]
    if 0 < len(in_buckets) < len(reports):
        notes.append(
            f"this machine keeps nothing of {join_words(in_buckets)} in memory, from which warm "
            "caches serve the others: for archives larger than memory, compare with --cold ones"
        )
    bases = pl.concat([_frame_predictions(report) for report in reports])["basis"]
    if {*map(str, (Operation.INDEX, Operation.LIST))} <= {*bases}:
        by_lists = [
            r.label for r in reports if str(Operation.LIST) in _frame_predictions(r)["basis"]
        ]
        notes.append(
            f"the times of indexes are those of lists alone for {join_words(by_lists)}, without "
            "the work of processors: compare them when the operation index was measured for all"
        )
    different = [
        name
        for name, find in _CONDITIONS.items()
        if len({str(find(report)) for report in reports}) > 1
    ]
    if different:
        notes.append(
            f"not only the storage differs, but also {join_words(different)}: what is measured "
            "depends on both"
        )
    return notes
