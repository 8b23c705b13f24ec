"""Record batches: their schema, their size, and the times and inodes in them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from trees import make_tree
from walks import list_found, walk

from polars_alf.alf.root import open_root
from polars_alf.schema import DIRECTORIES, ENTRIES, ISSUES
from polars_alf.walk import batches
from polars_alf.walk.fingerprint import fingerprint_file
from polars_alf.walk.options import WalkOptions
from polars_alf.walk.walker import Walker


def test_batches_have_the_schema_and_what_refresh_needs(archive: Path) -> None:
    walker = Walker(open_root(archive), WalkOptions())
    (batch,) = walker.walk(sorted(walker.survey()))
    assert batch.schema.equals(ENTRIES)
    assert walker.directories().schema.equals(DIRECTORIES)
    assert walker.issues().schema.equals(ISSUES)
    for row in batch.to_pylist():
        status = (archive / row["directory"] / row["name"]).stat()
        assert (row["mtime_ns"], row["inode"]) == (status.st_mtime_ns, status.st_ino)


def test_batches_are_cut_at_directories(archive: Path) -> None:
    walker = Walker(open_root(archive), WalkOptions(), rows_per_batch=2)
    batches = list(walker.walk(sorted(walker.survey())))
    assert len(batches) > 3
    assert sum(len(batch) for batch in batches) == 12
    assert list_found(archive) == sorted(
        f"{row['directory']}/{row['name']}" for batch in batches for row in batch.to_pylist()
    )


@pytest.mark.parametrize("seconds", [15_000_000_000, -15_000_000_000])
def test_times_far_off_are_kept_as_far_as_they_fit(
    archive: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    # As some file systems have them; this one may not, so the status says so.
    class Status:
        st_mtime_ns = seconds * 10**9
        st_ino = 2**64 + 5

    expected = (2**63 - 1) * (1 if seconds > 0 else -1)
    assert fingerprint_file(Status()) == (expected, 5)  # type: ignore[arg-type]
    path = next(archive.rglob("spikes.times.npy"))
    with contextlib.suppress(OSError):
        os.utime(path, ns=(0, seconds * 10**9))
    assert len(list_found(archive)) == 12


def test_names_that_are_no_datasets_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches.Names.__init__, "__defaults__", (10,))
    make_tree(tmp_path, {f"S/2020-01-01/001/image{i}.tif": 1 for i in range(50)})
    _, _, walker = walk(tmp_path)
    assert walker.n_other_files == 50
    assert len(walker._lister.names.codes) <= 10
