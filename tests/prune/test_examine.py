"""Never through a link, and no folder that has something left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from removals import KS001, files_of, list_names, list_results
from trees import SESSION, Fifo, Link, make_tree

from polars_alf import apply_removals, index_archive, plan_removals
from polars_alf.errors import (
    ForeignTablesError,
    KeptWarning,
)
from polars_alf.tables import files
from polars_alf.walk.scan import ArchiveFiles, Listing

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def test_empty_sessions_can_be_kept(archive: Path) -> None:
    index_archive(archive)
    make_tree(archive, {"cortexlab/Subjects/KS001/2020-01-01/003": {"a.b.c": 1}})
    plan = plan_removals(archive, remove_empty_sessions=False)
    assert set(plan["kind"]) == {"dataset"}
    apply_removals(archive, plan)
    assert (archive / "cortexlab/Subjects/KS001/2020-01-01/003").is_dir()


def test_empty_sessions_that_have_a_row_stay(archive: Path) -> None:
    empty = {f"cortexlab/Subjects/KS001/2020-01-0{day}/{day}": {} for day in (3, 4)}
    make_tree(archive, empty)
    index_archive(archive)
    make_tree(archive, {"cortexlab/Subjects/KS001/2020-01-03/3/a.b.c": 1})
    plan = plan_removals(archive)
    assert plan["path"].to_list() == ["cortexlab/Subjects/KS001/2020-01-03/3/a.b.c"]
    # A date that has an empty session with a row is not empty.
    make_tree(archive, {"cortexlab/Subjects/KS001/2020-01-04/005": {}})
    plan = plan_removals(archive)
    assert list_names(plan, "session") == ["cortexlab/Subjects/KS001/2020-01-04/005"]
    assert list_names(plan, "folder") == []


def test_folders_at_and_above_the_root_stay(archive: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    index_archive(archive, tables)
    session = make_tree(archive / "cortexlab/Subjects/KS009/2020-01-01/001", {"alf": {}})
    found = {}
    for root in (session, session.parent, session.parent.parent):
        # No session below these roots has a row.
        with pytest.raises(ForeignTablesError):
            plan_removals(root, tables)
        found[root.name] = plan_removals(root, tables, force=True)["path"].to_list()
    assert found == {
        "001": [],
        "2020-01-01": ["001/alf", "001"],
        "KS009": ["2020-01-01/001/alf", "2020-01-01/001", "2020-01-01"],
    }


@posix_only
def test_links_and_what_lies_behind_them_are_kept(archive: Path, tmp_path: Path) -> None:
    outside = make_tree(
        tmp_path / "outside",
        {"001": SESSION, "alf/a.b.c": 1, "x.y.z": 1, "S/2020-01-01/001": SESSION},
    )
    index_archive(archive)
    subject = archive / "cortexlab/Subjects/KS001"
    make_tree(
        archive,
        {
            "cortexlab/Subjects/KS001/2020-01-01/003": Link(str(outside / "001")),
            "cortexlab/Subjects/KS001/2020-03-03": Link(str(outside)),
            "cortexlab/Subjects/S": Link(str(outside / "S")),
            f"{KS001}/linked": Link(str(outside / "alf")),
            f"{KS001}/linked.file.npy": Link(str(outside / "x.y.z")),
            f"{KS001}/broken.file.npy": Link("nowhere"),
            f"{KS001}/pipe.file.npy": Fifo(),
            f"{KS001}/up": Link(".."),
        },
    )
    before = files_of(tmp_path)
    plan = plan_removals(archive)
    assert plan.is_empty()
    apply_removals(archive, plan)
    assert files_of(tmp_path) == before
    assert subject.exists()


@posix_only
def test_what_a_link_of_the_archive_leads_to_is_kept(tmp_path: Path) -> None:
    day = "KS001/2020-01-01"
    make_tree(
        tmp_path,
        {
            f"{day}/001": SESSION,
            # Linked sessions, files and collections, the real ones in sessions without a row.
            f"{day}/002": Link("../2020-02-02/001"),
            "KS001/2020-02-02/001": SESSION,
            f"{day}/001/linked.times.npy": Link("../../2020-03-03/001/real.times.npy"),
            "KS001/2020-03-03/001": {"real.times.npy": 1, "stray.times.npy": 1},
            f"{day}/001/linked": Link("../../2020-04-04/001/real"),
            "KS001/2020-04-04/001": {"real/real.times.npy": 1, "stray.times.npy": 1},
            "KS001/2020-05-05/001/real": {},
            f"{day}/003": Link("../2020-05-05/001"),
        },
    )
    index_archive(tmp_path, follow_links=True)
    sessions, datasets = (pl.read_parquet(tmp_path / f"{n}.pqt") for n in ("sessions", "datasets"))
    known = sessions.filter(date=date(2020, 1, 1))
    assert len(known) == 3
    datasets = datasets.filter(pl.col("eid").is_in(known["id"].implode()))
    assert "linked/real.times.npy" in datasets["rel_path"]
    with pytest.warns(KeptWarning, match="'KS001/2020-01-01/001/linked'"):
        plan = plan_removals(tmp_path, sessions=known, datasets=datasets)
    assert plan["path"].to_list() == [
        "KS001/2020-03-03/001/stray.times.npy",
        "KS001/2020-04-04/001/stray.times.npy",
    ]
    outcomes = apply_removals(tmp_path, plan)
    assert set(outcomes["result"]) == {"removed"}
    assert (tmp_path / day / "001/linked.times.npy").exists()


@posix_only
def test_empty_sessions_that_a_linked_folder_leads_to_are_kept(archive: Path) -> None:
    index_archive(archive)
    subject = "cortexlab/Subjects/KS001"
    make_tree(archive, {f"{subject}/2020-05-05/001": {}, f"{subject}/2020-06-06/001": {}})
    (archive / subject / "2020-07-07").symlink_to("2020-05-05")
    plan = plan_removals(archive)
    assert list_names(plan, "session") == [f"{subject}/2020-06-06/001"]


@posix_only
@pytest.mark.parametrize("listed", [True, False])
def test_second_names_of_an_indexed_file_are_kept(
    archive: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    index_archive(archive)
    session = archive / KS001
    os.link(session / "alf/spikes.times.npy", session / "second.times.npy")
    (session / "stray.times.npy").touch()
    if not listed:  # as on Windows
        original = Listing.read

        def without_inodes(listing: Listing, shards: Iterable[int]) -> ArchiveFiles:
            files = original(listing, shards)
            return files._replace(entries=files.entries.with_columns(inode=pl.lit(0, pl.UInt64)))

        monkeypatch.setattr(Listing, "read", without_inodes)
    assert list_names(plan_removals(archive)) == [f"{KS001}/stray.times.npy"]


@posix_only
def test_the_root_may_be_a_link(archive: Path, tmp_path: Path) -> None:
    index_archive(archive)
    link = tmp_path / "link"
    link.symlink_to(archive)
    make_tree(archive / KS001, {"stray.times.npy": 1})
    plan = plan_removals(link)
    assert list_results(apply_removals(link, plan)) == {f"{KS001}/stray.times.npy": "removed"}


def test_our_own_state_is_kept(archive: Path) -> None:
    index_archive(archive)
    make_tree(archive / KS001, {f"{files.STATE_DIR}/commit.json.0.tmp": 1, "sessions.pqt": 1})
    make_tree(archive, {f"cortexlab/Subjects/S/2020-01-01/001/{files.STATE_DIR}/a.b.c": 1})
    assert plan_removals(archive).is_empty()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_what_a_dataset_that_is_a_link_leads_to_stays(archive: Path) -> None:
    index_archive(archive)
    session = "cortexlab/Subjects/KS001/2020-01-01/001"
    make_tree(archive, {session: {"alf/t.u.npy": 1, "raw/l.m.npy": Link("../alf/t.u.npy")}})
    make_tree(archive, {session: {"alf/other.u.npy": 1}})
    assert plan_removals(archive)["path"].to_list() == [f"{session}/alf/other.u.npy"]
