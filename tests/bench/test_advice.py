"""Recommended options: by the figures that are shown, and never against them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage import measure_quickly as bench

from polars_alf.bench.advice import explain_advice
from polars_alf.bench.figures import make_figures
from polars_alf.bench.models import model_operations, recommend
from polars_alf.bench.sweep import LATENCIES, MEASUREMENTS

LEVELS = {1: (1, 1), 2: (2, 1), 4: (2, 2), 8: (2, 4)}


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.lists(st.floats(1, 1e6), min_size=4, max_size=4), min_size=1, max_size=4),
    st.lists(st.lists(st.floats(1, 1e6), min_size=4, max_size=4), min_size=1, max_size=4),
    st.booleans(),
)
def test_advice_is_the_least_of_the_best_figures(
    index: list[list[float]], listed: list[list[float]], is_spread: bool
) -> None:
    rows = [
        {
            **{"operation": operation, "cache": "warm", "concurrency": level, "repeat": repeat},
            **{"jobs": LEVELS[level][0], "threads": LEVELS[level][1], "rate": rate, "n_ops": 100},
            "workers": (LEVELS[level][0] if is_spread else 1) if operation == "index" else None,
        }
        for operation, rates in (("list", listed), ("index", index))
        for repeat, values in enumerate(rates)
        for level, rate in zip(LEVELS, values, strict=True)
    ]
    measurements = pl.DataFrame(rows, MEASUREMENTS)
    advice = recommend(measurements)
    figures = make_figures(measurements, LATENCIES.to_frame())
    basis = figures.filter(operation="index" if is_spread else "list")
    best = max(basis["rate"])
    good = basis.filter(pl.col("rate") >= 0.95 * best).sort("concurrency")
    assert (advice["jobs"], advice["threads"]) == good.select("jobs", "threads").row(0)
    # What is called the best elsewhere in the report is the same.
    (law,) = (
        law for law in model_operations(measurements) if law["operation"] == basis["operation"][0]
    )
    assert law["best_rate"] == pytest.approx(best)


@pytest.mark.slow
def test_an_index_that_cannot_be_shared_gives_no_advice(tmp_path: Path) -> None:
    few = bench(tmp_path, operations=["list", "index"], threads=[1, 2], jobs=2)
    assert few.figures.filter(operation="index")["workers"].to_list() == [1, 1]
    (reason,) = explain_advice(few)
    listed = few.figures.filter(operation="list")
    assert listed["amount"].to_list() == [84 / 20] * 2, "files of a folder"
    rates = listed["rate"] * listed["amount"]
    assert reason.startswith(
        f"with 1 and 2 calls at once, files were listed at {rates[0]:,.0f}/s and "
        f"{rates[1]:,.0f}/s (warm)"
    )
    chosen = min(
        level for level, rate in zip((1, 2), rates, strict=True) if rate >= 0.95 * max(rates)
    )
    assert few.advice == {"jobs": chosen, "threads": 1}
    (note,) = (note for note in few.notes if "workers" in note)
    cure = int(note.rpartition("--files ")[2].split()[0])
    assert "1 of 2 workers" in note
    assert "jobs" not in bench(tmp_path, operations=["index"], threads=[1, 2], jobs=2).advice
    enough = bench(tmp_path, operations=["index"], threads=[2], jobs=2, files=cure)
    assert enough.figures["workers"].item() == 2
    assert not any("workers" in note for note in enough.notes)
    assert explain_advice(enough)[0].startswith("with 2 calls at once, an index did ")
