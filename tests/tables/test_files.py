"""The files beside the tables: their permissions, and damage to them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from polars_alf import errors, index_archive
from polars_alf.tables import files


def test_permissions_are_those_of_the_umask(archive: Path) -> None:
    was = os.umask(0o027)
    try:
        index_archive(archive)
    finally:
        os.umask(was)
    for path in (archive / "sessions.pqt", archive / files.STATE_DIR / "issues.arrow"):
        assert path.stat().st_mode & 0o777 == 0o640


def test_a_folder_in_the_place_of_a_table(archive: Path) -> None:
    index_archive(archive)
    (archive / "datasets.pqt").unlink()
    (archive / "datasets.pqt").mkdir()
    before = (archive / "sessions.pqt").read_bytes()
    with pytest.raises(errors.OutputError, match="is a folder"):
        index_archive(archive)
    assert (archive / "sessions.pqt").read_bytes() == before


def test_issues_that_are_damaged_are_named(archive: Path) -> None:
    index_archive(archive)
    files.issues_path(archive).write_bytes(b"junk")
    with pytest.raises(errors.TableError, match=r"issues\.arrow"):
        files.scan_issues(archive)
