"""The tables' files: ONE's contract, and a commit of both or none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trees import SESSION, check_state, make_tree

from polars_alf import errors, index_archive
from polars_alf.schema import DATASETS, SESSIONS
from polars_alf.tables import contract, files, transaction

QC = ["NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL"]


@pytest.mark.parametrize("hash_ids", [True, False])
def test_columns_and_types_are_those_of_one(archive: Path, hash_ids: bool) -> None:
    index_archive(archive, hash_ids=hash_ids)
    sessions = pq.read_schema(archive / "sessions.pqt")
    datasets = pq.read_schema(archive / "datasets.pqt")
    expected = {
        "lab": pa.string(),
        "subject": pa.string(),
        "date": pa.date32(),
        "number": pa.uint16(),
        "task_protocol": pa.string(),
        "projects": pa.string(),
    }
    identifier = {"id": pa.string()}
    expected = expected | identifier if hash_ids else identifier | expected
    assert list(zip(sessions.names, sessions.types, strict=True)) == list(expected.items())
    expected = {
        "rel_path": pa.string(),
        "file_size": pa.uint64(),
        "hash": pa.string(),
        "exists": pa.bool_(),
        "qc": pa.dictionary(pa.int8(), pa.string(), ordered=True),
    }
    identifier = {"eid": pa.string(), "id": pa.string()}
    expected = expected | identifier if hash_ids else identifier | expected
    assert list(zip(datasets.names, datasets.types, strict=True)) == list(expected.items())
    assert all(field.nullable for field in (*sessions, *datasets))
    qc = pq.read_table(archive / "datasets.pqt").column("qc")
    assert qc.combine_chunks().dictionary.to_pylist() == QC


@pytest.mark.parametrize("hash_ids", [True, False])
def test_metadata_is_that_of_one(archive: Path, hash_ids: bool) -> None:
    before = datetime.now().replace(second=0, microsecond=0)
    report = index_archive(archive, hash_ids=hash_ids)
    for name in ("sessions", "datasets"):
        metadata = pq.read_metadata(archive / f"{name}.pqt").metadata
        one = json.loads(metadata[b"one_metadata"])
        assert one.keys() == {"date_created", "origin"}
        assert one["origin"] == str(archive)
        created = datetime.strptime(one["date_created"], "%Y-%m-%d %H:%M")
        assert before <= created <= datetime.now()
        ours = json.loads(metadata[b"polars_alf"])
        assert ours["namespace"] == str(report.namespace)


def test_both_tables_name_one_generation(archive: Path) -> None:
    def generations() -> set[str]:
        return {
            json.loads(pq.read_metadata(archive / f"{name}.pqt").metadata[b"polars_alf"])[
                "generation"
            ]
            for name in ("sessions", "datasets")
        }

    index_archive(archive)
    first = generations()
    index_archive(archive)
    assert len(first) == len(generations()) == 1
    assert generations() != first


def test_permissions_are_those_of_the_umask(archive: Path) -> None:
    was = os.umask(0o027)
    try:
        index_archive(archive)
    finally:
        os.umask(was)
    for path in (archive / "sessions.pqt", archive / files.STATE_DIR / "issues.arrow"):
        assert path.stat().st_mode & 0o777 == 0o640


# Cut off at every step of the commit

STAGES = ["before_journal", "after_journal", "after_sessions", "after_datasets", "before_unlink"]


def _kill_at(stage: str, archive: Path) -> None:
    """Run an index that ends without a word at a stage of its commit."""
    code = f"""
import os, sys
from pathlib import Path
from polars_alf import index_archive
from polars_alf.tables import files, transaction
stage = {stage!r}
end = lambda: os._exit(9)
replace, unlink, write = Path.replace, Path.unlink, transaction.write_durably
def on_replace(self, target):
    result = replace(self, target)
    if stage == "after_" + self.stem and "run-" in str(self): end()
    return result
def on_unlink(self, *args, **kwargs):
    if stage == "before_unlink" and self.name == "commit.json": end()
    return unlink(self, *args, **kwargs)
def on_write(path, text):
    if stage == "before_journal" and path.name == "commit.json": end()
    write(path, text)
    if stage == "after_journal" and path.name == "commit.json": end()
Path.replace, Path.unlink, transaction.write_durably = on_replace, on_unlink, on_write
index_archive({str(archive)!r}, executor="serial")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 9, result.stderr


def _rows(folder: Path) -> tuple[int, int]:
    return tuple(len(pl.read_parquet(folder / f"{n}.pqt")) for n in ("sessions", "datasets"))  # type: ignore[return-value]


@pytest.mark.parametrize("stage", STAGES)
def test_a_commit_that_is_cut_off_is_old_or_new_as_a_whole(archive: Path, stage: str) -> None:
    index_archive(archive)
    assert _rows(archive) == (4, 12)
    make_tree(archive, {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION})
    _kill_at(stage, archive)
    finished = transaction.recover(archive)
    assert finished == (stage != "before_journal")
    assert _rows(archive) == ((5, 15) if finished else (4, 12))
    assert transaction.recover(archive) is False, "nothing is left to finish"


@pytest.mark.parametrize("stage", STAGES)
def test_the_next_run_clears_up(archive: Path, stage: str) -> None:
    index_archive(archive)
    _kill_at(stage, archive)
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


def test_a_folder_in_the_place_of_a_table(archive: Path) -> None:
    index_archive(archive)
    (archive / "datasets.pqt").unlink()
    (archive / "datasets.pqt").mkdir()
    before = (archive / "sessions.pqt").read_bytes()
    with pytest.raises(errors.OutputError, match="is a folder"):
        index_archive(archive)
    assert (archive / "sessions.pqt").read_bytes() == before


def test_issues_that_are_damaged_are_named(archive: Path) -> None:
    index_archive(archive)
    files.issues_path(archive).write_bytes(b"junk")
    with pytest.raises(errors.TableError, match=r"issues\.arrow"):
        files.scan_issues(archive)


@pytest.mark.pandas
@pytest.mark.parametrize("stage", STAGES)
def test_a_reader_never_sees_half_a_commit(archive: Path, stage: str) -> None:
    from polars_alf.cache import load_tables

    index_archive(archive)
    make_tree(archive, {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION})
    _kill_at(stage, archive)
    tables = load_tables(archive)
    assert (len(tables.sessions), len(tables.datasets)) in {(4, 12), (5, 15)}
    assert set(tables.datasets.index.get_level_values("eid")) == set(tables.sessions.index)


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
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on Windows, where a directory cannot be opened.
    real = os.open

    def refuse(path: str, *arguments: int, **keywords: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **keywords)

    monkeypatch.setattr("polars_alf.walk.lister.LIST_BY_DESCRIPTOR", False)
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
