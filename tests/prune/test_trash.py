"""A trash: where it may be, what is in it, and the way back."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import polars as pl
import pytest
from removals import KS001, STRAY, files_of, list_names, list_results, read_log
from trees import Link, make_tree

from polars_alf import apply_removals, index_archive, plan_removals, restore_removals
from polars_alf.errors import ArchiveNotFoundError, OptionError
from polars_alf.prune import folders
from polars_alf.tables.files import STATE_DIR

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")


@pytest.fixture
def trash(tmp_path: Path) -> Path:
    return tmp_path / "trash"


@pytest.mark.usefixtures("by_descriptor")
def test_datasets_are_moved_and_come_back(strays: Path, trash: Path) -> None:
    before = files_of(strays)
    inode = (strays / STRAY).stat().st_ino
    plan = plan_removals(strays)
    outcomes = apply_removals(strays, plan, trash=trash)
    assert set(outcomes.filter(kind="dataset")["result"]) == {"moved"}
    assert set(outcomes.filter(pl.col("kind") != "dataset")["result"]) == {"removed"}
    names = set(list_names(plan))
    assert files_of(trash) == names
    assert files_of(strays) == before - names
    assert (trash / STRAY).read_text(encoding="utf-8") == "stray 1"
    announced = {r["path"]: r.get("to") for r in read_log(strays) if r["event"] == "removing"}
    assert {path for path, to in announced.items() if to} == names
    assert announced[STRAY] == str(trash / STRAY)
    restored = restore_removals(strays, trash)
    assert list_results(restored) == dict.fromkeys(names, "restored")
    assert files_of(strays) == before
    assert files_of(trash) == set()
    assert (strays / STRAY).stat().st_ino == inode
    assert [r["event"] for r in read_log(strays)][-3:] == ["restored"] * 3
    assert restore_removals(strays, trash).is_empty()


def test_missing_folders_come_back_and_paths_may_have_moved(
    archive: Path, trash: Path, tmp_path: Path
) -> None:
    index_archive(archive)
    path = "cortexlab/Subjects/KS009/2020-01-01/001/alf/a.b.c"
    make_tree(archive, {path: "only"})
    apply_removals(archive, plan_removals(archive), trash=trash)
    assert not (archive / "cortexlab/Subjects/KS009").exists()
    moved, other = archive.rename(tmp_path / "moved"), trash.rename(tmp_path / "other")
    assert list_results(restore_removals(moved, other)) == {path: "restored"}
    assert (moved / path).read_text(encoding="utf-8") == "only"


@pytest.mark.slow
@pytest.mark.usefixtures("by_descriptor")
def test_nothing_is_written_over(strays: Path, trash: Path) -> None:
    make_tree(trash, {STRAY: "older"})
    outcomes = list_results(apply_removals(strays, plan_removals(strays), trash=trash))
    assert outcomes[STRAY] == "failed"
    assert sorted(outcomes.values()) == [
        "failed",
        "moved",
        "moved",
        "removed",
        "removed",
        "removed",
    ]
    assert (trash / STRAY).read_text(encoding="utf-8") == "older"
    assert (strays / STRAY).read_text(encoding="utf-8") == "stray 1"
    other = STRAY.replace("stray1", "stray2")
    make_tree(strays, {other: "newer"})
    restored = list_results(restore_removals(strays, trash))
    assert restored == {STRAY.replace("stray1", "stray0"): "restored", other: "failed"}
    assert (strays / other).read_text(encoding="utf-8") == "newer"
    assert (trash / other).read_text(encoding="utf-8") == "stray 2"
    assert (trash / STRAY).read_text(encoding="utf-8") == "older"


@posix_only
@pytest.mark.usefixtures("by_descriptor")
def test_a_link_in_the_trash_leads_nowhere(strays: Path, trash: Path, tmp_path: Path) -> None:
    outside = make_tree(tmp_path / "outside", {})
    make_tree(trash, {"cortexlab": Link(str(outside))})
    before = files_of(strays)
    outcomes = apply_removals(strays, plan_removals(strays), trash=trash)
    assert set(outcomes.filter(kind="dataset")["result"]) == {"failed"}
    assert files_of(strays) == before
    assert not list(outside.iterdir())


def test_a_trash_in_the_archive_is_refused_but_in_the_state(strays: Path) -> None:
    plan = plan_removals(strays)
    before = files_of(strays)
    for place in (strays, strays / "trash", strays / KS001 / "trash", strays / STATE_DIR):
        with pytest.raises(OptionError, match=r"in the archive .*give a folder outside"):
            apply_removals(strays, plan, trash=place)
    with pytest.raises(OptionError, match="holds the archive"):
        apply_removals(strays, plan, trash=strays.parent)
    assert files_of(strays) == before
    assert not (strays / "trash").exists()
    trash = strays / STATE_DIR / "trash"
    assert "moved" in set(apply_removals(strays, plan, trash=trash)["result"])
    report = index_archive(strays)
    assert report.n_datasets == 12
    assert "moved" not in list_results(apply_removals(strays, plan_removals(strays))).values()
    assert len(restore_removals(strays, trash)) == 3


def test_a_trash_in_what_the_tables_are_of_is_refused(strays: Path) -> None:
    lab = strays / "cortexlab"
    plan = plan_removals(lab, strays)
    with pytest.raises(OptionError, match="in the archive"):
        apply_removals(lab, plan, strays, trash=strays / "trash")


def test_a_trash_elsewhere_is_refused_before_anything_is_moved(
    strays: Path, trash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(strays)
    with monkeypatch.context() as patch:
        patch.setattr(folders.Folder, "device", property(lambda _: -1))
        with pytest.raises(OptionError, match="on another file system than"):
            apply_removals(strays, plan_removals(strays), trash=trash)
    assert files_of(strays) == before
    assert not trash.exists()
    with pytest.raises(ArchiveNotFoundError, match="the trash"):
        apply_removals(strays, plan_removals(strays), trash=trash / "no" / "where")


@posix_only
def test_a_move_that_was_cut_off_is_finished(strays: Path, trash: Path) -> None:
    plan = plan_removals(strays)
    (trash / STRAY).parent.mkdir(parents=True)
    os.link(strays / STRAY, trash / STRAY)
    assert list_results(apply_removals(strays, plan, trash=trash))[STRAY] == "moved"
    assert not (strays / STRAY).exists()
    os.link(trash / STRAY, strays / STRAY)
    assert list_results(restore_removals(strays, trash))[STRAY] == "restored"
    assert not (trash / STRAY).exists()


@posix_only
def test_without_second_names_files_are_renamed(
    strays: Path, trash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    make_tree(trash, {STRAY: "older"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcomes = list_results(apply_removals(strays, plan_removals(strays), trash=trash))
    assert outcomes[STRAY] == "failed"
    assert list(outcomes.values()).count("moved") == 2
    assert (trash / STRAY).read_text(encoding="utf-8") == "older"


def test_records_that_lead_out_are_not_followed(strays: Path, trash: Path) -> None:
    apply_removals(strays, plan_removals(strays), trash=trash)
    log = strays / STATE_DIR / "removals.jsonl"
    line = '{"event": "removing", "path": "../../x.y.z", "to": "x"}\n[]\n{"event": 1'
    log.write_text(log.read_text(encoding="utf-8") + line, encoding="utf-8")
    results = list_results(restore_removals(strays, trash))
    assert results.pop("../../x.y.z") == "failed"
    assert set(results.values()) == {"restored"}
