"""What changed since the plan is kept, and no path leads out."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from removals import KS001, STRAY, files_of, list_results, read_log
from trees import make_tree

from polars_alf import apply_removals, plan_removals
from polars_alf.prune import folders

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def _rewrite(path: Path) -> None:
    status = path.stat()
    path.write_text("Stray 1")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def _grow(path: Path) -> None:
    status = path.stat()
    path.write_text("stray 1, and more")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace(path: Path) -> None:
    status = path.stat()
    path.rename(path.with_name("old"))
    path.write_text("stray 1")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _replace_by_link(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.symlink_to("old")


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link_folder(path: Path) -> None:
    moved = path.parents[len(Path(KS001).parts) + 1] / "moved"
    path.parent.rename(moved)
    path.parent.symlink_to(moved)


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_rewrite, "mtime_ns"),
        (_grow, "file_size"),
        (_replace, "inode"),
        (_replace_by_link, "something else"),
        (_replace_by_folder, "something else"),
        (_link_folder, "link"),
    ],
)
@pytest.mark.usefixtures("by_descriptor")
def test_what_has_changed_is_kept(
    strays: Path, change: Callable[[Path], None], message: str
) -> None:
    plan = plan_removals(strays).filter(path=STRAY)
    change(strays / STRAY)
    before = files_of(strays.parent)
    (outcome,) = apply_removals(strays, plan).to_dicts()
    assert (outcome["result"], message in outcome["message"]) == ("changed", True)
    assert files_of(strays.parent) == before
    assert (strays / STRAY).exists()
    assert [record["event"] for record in read_log(strays)] == ["removing", "changed"]


@posix_only
@pytest.mark.usefixtures("by_descriptor")
def test_what_is_gone_is_no_failure(strays: Path) -> None:
    plan = plan_removals(strays)
    (strays / STRAY).unlink()
    (strays / "cortexlab/Subjects/KS009/2020-01-01/001").rmdir()
    outcomes = list_results(apply_removals(strays, plan))
    assert [path for path in outcomes if outcomes[path] == "gone"] == [
        STRAY,
        "cortexlab/Subjects/KS009/2020-01-01/001",
    ]
    assert set(outcomes.values()) == {"removed", "gone"}


@pytest.mark.usefixtures("by_descriptor")
def test_folders_that_were_filled_or_replaced_are_kept(strays: Path) -> None:
    plan = plan_removals(strays)
    session = "cortexlab/Subjects/KS009/2020-01-01/001"
    (strays / session / "precious.txt").touch()
    outcomes = apply_removals(strays, plan).filter(pl.col("path").str.contains("KS009"))
    assert set(outcomes["result"]) == {"changed"}
    assert outcomes["message"][0] == "not empty"
    (strays / session / "precious.txt").unlink()
    (strays / session).rename(strays / "old")
    (strays / session).mkdir()
    assert list_results(apply_removals(strays, plan))[session] == "changed"
    assert (strays / session).is_dir()


@posix_only
def test_a_folder_swapped_for_a_link_at_the_last_moment(
    strays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_removals(strays).filter(path=STRAY)
    parent = (strays / STRAY).parent
    outside = make_tree(strays.parent / "outside", {Path(STRAY).name: "precious"})
    original = folders.Folder.remove_file

    def swap(folder: folders.Folder, name: str) -> None:
        parent.rename(strays.parent / "moved")
        parent.symlink_to(outside)
        original(folder, name)

    monkeypatch.setattr(folders.Folder, "remove_file", swap)
    assert list_results(apply_removals(strays, plan)) == {STRAY: "removed"}
    assert (outside / Path(STRAY).name).read_text() == "precious"
    assert not (strays.parent / "moved" / Path(STRAY).name).exists()


OUTWARD = ("../precious.txt", f"{KS001}/../../../../../../precious.txt", "/etc/hostname")
NO_PATHS = (f"{KS001}/./x.y.z", "//x.y.z", "", ".", "..", f"{KS001}/", "a\0b")


@pytest.mark.slow
@pytest.mark.usefixtures("by_descriptor")
def test_paths_that_lead_out_are_never_followed(strays: Path) -> None:
    outside = make_tree(strays.parent, {"precious.txt": 1})
    row = plan_removals(strays).filter(path=STRAY)
    status = (outside / "precious.txt").stat()
    before = files_of(strays.parent)
    for path, kind in itertools.product(OUTWARD + NO_PATHS, ("dataset", "session", "folder")):
        plan = row.with_columns(
            path=pl.lit(path),
            kind=pl.lit(kind),
            inode=pl.lit(status.st_ino, pl.UInt64),
            mtime_ns=pl.lit(status.st_mtime_ns, pl.Int64),
            file_size=pl.lit(1, pl.UInt64),
        )
        (outcome,) = apply_removals(strays, plan).to_dicts()
        assert outcome["result"] == "failed", (path, kind)
        assert "no path relative to the archive" in outcome["message"]
        assert files_of(strays.parent) == before, (path, kind)
