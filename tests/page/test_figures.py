"""The figures of a page."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_frames import make_datasets, write_tables
from trees import make_tree

import polars_alf
from polars_alf.errors import TableError
from polars_alf.page import figures
from polars_alf.page.figures import MOST_LABS, NO_LAB, OTHERS, read_figures
from polars_alf.schema import SESSIONS, polars_schema


def make_table(rows: list[tuple[str, str, str, date]]) -> pl.DataFrame:
    """Make SESSIONS of rows (id, lab, subject, date)."""
    return pl.DataFrame([(*row, 1, "", "") for row in rows], polars_schema(SESSIONS), orient="row")


def test_an_archive_in_figures(changed: Path) -> None:
    found = read_figures(changed, "site")
    assert (found.label, found.root) == ("site", str(changed))
    assert found.months.rows() == [
        (date(2020, 1, 1), "cortexlab", 2),
        (date(2020, 1, 1), "wittenlab", 1),
        (date(2020, 2, 1), "cortexlab", 1),
        (date(2020, 5, 1), "wittenlab", 1),
    ]
    assert found.span == (date(2020, 1, 1), date(2020, 5, 1))
    assert found.growth.rows() == [
        (date(2020, 1, 1), 183.0, 9),
        (date(2020, 2, 1), 224.0, 11),
        (date(2020, 5, 1), 2_000_224.0, 12),
    ]
    assert found.gaps.rows() == [
        ("cortexlab/KS001", 2, date(2020, 1, 1), date(2020, 1, 1), None),
        ("wittenlab/KS001", 2, date(2020, 1, 1), date(2020, 5, 1), 121),
        ("cortexlab/KS002", 1, date(2020, 2, 29), date(2020, 2, 29), None),
    ]
    assert found.calendar.rows() == [
        ("cortexlab/KS001", date(2020, 1, 1), 2),
        ("cortexlab/KS002", date(2020, 2, 1), 1),
        ("wittenlab/KS001", date(2020, 1, 1), 1),
        ("wittenlab/KS001", date(2020, 5, 1), 1),
    ]
    assert found.sizes.rows() == [(1, 11, 224.0), (6, 1, 2_000_000.0)]
    assert found.history["run"].to_list() == ["index", "index"]


def test_issues_have_their_labs_and_what_helps(changed: Path) -> None:
    issues = read_figures(changed, "site").issues
    assert issues is not None
    rows = {row["kind"]: row for row in issues.iter_rows(named=True)}
    assert rows["invalid_date"]["issues"] == 1
    assert rows["invalid_date"]["labs"] == [{"lab": "cortexlab", "issues": 1}]
    assert "rename it" in rows["invalid_date"]["examples"][0]["message"]


def test_changes_are_counted_by_lab(changed: Path) -> None:
    found = read_figures(changed, "site")
    assert found.changes is not None
    assert found.changed is not None
    assert found.changes.rows() == [
        ("added", "wittenlab", 1, 2_000_000.0, 0.0),
        ("removed", "cortexlab", 1, 0.0, 20.0),
    ]
    assert found.changed["file_size"].to_list() == [2_000_000, None]


def test_tables_of_others_have_no_issues_and_no_changes(changed: Path, tmp_path: Path) -> None:
    pair = (make_table([("e", "lab", "S", date(2020, 1, 1))]), make_datasets([]))
    found = read_figures(write_tables(tmp_path / "other", pair), "other")
    assert (found.run, found.issues, found.changes, found.changed) == (None,) * 4
    other = polars_alf.scan_sessions(changed).drop("origin").collect()
    other.write_parquet(changed / "sessions.pqt")
    polars_alf.scan_datasets(changed).drop("origin").collect().write_parquet(
        changed / "datasets.pqt"
    )
    assert read_figures(changed, "replaced").issues is None


def test_labs_beyond_the_most_are_one(tmp_path: Path) -> None:
    labs = [f"lab{n}" for n in range(MOST_LABS + 3)] * 2 + ["", ""] * 2
    rows = [(str(n), lab, "S", date(2020, 1 + n % 2, 3)) for n, lab in enumerate(labs)]
    found = read_figures(write_tables(tmp_path / "t", (make_table(rows), make_datasets([]))), "t")
    counts = dict(found.months.group_by("lab").agg(pl.col("sessions").sum()).rows())
    assert len(counts) == MOST_LABS + 1
    assert (counts[NO_LAB], counts[OTHERS]) == (4, 8)
    assert sum(counts.values()) == len(rows)


days = st.dates(date(1990, 1, 1), date(2040, 1, 1))


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(dates=st.lists(days, min_size=1, max_size=30))
def test_the_longest_gap_is_that_between_neighbours(
    dates: list[date], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [(str(n), "lab", "S", day) for n, day in enumerate(dates)]
    folder = tmp_path_factory.mktemp("gaps") / "tables"
    found = read_figures(write_tables(folder, (make_table(rows), make_datasets([]))), "t")
    days = sorted(set(dates))
    gaps = [(after - day).days for day, after in pairwise(days)]
    assert found.gaps.row(0)[1:] == (len(dates), days[0], days[-1], max(gaps, default=None))


def test_tables_that_are_replaced_meanwhile_are_read_again(
    changed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_run, replaced = figures.read_run, []

    def read_and_replace(folder: Path) -> object:
        if not replaced:
            make_tree(changed, {"wittenlab/Subjects/KS009/2020-01-01/001/a.b.npy": 1})
            polars_alf.index_archive(changed)
            replaced.append(True)
        return read_run(folder)

    monkeypatch.setattr(figures, "read_run", read_and_replace)
    assert read_figures(changed, "site").summary.n_sessions == 6
    replaced.clear()
    monkeypatch.setattr(figures, "fingerprint_tables", lambda folder: object())
    with pytest.raises(TableError, match="were replaced while they were read"):
        read_figures(changed, "site")
