"""Roots and folders that are missing, closed or oddly named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from indexes import read_folder
from trees import SESSION, TWO_LABS, make_tree

from polars_alf import errors, index_archive, scan_archive
from polars_alf.alf.paths import CONTROL, find_above, printable

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


FOLDERS = st.sets(st.sampled_from(["", "a", "a/b", "b"]))


@given(st.lists(st.sampled_from("abc"), max_size=4), FOLDERS)
def test_the_folder_above_a_path(steps: list[str], folders: set[str]) -> None:
    path = "/".join(steps)
    holding = [
        folder for folder in sorted(folders) if not folder or f"{path}/".startswith(f"{folder}/")
    ]
    assert find_above(path, folders) == next(iter(holding), None)


@given(st.text())
def test_paths_are_printed_without_control_characters(text: str) -> None:
    shown = printable(text)
    assert not CONTROL.search(shown)
    assert printable(shown) == shown
