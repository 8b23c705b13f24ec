"""One directory: listed by descriptor or by path, and changed or broken meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from trees import SESSION, make_tree
from walks import walk

from polars_alf.errors import ScanError
from polars_alf.native import twin


def test_listing_by_path_gives_the_same(
    archive: Path, twins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tree(archive, {"cortexlab/Subjects/KS001/2021-13-45/001": SESSION})
    by_descriptor = walk(archive)
    monkeypatch.setattr(twin, "BY_DESCRIPTOR", False)
    by_path = walk(archive)
    assert by_path[0].equals(by_descriptor[0])
    assert by_path[1].equals(by_descriptor[1])
    assert len(by_path[1]) == 4


def test_a_file_that_vanishes_between_listing_and_stat(
    archive: Path, twins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "_ibl_trials.intervals_bpod.csv"
    real = os.scandir

    class Scandir:
        """Take the file away once the directory was read."""

        def __init__(self, target: int | str) -> None:
            with real(target) as entries:
                self.entries = list(entries)
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target
            (Path(path) / name).unlink(missing_ok=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(twin, "BY_DESCRIPTOR", False)
    monkeypatch.setattr(os, "scandir", Scandir)
    entries, issues, _ = walk(archive)
    assert set(issues["kind"]) == {"vanished"}
    assert len(issues) == 4
    assert len(entries) == 8


def test_a_listing_that_breaks_keeps_what_was_read(
    archive: Path, twins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    class Scandir:
        """Fail after the first entry of the session itself."""

        def __init__(self, target: str) -> None:
            self.target = target

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            with real(self.target) as entries:
                for i, entry in enumerate(sorted(entries, key=lambda entry: entry.name)):
                    if i and self.target.endswith("001"):
                        raise OSError(errno.EIO, os.strerror(errno.EIO))
                    yield entry

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(twin, "BY_DESCRIPTOR", False)
    monkeypatch.setattr(os, "scandir", Scandir)
    entries, issues, _ = walk(archive / "wittenlab/Subjects/KS001/2020-01-01")
    assert issues.rows() == [("001", "unreadable_directory")]
    assert entries["path"].to_list() == ["001/_ibl_trials.intervals_bpod.csv"]
    with pytest.raises(ScanError, match="Input/output"):
        walk(archive / "wittenlab/Subjects/KS001/2020-01-01/001")
