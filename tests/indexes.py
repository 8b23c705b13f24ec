"""Indexes of archives, and comparisons of them."""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from collections.abc import Iterable
from pathlib import Path

import polars as pl
from hypothesis import strategies as st

from polars_alf import IndexReport, errors, index_archive

NAMESPACE = uuid.UUID("12345678-1234-5678-1234-567812345678")
LONG_AGO = 1_600_000_000

_NAMES = st.sampled_from(["a.b.npy", "c.d.npy", "alf/a.b.npy", "alf/#r#/e.f.csv"])
_FOLDERS = st.sampled_from([f"S{n}/2020-01-0{day}/00{day}" for n in (1, 2) for day in (1, 2, 3)])
FILES = st.dictionaries(st.tuples(_FOLDERS, _NAMES), st.integers(0, 9), max_size=12)
"""The files of an archive, by folder of the session and path in it, with their sizes."""


def read_tables(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    return pl.read_parquet(folder / "sessions.pqt"), pl.read_parquet(folder / "datasets.pqt")


def read_folder(folder: Path) -> dict[str, bytes | None]:
    """Return all that is in a folder but the lock, which has another name after each run."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not path.name.startswith("lock-")
    }


def index_undisturbed(archive: Path, tmp_path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the tables of an undisturbed run."""
    folder = tmp_path / "undisturbed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    index_archive(archive, folder, namespace="test")
    return read_tables(folder)


def assert_equal(left: Iterable[pl.DataFrame], right: Iterable[pl.DataFrame]) -> None:
    assert all(a.equals(b) for a, b in zip(left, right, strict=True))


def age_files(root: Path) -> None:
    """Make every file old enough for its digest to be relied on."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (LONG_AGO, LONG_AGO))


def index_quietly(root: Path, out_dir: Path, *, hash_ids: bool = True) -> IndexReport:
    """Index without a warning of an archive that is empty, whatever that removes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.NoSessionsWarning)
        return index_archive(root, out_dir, namespace="test", hash_ids=hash_ids, max_removed=1.0)
