"""A commit of both tables or none, cut off at every step."""

from __future__ import annotations

import json
import os
import uuid
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from cut_commits import STAGES, kill_at
from trees import SESSION, check_state, make_tree

from polars_alf import errors, index_archive
from polars_alf.schema import DATASETS, SESSIONS
from polars_alf.tables import contract, files, journal, transaction


def _rows(folder: Path) -> tuple[int, int]:
    return tuple(len(pl.read_parquet(folder / f"{n}.pqt")) for n in ("sessions", "datasets"))  # type: ignore[return-value]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_commit_that_is_cut_off_is_old_or_new_as_a_whole(archive: Path, stage: str) -> None:
    index_archive(archive)
    assert _rows(archive) == (4, 12)
    make_tree(archive, {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION})
    kill_at(stage, archive)
    finished = journal.recover(archive)
    assert finished == (stage != "before_journal")
    assert _rows(archive) == ((5, 15) if finished else (4, 12))
    assert journal.recover(archive) is False, "nothing is left to finish"


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_the_next_run_clears_up(archive: Path, stage: str) -> None:
    index_archive(archive)
    kill_at(stage, archive)
    make_tree(archive, {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION})
    index_archive(archive)
    assert _rows(archive) == (5, 15)
    check_state(archive)


@pytest.mark.parametrize("error", [KeyboardInterrupt, PermissionError, FileNotFoundError])
@pytest.mark.parametrize("table", ["sessions", "datasets"])
def test_a_commit_that_fails_halfway_is_finished_later(
    archive: Path, monkeypatch: pytest.MonkeyPatch, table: str, error: type[BaseException]
) -> None:
    index_archive(archive)
    make_tree(archive, {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION})
    replace = Path.replace
    failures = [table]

    def fail_once(path: Path, target: Path) -> Path:
        if path.suffix == ".pqt" and path.stem in failures:
            failures.remove(path.stem)
            raise error if error is KeyboardInterrupt else error(5, "refused")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fail_once)
    with pytest.raises((KeyboardInterrupt, errors.CommitError)):
        index_archive(archive, executor="serial")
    with transaction.locked_state(archive):
        assert _rows(archive) == (5, 15)
    assert list((archive / files.STATE_DIR).glob("run-*")) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[]", *(json.dumps({"staging": name}) for name in ("..", "", "/", "run-", 1))],
)
def test_a_journal_that_is_damaged_is_named(archive: Path, text: str) -> None:
    index_archive(archive)
    (archive / files.STATE_DIR / "commit.json").write_text(text)
    with pytest.raises(errors.CommitError, match=r"commit\.json") as caught:
        index_archive(archive)
    assert sum(path.is_file() for path in archive.rglob("*.*.*")) >= 12, "nothing was removed"
    (archive / files.STATE_DIR / "commit.json").unlink()
    assert index_archive(archive).n_datasets == 12, f"the lock is free in spite of {caught}"


def test_a_full_disk_leaves_the_old_tables(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index_archive(archive)
    before = {path: path.read_bytes() for path in archive.glob("*.pqt")}

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transaction.os, "fsync", fail)
        with pytest.raises(errors.OutputError, match="No space left"):
            index_archive(archive)
    assert {path: path.read_bytes() for path in archive.glob("*.pqt")} == before
    index_archive(archive)


def test_a_folder_that_cannot_be_synced_is_no_failure(
    archive: Path, twins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on Windows, where a directory cannot be opened.
    real = os.open

    def refuse(path: str, *arguments: int, **keywords: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **keywords)

    monkeypatch.setattr("polars_alf.native.twin.BY_DESCRIPTOR", False)
    monkeypatch.setattr(transaction.os, "open", refuse)
    index_archive(archive, executor="serial")
    assert _rows(archive) == (4, 12)


def test_wrong_number_of_rows_is_refused(tmp_path: Path) -> None:
    origin = contract.Origin("/data", uuid.uuid4(), "g", datetime.now())
    (tmp_path / "run").mkdir()
    staging = transaction.Staging(tmp_path, tmp_path / "run", origin, with_index=True)
    empty = pl.DataFrame(schema=pl.Schema(SESSIONS))
    with pytest.raises(errors.TableError, match="sessions"):
        staging.write_table("sessions", [empty], 1)
    assert list(tmp_path.glob("*.pqt")) == []
    assert DATASETS.names[:2] == ["eid", "id"]
