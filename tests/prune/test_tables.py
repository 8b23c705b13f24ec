"""Tables that cannot be trusted, and what the index passed over."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from removals import KS001, list_names, tables_of
from trees import SESSION, make_tree

from polars_alf import apply_removals, index_archive, plan_removals
from polars_alf.errors import (
    ArchiveNotFoundError,
    ForeignTablesError,
    KeptWarning,
    OptionError,
    TableError,
    TornPairError,
)
from polars_alf.prune.examine import REMOVALS
from polars_alf.schema import polars_schema
from polars_alf.tables import contract, files, journal, transaction

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def test_missing_empty_and_foreign_tables_are_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ForeignTablesError, match=r"missing or empty.*index it first.*--tables-dir"
    ) as caught:
        plan_removals(archive)
    assert isinstance(caught.value, ValueError)
    other = make_tree(tmp_path / "other", {"lab/Subjects/S/2020-01-01/001": SESSION})
    index_archive(other)
    with pytest.raises(ForeignTablesError, match="no session that is in"):
        plan_removals(archive, other)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.warns(RuntimeWarning, match="No sessions"):
        index_archive(empty)
    with pytest.raises(ForeignTablesError, match="missing or empty"):
        plan_removals(archive, empty)
    with pytest.raises(ForeignTablesError):
        plan_removals(empty, other)
    for folder in (None, other, empty):
        assert len(list_names(plan_removals(archive, folder, force=True))) == 12


def test_one_table_alone_is_refused(archive: Path) -> None:
    index_archive(archive)
    (archive / "datasets.pqt").unlink()
    with pytest.raises(ForeignTablesError, match="missing or empty"):
        plan_removals(archive)


def test_tables_that_cannot_be_read_are_refused_even_by_force(archive: Path) -> None:
    index_archive(archive)
    good = {name: (archive / f"{name}.pqt").read_bytes() for name in ("sessions", "datasets")}
    index_archive(archive, restart=True)
    (archive / "sessions.pqt").write_bytes(good["sessions"])
    with pytest.raises(TornPairError, match="different runs"):
        plan_removals(archive, force=True)
    (archive / "datasets.pqt").write_bytes(good["datasets"][:-9])
    with pytest.raises(TableError, match=r"datasets\.pqt"):
        plan_removals(archive, force=True)
    pl.DataFrame({"eid": ["a"]}).write_parquet(archive / "datasets.pqt")
    with pytest.raises(TableError, match=r"datasets\.pqt.*rel_path"):
        plan_removals(archive, force=True)


def test_a_commit_that_was_cut_off_is_finished_first(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_archive(archive)
    make_tree(archive / KS001, {"new.times.npy": 1})

    def cut_off(folder: Path) -> None:
        staging = next((folder / files.STATE_DIR).glob("run-*"))
        (staging / "sessions.pqt").replace(folder / "sessions.pqt")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal, "recover", lambda folder, **_: False)
        patch.setattr(
            transaction.Staging, "commit", _commit_until(transaction.Staging.commit, cut_off)
        )
        with pytest.raises(KeyboardInterrupt):
            index_archive(archive)
    with pytest.raises(TornPairError):
        contract.read_headers(archive)
    assert plan_removals(archive).is_empty(), "the new tables have the file"


def _commit_until(
    commit: Callable[..., None], cut_off: Callable[[Path], None]
) -> Callable[..., None]:
    def begin(staging: transaction.Staging, **options: object) -> None:
        commit(staging, **options)
        cut_off(staging.folder)

    return begin


def test_arguments_are_checked(archive: Path) -> None:
    tables = tables_of("a", "")
    with pytest.raises(OptionError, match="without the other"):
        plan_removals(archive, sessions=tables["sessions"])
    with pytest.raises(TableError, match=r"frame datasets.*rel_path"):
        plan_removals(archive, sessions=tables["sessions"], datasets=pl.DataFrame({"eid": ["a"]}))
    with pytest.raises(ArchiveNotFoundError):
        plan_removals(archive / "nowhere", **tables)
    with pytest.raises(OptionError, match="jobs"):
        plan_removals(archive, **tables, jobs=0)
    with pytest.raises(OptionError, match="inode"):
        apply_removals(archive, polars_schema(REMOVALS).to_frame().drop("inode"))
    with pytest.raises(OptionError, match="no path"):
        apply_removals(archive, polars_schema(REMOVALS).to_frame().clear(n=1))


@posix_only
def test_what_the_index_could_not_read_is_kept(
    archive: Path, tmp_path: Path, unprivileged: Callable[[], None]
) -> None:
    session = "cortexlab/Subjects/KS002/2020-02-29/001"
    closed = archive / session / "alf/probe00"
    closed.chmod(0)
    tables = tmp_path / "tables"
    tables.mkdir()
    tables.chmod(0o777)
    was = os.geteuid()
    unprivileged()
    report = index_archive(archive, tables)
    os.seteuid(was)
    assert report.issues == {"unreadable_directory": 1}
    closed.chmod(0o755)
    for folder, path in ((archive, f"{session}/alf"), (archive / session, "alf")):
        with pytest.warns(KeptWarning, match=rf"kept 1 .*'{path}/probe00/.*index again"):
            assert plan_removals(folder, tables).is_empty()
    moved = archive.rename(tmp_path / "moved")
    with pytest.warns(KeptWarning):
        assert plan_removals(moved, tables).is_empty()


@posix_only
def test_roots_inside_what_the_index_could_not_read_are_kept(
    archive: Path, tmp_path: Path, unprivileged: Callable[[], None]
) -> None:
    subject = archive / "cortexlab/Subjects/KS002"
    subject.chmod(0)
    tables = tmp_path / "tables"
    tables.mkdir()
    tables.chmod(0o777)
    was = os.geteuid()
    unprivileged()
    index_archive(archive, tables)
    os.seteuid(was)
    subject.chmod(0o755)
    for root in (subject, subject / "2020-02-29"):
        with pytest.warns(KeptWarning, match="index again"):
            assert plan_removals(root, tables, force=True).is_empty()


def test_copies_that_the_index_passed_over_are_kept(archive: Path) -> None:
    make_tree(archive, {f"backup/{KS001}": SESSION, f"backup/{KS001}/more.times.npy": 1})
    report = index_archive(archive)
    assert report.issues["duplicate_session"] == 1
    with pytest.warns(KeptWarning, match="more.times.npy"):
        assert plan_removals(archive).is_empty()


@pytest.mark.parametrize("part", ["", KS001])
def test_a_session_that_one_takes_for_another_is_kept(archive: Path, part: str) -> None:
    twin = str(Path(KS001).with_name("1"))
    tree = {f"{KS001}/a.b.npy": 1, f"{twin}/alf/more.times.npy": 1, f"{twin}/a.b.npy": 1}
    make_tree(archive, tree)
    report = index_archive(archive)
    assert report.issues == {"duplicate_session": 1}
    day = archive / Path(part).parent
    with pytest.warns(KeptWarning, match="more.times.npy"):
        assert plan_removals(day, archive).is_empty()


def test_an_empty_text_is_no_folder_of_tables(archive: Path) -> None:
    index_archive(archive)
    with pytest.raises(OptionError, match="empty text"):
        plan_removals(archive, "")
