"""A quick index: it lists what changed, and finds what a full one finds."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from amount import count_examples
from edits import damage_column
from hypothesis import given, settings
from hypothesis import strategies as st
from indexes import (
    FILES,
    LONG_AGO,
    age_files,
    assert_equal,
    index_quietly,
    index_undisturbed,
    read_tables,
)
from trees import SESSION, check_state, make_tree
from tuning import tune

from polars_alf import IndexReport, errors, index_archive, scan_insertions
from polars_alf.native import IMPLEMENTATION
from polars_alf.walk import lister
from polars_alf.walk.columns import Columns

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")


def _old_times(root: Path) -> None:
    """Make files and folders old enough to be relied on; folders have two times."""
    age_files(root)
    for path in (root, *root.rglob("*")):
        if path.is_dir() and ".polars_alf" not in path.parts:
            os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def settled(archive: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Index an archive that nothing has changed in for long, by its own clock."""
    tune(monkeypatch, clock_ns=-(10**12))
    _old_times(archive)
    index_archive(archive, out_dir, namespace="test")
    return archive


def _listed(archive: Path, out_dir: Path, **options: object) -> tuple[list[str], IndexReport]:
    """Return the directories in sessions that a quick index lists, and its report."""
    listed: list[str] = []
    real = lister.Lister.read

    def note(lister: lister.Lister, directories: list[str], **options: Any) -> Columns:
        columns = real(lister, directories, **options)
        listed.extend(directory for directory in columns.paths if "/20" in directory)
        return columns

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lister.Lister, "read", note)
        arguments = {"quick": True, "executor": "serial", "namespace": "test"} | options
        arguments.setdefault("max_removed", 1.0)
        report = index_archive(archive, out_dir, **arguments)  # type: ignore[arg-type]
    return listed, report


def _assert_right(archive: Path, out_dir: Path, tmp_path: Path) -> None:
    assert_equal(read_tables(out_dir), index_undisturbed(archive, tmp_path))


def test_a_damaged_table_is_replaced(settled: Path, out_dir: Path) -> None:
    before = read_tables(out_dir)
    damage_column(out_dir, "datasets", "file_size")
    with pytest.warns(errors.TableWarning, match="is damaged: .*; it will be replaced"):
        index_archive(settled, out_dir, quick=True)
    assert_equal(read_tables(out_dir), before)


def test_quick_makes_insertions_where_there_are_none(settled: Path, out_dir: Path) -> None:
    stamps = []
    for _ in range(2):
        assert _listed(settled, out_dir, insertions=True)[0] == []
        assert len(scan_insertions(out_dir).collect()) == 4
        stamps.append((out_dir / "insertions.pqt").stat().st_mtime_ns)
    assert stamps[0] == stamps[1], "nothing is new"


def test_quick_lists_nothing_where_nothing_changed(
    settled: Path, out_dir: Path, tmp_path: Path
) -> None:
    before = (out_dir / "datasets.pqt").stat().st_mtime_ns
    listed, report = _listed(settled, out_dir)
    assert listed == []
    assert report.changes is not None
    assert report.changes["unchanged"] == report.n_datasets == 12
    assert (report.n_other_files, report.n_sessions, report.n_bytes) == (4, 4, 244)
    assert report.scan_changes().collect().is_empty()
    assert (out_dir / "datasets.pqt").stat().st_mtime_ns == before
    check_state(out_dir)


@pytest.mark.parametrize("is_fast", [False, True])
def test_quick_lists_what_changed(
    settled: Path, out_dir: Path, tmp_path: Path, is_fast: bool
) -> None:
    """Where listing is fast, it lists all of a shard in which something changed."""
    options = {} if is_fast else {"op_timeout": 60.0}
    session = "cortexlab/Subjects/KS001/2020-01-01/001"
    make_tree(settled, {f"{session}/alf/new.file.npy": 5, f"{session}/alf/deep/x.y.npy": 6})
    (settled / session / "alf/spikes.times.npy").unlink()
    make_tree(settled, {"cortexlab/Subjects/KS007/2020-01-01/001": SESSION})
    listed, report = _listed(settled, out_dir, **options)
    new = "cortexlab/Subjects/KS007/2020-01-01"
    changed = [
        f"{session}/alf",
        f"{session}/alf/deep",
        new,
        f"{new}/001",
        f"{new}/001/alf",
        f"{new}/001/alf/probe00",
        f"{new}/001/alf/probe00/#2024-05-06#",
    ]
    if is_fast and IMPLEMENTATION == "native":
        assert {*changed} < {*listed}
    else:
        assert sorted(listed) == changed
    assert report.changes == {
        "added": 5,
        "changed": 0,
        "removed": 1,
        "unreadable": 0,
        "unchanged": 11,
    }
    _assert_right(settled, out_dir, tmp_path)
    listed, report = _listed(settled, out_dir, **options)
    assert listed == []
    _assert_right(settled, out_dir, tmp_path)


def test_quick_takes_shards_as_they_were(
    settled: Path, out_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(monkeypatch, least_folders=1)
    index_archive(settled, out_dir, namespace="test")
    make_tree(settled, {"cortexlab/Subjects/KS001/2020-01-01/002/alf/more": SESSION})
    listed, report = _listed(settled, out_dir)
    assert report.n_shards > 1
    assert listed
    assert all("KS001/2020-01-01" in directory for directory in listed)
    _assert_right(settled, out_dir, tmp_path)


def test_quick_lists_a_new_date_alone(settled: Path, out_dir: Path, tmp_path: Path) -> None:
    new = "cortexlab/Subjects/KS001/2020-01-03"
    make_tree(settled, {f"{new}/001": SESSION})
    listed, report = _listed(settled, out_dir)
    assert listed
    assert all(directory.startswith(new) for directory in listed)
    assert report.changes is not None
    assert (report.changes["added"], report.changes["unchanged"]) == (3, 12)
    _assert_right(settled, out_dir, tmp_path)


def test_quick_does_not_see_what_is_rewritten_in_place(settled: Path, out_dir: Path) -> None:
    file = settled / "cortexlab/Subjects/KS001/2020-01-01/001/alf/spikes.times.npy"
    file.write_bytes(b"longer than it was")
    assert _listed(settled, out_dir)[1].n_bytes == 244
    assert index_archive(settled, out_dir, namespace="test").n_bytes == 244 - 20 + 18


def test_quick_sees_what_went(settled: Path, out_dir: Path, tmp_path: Path) -> None:
    shutil.rmtree(settled / "wittenlab")
    shutil.rmtree(settled / "cortexlab/Subjects/KS001/2020-01-01/002")
    report = _listed(settled, out_dir)[1]
    assert report.changes is not None
    assert (report.changes["removed"], report.n_sessions) == (6, 2)
    _assert_right(settled, out_dir, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"exclude": "probe00"},
        {"follow_links": True},
        {"hash_files": True},
        {"lab": "lab"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_quick_heeds_other_options(
    archive: Path, out_dir: Path, options: dict[str, object]
) -> None:
    root = archive / "cortexlab/Subjects"
    index_archive(root, out_dir, namespace="test")
    if "lab" in options:
        options = {"lab": "cortexlab"}
    with pytest.MonkeyPatch.context() as patch:
        tune(patch, clock_ns=-(10**12))
        index_archive(root, out_dir, namespace="test")
        _listed(root, out_dir, **options)
    other = out_dir / "other"
    other.mkdir()
    index_archive(root, other, namespace="test", **options)  # type: ignore[arg-type]
    assert_equal(read_tables(out_dir), read_tables(other))


def test_quick_does_not_trust_what_changed_a_moment_ago(archive: Path, out_dir: Path) -> None:
    index_archive(archive, out_dir, namespace="test")
    listed, _ = _listed(archive, out_dir)
    assert len(listed) == 4 * 5 - 1, "all of them: two sessions share a date"


@posix_only
def test_quick_tries_again_what_could_not_be_read(
    settled: Path, out_dir: Path, unprivileged: Callable[[], None]
) -> None:
    file = settled / "cortexlab/Subjects/KS001/2020-01-01/001/alf/spikes.times.npy"
    user = os.geteuid()
    file.chmod(0)
    for path in (out_dir, *out_dir.rglob("*")):
        path.chmod(0o777)
    unprivileged()
    options = {"hash_files": True, "executor": "serial", "namespace": "test"}
    report = index_archive(settled, out_dir, **options)  # type: ignore[arg-type]
    assert report.issues == {"unreadable_content": 1}
    os.seteuid(user)
    file.chmod(0o644)  # which changes no folder
    report = index_archive(settled, out_dir, quick=True, **options)  # type: ignore[arg-type]
    assert report.issues == {}
    assert "" not in read_tables(out_dir)[1]["hash"].to_list()


@posix_only
def test_quick_looks_again_at_what_had_issues(settled: Path, out_dir: Path) -> None:
    collection = settled / "cortexlab/Subjects/KS001/2020-01-01/001/alf"
    (collection / "broken.link.npy").symlink_to("nowhere")
    assert _listed(settled, out_dir)[1].issues == {"broken_link": 1}
    (collection / "nowhere").mkdir()
    (collection / "nowhere").rmdir()
    listed, report = _listed(settled, out_dir)
    assert f"{collection.relative_to(settled)}" in listed
    assert report.issues == {"broken_link": 1}


def test_quick_replaces_tables_that_are_not_of_the_last_index(
    settled: Path, out_dir: Path, tmp_path: Path
) -> None:
    pl.read_parquet(out_dir / "datasets.pqt").head(1).write_parquet(out_dir / "datasets.pqt")
    with pytest.warns(errors.TableWarning):
        _, report = _listed(settled, out_dir)
    assert report.n_datasets == 12
    _assert_right(settled, out_dir, tmp_path)


@pytest.mark.parametrize("threads", [1, 4])
def test_quick_with_threads(settled: Path, out_dir: Path, tmp_path: Path, threads: int) -> None:
    make_tree(settled, {"cortexlab/Subjects/KS007/2020-01-01/001": SESSION})
    make_tree(settled, {"cortexlab/Subjects/KS001/2020-01-01/001/alf/more": SESSION})
    _listed(settled, out_dir, threads=threads)
    _assert_right(settled, out_dir, tmp_path)


@pytest.mark.slow
@settings(max_examples=count_examples(40), deadline=None)
@given(before=FILES, after=FILES, is_fast=st.booleans())
def test_quick_finds_what_a_full_index_finds(
    tmp_path_factory: pytest.TempPathFactory,
    before: dict[tuple[str, str], int],
    after: dict[tuple[str, str], int],
    is_fast: bool,
) -> None:
    root, tmp_path = tmp_path_factory.mktemp("archive"), tmp_path_factory.mktemp("tables")
    out_dir = tmp_path / "tables"
    out_dir.mkdir()
    old, new = ({f"{s}/{n}" for s, n in files} for files in (before, after))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.NoSessionsWarning)
        tune(patch, least_folders=1)
        tune(patch, clock_ns=-(10**12))
        make_tree(root, dict.fromkeys(old, 1))
        index_quietly(root, out_dir)
        for path in old - new:
            (root / path).unlink()
        make_tree(root, dict.fromkeys(new - old, 2))
        _listed(root, out_dir, **({} if is_fast else {"op_timeout": 60.0}))
        _assert_right(root, out_dir, tmp_path)
