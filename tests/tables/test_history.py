"""The history: a line for every run, whatever becomes of it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_frames import make_datasets, make_sessions, write_tables
from trees import SESSION, make_tree
from tuning import tune

from polars_alf import index_archive, merge_tables, read_history, restore_tables
from polars_alf.errors import ArchiveNotFoundError
from polars_alf.tables import files, history

NEW = {"cortexlab/Subjects/KS003/2020-01-01/001": SESSION}


def test_every_run_has_a_row(
    archive: Path, out_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(monkeypatch, clock_ns=-(10**12))  # so that quick finds everything as it was
    start = datetime.now(UTC) - timedelta(seconds=1)
    make_tree(archive, {"cortexlab/Subjects/KS001/2020-01-01/001/my folder/a.b.npy": 1})
    index_archive(archive, out_dir)
    make_tree(archive, NEW)
    index_archive(archive, out_dir)
    index_archive(archive, out_dir, restart=True)
    index_archive(archive, out_dir)
    index_archive(archive, out_dir, quick=True)
    other = write_tables(tmp_path / "o", (make_sessions([("e", "O")]), make_datasets([])))
    with pytest.warns(UserWarning, match="namespaces"):
        merge_tables([out_dir, other], out_dir)
    restore_tables(out_dir)
    found = read_history(out_dir)
    assert found.schema == history.HISTORY
    columns = ("run", "status", "n_sessions", "n_datasets", "added", "removed", "issues")
    assert found.select(columns).rows() == [
        ("index", "gone", 4, 13, None, None, 1),
        ("index", "gone", 5, 16, 3, 0, 1),
        ("index", "repeated", 5, 16, 0, 0, 1),
        ("index", "repeated", 5, 16, 0, 0, 1),
        ("index", "repeated", 5, 16, 0, 0, 1),
        ("merge", "kept", 6, 16, None, None, 1),
        ("restore", "current", 5, 16, None, None, 1),
    ]
    sizes = pl.read_parquet(out_dir / "datasets.pqt")["file_size"]
    assert found["n_bytes"].to_list()[1:] == [int(sizes.sum())] * 6
    assert found["time"].is_sorted()
    assert found["time"].is_between(start, datetime.now(UTC)).all()
    assert (found["seconds"] >= 0).all()
    assert found["generation"].n_unique() == 4


def test_the_log_only_grows(archive: Path) -> None:
    index_archive(archive)
    log = files.history_path(archive)
    status, text = log.stat(), log.read_bytes()
    index_archive(archive, restart=True)
    restore_tables(archive)
    assert log.read_bytes().startswith(text)
    assert (log.stat().st_ino, log.read_bytes().count(b"\n")) == (status.st_ino, 3)


def test_tables_of_another_program_have_a_row(archive: Path, out_dir: Path) -> None:
    make_sessions([("e", "KS")]).write_parquet(out_dir / "sessions.pqt")
    make_datasets([("e", "d", "a.b.npy", 1)]).write_parquet(out_dir / "datasets.pqt")
    for name in ("sessions.pqt", "datasets.pqt"):
        os.utime(out_dir / name, (86400, 86400))
    row = (datetime(1970, 1, 2, tzinfo=UTC), None, 1, 1)
    columns = ("time", "run", "n_sessions", "n_datasets")
    found = read_history(out_dir)
    assert found.select(*columns, "status").rows() == [(*row, "current")]
    assert found["generation"].to_list() == [None]
    with pytest.warns(UserWarning, match="another program"):
        index_archive(archive, out_dir, max_removed=1.0)
    found = read_history(out_dir)
    assert found.select(*columns, "status").row(0) == (*row, "kept")
    restored = restore_tables(out_dir)
    assert restored.generation == found["generation"][0]
    assert read_history(out_dir).select("run", "status").rows() == [
        (None, "repeated"),
        ("index", "kept"),
        ("restore", "current"),
    ]


def test_generations_are_listed_without_their_log(archive: Path) -> None:
    index_archive(archive)
    index_archive(archive, restart=True)
    files.history_path(archive).unlink()
    found = read_history(archive)
    assert found.select("run", "status", "n_sessions", "n_datasets").rows() == [
        (None, "kept", 4, 12),
        (None, "current", 4, 12),
    ]
    restore_tables(archive)
    assert read_history(archive)["run"].to_list()[-1] == "restore"


def test_lines_that_are_damaged_are_passed_over(archive: Path) -> None:
    index_archive(archive)
    log = files.history_path(archive)
    wrong = {"id": "x", "time": 3, "run": [], "n_sessions": "many", "n_bytes": 2**70, "seconds": {}}
    lines = [b"[]", b"{}", b"\xff\xfe", b"{" * 9999, b"", json.dumps(wrong).encode(), b'{"id": 1}']
    log.write_bytes(log.read_bytes() + b"\n".join(lines) + b'\n{"id": "y", "run')
    index_archive(archive, restart=True)
    found = read_history(archive)
    assert found["run"].to_list() == ["index", None, "index"]
    assert found["status"].to_list() == ["kept", "gone", "current"]


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([*history.HISTORY, "x"]), st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())
))))  # fmt: skip
def test_any_values_make_a_frame(records: list[history.Record]) -> None:
    found = history.frame_records(records)
    assert (found.schema, len(found)) == (history.HISTORY, len(records))


def test_a_line_is_written_once(archive: Path) -> None:
    index_archive(archive)
    (record,) = history.read_records(archive)
    history.append_records(archive, [record])
    log = files.history_path(archive)
    assert log.read_bytes().count(b"\n") == 1
    log.write_bytes(2 * log.read_bytes())
    assert history.read_records(archive) == [record]


def test_a_log_that_cannot_be_written_stops_no_run(archive: Path) -> None:
    files.history_path(archive).parent.mkdir()
    files.history_path(archive).mkdir()
    assert index_archive(archive).n_datasets == 12
    index_archive(archive, quick=True, restart=True)
    assert read_history(archive)["status"].to_list() == ["kept", "current"]


def test_a_folder_without_tables_has_no_history(out_dir: Path) -> None:
    with pytest.raises(ArchiveNotFoundError, match="no tables and no history"):
        read_history(out_dir)
    with pytest.raises(ArchiveNotFoundError, match="does not exist"):
        read_history(out_dir / "missing")
