"""Removals that are refused or kept, as the index before did not see what is there."""

from __future__ import annotations

import warnings
from pathlib import Path

import hypothesis.strategies as st
import polars as pl
import pytest
from amount import count_examples
from hypothesis import HealthCheck, given, settings
from removals import KS001, datasets_table, files_of, list_names, sessions_table
from trees import SESSION, make_tree
from tuning import tune

from polars_alf import apply_removals, index_archive, plan_removals
from polars_alf.errors import (
    ForeignTablesError,
    KeptWarning,
    MassRemovalError,
    OptionError,
    TableError,
)
from polars_alf.tables import files

COPY = f"backup/{KS001}"
LAB = "otherlab/Subjects/X/2020-01-01/001"


def lose_and_index(root: Path, path: str, **options: object) -> None:
    """Index an archive while one of its folders is elsewhere, as if it were not mounted."""
    elsewhere = root.parent / "elsewhere"
    (root / path).rename(elsewhere)
    index_archive(root, **options)  # type: ignore[arg-type]
    elsewhere.rename(root / path)


def hand_over(root: Path) -> dict[str, pl.DataFrame]:
    """Return the tables of an archive as frames."""
    return {name: pl.read_parquet(root / f"{name}.pqt") for name in ("sessions", "datasets")}


@pytest.mark.parametrize("level", [0, 1, 4, 5])
def test_what_the_index_skipped_is_kept_whatever_the_frames(archive: Path, level: int) -> None:
    make_tree(archive, {COPY: SESSION, f"{COPY}/more.times.npy": 1})
    assert index_archive(archive).issues["duplicate_session"] == 1
    root = archive.joinpath(*COPY.split("/")[:level])
    with pytest.warns(KeptWarning, match=r"more\.times\.npy"):
        assert plan_removals(root, **hand_over(archive), force=True).is_empty()


def test_the_state_of_the_folder_of_tables_is_heard_with_frames(
    archive: Path, tmp_path: Path
) -> None:
    make_tree(archive, {f"{COPY}/more.times.npy": 1})
    tables = tmp_path / "tables"
    tables.mkdir()
    index_archive(archive, tables)
    with pytest.warns(KeptWarning, match=r"more\.times\.npy"):
        assert plan_removals(archive, tables, **hand_over(tables)).is_empty()


def test_a_state_that_cannot_be_read_is_no_state_without_issues(archive: Path) -> None:
    index_archive(archive)
    frames = hand_over(archive)
    files.issues_path(archive).write_bytes(b"damaged")
    with pytest.raises(TableError, match="index again"):
        plan_removals(archive, **frames)
    index_archive(archive)
    assert plan_removals(archive, **frames).is_empty()


@pytest.mark.slow
@settings(
    deadline=None,
    max_examples=count_examples(40),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_nothing_that_the_last_index_skipped_goes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("random") / "archive"
    names = st.lists(st.sampled_from(["a.b.c", "d.e.f", "alf/g.h.i"]), min_size=1, unique=True)
    folders = [f"{top}/lab/Subjects/S/2020-01-0{day}/001" for top in "AB" for day in (1, 2)]
    for folder in data.draw(st.lists(st.sampled_from(folders), min_size=1, unique=True)):
        make_tree(root / folder, dict.fromkeys(data.draw(names), 1))
    report = index_archive(root, jobs=1)
    skipped = report.scan_issues().filter(kind="duplicate_session").collect()["path"].to_list()
    tables = hand_over(root)
    keep = st.lists(st.booleans(), min_size=50, max_size=50)
    given_tables = {
        name: table.filter(pl.Series(data.draw(keep))[: len(table)])
        for name, table in tables.items()
    }
    make_tree(root, dict.fromkeys((f"{folder}/new.b.c" for folder in folders), 1))
    protected = {p for p in files_of(root) if any(p.startswith(f"{s}/") for s in skipped)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KeptWarning)
        plan = plan_removals(root, **given_tables, force=True, jobs=1)
    apply_removals(root, plan, max_removed=1.0)
    assert protected <= files_of(root)


@pytest.mark.slow
def test_what_was_not_mounted_at_the_last_index_is_kept(archive: Path) -> None:
    make_tree(archive, {LAB: SESSION})
    index_archive(archive)
    lose_and_index(archive, "otherlab", max_removed=1.0)
    before = files_of(archive)
    with pytest.warns(KeptWarning, match=r"took them out of the tables; index again"):
        plan = plan_removals(archive)
    assert plan.is_empty()
    for root in (archive / "otherlab", archive / LAB):
        with pytest.warns(KeptWarning, match="index again"):
            assert plan_removals(root, archive, force=True).is_empty()
    assert apply_removals(archive, plan).is_empty()
    assert files_of(archive) == before
    index_archive(archive)  # the cure
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plan_removals(archive).is_empty()


def test_a_lab_does_not_go_with_all_it_has(archive: Path) -> None:
    index_archive(archive)
    make_tree(archive, {LAB: SESSION, f"{KS001}/stray.times.npy": 1})
    plan = plan_removals(archive)
    before = files_of(archive)
    with pytest.raises(MassRemovalError, match=r"nothing would be left in otherlab.*index it") as e:
        apply_removals(archive, plan)
    assert e.value.labs == ("otherlab",)
    assert e.value.n_removed == 4
    assert e.value.n_before == 16
    assert set(e.value.examples) <= set(list_names(plan))
    assert "--max-removed 26% (max_removed=0.26 of apply_removals)" in str(e.value)
    assert files_of(archive) == before
    # Rows that a person chose.
    some = plan.filter(pl.col("path").str.contains("stray"))
    assert apply_removals(archive, some)["result"].to_list() == ["removed"]
    for limit in (3, 0.1, 0):
        with pytest.raises(MassRemovalError):
            apply_removals(archive, plan, max_removed=limit)
    assert set(apply_removals(archive, plan, max_removed=0.26)["result"]) <= {"removed", "gone"}
    assert not any((archive / path).exists() for path in list_names(plan))


def test_half_of_an_archive_does_not_go(archive: Path) -> None:
    index_archive(archive)
    make_tree(archive / KS001, {f"stray{i}.times.npy": 1 for i in range(13)})
    plan = plan_removals(archive)
    with pytest.raises(MassRemovalError, match="13 of 25 datasets"):
        apply_removals(archive, plan)
    assert len(apply_removals(archive, plan.head(12))) == 12


@pytest.mark.slow
@pytest.mark.parametrize("quick", [False, True])
def test_nothing_goes_after_an_index_that_removed_much(
    archive: Path, monkeypatch: pytest.MonkeyPatch, *, quick: bool
) -> None:
    tune(monkeypatch, clock_ns=-(10**12))  # so that quick relies on all times
    make_tree(archive, {f"{KS001}/more{i}.times.npy": 1 for i in range(30)})
    index_archive(archive)
    for path in (archive / KS001).glob("more*"):
        path.unlink()
    index_archive(archive, max_removed=1.0)
    make_tree(archive, {f"{KS001}/stray.times.npy": 1})
    plan = plan_removals(archive)
    with pytest.raises(MassRemovalError, match="last index removed 30 of 42"):
        apply_removals(archive, plan)
    (archive / KS001 / "stray.times.npy").unlink()
    index_archive(archive, quick=quick)  # the cure
    make_tree(archive, {f"{KS001}/stray.times.npy": 1})
    assert set(apply_removals(archive, plan_removals(archive))["result"]) == {"removed"}


def test_plans_without_figures_are_taken_for_all_there_is(archive: Path) -> None:
    index_archive(archive)
    make_tree(archive, {f"{KS001}/stray.times.npy": 1})
    plan = plan_removals(archive).with_columns(
        n_archive=pl.lit(None, pl.UInt64), n_lab=pl.lit(None, pl.UInt64)
    )
    with pytest.raises(MassRemovalError):
        apply_removals(archive, plan)


@pytest.mark.parametrize("value", [-1, 1.5, True, "1"])
def test_limits_are_checked(archive: Path, value: float) -> None:
    index_archive(archive)
    with pytest.raises(OptionError, match="max_removed cannot be"):
        apply_removals(archive, plan_removals(archive), max_removed=value)


def test_foreign_tables_are_refused_as_before(archive: Path) -> None:
    frames = {"sessions": sessions_table(), "datasets": datasets_table()}
    with pytest.raises(ForeignTablesError):
        plan_removals(archive, **frames)
