"""The comparison of fingerprints in C gives what its twin in Python gives."""

from __future__ import annotations

import os
import sys
from array import array
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polars_alf.native import twin

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows compares in Python alone")

native = pytest.importorskip("polars_alf.native._native")

NAMES = st.sampled_from(["a", "ab", "a b", "é", "b"])
FOLDERS = st.lists(
    st.lists(NAMES, min_size=1, max_size=4).map("/".join), min_size=1, max_size=8, unique=True
)


def read_fingerprints(paths: list[Path]) -> list[array[int]]:
    """Return the columns that `count_unchanged` compares."""
    found = [os.stat(path) for path in paths]
    return [
        array("q", [status.st_mtime_ns for status in found]),
        array("q", [status.st_ctime_ns for status in found]),
        array("Q", [status.st_ino for status in found]),
    ]


def count_both(root: Path, paths: list[str], columns: list[array[int]]) -> int:
    """Return what both give."""
    arguments = f"{root}/".encode(), "".join(f"{path}\0" for path in paths).encode(), *columns
    n_unchanged = native.count_unchanged(*arguments)
    assert n_unchanged == twin.count_unchanged(*arguments)
    return int(n_unchanged)


@settings(max_examples=100, deadline=None)
@given(folders=FOLDERS, data=st.data())
def test_directories_in_any_order_up_to_the_first_that_changed(
    tmp_path_factory: pytest.TempPathFactory, folders: list[str], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("root")
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    paths = data.draw(st.permutations(["", *folders]))
    columns = read_fingerprints([root / path for path in paths])
    assert count_both(root, paths, columns) == len(paths)
    changed = data.draw(st.integers(0, len(paths) - 1))
    column = data.draw(st.integers(0, 2))
    columns[column][changed] += 1
    assert count_both(root, paths, columns) == changed
    gone = data.draw(st.integers(0, len(paths) - 1))
    paths[gone] += "/not there"
    assert count_both(root, paths, columns) == min(changed, gone)


def test_links_lead_to_what_is_compared(tmp_path: Path) -> None:
    (tmp_path / "target/below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("target")
    paths = ["link", "link/below", "target"]
    assert count_both(tmp_path, paths, read_fingerprints([tmp_path / path for path in paths])) == 3


def test_a_file_in_the_place_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = ["file", "file/below"]
    columns = [
        array(code, [*column, 0])
        for code, column in zip("qqQ", read_fingerprints([tmp_path / "file"]), strict=True)
    ]
    assert count_both(tmp_path, paths, columns) == 1


def test_a_path_that_is_too_long_has_changed(tmp_path: Path) -> None:
    path = "/".join(["x" * 200] * 30)
    assert count_both(tmp_path, [path], [array("q", [0]), array("q", [0]), array("Q", [0])]) == 0


@pytest.mark.parametrize("n_fingerprints", [0, 2])
def test_fingerprints_that_do_not_fit_the_paths_are_an_error(n_fingerprints: int) -> None:
    columns = [array(code, [0] * n_fingerprints) for code in "qqQ"]
    for count_unchanged in (native.count_unchanged, twin.count_unchanged):
        with pytest.raises(ValueError, match="as many fingerprints"):
            count_unchanged(b"/", b"a\0", *columns)


def test_no_directories(tmp_path: Path) -> None:
    assert count_both(tmp_path, [], [array(code) for code in "qqQ"]) == 0
