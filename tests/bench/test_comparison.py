"""Comparisons: a verdict, conclusions, and what is clear apart from what may be noise."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage import measure_quickly as bench

from polars_alf import StorageReport, compare_storage
from polars_alf.bench.results import read_report
from polars_alf.errors import OptionError, ResultError

LEVELS = (1, 2, 4, 8, 16)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageReport]:
    """Measure once: the rates are then set by each test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        folder = tmp_path_factory.mktemp("storage")
        yield bench(folder, repeats=2, threads=LEVELS, operations=["list", "stat", "index"])


@pytest.fixture(scope="module")
def make(
    measured: StorageReport, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., StorageReport]:
    """Return a function that makes a report with rates by operation and calls at once."""
    numbers = itertools.count()

    def make_report(
        name: str, rate: Callable[[str, int], float], spread: float = 0.02, repeats: int = 3
    ) -> StorageReport:
        folder = tmp_path_factory.mktemp(f"report{next(numbers)}")
        measured.write(folder)
        values: dict[str, Any] = json.loads((folder / "result.json").read_text())
        values["label"] = name
        for figure in values["figures"]:
            figure["rate"] = rate(figure["operation"], figure["concurrency"])
            figure["least_rate"] = figure["rate"] * (1 - spread / 2)
            figure["most_rate"] = figure["rate"] * (1 + spread / 2)
            figure["repeats"] = repeats
        for row in values["predictions"]:
            row["seconds"] = row["n_files"] / rate("index", 16)
            row["least_seconds"] = row["seconds"] * (1 - spread / 2)
            row["most_seconds"] = row["seconds"] * (1 + spread / 2)
        (folder / "result.json").write_text(json.dumps(values))
        return read_report(folder)

    return make_report


@pytest.mark.slow
def test_the_verdict_comes_first(make: Callable[..., StorageReport]) -> None:
    def serve_nas(operation: str, calls: int) -> float:
        if operation == "index":
            return 1e9 / 7560
        return 3100.0 if operation == "list" and calls < 8 else 1000.0

    tape = make("tape", lambda operation, _: 1e9 / 23_040 if operation == "index" else 1000.0)
    found = compare_storage(tape, make("nas", serve_nas))
    assert found.verdict == [
        "To index 1 billion files, nas is faster: 2.1 h on nas and 6.4 h on tape.",
        "nas lists 3.1 times as fast as tape below 8 calls at once.",
        "nas is indexed 3.0 times as fast as tape.",
        "No clear difference at stat.",
        "All of this with warm caches.",
    ]
    listed = found.differences.filter(what="list")
    assert listed.select("from_concurrency", "to_concurrency", "faster").rows() == [
        (1, 4, "nas"),
        (8, 16, None),
    ]
    assert found.notes == []
    assert "nas is faster" in repr(found)


@pytest.mark.parametrize(
    ("fast", "text"),
    [
        ({1}, "with one call at a time"),
        ({4}, "with 4 calls at once"),
        ({2, 4}, "with 2 to 4 calls at once"),
        ({8, 16}, "from 8 calls at once on"),
    ],
)
def test_the_verdict_says_where(
    make: Callable[..., StorageReport], fast: set[int], text: str
) -> None:
    first = make("first", lambda *_: 1000.0)
    other = make("other", lambda _, calls: 2000.0 if calls in fast else 1000.0)
    sentence = f"other looks up files (stat) 2.0 times as fast as first {text}."
    assert sentence in compare_storage(first, other).verdict
    sentence = sentence.replace("other", "x").replace("first", "other").replace("x", "first")
    turned = (
        make("other", lambda *_: 1000.0),
        make("first", lambda _, n: 1000.0 * (1 + (n in fast))),
    )
    assert sentence in compare_storage(*turned).verdict


rates = st.floats(10, 1e6)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    st.lists(rates, min_size=5, max_size=5),
    st.lists(rates, min_size=5, max_size=5),
    st.floats(0, 1),
    st.integers(1, 3),
    st.floats(0.01, 0.9),
)
def test_only_what_is_clear_counts(
    make: Callable[..., StorageReport],
    ours: list[float],
    theirs: list[float],
    spread: float,
    repeats: int,
    share: float,
) -> None:
    first, other = (
        make(name, lambda _, calls, values=values: values[LEVELS.index(calls)], spread, repeats)
        for name, values in (("first", ours), ("other", theirs))
    )
    found = compare_storage(first, other)
    for row in found.ratios.iter_rows(named=True):
        assert row["least_ratio"] <= row["ratio"] <= row["most_ratio"]
        overlaps = row["least_ratio"] <= 1 <= row["most_ratio"]
        assert row["is_clear"] is (not overlaps and max(row["ratio"], 1 / row["ratio"]) >= 1.1)
    figures = found.ratios.filter(pl.col("concurrency").is_not_null())
    assert len(figures) == 3 * len(LEVELS)
    for row in found.differences.iter_rows(named=True):
        levels = figures.filter(
            pl.col("concurrency").is_between(row["from_concurrency"], row["to_concurrency"]),
            what=row["what"],
        )
        is_faster = levels["ratio"] > 1
        if row["faster"] is None:
            assert not levels["is_clear"].any()
        else:
            assert levels["is_clear"].all()
            assert set(is_faster) == {row["faster"] == "other"}
    slower = found.find_slower(share)
    assert slower["is_clear"].all()
    assert (slower["ratio"] <= 1 - share).all()
    missed = figures.filter("is_clear", pl.col("ratio") <= 1 - share)
    assert slower.equals(missed)


def test_a_system_does_not_differ_from_itself(measured: StorageReport) -> None:
    found = compare_storage(measured, measured, measured)
    assert [label[-4:] for label in found.labels] == [" (1)", " (2)", " (3)"]
    assert not found.ratios["is_clear"].any()
    assert found.find_slower(0.01).is_empty()
    assert "no system is clearly the fastest" in found.verdict[0]


def test_a_single_repetition_decides_only_what_is_far_apart(
    make: Callable[..., StorageReport],
) -> None:
    first = make("first", lambda *_: 1000.0, spread=0, repeats=1)
    near = make("near", lambda *_: 700.0, spread=0, repeats=1)
    far = make("far", lambda *_: 500.0, spread=0, repeats=1)
    found = compare_storage(first, near, far)
    assert set(found.find_slower(0.2)["label"]) == {"far"}


def test_systems_without_an_index_are_judged_by_their_figures(
    make: Callable[..., StorageReport],
) -> None:
    first, other = (
        make(name, lambda operation, _, f=factor: f if operation == "list" else 1 / f)
        for name, factor in (("first", 1000.0), ("other", 2000.0))
    )
    for report in (first, other):
        report.predictions.clear()
    verdict = compare_storage(first, other).verdict
    assert verdict[0] == "It depends: first is faster at stat and index; other is faster at list."


def test_a_bucket_is_compared_with_warm_and_with_cold_caches(
    make: Callable[..., StorageReport],
) -> None:
    disk = make("disk", lambda *_: 1000.0)
    cold = pl.lit("cold").alias("cache")
    slower = (pl.col("rate", "least_rate", "most_rate") / 4, cold)
    disk = replace(
        disk,
        figures=pl.concat([disk.figures, disk.figures.with_columns(*slower)]),
        predictions=[
            *disk.predictions,
            *(row | {"cache": "cold", "seconds": 4 * row["seconds"]} for row in disk.predictions),
        ],
    )
    bucket = replace(make("s3", lambda *_: 500.0), path="s3://bucket/archive")
    found = compare_storage(disk, bucket)
    listed = found.ratios.filter(what="list", concurrency=1)
    ratios = dict(listed.select("cache", "ratio").iter_rows())
    assert ratios == {"warm": pytest.approx(0.5), "cold": pytest.approx(2)}
    assert "s3 lists 2.0 times as fast as disk." in found.verdict
    assert found.verdict[-1] == "All of this with empty caches."
    (note,) = found.notes
    assert "keeps nothing of s3 in memory" in note
    assert compare_storage(bucket, replace(bucket, label="other")).notes == []


def test_times_of_lists_and_of_indexes_are_not_compared(
    make: Callable[..., StorageReport],
) -> None:
    disk, other = make("disk", lambda *_: 1000.0), make("other", lambda *_: 500.0)
    assert compare_storage(disk, other).verdict[0].startswith("To index 1 billion files")
    for row in other.predictions:
        row["basis"] = "list"
    found = compare_storage(disk, other)
    assert found.verdict[0] == "disk is faster wherever there is a clear difference."
    assert found.ratios["n_files"].count() == 0
    assert len(found.conclusions.filter(what="index").drop_nulls("n_files")) == 6
    (note,) = found.notes
    assert "those of lists alone for other" in note


def test_what_else_differs_is_told(make: Callable[..., StorageReport]) -> None:
    first, other = make("first", lambda *_: 1.0), make("other", lambda *_: 1.0)
    other.settings["files"] = 10
    other.machine["n_cpus"] = 1000
    (note,) = compare_storage(first, other).notes
    assert "not only the storage differs, but also the machine and --files" in note


def test_systems_with_nothing_in_common_are_not_compared(tmp_path: Path) -> None:
    listed = bench(tmp_path, operations=["list"])
    with pytest.raises(ResultError, match="no figure in common; measure both with the same"):
        compare_storage(listed, bench(tmp_path, operations=["stat"]))
    assert len(compare_storage(listed, bench(tmp_path, operations=["list"])).ratios) == 1
    with pytest.raises(OptionError, match="two or more"):
        compare_storage(listed)
