"""Roots and folders that are missing, closed or oddly named."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from indexes import read_folder
from trees import SESSION, TWO_LABS, make_tree

from polars_alf import errors, index_archive, scan_archive
from polars_alf.alf.root import call_within, open_root

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


def test_root_that_is_missing(tmp_path: Path, out_dir: Path) -> None:
    with pytest.raises(errors.ArchiveNotFoundError, match="nowhere") as caught:
        index_archive(tmp_path / "nowhere", out_dir)
    assert isinstance(caught.value, FileNotFoundError)
    assert read_folder(out_dir) == {}


def test_root_that_is_a_file(tmp_path: Path, out_dir: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.ArchiveNotADirectoryError, match="file") as caught:
        index_archive(tmp_path / "file", out_dir)
    assert isinstance(caught.value, NotADirectoryError)
    assert read_folder(out_dir) == {}


@posix_only
def test_root_that_cannot_be_read(
    archive: Path, out_dir: Path, unprivileged: Callable[[], None]
) -> None:
    archive.chmod(0)
    out_dir.chmod(0o777)
    unprivileged()
    with pytest.raises(errors.ArchivePermissionError, match="cannot be listed") as caught:
        index_archive(archive, out_dir)
    assert isinstance(caught.value, PermissionError)
    assert read_folder(out_dir) == {}


def test_folder_for_tables_that_is_missing(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.ArchiveNotFoundError, match="folder for the tables"):
        index_archive(archive, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_folder_for_tables_that_is_a_file(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.ArchiveNotADirectoryError, match="folder for the tables"):
        index_archive(archive, tmp_path / "file")


@posix_only
def test_folder_for_tables_that_is_read_only(
    archive: Path, out_dir: Path, unprivileged: Callable[[], None]
) -> None:
    out_dir.chmod(0o555)
    unprivileged()
    with pytest.raises(errors.ArchivePermissionError, match="cannot be written"):
        index_archive(archive, out_dir)
    assert read_folder(out_dir) == {}


@pytest.mark.parametrize("name", ["g[1]", "a*", "q?", "arch [x] :cat: é"])
def test_names_are_no_patterns(tmp_path: Path, name: str) -> None:
    make_tree(tmp_path / "g1", {"other/2020-01-01/001": SESSION})
    if sys.platform == "win32" and set(name) & set("*?:"):
        pytest.skip("Windows allows no such name")
    root = make_tree(tmp_path / name, TWO_LABS | {"x.y.npy": 1})
    report = index_archive(root)
    assert report.n_datasets == 12
    assert report.scan_issues().collect().height == 1
    assert scan_archive(root).collect().height == 12


def test_paths_relative_to_a_root(archive: Path) -> None:
    root = open_root(str(archive))
    assert str(root) == root.__fspath__() == str(archive)
    assert root.locate("") == str(archive)
    assert Path(root.locate("a/b")) == archive / "a" / "b"
    assert root.relate(archive / "a" / "b") == "a/b"
    assert root.relate(archive) == ""
    assert root.relate(archive.parent) is None


def test_a_root_that_was_replaced(archive: Path, tmp_path: Path) -> None:
    root = open_root(archive)
    root.check_unchanged()
    archive.rename(tmp_path / "before")
    archive.mkdir()
    with pytest.raises(errors.ScanError, match="is not the folder that it was"):
        root.check_unchanged()


def test_a_call_within_some_seconds() -> None:
    assert call_within(10, lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        call_within(10, lambda: 1 // 0)
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        call_within(0.1, lambda: time.sleep(5))
    assert time.monotonic() - begun < 4
