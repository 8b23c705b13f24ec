"""Ids that other tables have win over those that are made from paths."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import run
from trees import SESSION, make_tree
from tuning import tune

from polars_alf import errors, index_archive, scan_datasets, scan_sessions


def _new_ids(column: pl.Series) -> pl.Series:
    ids = {value: str(uuid.uuid4()) for value in column.unique(maintain_order=True)}
    return column.replace_strict(ids)


@pytest.fixture
def database(archive: Path, tmp_path: Path) -> Path:
    """Make tables of the archive as a database exports them: with ids of its own."""
    folder = tmp_path / "database"
    folder.mkdir()
    index_archive(archive, folder)
    sessions, datasets = (pl.read_parquet(folder / f"{n}.pqt") for n in ("sessions", "datasets"))
    eids = dict(zip(sessions["id"], _new_ids(sessions["id"]), strict=True))
    sessions = sessions.with_columns(pl.col("id").replace_strict(eids))
    datasets = datasets.with_columns(
        pl.col("eid").replace_strict(eids), _new_ids(datasets["id"]), qc=pl.lit("PASS")
    )
    # Not in the order of anything.
    sessions.sample(fraction=1, shuffle=True, seed=1).write_parquet(folder / "sessions.pqt")
    datasets.sample(fraction=1, shuffle=True, seed=2).write_parquet(folder / "datasets.pqt")
    return folder


def _ids(folder: Path) -> tuple[dict[tuple[object, ...], str], dict[tuple[object, ...], str]]:
    """Return ids by lab, subject, date, number (and rel_path)."""
    name = ["lab", "subject", "date", "number"]
    sessions = scan_sessions(folder).select(*name, "id").collect()
    datasets = (
        scan_datasets(folder)
        .join(scan_sessions(folder), left_on="eid", right_on="id")
        .select(*name, "rel_path", "id")
        .collect()
    )
    found = [{row[:-1]: row[-1] for row in frame.rows()} for frame in (sessions, datasets)]
    return found[0], found[1]


def test_known_ids_win(
    archive: Path, out_dir: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(monkeypatch, rows_per_group=5)
    report = index_archive(archive, out_dir, ids_from=database)
    assert (report.n_known_sessions, report.n_known_datasets) == (4, 12)
    assert _ids(out_dir) == _ids(database)
    sessions, datasets = (pl.read_parquet(out_dir / f"{n}.pqt") for n in ("sessions", "datasets"))
    assert sessions["id"].is_sorted()
    assert datasets.equals(datasets.sort("eid", "id"))
    assert set(datasets["qc"]) == {"PASS"}


def test_what_is_not_known_gets_an_id_of_its_own(
    archive: Path, out_dir: Path, database: Path
) -> None:
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001": SESSION})
    make_tree(archive / "cortexlab/Subjects/KS001/2020-01-01/001", {"new.file.npy": 1})
    index_archive(archive, out_dir, namespace="test")
    computed = _ids(out_dir)
    report = index_archive(archive, out_dir, ids_from=[database])
    assert (report.n_known_sessions, report.n_known_datasets) == (4, 12)
    for found, known, own in zip(_ids(out_dir), _ids(database), computed, strict=True):
        assert found == own | known


def test_later_runs_keep_them(archive: Path, out_dir: Path, database: Path) -> None:
    index_archive(archive, out_dir, ids_from=database)
    make_tree(archive, {"cortexlab/Subjects/KS009/2020-01-01/001": SESSION})
    for _ in range(2):
        report = index_archive(archive, out_dir)
        assert (report.n_known_sessions, report.n_known_datasets) == (0, 0)
        for found, known in zip(_ids(out_dir), _ids(database), strict=True):
            assert known.items() <= found.items()


def test_tables_that_are_gone_are_missed(archive: Path, out_dir: Path, database: Path) -> None:
    index_archive(archive, out_dir, ids_from=database)
    (out_dir / "sessions.pqt").unlink()
    with pytest.warns(errors.TableWarning, match="give those again"):
        index_archive(archive, out_dir)


def test_ids_of_two_integers(archive: Path, out_dir: Path, database: Path) -> None:
    sessions, datasets = (pl.read_parquet(database / f"{n}.pqt") for n in ("sessions", "datasets"))
    for name, frame, columns in (
        ("sessions", sessions, ["id"]),
        ("datasets", datasets, ["eid", "id"]),
    ):
        table = frame.drop(columns).to_arrow()
        for column in columns:
            values = [uuid.UUID(text).bytes for text in frame[column]]
            for half in (0, 1):
                numbers = [
                    int.from_bytes(value[8 * half :][:8], "little", signed=True) for value in values
                ]
                table = table.append_column(f"{column}_{half}", pa.array(numbers, pa.int64()))
        pq.write_table(table, database / f"{name}.pqt")
    expected = _ids(database)
    report = index_archive(archive, out_dir, ids_from=database)
    assert (report.n_known_sessions, report.n_known_datasets) == (4, 12)
    assert _ids(out_dir) == expected


def test_the_first_of_several_wins_and_each_fills_the_gaps(
    archive: Path, out_dir: Path, database: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part"
    part.mkdir()
    index_archive(archive, part, namespace="part", exclude="wittenlab")
    index_archive(archive, out_dir, ids_from=[part, database])
    first, second = _ids(part)[0], _ids(database)[0]
    assert _ids(out_dir)[0] == second | first


def test_a_name_with_two_ids_tells_nothing(archive: Path, out_dir: Path, database: Path) -> None:
    sessions = pl.read_parquet(database / "sessions.pqt").sort("lab", "subject", "date", "number")
    twin = sessions.head(1).with_columns(id=pl.lit(str(uuid.uuid4())))
    pl.concat([sessions, twin]).write_parquet(database / "sessions.pqt")
    report = index_archive(archive, out_dir, ids_from=database)
    assert (report.n_known_sessions, report.n_known_datasets) == (3, 12)
    assert report.issues == {"ambiguous_id": 1}


def test_other_archives_match_nothing(archive: Path, out_dir: Path, tmp_path: Path) -> None:
    other = make_tree(tmp_path / "other", {"S1/2020-01-01/001": SESSION})
    index_archive(other)
    report = index_archive(archive, out_dir, ids_from=other)
    assert (report.n_known_sessions, report.n_known_datasets) == (0, 0)
    assert report.n_datasets == 12


def test_wrong_tables_are_refused(archive: Path, out_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.ArchiveNotFoundError):
        index_archive(archive, out_dir, ids_from=tmp_path / "nowhere")
    with pytest.raises(errors.TableError, match=r"sessions\.pqt"):
        index_archive(archive, out_dir, ids_from=tmp_path)
    paths = tmp_path / "paths"
    paths.mkdir()
    index_archive(archive, paths, hash_ids=False)
    with pytest.raises(errors.TableError, match="no UUID"):
        index_archive(archive, out_dir, ids_from=paths)
    with pytest.raises(errors.OptionError, match="paths"):
        index_archive(archive, out_dir, ids_from=paths, hash_ids=False)
    assert not list(out_dir.glob("*.pqt"))


def test_command_line(archive: Path, out_dir: Path, database: Path) -> None:
    command = ("index", archive, "--out", out_dir, "--ids-from", database)
    shown = run(*command).stdout
    assert "Known ids    4 sessions, 12 datasets" in shown
    assert json.loads(run(*command, "--json").stdout)["n_known_datasets"] == 12
