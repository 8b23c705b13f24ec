"""What people wrote into tables is kept by the next index, and damage of these does not hide."""

from __future__ import annotations

import shutil
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import polars as pl
import pytest
from edits import EVERY_TYPE, add_columns, damage_column, edit_table, spell_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from trees import SESSION, make_tree
from tuning import tune

from polars_alf import errors, index_archive, scan_datasets, scan_sessions
from polars_alf.query import spill
from polars_alf.tables import transaction

NAMES = ("sessions", "datasets")
WRITTEN = {"task_protocol": "biased", "projects": "ibl"}


def _read(folder: Path) -> list[pl.DataFrame]:
    sessions = scan_sessions(folder).sort("id").collect()
    datasets = scan_datasets(folder).sort("eid", "id").collect()
    return [frame.drop("origin") for frame in (sessions, datasets)]


def _write(folder: Path) -> None:
    edit_table(folder, "sessions", lambda frame: frame.with_columns(**_lit(WRITTEN)))
    edit_table(folder, "datasets", lambda frame: frame.with_columns(qc=pl.lit("FAIL")))


def _lit(values: dict[str, str]) -> dict[str, pl.Expr]:
    return {name: pl.lit(value) for name, value in values.items()}


def _damage(path: Path) -> None:
    """Leave the footer as it was, and other rows."""
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(64) + content[68:])


def test_columns_of_every_type_are_kept(
    archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(monkeypatch, rows_per_group=5)
    index_archive(archive, out_dir)
    for name in NAMES:
        edit_table(out_dir, name, add_columns)
    expected = [spell_values(frame) for frame in _read(out_dir)]
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001": SESSION})
    with pytest.warns(errors.TableWarning, match="the rows that match are kept"):
        report = index_archive(archive, out_dir)
    assert (report.n_kept_sessions, report.n_kept_datasets) == (3, 9)
    for _ in range(2):
        for found, wanted in zip(_read(out_dir), expected, strict=True):
            key = ["id"] if "lab" in wanted.columns else ["eid", "id"]
            known = found.join(wanted.select(key), on=key, how="semi")
            assert_frame_equal(known, wanted, check_row_order=False, check_column_order=False)
            new = found.join(wanted.select(key), on=key, how="anti")
            assert len(new)
            assert new.select(*EVERY_TYPE).null_count().sum_horizontal().item() == len(
                EVERY_TYPE
            ) * len(new)
        index_archive(archive, out_dir)


def test_reset_forgets(archive: Path, out_dir: Path) -> None:
    index_archive(archive, out_dir)
    before = _read(out_dir)
    _write(out_dir)
    for name in NAMES:
        edit_table(out_dir, name, add_columns)
    with pytest.warns(errors.TableWarning, match="another program"):
        report = index_archive(archive, out_dir, reset=True)
    assert (report.n_kept_sessions, report.n_kept_datasets) == (0, 0)
    for found, wanted in zip(_read(out_dir), before, strict=True):
        assert_frame_equal(found, wanted)


def test_ids_from_takes_columns_along(archive: Path, out_dir: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    index_archive(archive, given)
    _write(given)
    for name in NAMES:
        edit_table(given, name, add_columns)
    report = index_archive(archive, out_dir, ids_from=given)
    assert (report.n_kept_sessions, report.n_kept_datasets) == (4, 12)
    for found, wanted in zip(_read(out_dir), _read(given), strict=True):
        assert_frame_equal(found, spell_values(wanted), check_column_order=False)


def test_those_that_are_given_come_first_and_gaps_are_filled(
    archive: Path, out_dir: Path, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for folder in (given, out_dir):
        index_archive(archive, folder, namespace="one")
    edit_table(out_dir, "datasets", lambda frame: frame.with_columns(qc=pl.lit("FAIL"), a=1, b=2.5))
    first = pl.int_range(pl.len()) == 0
    edit_table(
        given,
        "datasets",
        lambda frame: frame.with_columns(
            pl.when(first).then(pl.lit("PASS")).otherwise(pl.lit("NOT_SET")).alias("qc"),
            a=pl.when(first).then(7),
        ),
    )
    with pytest.warns(errors.TableWarning):
        index_archive(archive, out_dir, ids_from=given)
    datasets = _read(out_dir)[1].select(pl.col("qc").cast(pl.String), "a", "b").rows()
    assert sorted(datasets) == [("FAIL", 1, 2.5)] * 11 + [("PASS", 7, 2.5)]


def test_ids_are_kept_where_the_archive_has_other_names(archive: Path, out_dir: Path) -> None:
    """A database renames a subject; its newer tables are given, the older ones are there."""
    index_archive(archive, out_dir, namespace="one")
    edit_table(out_dir, "sessions", lambda frame: frame.with_columns(**_lit(WRITTEN)))
    edit_table(
        out_dir,
        "sessions",
        lambda frame: frame.with_columns(pl.col("lab").replace("wittenlab", "otherlab")),
    )
    with pytest.warns(errors.TableWarning):
        index_archive(archive, out_dir, max_removed=1.0)
    assert _read(out_dir)[0]["projects"].to_list() == ["ibl"] * 4


def test_a_run_that_is_taken_up_keeps(
    archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_archive(archive, out_dir)
    _write(out_dir)
    before = _read(out_dir)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transaction.Staging, "write_table", interrupt)
        with pytest.raises(KeyboardInterrupt):
            index_archive(archive, out_dir)
    with pytest.warns(errors.TableWarning):
        report = index_archive(archive, out_dir)
    assert report.n_resumed == report.n_shards
    assert (report.n_kept_sessions, report.n_kept_datasets) == (4, 12)
    for found, wanted in zip(_read(out_dir), before, strict=True):
        assert_frame_equal(found, wanted)


def test_paths_as_ids(archive: Path, out_dir: Path) -> None:
    index_archive(archive, out_dir, hash_ids=False)
    _write(out_dir)
    before = _read(out_dir)
    with pytest.warns(errors.TableWarning):
        index_archive(archive, out_dir, hash_ids=False)
    for found, wanted in zip(_read(out_dir), before, strict=True):
        assert_frame_equal(found, wanted)


@pytest.mark.parametrize("damage", [_damage, lambda path: path.write_bytes(b"PAR1")])
def test_damage_is_replaced_with_a_warning(archive: Path, out_dir: Path, damage: object) -> None:
    index_archive(archive, out_dir)
    edit_table(out_dir, "sessions", lambda frame: frame.with_columns(**_lit(WRITTEN)))
    with pytest.warns(errors.TableWarning):
        index_archive(archive, out_dir)
    before = _read(out_dir)
    damage(out_dir / "datasets.pqt")  # type: ignore[operator]
    with pytest.warns(errors.TableWarning, match=r"(?s)datasets\.pqt is .*it.* will be replaced"):
        index_archive(archive, out_dir)
    found = _read(out_dir)
    assert [frame["id"].to_list() for frame in found] == [f["id"].to_list() for f in before]


@pytest.mark.parametrize(("name", "column"), [("sessions", "number"), ("datasets", "file_size")])
def test_damage_to_what_nobody_wrote_in_is_cured_with_a_warning(
    archive: Path, out_dir: Path, name: str, column: str
) -> None:
    index_archive(archive, out_dir)
    before = _read(out_dir)
    damage_column(out_dir, name, column)
    with pytest.warns(errors.TableWarning, match=rf"{name}\.pqt is damaged: [^;]*; it will be rep"):
        index_archive(archive, out_dir)
    for found, wanted in zip(_read(out_dir), before, strict=True):
        assert_frame_equal(found, wanted)


def test_nobody_says_that_what_is_damaged_is_kept(archive: Path, tmp_path: Path) -> None:
    index_archive(archive)
    moved = archive.rename(tmp_path / "moved")
    _damage(moved / "datasets.pqt")
    with pytest.warns(errors.TableWarning) as caught:
        index_archive(moved)
    messages = [str(warning.message) for warning in caught]
    assert any("is damaged" in message for message in messages)
    assert any("is of another archive" in message for message in messages)
    assert not any("are kept" in message for message in messages)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [_damage, lambda path: path.write_bytes(b"PAR1")])
@pytest.mark.parametrize("cure", ["restore", "ids_from", "reset"])
@pytest.mark.parametrize("name", NAMES)
def test_damage_after_ids_from_is_cured(
    archive: Path, out_dir: Path, tmp_path: Path, damage: object, cure: str, name: str
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    index_archive(archive, given, namespace="theirs")
    index_archive(archive, out_dir, namespace="ours", ids_from=given)
    expected = _read(out_dir)
    file, copy = out_dir / f"{name}.pqt", tmp_path / "copy"
    shutil.copy(file, copy)
    damage(file)  # type: ignore[operator]
    content = file.read_bytes()
    with (
        _any_warning(),
        pytest.raises(errors.TableError, match=r"restore the file, .*--ids-from, or --reset"),
    ):
        index_archive(archive, out_dir)
    assert file.read_bytes() == content
    with _any_warning():
        match cure:
            case "restore":
                shutil.copy(copy, file)
                index_archive(archive, out_dir)
            case "ids_from":
                index_archive(archive, out_dir, ids_from=given)
            case "reset":
                index_archive(archive, out_dir, reset=True)
    found = _read(out_dir)
    for frame, wanted in zip(found, expected, strict=True):
        assert (frame["id"].to_list() == wanted["id"].to_list()) == (cure != "reset")
    assert len(found[1]) == len(expected[1])
    index_archive(archive, out_dir)


def _any_warning() -> AbstractContextManager[object]:
    return warnings.catch_warnings(action="ignore")


def test_a_wrong_value_does_not_cost_the_others(archive: Path, out_dir: Path) -> None:
    index_archive(archive, out_dir)
    _write(out_dir)
    edit_table(out_dir, "datasets", lambda frame: frame.with_columns(qc=pl.lit("good")))
    with (
        _any_warning(),
        pytest.raises(errors.TableError, match=r"GOOD.*mend them, or give --reset"),
    ):
        index_archive(archive, out_dir)
    edit_table(out_dir, "datasets", lambda frame: frame.with_columns(qc=pl.lit("pass")))
    with _any_warning():
        index_archive(archive, out_dir)
    sessions, datasets = _read(out_dir)
    assert set(datasets["qc"]) == {"PASS"}
    assert set(sessions["projects"]) == {"ibl"}


values = st.sampled_from([None, "", "a", "b"])
outcomes = st.sampled_from(["NOT_SET", "PASS", "FAIL", None])


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an archive of two sessions with its tables."""
    root = make_tree(
        tmp_path_factory.mktemp("archive"),
        {f"lab/Subjects/S{n}/2020-01-01/001": {"a.b.npy": 1, "c.d.npy": 2} for n in (1, 2)},
    )
    index_archive(root, executor="serial")
    return root


@pytest.mark.slow
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(values, values, values), min_size=2, max_size=2),
    st.lists(st.tuples(outcomes, values, st.integers(0, 3)), min_size=4, max_size=4),
    st.permutations(range(4)),
    st.integers(2, 4),
)
def test_nothing_that_was_written_is_gone(
    indexed: Path,
    sessions: list[tuple[str | None, ...]],
    datasets: list[tuple[str | int | None, ...]],
    order: list[int],
    n_rows: int,
) -> None:
    columns = ["task_protocol", "projects", "extra"]

    def edit_sessions(frame: pl.DataFrame) -> pl.DataFrame:
        found = pl.DataFrame(sessions, dict.fromkeys(columns, pl.String), orient="row")
        return frame.with_columns(found)

    def edit_datasets(frame: pl.DataFrame) -> pl.DataFrame:
        schema = {"qc": pl.String, "extra": pl.String, "more": pl.Int64}
        return frame.with_columns(pl.DataFrame(datasets, schema, orient="row"))[order[:n_rows]]

    edit_table(indexed, "sessions", edit_sessions)
    edit_table(indexed, "datasets", edit_datasets)
    edited = _read(indexed)
    with _any_warning():
        index_archive(indexed, executor="serial")
    found = _read(indexed)
    joined = edited[0].join(found[0], on="id", how="left", suffix="_now")
    for name in columns:
        nothing = "" if name != "extra" else None
        for was, now in joined.select(name, f"{name}_now").rows():
            assert now == (was if was is not None else nothing)
    joined = edited[1].join(found[1], on=["eid", "id"], how="left", suffix="_now")
    assert len(found[1]) == 4
    for qc, extra, more, qc_now, extra_now, more_now in joined.select(
        "qc", "extra", "more", "qc_now", "extra_now", "more_now"
    ).rows():
        assert (qc_now, extra_now, more_now) == (qc or "NOT_SET", extra, more)


def test_tables_that_one_writes_meanwhile_are_read_again(
    archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes into the files: for a moment one is empty."""
    index_archive(archive, out_dir)
    edit_table(out_dir, "datasets", lambda frame: frame.with_columns(note=pl.lit("seen")))
    path = out_dir / "datasets.pqt"
    content, n_reads = path.read_bytes(), []

    lock = out_dir / ".ONE.lock"

    def end_writing() -> None:
        path.write_bytes(content)
        lock.unlink()

    def read(frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
        if not n_reads:
            lock.write_text("{}")
            path.write_bytes(b"")
            threading.Timer(0.3, end_writing).start()
        n_reads.append(1)
        return read_batches(frame)

    read_batches = spill.read_batches
    monkeypatch.setattr(spill, "read_batches", read)
    report = index_archive(archive, out_dir)
    assert len(n_reads) > 1
    assert report.n_kept_datasets == report.n_datasets
    assert {*scan_datasets(out_dir).collect()["note"]} == {"seen"}
