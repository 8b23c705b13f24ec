"""The verdict and the conclusions of a comparison in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from polars_alf.bench.figures import LEAST_DIFFERENCE
from polars_alf.bench.operations import STREAMING, Operation
from polars_alf.bench.words import (
    describe_count,
    describe_rate,
    describe_seconds,
    describe_times,
    join_words,
)

_COUNT = 1_000_000_000
"""Files of the archive of which the verdict speaks: the largest that is predicted."""

_VERBS = {
    Operation.CREATE: "creates files",
    Operation.RENAME: "renames files",
    Operation.DELETE: "removes files",
    Operation.FSYNC: "makes files safe from power failures",
    Operation.READBACK: "reads back what was written",
    Operation.LIST: "lists",
    Operation.STAT: "looks up files (stat)",
    Operation.READ: "reads small files",
    Operation.STREAM: "reads large files",
    Operation.MD5: "serves files for their MD5",
    Operation.XXH3: "serves files for their XXH3",
    Operation.INDEX: "is indexed",
}

_DECISIVE = (Operation.INDEX, Operation.LIST, Operation.STAT, Operation.READ, Operation.STREAM)
"""Operations of which the verdict speaks one by one."""


def make_verdict(
    labels: Sequence[str],
    conclusions: pl.DataFrame,
    differences: pl.DataFrame,
    ratios: pl.DataFrame,
) -> list[str]:
    """Return sentences, from the most important one on: CONCLUSIONS, DIFFERENCES, RATIOS."""
    cache = _choose_cache(ratios)
    differences = differences.filter(cache=cache)
    sentences = [*_judge_tasks(labels, conclusions, ratios, cache)]
    if not sentences:
        sentences.append(_judge_figures(labels, differences))
    clear = differences.drop_nulls("faster")
    is_decisive = pl.col("what").is_in([*_DECISIVE])
    sentences += [
        _describe_difference(row, differences, labels)
        for row in clear.filter(is_decisive).iter_rows(named=True)
    ]
    for (label,), part in clear.filter(~is_decisive).group_by("faster", maintain_order=True):
        what = join_words(part["what"].unique(maintain_order=True))
        most = describe_times(most := max(part["most_ratio"]), most)
        sentences.append(f"{label} is also faster at {what}, up to {most}.")
    alike = differences.group_by("what", maintain_order=True).agg(pl.col("faster").count())
    alike = alike.filter(faster=0)
    if len(alike):
        sentences.append(f"No clear difference at {join_words(alike['what'])}.")
    caches = {"cold": "with empty caches", "warm": "with warm caches"}
    return [*sentences, f"All of this {caches[cache]}."]


def _choose_cache(ratios: pl.DataFrame) -> str:
    """Return the caches that are the better guide: cold ones where all systems have them."""
    by_cache = ratios.group_by("cache").agg(pl.col("label").n_unique())
    n_labels = ratios["label"].n_unique()
    return "cold" if dict(by_cache.iter_rows()).get("cold") == n_labels else "warm"


def _judge_tasks(
    labels: Sequence[str], conclusions: pl.DataFrame, ratios: pl.DataFrame, cache: str
) -> list[str]:
    sentences = []
    for task in ("index", "digest"):
        rows = conclusions.filter(what=task, cache=cache, n_files=_COUNT).sort("value")
        rows = rows.filter(pl.col("value").is_not_null())
        compared = ratios.filter(what=task, cache=cache, n_files=_COUNT)
        # Those of the others were predicted from other operations.
        if len(rows) < len(labels) or len(compared) < len(labels) - 1:
            continue
        times = [f"{describe_seconds(row['value'])} on {row['label']}" for row in rows.to_dicts()]
        (best, _), (value, second), (most, _), (_, least) = (
            rows[name][:2] for name in ("label", "value", "most", "least")
        )
        is_clear = most < least and second >= (1 + LEAST_DIFFERENCE) * value
        lead = f"{best} is {'faster' if len(labels) == 2 else 'the fastest'}"
        if not is_clear:
            lead = "no system is clearly the fastest"
        sentences.append(f"To {task} 1 billion files, {lead}: {join_words(times)}.")
    return sentences


def _judge_figures(labels: Sequence[str], differences: pl.DataFrame) -> str:
    clear = differences.drop_nulls("faster")
    winners = clear["faster"].unique().to_list()
    if not winners:
        return f"{join_words(labels)} do not clearly differ."
    if len(winners) == 1:
        return f"{winners[0]} is faster wherever there is a clear difference."
    what = {
        label: join_words(clear.filter(faster=label)["what"].unique(maintain_order=True))
        for label in labels
        if label in winners
    }
    parts = [f"{label} is faster at {operations}" for label, operations in what.items()]
    return f"It depends: {'; '.join(parts)}."


def _describe_difference(
    row: dict[str, Any], differences: pl.DataFrame, labels: Sequence[str]
) -> str:
    """Return such as "nas lists folders 3.1 times as fast as tape below 8 calls at once."."""
    slower = labels[0] if row["faster"] == row["label"] else row["label"]
    times = describe_times(row["least_ratio"], row["most_ratio"])
    verb = _VERBS[Operation(row["what"])]
    same = differences.filter(what=row["what"], label=row["label"])
    begin, end = row["from_concurrency"], row["to_concurrency"]
    lowest, highest = min(same["from_concurrency"]), max(same["to_concurrency"])
    above = [level for level in same["from_concurrency"].to_list() if level > end]
    if (begin, end) == (lowest, highest):
        where = ""
    elif begin == end:
        where = f" with {begin} calls at once" if begin > 1 else " with one call at a time"
    elif begin == lowest:
        where = f" below {min(above)} calls at once"
    elif end == highest:
        where = f" from {begin} calls at once on"
    else:
        where = f" with {begin} to {end} calls at once"
    return f"{row['faster']} {verb} {times} as fast as {slower}{where}."


def tabulate_conclusions(conclusions: pl.DataFrame, labels: Sequence[str]) -> pl.DataFrame:
    """Return CONCLUSIONS as text, with a column for each system."""
    texts = [
        {"what": _name_conclusion(row), "label": row["label"], "text": _describe_conclusion(row)}
        for row in conclusions.iter_rows(named=True)
    ]
    frame = pl.DataFrame(texts, dict.fromkeys(("what", "label", "text"), pl.String))
    return frame.pivot("label", on_columns=list(labels), index="what", values="text").fill_null("-")


def _name_conclusion(row: dict[str, Any]) -> str:
    if row["n_files"]:
        return f"{row['what']} {describe_count(row['n_files'])} files, {row['cache']}"
    return f"{row['what']}, {row['cache']}" if row["cache"] else str(row["what"])


def _describe_conclusion(row: dict[str, Any]) -> str:
    if row["n_files"]:
        least, most = describe_seconds(row["least"]), describe_seconds(row["most"])
        return f"{describe_seconds(row['value'])} ({least} to {most})"
    if row["what"] == "stalls":
        longest = f", up to {row['most']:.1f} s" if row["value"] else ""
        return f"{row['value']:.0f}{longest}"
    unit = "byte_rate" if row["what"] in STREAMING else "rate"
    rate = describe_rate({unit: row["value"]})
    return f"{rate} with {row['concurrency']}"
