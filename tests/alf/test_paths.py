"""Paths relative to a root, as text and as expressions."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polars_alf.alf import path_columns, paths


def test_join() -> None:
    assert paths.join("a/b", "c") == "a/b/c"
    assert paths.join("", "c") == "c"


@pytest.mark.skipif(sys.platform == "win32", reason="no bytes in names there")
def test_odd_names_are_printable() -> None:
    assert paths.printable(os.fsdecode(b"a\xff\n\x1b[1m\xc3\xa9")) == r"a\xff\x0a\x1b[1mé"
    paths.printable("\ud800")


def test_lines_stay_visible() -> None:
    assert paths.visible("a\tb\nc\x1b[0m\u202e") == "a\tb\nc\\u001b[0m\\u202e"


def test_a_temporary_folder_is_removed(tmp_path: Path) -> None:
    with paths.temporary_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        (folder / "file").touch()
    assert not folder.exists()


def test_folders_above() -> None:
    assert paths.list_folders_above("") == [""]
    assert paths.list_folders_above("a/b/c") == ["", "a", "a/b", "a/b/c"]
    assert paths.find_folder_above("a/b/c", {"a/b", "a"}) == "a"
    assert paths.find_folder_above("a/b/c", {"a/b/c"}) == "a/b/c"
    assert paths.find_folder_above("ab", {"a"}) is None
    assert paths.find_folder_above("a", {""}) == ""


def test_expressions() -> None:
    frame = pl.DataFrame({"folder": ["", "a", "a/b"], "name": ["c", "", "c"]})
    joined = frame.with_columns(path=path_columns.expr_join("folder", "name"))
    assert joined["path"].to_list() == ["c", "a", "a/b/c"]
    assert joined.select(path_columns.expr_below("path", "folder")).to_series().to_list() == [
        "c",
        "",
        "c",
    ]
    for root in ("/", "/data"):
        full = joined.select(path_columns.expr_full(root, "path")).to_series().to_list()
        assert full == [f"{root.rstrip('/')}/{path}" for path in joined["path"]]
    assert frame.select(path_columns.expr_full("/data", "folder")).to_series()[0] == "/data"


FOLDERS = st.sets(st.sampled_from(["", "a", "a/b", "b"]))


@given(st.lists(st.sampled_from("abc"), max_size=4), FOLDERS)
def test_the_folder_above_a_path(steps: list[str], folders: set[str]) -> None:
    path = "/".join(steps)
    holding = [
        folder for folder in sorted(folders) if not folder or f"{path}/".startswith(f"{folder}/")
    ]
    assert paths.find_folder_above(path, folders) == next(iter(holding), None)


@pytest.mark.slow
@given(st.text())
def test_paths_are_printed_without_control_characters(text: str) -> None:
    shown = paths.printable(text)
    assert not paths.CONTROL.search(shown)
    assert paths.printable(shown) == shown
