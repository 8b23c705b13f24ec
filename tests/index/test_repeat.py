"""An index of an archive that is as the last one found it leaves the tables as they are."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from edits import damage_column
from indexes import LONG_AGO, age_files
from trees import check_state, make_tree
from tuning import tune

from polars_alf import errors, index_archive, read_history, scan_changes, write_insertions
from polars_alf.schema import LISTINGS
from polars_alf.tables import files
from polars_alf.walk.walker import Walker

SESSION = "cortexlab/Subjects/KS001/2020-01-01/001"
FILE = f"{SESSION}/alf/spikes.times.npy"


@pytest.fixture
def settled(archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Index an archive that nothing has changed in for long, by its own clock."""
    tune(monkeypatch, clock_ns=-(10**12), least_folders=1)
    age_files(archive)
    make_tree(archive, {f"{SESSION}/notes.txt": 1, f"{SESSION}/empty": {}})
    index_archive(archive, out_dir, namespace="test")
    return archive


def read_pair(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.pqt")}


def test_nothing_is_written_anew(settled: Path, out_dir: Path) -> None:
    before = read_pair(out_dir)
    for _ in range(2):
        report = index_archive(settled, out_dir)
        assert read_pair(out_dir) == before
        assert report.changes == {"added": 0, "changed": 0, "removed": 0, "unreadable": 0} | {
            "unchanged": 12
        }
        counts = (report.n_sessions, report.n_datasets, report.n_other_files, report.n_shards)
        assert counts == (4, 12, 5, 3)
    assert scan_changes(out_dir).collect().is_empty()
    history = read_history(out_dir)
    assert history["status"].to_list() == ["repeated", "repeated", "current"]
    check_state(out_dir)


def test_the_order_in_which_the_storage_answers_does_not_matter(
    settled: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_pair(out_dir)
    real = Walker.listings
    turned: list[pa.Table] = []

    def listings(walker: Walker) -> pa.Table:
        found = pl.DataFrame(real(walker)).reverse().to_arrow().cast(LISTINGS)
        turned.append(found)
        return found

    monkeypatch.setattr(Walker, "listings", listings)
    index_archive(settled, out_dir)
    assert max(map(len, turned)) > 1
    assert read_pair(out_dir) == before


def _edit(table: Path) -> None:
    frame = pl.read_parquet(table)
    frame.with_columns(note=pl.lit("seen")).write_parquet(table)


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "a new dataset": lambda archive, _: make_tree(archive, {f"{SESSION}/alf/a.b.npy": 1}),
    "a new session": lambda archive, _: make_tree(archive, {f"{SESSION[:-1]}7/a.b.npy": 1}),
    "a session without datasets": lambda archive, _: make_tree(archive, {f"{SESSION[:-1]}8": {}}),
    "a new folder in a session": lambda archive, _: make_tree(archive, {f"{SESSION}/more": {}}),
    "another file": lambda archive, _: make_tree(archive, {f"{SESSION}/my notes.txt": 1}),
    "another file above": lambda archive, _: make_tree(archive, {"README": 1}),
    "an issue above": lambda archive, _: make_tree(
        archive, {"cortexlab/Subjects/KS001/2020-13-45/001/a.b.npy": 1}
    ),
    "no dataset": lambda archive, _: (archive / FILE).unlink(),
    "no session": lambda archive, _: shutil.rmtree(archive / SESSION),
    "another size": lambda archive, _: (archive / FILE).write_bytes(b"12345"),
    "another time": lambda archive, _: os.utime(archive / FILE, (LONG_AGO + 9, LONG_AGO + 9)),
    "edited tables": lambda _, tables: _edit(tables / "sessions.pqt"),
    "a table that is gone": lambda _, tables: (tables / "datasets.pqt").unlink(),
    "a damaged table": lambda _, tables: damage_column(tables, "datasets", "rel_path"),
    "insertions": lambda _, tables: write_insertions(tables),
    "no issues": lambda _, tables: files.issues_path(tables).unlink(),
    "no namespace": lambda _, tables: files.namespace_path(tables).unlink(),
    "no report": lambda _, tables: files.report_path(tables).unlink(),
    "no snapshot": lambda _, tables: shutil.rmtree(
        next((tables / files.STATE_DIR).glob("snapshot-*"))
    ),
    "a damaged survey": lambda _, tables: next(
        (tables / files.STATE_DIR).glob("snapshot-*/survey.arrow")
    ).write_bytes(b"ARROW1"),
    "a damaged snapshot": lambda _, tables: next(
        (tables / files.STATE_DIR).glob("snapshot-*/*/entries.arrow")
    ).write_bytes(b"ARROW1"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="names")
@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changed_has_the_tables_written(settled: Path, out_dir: Path, what: str) -> None:
    before = read_history(out_dir)["generation"].to_list()
    CHANGES[what](settled, out_dir)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.TableWarning)
        index_archive(settled, out_dir)
    assert read_history(out_dir)["generation"].to_list()[-1] not in before
    check_state(out_dir)
    # What was lost is there again, so that there is nothing to write any more.
    if what != "insertions":
        # An index after one that removed much says that the rest is still there.
        index_archive(settled, out_dir)
        after = read_pair(out_dir)
        index_archive(settled, out_dir)
        assert (read_pair(out_dir) == after) is (what != "edited tables")


@pytest.mark.parametrize(
    "options",
    [
        {"restart": True},
        {"reset": True},
        {"default_revisions": True},
        {"insertions": True},
        {"hash_files": True},
        {"lab": "cortexlab"},
        {"exclude": ["KS002"]},
    ],
    ids=str,
)
def test_another_option_has_the_tables_written(
    settled: Path, out_dir: Path, options: dict[str, Any]
) -> None:
    before = read_history(out_dir)["generation"].to_list()
    archive = settled / "cortexlab" if "lab" in options else settled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.TableWarning)
        index_archive(archive, out_dir, max_removed=1.0, **options)
    assert read_history(out_dir)["generation"].to_list()[-1] not in before


def test_files_that_may_change_without_a_sign_are_looked_at_once_more(
    archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(monkeypatch, clock_ns=10**12)
    index_archive(archive, out_dir)
    young = read_pair(out_dir)
    tune(monkeypatch, clock_ns=-(10**12))
    index_archive(archive, out_dir)
    assert read_pair(out_dir) != young, "they are old now, and the snapshot says so"
    before = read_pair(out_dir)
    index_archive(archive, out_dir)
    assert read_pair(out_dir) == before


def test_a_run_that_goes_on_after_an_interruption_is_told_of(
    settled: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polars_alf.index import run

    before = read_pair(out_dir)
    with monkeypatch.context() as patch:
        patch.setattr(run, "write_tables", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index_archive(settled, out_dir)
    report = index_archive(settled, out_dir)
    assert report.n_resumed == report.n_shards > 0
    assert read_pair(out_dir) == before
