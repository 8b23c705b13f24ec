"""An index from a tree to both tables, through public calls."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from indexes import NAMESPACE, read_folder, read_tables
from trees import SESSION, TWO_LABS, Fifo, Link, check_state, make_tree

import polars_alf
from polars_alf import errors, index_archive
from polars_alf.tables import files, transaction
from polars_alf.walk import walker

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def test_rows_say_what_is_on_disk(archive: Path, out_dir: Path) -> None:
    index_archive(archive, out_dir, namespace=NAMESPACE)
    sessions, datasets = read_tables(out_dir)
    (session,) = sessions.filter(lab="cortexlab", subject="KS002").to_dicts()
    name = "cortexlab/KS002/2020-02-29/001"
    assert session == {
        "lab": "cortexlab",
        "subject": "KS002",
        "date": date(2020, 2, 29),
        "number": 1,
        "task_protocol": "",
        "projects": "",
        "id": str(uuid.uuid3(NAMESPACE, name)),
    }
    merge = datasets.filter(eid=session["id"]).sort("file_size").to_dicts()
    assert merge == [
        {
            "rel_path": rel_path,
            "file_size": size,
            "hash": "",
            "exists": True,
            "qc": "NOT_SET",
            "default_revision": True,
            "eid": session["id"],
            "id": str(uuid.uuid3(NAMESPACE, f"{name}/{rel_path}")),
        }
        for rel_path, size in [
            ("_ibl_trials.intervals_bpod.csv", 11),
            ("alf/spikes.times.npy", 20),
            ("alf/probe00/#2024-05-06#/spikes.times.npy", 30),
        ]
    ]


def test_ids_stay_from_run_to_run(archive: Path) -> None:
    first = index_archive(archive)
    before = read_tables(archive)
    make_tree(archive, {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION})
    second = index_archive(archive)
    assert second.namespace == first.namespace
    sessions, datasets = read_tables(archive)
    assert set(before[0]["id"]) < set(sessions["id"])
    assert before[1].join(datasets, on=["eid", "id", "rel_path"]).height == 12
    assert datasets.height == 15
    assert second.n_other_files == first.n_other_files + 1, "our own tables are not counted"


def test_nothing_is_left_but_tables_and_state(archive: Path, out_dir: Path) -> None:
    before = read_folder(archive)
    index_archive(archive, out_dir)
    assert read_folder(archive) == before
    assert {path.name for path in out_dir.iterdir()} == {
        "sessions.pqt",
        "datasets.pqt",
        files.STATE_DIR,
    }
    check_state(out_dir)


def test_tables_that_cannot_be_read_are_replaced_with_a_warning(archive: Path) -> None:
    (archive / "datasets.pqt").write_bytes(b"PAR1 no table")
    with pytest.warns(errors.TableWarning, match="datasets.pqt"):
        index_archive(archive)
    assert read_tables(archive)[1].height == 12


def test_tables_of_another_archive_are_replaced_on_request_with_a_warning(
    archive: Path, tmp_path: Path, out_dir: Path
) -> None:
    other = make_tree(tmp_path / "other", {"S/2020-01-01/001": SESSION})
    index_archive(other, out_dir)
    before = read_folder(out_dir)
    with pytest.raises(errors.MassRemovalError, match=str(other)):
        index_archive(archive, out_dir)
    assert read_folder(out_dir) == before
    with pytest.warns(errors.TableWarning, match=str(other)):
        index_archive(archive, out_dir, max_removed=1.0)
    assert read_tables(out_dir)[1].height == 12


def test_storage_that_is_replaced_in_mid_run_does_not_change_the_tables(
    archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_archive(archive, out_dir)
    before = read_folder(out_dir)
    walk = walker.Walker.walk

    def replace(walker: walker.Walker, folders: list[str], known: object) -> object:
        yield from walk(walker, folders, known)
        archive.rename(archive.with_name("elsewhere"))
        make_tree(archive, {"S/2020-01-01/001": SESSION})

    monkeypatch.setattr(walker.Walker, "walk", replace)
    with pytest.raises(errors.ScanError, match="not the folder that it was"):
        index_archive(archive, out_dir, executor="serial")
    assert read_folder(out_dir) == before


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_storage_that_goes_away_does_not_empty_the_tables(
    archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    index_archive(archive, out_dir)
    before = [path.read_bytes() for path in sorted(out_dir.glob("*.pqt"))]
    survey = walker.Walker.survey

    def lose(walker: walker.Walker, known: object) -> list[str]:
        folders = survey(walker)
        archive.rename(archive.with_name("elsewhere"))
        if how == "empty":
            archive.mkdir()
        return folders

    monkeypatch.setattr(walker.Walker, "survey", lose)
    with pytest.raises((errors.ScanError, errors.ArchiveNotFoundError)):
        index_archive(archive, out_dir)
    assert [path.read_bytes() for path in sorted(out_dir.glob("*.pqt"))] == before


@posix_only
def test_an_archive_that_cannot_be_entered_does_not_empty_the_tables(
    archive: Path, out_dir: Path, unprivileged: Callable[[], None]
) -> None:
    index_archive(archive, out_dir)
    archive.chmod(0o744)
    for path in (out_dir, *out_dir.rglob("*")):
        path.chmod(0o777)
    unprivileged()
    with pytest.raises(errors.ScanError, match="no session"):
        index_archive(archive, out_dir)
    assert read_tables(out_dir)[1].height == 12


def test_tables_in_a_folder_of_the_archive(archive: Path) -> None:
    (archive / "tables").mkdir()
    first = index_archive(archive, archive / "tables")
    second = index_archive(archive, archive / "tables")
    assert second.n_other_files == first.n_other_files == 4


@posix_only
def test_one_run_at_a_time(archive: Path) -> None:
    index_archive(archive)
    before = read_folder(archive)
    with (
        transaction.locked_state(archive),
        pytest.raises(errors.ArchiveBusyError, match="another run"),
    ):
        index_archive(archive)
    assert read_folder(archive) == before


@posix_only
def test_an_archive_of_everything_odd_does_not_stop_the_run(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "archive",
        TWO_LABS
        | {
            "cortexlab/Subjects/KS009/2021-13-45/001": SESSION,
            "cortexlab/Subjects/KS009/2021-12-01/1": SESSION,
            "cortexlab/Subjects/KS009/2021-12-01/001": {
                "broken.link.npy": Link("nowhere"),
                "fifo.here.npy": Fifo(),
                b"not\xffutf8.x.npy": 1,
                "line\nfeed.x.npy": 1,
                "ünïcode.x.npy": 5,
            },
        },
    )
    report = polars_alf.index_archive(root)
    assert report.n_datasets == 12 + 1
    assert report.issues == {
        "outside_session": 3,
        "invalid_name": 2,
        "invalid_date": 1,
        "broken_link": 1,
        "special_file": 1,
        "duplicate_session": 1,
    }
